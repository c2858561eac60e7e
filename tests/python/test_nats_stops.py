"""SIGTERM while NATS is away: a stop waits for it no longer than it has to, and says what is true."""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

import messages
from bystanders import MARGIN
from gateway import Gateway, StartGateway
from nats_server import NatsServer
from program import PATIENCE
from typed_errors import decoded
from webhooks import deliver_in_order

# The bound on a stop, in seconds: less than an answer of NATS's is waited for at other times.
DRAIN_TIMEOUT = 4


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path / "nats")
    yield server
    server.kill()


@pytest.fixture
def gateway(start_gateway: StartGateway, nats_server: NatsServer) -> Gateway:
    gateway = start_gateway("--event-log", nats_server.url, "--drain-timeout", f"{DRAIN_TIMEOUT}s")
    deliver_in_order(gateway.addresses["webhook"], ["before"])
    return gateway


def stop(gateway: Gateway) -> float:
    """Stops it, which must be in time and without the bound. Returns how long that took."""
    start = time.monotonic()
    gateway.program.send(signal.SIGTERM)
    assert gateway.program.exit_code(within=DRAIN_TIMEOUT + MARGIN) == 0
    return time.monotonic() - start


@pytest.mark.parametrize("go_away", [NatsServer.kill, NatsServer.stand_still])
def test_a_gateway_whose_nats_is_away_stops_before_the_bound(
    gateway: Gateway, nats_server: NatsServer, go_away: Callable[[NatsServer], None]
) -> None:
    go_away(nats_server)
    seconds = stop(gateway)
    print(f"{go_away.__name__}: {seconds:.2f} s")
    assert "the bound on a stop has passed" not in gateway.program.log()
    assert seconds < DRAIN_TIMEOUT


def test_a_call_that_nats_holds_back_was_not_sent(gateway: Gateway, nats_server: NatsServer) -> None:
    nats_server.stand_still()
    request = messages.screen(request_id=str(uuid.uuid4()))
    call = gateway.stub.Screen.future(request, timeout=10 * PATIENCE)
    # What is sent later on one connection arrives later.
    gateway.stub.Screen(messages.screen(), timeout=PATIENCE)
    print(f"call: {stop(gateway):.2f} s")
    failure = call.exception(PATIENCE)
    assert isinstance(failure, grpc.RpcError)
    assert decoded(failure, paid=True).info.metadata["outcome"] == "NOT_SENT"
