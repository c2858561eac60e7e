"""What every test can ask for."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import messages
from gateway import FREE_PORT, Gateway, StartGateway
from shifted_clock import ShiftedClock


def pytest_configure() -> None:
    # Without this a test run that is told to end leaves its gateways behind.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[StartGateway]:
    """Gateways that must stop cleanly after the test, having kept to themselves what they were told."""
    started: list[Gateway] = []

    def start(
        *flags: str,
        env: dict[str, str] | None = None,
        emulator: bool = True,
        under: tuple[str, ...] = (),
    ) -> Gateway:
        twin = ("--emulator", "--emulator-addr", FREE_PORT) if emulator else ()
        stderr = tmp_path / f"stderr-{len(started)}"
        gateway = Gateway(*twin, *flags, env=env or {}, stderr=stderr, under=under)
        started.append(gateway)
        return gateway

    yield start
    try:
        for gateway in started:
            gateway.stop()
            log = gateway.program.log()
            assert [private for private in messages.PRIVATE if private in log] == []
    finally:
        for gateway in started:
            gateway.close()


@pytest.fixture
def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway with the emulator behind it, of this test alone."""
    return start_gateway()


@pytest.fixture
def clock(tmp_path: Path) -> ShiftedClock:
    """The clock of the machine that the test's gateways run on, once they are started with its `env`."""
    return ShiftedClock(tmp_path / "clock")
