"""Streams whose clients read nothing until they are told to."""

from __future__ import annotations

import contextlib
import hashlib
import selectors
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from kora.compliance.v1.event_pb2 import Event
from kora.compliance.v1.watch_events_pb2 import WatchEventsRequest, WatchEventsResponse

from http2_client import PREFACE, WATCH_EVENTS, dial, grpc_frame
from raw_http2 import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEAD_BYTES,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    call_head,
    frame,
)

# How many streams one connection has.
STREAMS_PER_CONNECTION = 25

# The setting that says how much may be sent on a stream before it is given more (RFC 9113, 6.5.2).
INITIAL_WINDOW_SIZE = 4

# The most that may be outstanding, and what a connection begins with.
MAX_WINDOW = (1 << 31) - 1
CONNECTION_WINDOW = 65_535

READ_BYTES = 1 << 20

# How long to read, and how long to wait before another look, in seconds.
READ_PATIENCE = 300.0
PAUSE = 0.05


def setting(number: int, value: int) -> bytes:
    return frame(SETTINGS, 0, 0, number.to_bytes(2, "big") + value.to_bytes(4, "big"))


@dataclass
class Received:
    """What one stream got. Events are kept by the hash of their bytes, since all of them could be too many."""

    rest: bytearray = field(default_factory=bytearray)
    ids: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    is_opened: bool = False

    def add(self, data: bytes) -> None:
        self.rest += data
        while len(self.rest) >= 5 and len(self.rest) >= 5 + (length := int.from_bytes(self.rest[1:5], "big")):
            message = WatchEventsResponse.FromString(bytes(self.rest[5 : 5 + length]))
            del self.rest[: 5 + length]
            self.is_opened |= message.HasField("opened")
            for event in message.events:
                self.ids.append(event.event_id)
                self.digests.append(digest(event))


def digest(event: Event) -> str:
    return hashlib.sha256(event.SerializeToString(deterministic=True)).hexdigest()


class Connection:
    """Some streams. A stream is sent no more than its small window until `widen`. Pings are answered, as every client's
    library does."""

    def __init__(self, address: str) -> None:
        self.socket = dial(address)
        self._buffer = bytearray()
        self._window = CONNECTION_WINDOW
        self.streams: dict[int, Received] = {}

    def open(self, requests: list[WatchEventsRequest]) -> None:
        self.streams = {2 * number + 1: Received() for number in range(len(requests))}
        head = call_head(WATCH_EVENTS)
        wide = frame(WINDOW_UPDATE, 0, 0, (MAX_WINDOW - CONNECTION_WINDOW).to_bytes(4, "big"))
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0) + wide)
        # What is asked for is less than what the gateway then lets the connection send.
        while self._window == CONNECTION_WINDOW:
            self.read()
        for stream, request in zip(self.streams, requests, strict=True):
            message = grpc_frame(request.SerializeToString())
            self.socket.sendall(frame(HEADERS, END_HEADERS, stream, head))
            while message:
                part, message = message[: 16 << 10], message[16 << 10 :]
                self.socket.sendall(frame(DATA, 0 if message else END_STREAM, stream, part))
        while not all(received.is_opened for received in self.streams.values()):
            self.read()

    def widen(self) -> None:
        """Takes everything from now on."""
        self.socket.sendall(setting(INITIAL_WINDOW_SIZE, MAX_WINDOW))

    def read(self) -> None:
        data = self.socket.recv(READ_BYTES)
        assert data, "the gateway ended the connection"
        self._buffer += data
        while (parsed := self._frame()) is not None:
            self._take(*parsed)

    def _frame(self) -> tuple[int, int, int, bytes] | None:
        end = HEAD_BYTES + int.from_bytes(self._buffer[:3], "big")
        if len(self._buffer) < max(end, HEAD_BYTES):
            return None
        kind, flags, stream = self._buffer[3], self._buffer[4], int.from_bytes(self._buffer[5:HEAD_BYTES], "big")
        payload = bytes(self._buffer[HEAD_BYTES:end])
        del self._buffer[:end]
        return kind, flags, stream, payload

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in (SETTINGS, PING) and not flags & ACK:
            self.socket.sendall(frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload, "big")
        elif kind == DATA:
            self.streams[stream].add(payload)
        assert kind != RST_STREAM, "the gateway reset a stream"
        assert not (kind in (DATA, HEADERS) and flags & END_STREAM), "the gateway ended a stream"


class SilentStreams:
    """Streams over several connections, which one thread looks after."""

    def __init__(self, connections: list[Connection]) -> None:
        self._connections = connections
        self.all = [received for connection in connections for received in connection.streams.values()]
        self._is_over = False
        self._fault: BaseException | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def read_until(self, last: str, numbers: Iterable[int] | None = None) -> None:
        """Takes everything from now on, until each stream, or each of these, has the event with this id."""
        for connection in self._connections:
            connection.widen()
        awaited = self.all if numbers is None else [self.all[number] for number in numbers]
        deadline = time.monotonic() + READ_PATIENCE
        while not all(last in received.ids for received in awaited):
            if self._fault:
                raise self._fault
            assert time.monotonic() < deadline
            time.sleep(PAUSE)

    def close(self) -> None:
        self._is_over = True
        self._reader.join()

    def _read(self) -> None:
        with selectors.DefaultSelector() as selector:
            for connection in self._connections:
                selector.register(connection.socket, selectors.EVENT_READ, connection)
            try:
                while not self._is_over:
                    for key, _ in selector.select(PAUSE):
                        key.data.read()
            except (AssertionError, OSError) as fault:
                self._fault = fault


@contextlib.contextmanager
def silent_streams(address: str, requests: list[WatchEventsRequest]) -> Iterator[SilentStreams]:
    """Opens a stream for each request. None takes more than its first window."""
    with contextlib.ExitStack() as closing:
        connections = []
        for first in range(0, len(requests), STREAMS_PER_CONNECTION):
            connection = Connection(address)
            closing.callback(connection.socket.close)
            connection.open(requests[first : first + STREAMS_PER_CONNECTION])
            connections.append(connection)
        streams = SilentStreams(connections)
        closing.callback(streams.close)
        yield streams
