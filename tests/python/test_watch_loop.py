"""The loop that the manual gives to subscribers handles every event once, whatever happens to the gateway."""

from __future__ import annotations

import os
import random
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway import Gateway, StartGateway
from load import Load
from program import PATIENCE, Program
from restarts import Phoenix
from test_readme import blocks, write_example
from webhooks import deliver_in_order, read_past

KILLS = 5

# More events than can come: they keep coming until they are stopped.
ENDLESS = 1_000_000

# How many lines a subscriber has to write.
LOOP_LINES = 20


class Subscriber:
    """The manual's program, run in a folder of its own."""

    def __init__(self, folder: Path, address: str) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)
        _, loop = blocks("python")
        example = write_example(loop, address, folder / "watch.py")
        # Its files are where it runs.
        env = {"PYTHONPATH": os.environ["PYTHONPATH"], "PYTHONDONTWRITEBYTECODE": "1"}
        run_there = ("env", "-C", str(folder))
        self.program = Program(
            str(example), env=env, stderr=folder / "stderr", under=run_there, executable=sys.executable
        )

    @property
    def token(self) -> Path:
        return self._folder / "resume-token"

    def handled(self) -> list[str]:
        """The ids of what it handled, in order."""
        with sqlite3.connect(self._folder / "inbox.db") as inbox:
            return [event_id for (event_id,) in inbox.execute("SELECT event_id FROM events ORDER BY rowid")]

    def wait_for(self, count: int) -> None:
        for _ in range(count):
            self.program.next_line()

    def wait_for_event(self, event_id: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.program.next_line(deadline - time.monotonic()).split()[0] != event_id:
            pass


@pytest.fixture
def subscribe(tmp_path: Path) -> Iterator[Callable[[str], Subscriber]]:
    """Subscribers in the same folder, one after the other."""
    started: list[Subscriber] = []

    def start(address: str) -> Subscriber:
        started.append(Subscriber(tmp_path / "subscriber", address))
        return started[-1]

    yield start
    for subscriber in started:
        subscriber.program.kill()


def test_the_loop_is_short() -> None:
    _, block = blocks("python")
    [loop] = re.findall(r"^def watch.*?(?=\n\n)", block, flags=re.DOTALL | re.MULTILINE)
    assert len(loop.splitlines()) <= LOOP_LINES


def test_the_loop_loses_nothing_while_the_gateway_is_killed(
    start_gateway: StartGateway, tmp_path: Path, subscribe: Callable[[str], Subscriber]
) -> None:
    phoenix = Phoenix(start_gateway, tmp_path / "data", env={"RUST_LOG": "info"})
    subscriber = subscribe(phoenix.addresses["grpc"])
    with Load(phoenix.addresses["webhook"], ENDLESS, connections=1) as load:
        for _ in range(KILLS):
            subscriber.wait_for(random.randrange(10, 50))
            load.hold()
            phoenix.kill()
            delivered = load.acknowledged
            phoenix.rise()
            load.go_on()
            # The first of this life may have been shown in the last one. The second is new.
            load.wait_for(delivered + 2)
            subscriber.wait_for_event(load.delivered[0][delivered + 1])
        load.stop()
    log = read_past(phoenix.gateway.stub).ids
    assert log == load.delivered[0]
    subscriber.wait_for_event(log[-1])
    assert subscriber.handled() == log


def test_the_loop_handles_once_what_comes_again(
    gateway: Gateway, subscribe: Callable[[str], Subscriber]
) -> None:
    subscriber = subscribe(gateway.addresses["grpc"])
    deliver_in_order(gateway.addresses["webhook"], [f"evt_{n}" for n in range(50)])
    subscriber.wait_for_event("evt_49")
    # Killed after it handled events and before it stored the token.
    subscriber.program.kill()
    subscriber.token.unlink()
    subscriber = subscribe(gateway.addresses["grpc"])
    deliver_in_order(gateway.addresses["webhook"], ["evt_50"])
    assert subscriber.program.next_line().split()[0] == "evt_50"
    assert subscriber.handled() == [f"evt_{n}" for n in range(51)]


def test_the_loop_stops_where_events_are_missing(
    start_gateway: StartGateway, subscribe: Callable[[str], Subscriber]
) -> None:
    gateway, other = start_gateway(), start_gateway()
    subscriber = subscribe(gateway.addresses["grpc"])
    deliver_in_order(gateway.addresses["webhook"], ["evt_0"])
    subscriber.wait_for_event("evt_0")
    subscriber.program.kill()
    subscriber.token.write_text(read_past(gateway.stub).token)

    subscriber = subscribe(other.addresses["grpc"])
    assert subscriber.program.exit_code() == 1
    assert "StatusCode.OUT_OF_RANGE" in subscriber.program.log()
