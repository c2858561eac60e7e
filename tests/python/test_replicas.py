"""Two gateways on one log: while one is killed and comes back, whoever watches misses nothing.

The numbers of a longer run come from the environment: `REPLICA_KILLS=50`.
"""

from __future__ import annotations

import functools
import itertools
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kora.compliance.v1.watch_events_pb2 import WatchEventsRequest

from follower import Follower
from gateway import StartGateway
from load import Load
from nats_server import NatsServer
from program import PATIENCE
from restarts import Phoenix
from watch_programs import NodeClient
from webhooks import deliver_in_order, read_past

KILLS = int(os.environ.get("REPLICA_KILLS", "5"))

# More events than can come: they keep coming until they are stopped.
ENDLESS = 1_000_000

# Over how many connections they come, to both gateways in turn.
CONNECTIONS = 4

# How many events come before a kill, and while one of the two is down.
BETWEEN_KILLS = range(20, 100)

# How many subscribers come back to any of the two.
WANDERERS = 4

# How often one gateway is told a token that it has had no time to hear of.
TOKENS = 20

# A kill comes up to so many seconds after that: at any moment of the next commits.
SPREAD = 0.02


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path / "nats")
    yield server
    server.kill()


@pytest.fixture
def replicas(nats_server: NatsServer, start_gateway: StartGateway) -> list[Phoenix]:
    """Two gateways on the server's log, which stops after them."""
    return [Phoenix(start_gateway, nats_server.url, env={"RUST_LOG": "info"}) for _ in range(2)]


def wait_for_news(load: Load, node: NodeClient, python: Follower) -> None:
    """Waits until more events are answered 200, and both clients have one of these."""
    before = load.ids()
    load.wait_for(len(before) + random.choice(BETWEEN_KILLS))
    event_id = random.choice(sorted(load.ids() - before))
    node.wait_for_event(event_id)
    python.wait_for_event(event_id)


def test_whoever_watches_misses_nothing_while_replicas_are_killed(replicas: list[Phoenix], tmp_path: Path) -> None:
    grpc, webhook = ([replica.addresses[name] for replica in replicas] for name in ("grpc", "webhook"))
    # They begin at different gateways, and go to the other one whenever their stream breaks.
    node = NodeClient(tmp_path / "node", *grpc)
    python = Follower(itertools.cycle(reversed(grpc)).__next__)
    # This one takes each message's token to the other gateway.
    restless = Follower(itertools.cycle(grpc).__next__, restless=True)
    # These are at both.
    wanderers = [Follower(functools.partial(random.choice, grpc)) for _ in range(WANDERERS)]
    followers = [python, restless, *wanderers]
    start = time.monotonic()
    try:
        with Load(webhook, ENDLESS, CONNECTIONS) as load:
            load.go_on()
            for _, replica in zip(range(KILLS), itertools.cycle(replicas)):
                wait_for_news(load, node, python)
                time.sleep(random.uniform(0, SPREAD))
                replica.kill()
                # The other one takes events, and sends them.
                wait_for_news(load, node, python)
                replica.rise()
            wait_for_news(load, node, python)
            load.stop()
        took = time.monotonic() - start

        log = read_past(replicas[0].gateway.stub).ids
        assert read_past(replicas[1].gateway.stub).ids == log
        assert sorted(log) == sorted(load.ids())
        for follower in followers:
            follower.wait_for(len(log))
            # Each stream went on right after the token that the last one had sent.
            assert list(itertools.chain(*follower.streams)) == log
        node.wait_for_event(log[-1])
        assert node.handled() == node.shown == log
    finally:
        node.program.kill()
        for follower in followers:
            follower.stop()

    # No kill missed its mark, and no stream broke but by a kill.
    killed = list(itertools.islice(itertools.cycle(grpc), KILLS))
    assert node.ends() == [(address, True) for address in killed]
    # The first kill was at the other gateway.
    assert len(python.streams) == KILLS
    print(
        f"{len(log)} events, {KILLS} kills, {load.cut} attempts without an answer, "
        f"{sum(len(follower.streams) for follower in followers)} streams, "
        f"{len(log) / took:.0f} events/s"
    )


def test_a_token_is_known_at_once_at_a_gateway_that_has_not_heard_of_its_event(replicas: list[Phoenix]) -> None:
    here, there = (replica.gateway for replica in replicas)
    for number in range(TOKENS):
        read_past(there.stub)
        there.program.send(signal.SIGSTOP)
        deliver_in_order(here.addresses["webhook"], [f"evt_{number}"])
        token = read_past(here.stub).token
        stream = there.stub.WatchEvents(
            WatchEventsRequest(resume_token=token, until_caught_up=True), timeout=PATIENCE
        )
        there.program.send(signal.SIGCONT)
        assert [event.event_id for message in stream for event in message.events] == []
