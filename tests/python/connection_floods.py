"""Floods of connections that say nothing, or next to nothing."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from collections.abc import AsyncIterator
from functools import partial

from flooder import Flood, Sent

# More connections than a port has places for by default.
CONNECTIONS = int(os.environ.get("FLOOD_SILENT", "5000"))

# How many of them send something.
SLOW_CONNECTIONS = 1000

# How many of them send as much as they can.
FAST_CONNECTIONS = 100

# How many connections are being made at a time: what the gateway does with connections is tested, not what the system
# does with those that wait.
DIALLING = 64

# How slow they are, in seconds for each byte.
PACE = 0.5


@functools.cache
def dialling() -> asyncio.Semaphore:
    return asyncio.Semaphore(DIALLING)


@contextlib.asynccontextmanager
async def connected(address: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, port = address.split(":")
    async with dialling():
        reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def silent(address: str, sent: Sent) -> None:
    """Connects, and says nothing."""
    async with connected(address) as (reader, _):
        sent.count += 1
        await reader.read()


async def slow(begin: bytes, filling: bytes, address: str, sent: Sent) -> None:
    """Begins, and then sends a byte now and then."""
    async with connected(address) as (_, writer):
        writer.write(begin)
        while True:
            await writer.drain()
            writer.write(filling)
            sent.count += 1
            await asyncio.sleep(PACE)


async def endless(begin: bytes, filling: bytes, address: str, sent: Sent) -> None:
    """Sends as fast as it can what does not end."""
    async with connected(address) as (_, writer):
        writer.write(begin)
        while True:
            writer.write(filling)
            await writer.drain()
            await asyncio.sleep(0)
            sent.count += len(filling)


# A webhook whose body is announced, as large as one may be.
BODY_BYTES = 4 << 20

# What all of them send together at least: more than all of them may have in memory.
BODIES_BYTES = 96 << 20

HEAD = (
    "POST /webhooks/compliance HTTP/1.1\r\nHost: gateway\r\n"
    f"X-Webhook-Signature: {'0' * 64}\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
).encode()


def connection_floods() -> list[Flood]:
    return [
        Flood("silent connections of callers", "grpc", silent, CONNECTIONS, CONNECTIONS),
        Flood("silent connections of Kora's", "webhook", silent, CONNECTIONS, CONNECTIONS),
        Flood("slow bodies of webhooks", "webhook", partial(slow, HEAD, b" "), SLOW_CONNECTIONS, SLOW_CONNECTIONS),
        Flood("slow heads of webhooks", "webhook", partial(slow, b"", b"P"), SLOW_CONNECTIONS, SLOW_CONNECTIONS),
        Flood("endless bodies of webhooks", "webhook", partial(endless, HEAD, b" " * (16 << 10)), FAST_CONNECTIONS, BODIES_BYTES),
        Flood("endless heads of webhooks", "webhook", partial(endless, b"POST / HTTP/1.1\r\n", b"x: y\r\n" * 200), FAST_CONNECTIONS),
    ]
