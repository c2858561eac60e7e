"""HTTP/2 frame by frame, as no library would send it: for clients that mean harm."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable

from hpack import Encoder

from http2_client import PREFACE

# The types of frames (RFC 9113, 6).
DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 8, 9

# Their flags. ACK and END_STREAM are one bit: which it is depends on the type.
ACK = END_STREAM = 0x1
END_HEADERS = 0x4

# The length of a frame's head, and the largest frame that a peer takes which says nothing else.
HEAD_BYTES = 9
MAX_FRAME_BYTES = 16 << 10

# How much may be sent on a connection and, as the gateway has it, on a stream before it gives more.
CONNECTION_WINDOW = 64 << 10
STREAM_WINDOW = 256 << 10

# The last stream that a client can open.
LAST_STREAM = (1 << 31) - 1

# How much is read at a time.
READ_BYTES = 64 << 10


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def call_head(path: str, *more: tuple[str, str]) -> bytes:
    """The header block of a call. It leaves nothing in the gateway's table, so that it can be sent again as it is."""
    encoder = Encoder()
    encoder.header_table_size = 0
    head = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "gateway")]
    return encoder.encode([*head, ("content-type", "application/grpc"), ("te", "trailers"), *more])


def reset(stream: int) -> bytes:
    """Takes a call back (CANCEL)."""
    return frame(RST_STREAM, 0, stream, (8).to_bytes(4, "big"))


class RawHttp2:
    """A connection that has begun. What comes is read and forgotten, but for what the gateway lets it send."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._given = asyncio.Condition()
        self._window = CONNECTION_WINDOW
        self._windows: defaultdict[int, int] = defaultdict(lambda: STREAM_WINDOW)
        self._pings, self._pongs = 0, 0
        # Streams that the gateway has ended.
        self.ended: set[int] = set()
        self.is_over = False

    async def send(self, content: bytes) -> None:
        """Sends it as soon as the socket takes it. Raises `ConnectionError` when the gateway has ended."""
        self._writer.write(content)
        await self._writer.drain()
        # Others have their turn even where the socket always takes more.
        await asyncio.sleep(0)

    async def send_data(self, stream: int, data: bytes) -> None:
        """Sends a part of a message, at most a frame, as soon as the gateway takes it; nothing once it has ended the
        stream."""
        await self._wait(lambda: stream in self.ended or self._has_room(stream, len(data)))
        if stream in self.ended:
            return
        self._window -= len(data)
        self._windows[stream] -= len(data)
        await self.send(frame(DATA, 0, stream, data))

    async def ping(self) -> None:
        """Frames are read in order: when this is answered, everything before it was read."""
        self._pings += 1
        await self.send(frame(PING, 0, 0, b"in order"))
        await self._wait(lambda: self._pongs == self._pings)

    async def wait_for_the_end(self) -> None:
        """Waits until the gateway ends the connection."""
        with contextlib.suppress(ConnectionError):
            await self._wait(lambda: False)

    async def read(self) -> None:
        """Reads until the gateway ends the connection."""
        try:
            await self._read()
        except (OSError, asyncio.IncompleteReadError):
            self.is_over = True
            await self._tell()

    async def _read(self) -> None:
        while True:
            head = await self._reader.readexactly(HEAD_BYTES)
            payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
            await self._note(head[3], head[4], int.from_bytes(head[5:], "big"), payload)

    async def _note(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in (SETTINGS, PING) and not flags & ACK:
            # The gateway keeps its settings from when they are acknowledged, and clients that answer pings.
            await self.send(frame(kind, ACK, 0, payload if kind == PING else b""))
            return
        if kind == WINDOW_UPDATE:
            more = int.from_bytes(payload, "big")
            if stream:
                self._windows[stream] += more
            else:
                self._window += more
        elif kind == PING and flags & ACK:
            self._pongs += 1
        elif kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM):
            self.ended.add(stream)
        else:
            return
        await self._tell()

    async def _tell(self) -> None:
        async with self._given:
            self._given.notify_all()

    async def _wait(self, is_it: Callable[[], bool]) -> None:
        async with self._given:
            await self._given.wait_for(lambda: self.is_over or is_it())
        if self.is_over:
            raise ConnectionResetError("the gateway has ended the connection")

    def _has_room(self, stream: int, count: int) -> bool:
        return self._window >= count and self._windows[stream] >= count


@contextlib.asynccontextmanager
async def raw_http2(address: str, *, is_reading: bool = True) -> AsyncIterator[RawHttp2]:
    """A connection for as long as the block lasts. One that does not read takes no answer."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=READ_BYTES)
    connection = RawHttp2(reader, writer)
    reading = asyncio.create_task(connection.read()) if is_reading else None
    if not is_reading:
        # asyncio reads ahead, up to a limit of its own.
        writer.transport.pause_reading()  # type: ignore[attr-defined]
    try:
        await connection.send(PREFACE + frame(SETTINGS, 0, 0))
        if reading:
            await connection.ping()
        yield connection
    finally:
        if reading:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        writer.transport.abort()
