"""A process of its own that floods a port: the callers whose answers are timed must not wait for its Python."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import resource
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

from program import PATIENCE

# How long a flood may take until it has done enough, in seconds.
FLOOD_PATIENCE = 4 * PATIENCE

# How long a client waits that the gateway has turned away.
PAUSE = 0.01


@dataclass
class Sent:
    """What the clients of a flood have done so far, in whatever it counts."""

    count: int = 0
    # Connections that the gateway ended or refused.
    turned_away: int = 0


# One client of a flood: goes on until the gateway ends its connection, or waits for ever.
FloodClient = Callable[[str, Sent], Awaitable[None]]


@dataclass(frozen=True)
class Flood:
    """So many clients at a time, each of which begins again when it is over."""

    name: str
    port: str
    client: FloodClient
    clients: int
    # What it must have done at least: before that it is no flood.
    enough: int = 1


def raise_file_limit() -> None:
    """Lets this process, and those that it starts, open as many files as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Flooding:
    """A flood that is going on."""

    def __init__(self, process: multiprocessing.process.BaseProcess, pipe: Connection) -> None:
        self._process, self._pipe = process, pipe

    def stop(self) -> Sent:
        """Ends every connection of the flood, once it has done enough. Returns what it did."""
        self._pipe.send(None)
        assert self._pipe.poll(PATIENCE + FLOOD_PATIENCE), "the flood does not end"
        sent: Sent = self._pipe.recv()
        return sent


@contextlib.contextmanager
def flooding(flood: Flood, address: str) -> Iterator[Flooding]:
    """Floods until the block is over."""
    spawning = multiprocessing.get_context("spawn")
    ours, theirs = spawning.Pipe()
    process = spawning.Process(target=run, args=(flood, address, theirs))
    process.start()
    theirs.close()
    try:
        assert ours.poll(PATIENCE), "the flood does not begin"
        ours.recv()
        yield Flooding(process, ours)
    finally:
        ours.close()
        process.kill()
        process.join(PATIENCE)


def run(flood: Flood, address: str, pipe: Connection) -> None:
    """The process."""
    raise_file_limit()
    asyncio.run(_run(flood, address, pipe))


async def _run(flood: Flood, address: str, pipe: Connection) -> None:
    sent, over = Sent(), asyncio.Event()
    clients = [asyncio.create_task(_again_and_again(flood.client, address, sent)) for _ in range(flood.clients)]
    asyncio.get_running_loop().add_reader(pipe.fileno(), over.set)
    pipe.send("it has begun")
    await over.wait()
    deadline = time.monotonic() + FLOOD_PATIENCE
    while sent.count < flood.enough and time.monotonic() < deadline:
        await asyncio.sleep(PAUSE)
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    pipe.send(sent)


async def _again_and_again(client: FloodClient, address: str, sent: Sent) -> None:
    while True:
        # A client that is cut off in the middle, or gets no connection, is what a flood is about.
        with contextlib.suppress(OSError):
            await client(address, sent)
        sent.turned_away += 1
        await asyncio.sleep(PAUSE)
