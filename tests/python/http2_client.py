"""A client that speaks HTTP/2 by hand, and so can stop in the middle of anything."""

from __future__ import annotations

import socket
from collections.abc import Callable

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, Event, PingAckReceived, SettingsAcknowledged
from h2.settings import SettingCodes

from program import PATIENCE

# What a client begins with (RFC 9113, 3.4). A SETTINGS frame follows.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# How much is read at a time.
READ_BYTES = 16 << 10

WATCH_EVENTS = "/kora.compliance.v1.ComplianceService/WatchEvents"
SCREEN = "/kora.compliance.v1.ComplianceService/Screen"
HEALTH_CHECK = "/grpc.health.v1.Health/Check"
HEALTH_WATCH = "/grpc.health.v1.Health/Watch"


def dial(address: str, receive_buffer: int | None = None) -> socket.socket:
    """Connects; with a receive buffer of about so many bytes, where it is given."""
    host, port = address.split(":")
    dialing = socket.socket()
    if receive_buffer is not None:
        dialing.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    dialing.settimeout(PATIENCE)
    dialing.connect((host, int(port)))
    return dialing


def grpc_frame(message: bytes) -> bytes:
    """A message as gRPC writes it: uncompressed, with its length before it."""
    return b"\0" + len(message).to_bytes(4, "big") + message


class Http2Client:
    """One connection, whose client and gateway have told each other their settings."""

    def __init__(self, address: str, *, window: int | None = None, receive_buffer: int | None = None) -> None:
        """The gateway may send `window` bytes on each stream before it is given more."""
        self._socket = dial(address, receive_buffer)
        self._http2 = H2Connection(H2Configuration(client_side=True))
        self._http2.initiate_connection()
        if window is not None:
            self._http2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        try:
            self._flush()
            self._read_until(lambda event: isinstance(event, SettingsAcknowledged))
        except BaseException:
            self._socket.close()
            raise

    def widen(self, by: int) -> None:
        """Lets the gateway send so many bytes more on all streams together."""
        self._http2.increment_flow_control_window(by)
        self._flush()

    def begin(self, path: str) -> int:
        """Sends the head of a call, and sees that the gateway has it."""
        stream = self._http2.get_next_available_stream_id()
        head = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "gateway")]
        self._http2.send_headers(stream, [*head, ("content-type", "application/grpc"), ("te", "trailers")])
        self.ping()
        return stream

    def send(self, stream: int, data: bytes, *, is_last: bool = False) -> None:
        """Sends a part of a call's message."""
        self._http2.send_data(stream, data, end_stream=is_last)
        self._flush()

    def ping(self) -> None:
        """Frames are read in order: when this is answered, everything before it was read."""
        self._http2.ping(b"in order")
        self._flush()
        self._read_until(lambda event: isinstance(event, PingAckReceived))

    def wait_for_answer(self, kind: type[Event]) -> None:
        """Reads up to an event of this kind."""
        self._read_until(lambda event: isinstance(event, kind))

    def swallow(self, least: int) -> int:
        """Reads at least so many bytes, unless the gateway ends the connection before, and gives nothing back for
        them. Returns how many there were."""
        count = 0
        try:
            while count < least and (data := self._socket.recv(READ_BYTES)):
                count += len(data)
        except ConnectionResetError:
            pass
        return count

    def close(self) -> None:
        self._socket.close()

    def _read_until(self, is_it: Callable[[Event], bool]) -> None:
        while data := self._socket.recv(READ_BYTES):
            events = self._http2.receive_data(data)
            self._flush()
            assert not any(isinstance(event, ConnectionTerminated) for event in events)
            if any(map(is_it, events)):
                return
        raise AssertionError("the gateway closed the connection")

    def _flush(self) -> None:
        self._socket.sendall(self._http2.data_to_send())
