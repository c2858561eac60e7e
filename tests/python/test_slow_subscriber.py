"""A subscriber that stands still costs next to nothing, delays nobody, and misses nothing.

The number of a longer run comes from the environment: `SLOW_EVENTS=20000`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from kora.compliance.v1.watch_events_pb2 import (
    START_POSITION_LATEST,
    WatchEventsRequest,
    WatchEventsResponse,
)

import subscribers
from gateway import Gateway, StartGateway
from program import PATIENCE, Program
from subscribers import order
from webhooks import deliver_all, event_body, new_events, read_past

# How many events pass while the subscribers stand still.
EVENTS = int(os.environ.get("SLOW_EVENTS", "5000"))

# How many stand still. What one costs is taken from what all cost, for a process's memory is never quite still.
STREAMS = 4

# How many events pass before: first so many that what everybody shares is there, then as many again to see how
# much the gateway grows by itself.
CONTROL = 2000

# So large that events kept for a subscriber could not be overlooked, not even if all shared them.
FILLING = "x" * 4000

# What one subscriber that stands still may cost, in bytes.
LIMIT = 1 << 20

# What one event may add to the time that the whole run takes, in seconds.
EVENT_PATIENCE = PATIENCE / 100


def resident_bytes(pid: int) -> int:
    """How much memory the process has."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    [kib] = [line.split()[1] for line in rollup.splitlines() if line.startswith("Rss:")]
    return int(kib) << 10


@dataclass
class Passing:
    """Events that pass a subscriber who reads, and others."""

    gateway: Gateway
    live: Iterator[WatchEventsResponse]
    followed: list[str] = field(default_factory=list)

    def growth(self, kind: str, count: int) -> int:
        """Lets events pass until the one who reads has them all. Returns how much the gateway grew meanwhile."""
        pid = self.gateway.program.pid
        before = resident_bytes(pid)
        bodies = [event_body(f"evt_{kind}_{number}", filling=FILLING) for number in range(count)]
        with ThreadPoolExecutor(1) as reader:
            reading = reader.submit(new_events, self.live, count)
            deliver_all(self.gateway.addresses["webhook"], bodies)
            self.followed += [event.event_id for event in reading.result(PATIENCE)]
        return resident_bytes(pid) - before


def test_a_subscriber_that_stands_still_costs_little_and_misses_nothing(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    gateway = start_gateway(env={"RUST_LOG": "info"})
    total = 2 * CONTROL + EVENTS
    arguments = (subscribers.__file__, gateway.addresses["grpc"], str(STREAMS), str(total))
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    others = Program(*arguments, env=paths, stderr=tmp_path / "others", executable=sys.executable)
    try:
        others.lines_until("open")
        live = gateway.stub.WatchEvents(WatchEventsRequest(position=START_POSITION_LATEST))
        assert next(live).HasField("opened")
        passing = Passing(gateway, live)
        passing.growth("first", CONTROL)
        reading = passing.growth("control", CONTROL)

        others.send(signal.SIGSTOP)
        start = time.monotonic()
        standing_still = passing.growth("meanwhile", EVENTS)
        took = time.monotonic() - start
        others.send(signal.SIGCONT)
        print(f"grown by {reading >> 10} KiB, then by {standing_still >> 10} KiB in {took:.0f} s")
        # Memory that was given back during the control is none that those who read need.
        assert (standing_still - max(reading, 0)) / STREAMS < LIMIT

        log = read_past(gateway.stub).ids
        assert passing.followed == log
        # Nobody was cut, and nobody missed anything.
        patience = total * EVENT_PATIENCE
        assert [others.next_line(patience) for _ in range(STREAMS)] == [order(log)] * STREAMS
        assert others.exit_code() == 0
    finally:
        others.kill()
