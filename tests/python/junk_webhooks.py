"""A stranger who found the webhook port: connections with junk signatures and one byte of body, from several addresses."""

from __future__ import annotations

import asyncio
import itertools

from flooder import Flood, Sent

# How many connections the stranger holds at a time: more than the port takes.
CONNECTIONS = 1300

# How long each stays, in seconds, and after how long it is back where it was evicted: some 200 come each second.
STAY = 6.0

ADDRESSES = itertools.cycle(f"127.0.0.{number}" for number in range(2, 6))

HEAD = (
    "POST /webhooks/compliance HTTP/1.1\r\nHost: gateway\r\n"
    f"X-Webhook-Signature: {'0' * 64}\r\nContent-Length: 4096\r\n\r\n{{"
).encode()


async def junk(address: str, sent: Sent) -> None:
    host, port = address.split(":")
    leaves = asyncio.get_running_loop().time() + STAY
    reader, writer = await asyncio.open_connection(host, int(port), local_addr=(next(ADDRESSES), 0))
    try:
        writer.write(HEAD)
        sent.count += 1
        async with asyncio.timeout_at(leaves):
            await reader.read()
    except TimeoutError:
        pass
    finally:
        writer.transport.abort()
        await asyncio.sleep(leaves - asyncio.get_running_loop().time())


def junk_webhooks(enough: int = 1) -> Flood:
    return Flood("junk signatures", "webhook", junk, CONNECTIONS, enough)
