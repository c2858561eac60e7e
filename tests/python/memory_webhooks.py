"""A stranger who fills the memory for bodies: large ones with junk signatures that never end."""

from __future__ import annotations

import asyncio
import itertools
from functools import partial

from flooder import Flood, Sent

# How many bodies are open at a time, and how much of each comes: together more than all bodies may have in memory.
BODIES = 32
BODY_BYTES = 4 << 20
SENT_BYTES = BODY_BYTES - 1

HEAD = (
    "POST /webhooks/compliance HTTP/1.1\r\nHost: gateway\r\n"
    f"X-Webhook-Signature: {'0' * 64}\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
).encode()

NUMBERS = itertools.count()


async def unfinished(sources: list[str], address: str, sent: Sent) -> None:
    """Sends all of a body but its last byte, and keeps the connection."""
    host, port = address.split(":")
    source = sources[next(NUMBERS) % len(sources)]
    reader, writer = await asyncio.open_connection(host, int(port), local_addr=(source, 0))
    try:
        sent.count += 1
        writer.write(HEAD + b" " * SENT_BYTES)
        await writer.drain()
        await reader.read()
    finally:
        writer.transport.abort()


def unfinished_webhooks(sources: list[str]) -> Flood:
    return Flood("bodies that never end", "webhook", partial(unfinished, sources), BODIES, 2 * BODIES)
