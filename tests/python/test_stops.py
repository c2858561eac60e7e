"""SIGTERM while a client is stuck somewhere: the gateway ends in time, and everybody else gets what is theirs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from kora.compliance.v1.compliance_service_pb2_grpc import ComplianceServiceStub

import stuck_calls as calls
import stuck_clients as stuck
from bystanders import DRAIN_TIMEOUT, Bystanders, nothing_is_lost, state
from certificates import Certificate
from gateway import CALLS, Gateway, StartGateway
from held_kora import HeldKora
from http2_client import HEALTH_CHECK, SCREEN, WATCH_EVENTS
from program import PATIENCE
from typed_errors import decoded
from webhooks import SECRET, deliver_all, event_body

# What is there for a client that does not read: far more than systems keep for it.
EVENTS = 1000
FILLING = "x" * 16_000

CLIENTS = {
    **{f"silent-{port}": stuck.silent(port) for port in ("grpc", "webhook", "admin")},
    **{f"half-preface-{port}": stuck.half_preface(port) for port in ("grpc", "admin")},
    **{f"no-settings-{port}": stuck.no_settings(port) for port in ("grpc", "admin")},
    **{f"health-watch-{port}": calls.health_watch(port) for port in ("grpc", "admin")},
    **{f"idle-http2-{port}": calls.idle_http2(port) for port in ("grpc", "admin")},
    "idle-http1": stuck.idle_http1,
    "head-of-Screen": calls.half_call(SCREEN),
    "head-of-WatchEvents": calls.half_call(WATCH_EVENTS),
    "head-of-Check": calls.half_call(HEALTH_CHECK),
    "half-message": calls.half_message(),
    "slow-message": calls.slow_message(SCREEN),
    "slow-message-of-Check": calls.slow_message(HEALTH_CHECK),
    "half-webhook-head": stuck.half_head(),
    "half-webhook-body": stuck.half_body(),
    "slow-webhook-body": stuck.slow_body,
    "closed-window": calls.closed_window,
}

TLS_CLIENTS = {
    **{f"silent-{port}": stuck.silent(port) for port in ("grpc", "webhook")},
    **{f"half-{port}": stuck.half_tls(port) for port in ("grpc", "webhook")},
    "unfinished": stuck.unfinished_tls,
    **{f"after-{port}": stuck.after_tls(port) for port in ("grpc", "webhook")},
}


class House:
    """Gateways on one log, with one Kora behind them."""

    def __init__(self, start: StartGateway, kora: HeldKora, folder: Path) -> None:
        self._start, self.kora, self._folder = start, kora, folder

    def start(self, *flags: str) -> Gateway:
        settings = {
            "--drain-timeout": f"{DRAIN_TIMEOUT}s",
            "--event-log": f"file:{self._folder / 'data'}",
            "--kora-base-url": self.kora.base_url,
            "--kora-tenant-id": "5f0c9a52-7c1e-4c8b-9d57-3a1e6b2f4d80",
        }
        credentials = {"KORA_API_KEY": "emulator-api-key", "KORA_WEBHOOK_SECRET": SECRET.decode(), "RUST_LOG": "info"}
        flags += tuple(part for setting in settings.items() for part in setting)
        return self._start(*flags, env=credentials, emulator=False)


@pytest.fixture
def house(start_gateway: StartGateway, tmp_path: Path) -> Iterator[House]:
    kora = HeldKora()
    yield House(start_gateway, kora, tmp_path)
    kora.close()


@pytest.mark.parametrize("client", CLIENTS)
def test_a_stuck_client_holds_no_stop_up(house: House, client: str) -> None:
    gateway = house.start()
    with CLIENTS[client](gateway.addresses):
        seen = Bystanders(gateway, house.kora).stop()
    print(f"{client}: {seen.seconds:.2f} s")
    nothing_is_lost(house.start(), seen)


@pytest.mark.parametrize("client", TLS_CLIENTS)
def test_a_client_that_is_stuck_in_tls_holds_no_stop_up(house: House, tmp_path: Path, client: str) -> None:
    certificate = Certificate.make(tmp_path)
    gateway = house.start(*certificate.flags())
    with TLS_CLIENTS[client](gateway.addresses):
        seen = Bystanders(gateway, house.kora, certificate).stop()
    print(f"{client}: {seen.seconds:.2f} s")
    nothing_is_lost(house.start(), seen)


def test_a_client_that_does_not_read_holds_no_stop_up(house: House) -> None:
    gateway = house.start()
    bodies = [event_body(f"evt_{number}", filling=FILLING) for number in range(EVENTS)]
    deliver_all(gateway.addresses["webhook"], bodies)
    with calls.unread(sum(map(len, bodies)))(gateway.addresses):
        seen = Bystanders(gateway, house.kora).stop()
    print(f"unread: {seen.seconds:.2f} s")
    nothing_is_lost(house.start(), seen)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_either_signal_stops_a_gateway_that_nobody_holds_up(house: House, number: signal.Signals) -> None:
    gateway = house.start()
    seen = Bystanders(gateway, house.kora).stop(number)
    print(f"{number.name}: {seen.seconds:.2f} s")
    nothing_is_lost(house.start(), seen)


def test_a_call_that_kora_does_not_answer_is_unknown_before_the_end(house: House) -> None:
    gateway = house.start()
    bystanders = Bystanders(gateway, house.kora)
    call = bystanders.screen("stuck")
    seen = bystanders.stop()
    print(f"call without an answer: {seen.seconds:.2f} s")
    failure = call.exception(PATIENCE)
    assert isinstance(failure, grpc.RpcError)
    assert decoded(failure, paid=True).info.metadata["outcome"] == "UNKNOWN"
    successor = house.start()
    nothing_is_lost(successor, seen)
    assert state(successor.stub, "stuck") == "UNKNOWN"


@pytest.mark.parametrize(("is_answered", "end"), [(True, "SUCCEEDED"), (False, "UNKNOWN")])
def test_a_call_whose_caller_left_is_recorded_as_it_ended(house: House, is_answered: bool, end: str) -> None:
    gateway = house.start()
    bystanders = Bystanders(gateway, house.kora)
    bystanders.screen("left").cancel()
    gateway.wait_for_count(1, CALLS, method="Screen", code="CANCELLED")
    seen = bystanders.stop(meanwhile=lambda: house.kora.answer("left") if is_answered else None)
    print(f"caller left, answered {is_answered}: {seen.seconds:.2f} s")
    successor = house.start()
    nothing_is_lost(successor, seen)
    assert state(successor.stub, "left") == end
    assert house.kora.arrived.count("left") == 1
