"""What signals do to a gateway, and to the other verbs."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from kora.compliance.v1.screening_pb2 import OUTCOME_APPROVE

import messages
from gateway import FREE_PORT, Gateway, StartGateway
from held_kora import HeldKora
from program import PATIENCE, Program

ACCOUNT = {"KORA_API_KEY": "key", "KORA_TENANT_ID": "tenant", "KORA_WEBHOOK_SECRET": "0123456789abcdef"}

# Each of them would end a process that does nothing about it.
HARMLESS = [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM]


@pytest.fixture
def kora() -> Iterator[HeldKora]:
    held = HeldKora()
    yield held
    held.close()


@pytest.fixture
def gateway(start_gateway: StartGateway, kora: HeldKora) -> Gateway:
    return start_gateway("--kora-base-url", kora.base_url, env=ACCOUNT, emulator=False)


def begin(gateway: Gateway, kora: HeldKora) -> grpc.Future:
    """A call that Kora has."""
    call = gateway.stub.Screen.future(messages.screen(subject_id="held"), timeout=PATIENCE)
    kora.wait_for("held")
    return call


def approve(call: grpc.Future, kora: HeldKora) -> None:
    kora.answer("held")
    assert call.result(timeout=PATIENCE).screening.decision.outcome == OUTCOME_APPROVE


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.mark.parametrize("number", HARMLESS, ids=lambda number: number.name)
def test_a_call_in_flight_survives(gateway: Gateway, kora: HeldKora, number: signal.Signals) -> None:
    call = begin(gateway, kora)
    for _ in range(3):
        gateway.program.send(number)
    approve(call, kora)
    assert gateway.program.is_running()
    assert gateway.admin("/readyz") == (200, "ready\n")


def test_sigquit_drains(gateway: Gateway, kora: HeldKora) -> None:
    call = begin(gateway, kora)
    gateway.program.send(signal.SIGQUIT)
    wait_until(lambda: gateway.admin("/readyz")[0] == 503, "it does not drain")
    # A reload during the drain changes nothing about it.
    gateway.program.send(signal.SIGHUP)
    approve(call, kora)
    assert gateway.program.exit_code() == 0


def test_a_second_sigquit_stops_at_once(gateway: Gateway, kora: HeldKora) -> None:
    call = begin(gateway, kora)
    gateway.program.send(signal.SIGQUIT)
    wait_until(lambda: gateway.admin("/readyz")[0] == 503, "it does not drain")
    gateway.program.send(signal.SIGQUIT)
    assert gateway.program.exit_code(within=2) == 1
    assert isinstance(call.exception(timeout=PATIENCE), grpc.RpcError)


def test_sighup_names_the_settings_that_need_a_restart(
    start_gateway: StartGateway, kora: HeldKora, tmp_path: Path
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('drain_timeout = "46s"\nmax_calls = 100\n')
    flags = ("--config", str(file), "--kora-base-url", kora.base_url)
    gateway = start_gateway(*flags, env={**ACCOUNT, "RUST_LOG": "info"}, emulator=False)

    def log_after_hangup(line: str) -> str:
        gateway.program.send(signal.SIGHUP)
        wait_until(lambda: line in gateway.program.log(), f"the log does not say: {line}")
        return gateway.program.log()

    log_after_hangup("all else needs a restart")
    file.write_text('drain_timeout = "47s"\nmax_calls = 100\nmax_connections = 7\n')
    log = log_after_hangup("settings have changed that need a restart")
    assert 'changed="drain-timeout, max-connections"' in log or 'changed="max-connections, drain-timeout"' in log
    file.write_text('drain_timeout = "soon"\n')
    log_after_hangup("the gateway could not start with the present configuration")
    assert gateway.program.is_running()


@pytest.mark.parametrize("verb", ["emulator", "watch", "demo"])
def test_other_verbs_end_on_sighup(gateway: Gateway, tmp_path: Path, verb: str) -> None:
    flags, line = {
        "emulator": (("--emulator-addr", FREE_PORT), "ready"),
        "watch": (("--gateway", "http://" + gateway.addresses["grpc"]), None),
        "demo": ((), "Ctrl-C stops it."),
    }[verb]
    program = Program(verb, *flags, env={}, stderr=tmp_path / "stderr-of-verb")
    try:
        if line:
            program.lines_until(line)
        else:
            gateway.wait_for_count(1, "kora_gateway_call_duration_seconds_count", method="WatchEvents", code="OK")
        program.send(signal.SIGHUP)
        assert program.exit_code() == -signal.SIGHUP
    finally:
        program.kill()
