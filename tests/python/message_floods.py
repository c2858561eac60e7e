"""Floods of calls that are never whole: much of a message, or of a head, and not its end."""

from __future__ import annotations

import asyncio
import os
from functools import partial

from flooder import Flood, FloodClient, Sent
from http2_client import SCREEN, WATCH_EVENTS
from raw_http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    MAX_FRAME_BYTES,
    RawHttp2,
    call_head,
    frame,
    raw_http2,
)

# How many calls a flood has open at a time: as many as the gateway takes by default, and so many times as many as there
# are connections.
STREAMS = 1024
CONNECTIONS = int(os.environ.get("FLOOD_CONNECTIONS", "2"))

# Just under the largest message by default.
LARGE = (1 << 20) - 1

# One that a gateway takes note of, however many there are.
SMALL = 8 << 10

# The longest head that the gateway takes, about.
HEAD_BYTES = 15 << 10

# How slow a slow sender is, in seconds for each byte.
PACE = 0.5


def streams() -> range:
    return range(1, 2 * STREAMS, 2)


async def all_but_the_end(path: str, length: int, address: str, sent: Sent) -> None:
    """Sends messages of this length without their last byte, all of a connection at a time."""
    head, prefix = call_head(path), b"\0" + length.to_bytes(4, "big")
    async with raw_http2(address) as connection:
        for stream in streams():
            await connection.send(frame(HEADERS, END_HEADERS, stream, head) + frame(DATA, 0, stream, prefix))
            sent.count += 1
        left = length - 1
        while left and not connection.is_over:
            part = b"\0" * min(left, MAX_FRAME_BYTES)
            left -= len(part)
            for stream in streams():
                await connection.send_data(stream, part)
        await connection.wait_for_the_end()


async def slow_messages(path: str, address: str, sent: Sent) -> None:
    """Sends a byte of every message now and then."""
    head, prefix = call_head(path), b"\0" + LARGE.to_bytes(4, "big")
    async with raw_http2(address) as connection:
        for stream in streams():
            await connection.send(frame(HEADERS, END_HEADERS, stream, head) + frame(DATA, 0, stream, prefix))
            sent.count += 1
        while True:
            for stream in streams():
                await connection.send_data(stream, b"\0")
            await asyncio.sleep(PACE)


async def announced(address: str, sent: Sent) -> None:
    """Announces messages of 4 GiB."""
    head = call_head(SCREEN)
    prefix = b"\0" + ((1 << 32) - 1).to_bytes(4, "big") + b"\0" * 100
    async with raw_http2(address) as connection:
        for stream in range(1, 1 << 20, 2):
            await connection.send(frame(HEADERS, END_HEADERS, stream, head) + frame(DATA, 0, stream, prefix))
            await connection.ping()
            sent.count += 1


async def large_heads(path: str, size: int, address: str, sent: Sent) -> None:
    """Begins calls with heads of this size, and ends none."""
    head = call_head(path, ("x-filling", "~" * size))
    async with raw_http2(address) as connection:
        for stream in streams():
            await send_head(connection, stream, head)
            sent.count += 1
        await connection.wait_for_the_end()


async def send_head(connection: RawHttp2, stream: int, head: bytes) -> None:
    first, rest = head[:MAX_FRAME_BYTES], head[MAX_FRAME_BYTES:]
    frames = frame(HEADERS, 0 if rest else END_HEADERS, stream, first)
    while rest:
        part, rest = rest[:MAX_FRAME_BYTES], rest[MAX_FRAME_BYTES:]
        frames += frame(CONTINUATION, 0 if rest else END_HEADERS, stream, part)
    await connection.send(frames)


def message_floods() -> list[Flood]:
    all_calls = CONNECTIONS * STREAMS
    clients: dict[str, tuple[FloodClient, int]] = {
        "Screen without its last byte": (partial(all_but_the_end, SCREEN, LARGE), all_calls),
        "WatchEvents without its last byte": (partial(all_but_the_end, WATCH_EVENTS, LARGE), all_calls),
        "small messages without their last byte": (partial(all_but_the_end, WATCH_EVENTS, SMALL), all_calls),
        "slow messages": (partial(slow_messages, SCREEN), all_calls),
        "4 GiB announced": (announced, 100),
        "large heads": (partial(large_heads, WATCH_EVENTS, HEAD_BYTES), 100),
        "heads that are too large": (partial(large_heads, WATCH_EVENTS, 2 * HEAD_BYTES), 1),
    }
    return [Flood(name, "grpc", client, CONNECTIONS, enough) for name, (client, enough) in clients.items()]
