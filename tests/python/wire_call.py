"""Calls with headers of the test's own making, and their answers as they are on the wire."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from hpack import Decoder, Encoder

from http2_client import PREFACE, dial, grpc_frame
from raw_http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEAD_BYTES,
    HEADERS,
    MAX_FRAME_BYTES,
    PING,
    RST_STREAM,
    SETTINGS,
    frame,
    reset,
)

GOAWAY = 7


@dataclass
class WireAnswer:
    """What came on one stream. Trailers are among the headers."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_ended: bool = False
    # The code of a RST_STREAM.
    reset: int | None = None

    @property
    def is_over(self) -> bool:
        return self.is_ended or self.reset is not None


class WireClient:
    """One connection. It answers the gateway's pings and settings while it reads, and reads on after a GOAWAY."""

    def __init__(self, address: str) -> None:
        self._socket = dial(address)
        self._encoder, self._decoder = Encoder(), Decoder()
        self._last_stream = -1
        self._outgoing = PREFACE + frame(SETTINGS, 0, 0)
        self.answers: dict[int, WireAnswer] = {}
        # The code of the gateway's last GOAWAY, and whether the connection has ended.
        self.goaway: int | None = None
        self.is_closed = False

    def begin(self, path: str, message: bytes, *more: tuple[str, str], content_type: str | None) -> int:
        """Begins a call; it is sent with the next `flush`."""
        self._last_stream += 2
        stream = self._last_stream
        head = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "gateway")]
        kind = [("content-type", content_type)] if content_type is not None else []
        block = self._encoder.encode([*head, *kind, ("te", "trailers"), *more], huffman=False)
        parts = [block[start : start + MAX_FRAME_BYTES] for start in range(0, len(block), MAX_FRAME_BYTES)]
        for number, part in enumerate(parts):
            flags = END_HEADERS if number == len(parts) - 1 else 0
            self._outgoing += frame(CONTINUATION if number else HEADERS, flags, stream, part)
        self._outgoing += frame(DATA, END_STREAM, stream, grpc_frame(message))
        self.answers[stream] = WireAnswer()
        return stream

    def cancel(self, stream: int) -> None:
        """Takes a call back, with the next `flush`."""
        self._outgoing += reset(stream)

    def flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, b""
        self._socket.sendall(outgoing)

    def finish(self, stream: int) -> WireAnswer:
        """Reads until this stream is over."""
        while not self.answers[stream].is_over:
            assert self.read(), "the gateway closed the connection"
        return self.answers[stream]

    def read(self) -> bool:
        """Reads one frame; `False` at the end of the connection."""
        try:
            head = self._receive(HEAD_BYTES)
            payload = self._receive(int.from_bytes(head[:3], "big"))
            self._note(head[3], head[4], int.from_bytes(head[5:], "big"), payload)
            self.flush()
        except ConnectionError:
            self.is_closed = True
        return not self.is_closed

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> WireClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self, count: int) -> bytes:
        received = self._socket.recv(count, socket.MSG_WAITALL) if count else b""
        if len(received) < count:
            raise ConnectionResetError
        return received

    def _note(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in (SETTINGS, PING) and not flags & ACK:
            self._outgoing += frame(kind, ACK, 0, payload if kind == PING else b"")
        elif kind == GOAWAY:
            self.goaway = int.from_bytes(payload[4:8], "big")
        elif kind == HEADERS:
            # The gateway's headers fit into one frame, without padding or priority.
            assert flags & END_HEADERS
            decoded = self._decoder.decode(payload)
            self.answers[stream].headers.update({_text(name): _text(value) for name, value in decoded})
        elif kind == DATA:
            self.answers[stream].body += payload
        elif kind == RST_STREAM:
            self.answers[stream].reset = int.from_bytes(payload, "big")
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            self.answers[stream].is_ended = True


def wire_call(
    address: str, path: str, message: bytes = b"", *more: tuple[str, str], content_type: str | None = "application/grpc"
) -> WireAnswer:
    """One call on a connection of its own."""
    with WireClient(address) as client:
        stream = client.begin(path, message, *more, content_type=content_type)
        client.flush()
        return client.finish(stream)


def _text(content: bytes | str) -> str:
    return content.decode() if isinstance(content, bytes) else content
