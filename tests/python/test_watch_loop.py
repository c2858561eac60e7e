"""The loop that the manual gives to subscribers handles every event once, whatever happens to the gateway.

So does the same loop in Node.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway import Gateway, StartGateway
from load import Load
from restarts import Phoenix, ports_to_keep
from test_readme import blocks
from watch_programs import ManualsLoop, NodeClient, WatchProgram
from webhooks import deliver_in_order, read_past

KILLS = 5

# More events than can come: they keep coming until they are stopped.
ENDLESS = 1_000_000

# How many events wait for a subscriber that is about to be killed: it cannot handle them at once.
BACKLOG = 300

# How many lines a subscriber has to write.
LOOP_LINES = 20


@pytest.fixture(params=[ManualsLoop, NodeClient])
def subscribe(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], WatchProgram]]:
    """Subscribers in the same folder, one after the other."""
    started: list[WatchProgram] = []

    def start(address: str) -> WatchProgram:
        started.append(request.param(tmp_path / "subscriber", address))
        return started[-1]

    yield start
    for subscriber in started:
        subscriber.program.kill()


def test_the_loop_is_short() -> None:
    _, block = blocks("python")
    [loop] = re.findall(r"^def watch.*?(?=\n\n)", block, flags=re.DOTALL | re.MULTILINE)
    assert len(loop.splitlines()) <= LOOP_LINES


def test_the_loop_loses_nothing_while_the_gateway_is_killed(
    start_gateway: StartGateway, tmp_path: Path, subscribe: Callable[[str], WatchProgram]
) -> None:
    phoenix = Phoenix(start_gateway, f"file:{tmp_path / 'data'}", env={"RUST_LOG": "info"})
    subscriber = subscribe(phoenix.addresses["grpc"])
    with Load([phoenix.addresses["webhook"]], ENDLESS, connections=1) as load:
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
    gateway: Gateway, subscribe: Callable[[str], WatchProgram]
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


def test_the_loop_loses_nothing_when_it_is_killed_itself(
    gateway: Gateway, subscribe: Callable[[str], WatchProgram]
) -> None:
    for kill in range(KILLS):
        names = range(kill * BACKLOG, (kill + 1) * BACKLOG)
        deliver_in_order(gateway.addresses["webhook"], [f"evt_{n}" for n in names])
        subscriber = subscribe(gateway.addresses["grpc"])
        # It is in the middle of what waited for it.
        subscriber.wait_for(1)
        subscriber.program.kill()
    subscriber = subscribe(gateway.addresses["grpc"])
    deliver_in_order(gateway.addresses["webhook"], ["evt_last"])
    subscriber.wait_for_event("evt_last")
    assert subscriber.handled() == [*(f"evt_{n}" for n in range(KILLS * BACKLOG)), "evt_last"]


def test_the_loop_stops_where_events_are_missing(
    start_gateway: StartGateway, subscribe: Callable[[str], WatchProgram]
) -> None:
    gateway, other = start_gateway(), start_gateway()
    subscriber = subscribe(gateway.addresses["grpc"])
    deliver_in_order(gateway.addresses["webhook"], ["evt_0"])
    subscriber.wait_for_event("evt_0")
    subscriber.program.kill()
    subscriber.token.write_text(read_past(gateway.stub).token)

    subscriber = subscribe(other.addresses["grpc"])
    assert subscriber.program.exit_code() == 1
    assert "OUT_OF_RANGE" in subscriber.program.log()


def test_the_node_client_goes_on_to_the_next_address(gateway: Gateway, tmp_path: Path) -> None:
    [nobody] = ports_to_keep(1)
    client = NodeClient(tmp_path, f"127.0.0.1:{nobody}", gateway.addresses["grpc"])
    try:
        deliver_in_order(gateway.addresses["webhook"], ["evt_0"])
        client.wait_for_event("evt_0")
    finally:
        client.program.kill()
