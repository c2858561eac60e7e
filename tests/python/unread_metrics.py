"""Clients of the admin port that ask for the metrics again and again, and read none of the answers."""

from __future__ import annotations

import asyncio
import socket

from flooder import Flood, Sent

# More connections than the port takes.
CONNECTIONS = 300

# How many answers each asks for: more than its socket and the gateway's take.
REQUESTS = 2000

# How small its socket's buffer is, in bytes.
BUFFER_BYTES = 4096

# How long each stays, in seconds.
STAY = 6.0

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: gateway\r\n\r\n"


async def unread(address: str, sent: Sent) -> None:
    host, port = address.split(":")
    with socket.socket() as client:
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        client.bind(("127.0.0.2", 0))
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, (host, int(port)))
        sent.count += 1
        try:
            async with asyncio.timeout(STAY):
                await loop.sock_sendall(client, REQUEST * REQUESTS)
                await asyncio.Event().wait()
        except TimeoutError:
            pass


def unread_metrics() -> Flood:
    return Flood("metrics that nobody reads", "admin", unread, CONNECTIONS, CONNECTIONS)
