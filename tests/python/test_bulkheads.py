"""One tenant's trouble, of every kind at once, under load: the others lose nothing and are refused nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kora.compliance.v1.compliance_service_pb2_grpc import ComplianceServiceStub
from kora.compliance.v1.watch_events_pb2 import START_POSITION_EARLIEST, WatchEventsRequest

import shim
from gateway import connect, http_call
from program import PATIENCE, binary
from restarts import ports_to_keep
from tenant_koras import TenantKoras
from tenant_load import AT_A_TIME, CALL, WEBHOOK, Outcomes, TenantLoad
from test_blocked_output import FullPipe

PORTS = ("grpc", "webhook", "admin")

SICK, WELL = "sick", ("well-1", "well-2")

# Calls, and webhooks, of each tenant in a second. A machine that does nothing else can carry 200 by a release build.
RATE = float(os.environ.get("BULKHEADS_RATE", "20"))

# What the sick tenant's calls exhaust in a moment, had they no part of their own.
MAX_CALLS = 64

# How long a caller of the sick tenant waits. The call itself goes on for as long as Kora may take.
SICK_TIMEOUT = 1.0

PHASE = 12.0
QUIET, HANGING, DISK_FULL, SECRET_BROKEN = PHASES = range(4)

DRAIN = 5


class Sickroom:
    """A gateway of three tenants on ports of its own, whose stderr nobody reads, and the ways to make one tenant sick."""

    def __init__(self, folder: Path, koras: TenantKoras, pipe: FullPipe) -> None:
        self._koras = koras
        self._secret = folder / f"{SICK}-secret"
        self._full = folder / "disk-is-full"
        file = folder / "gateway.toml"
        file.write_text("".join(koras.settings(tenant, folder) for tenant in (SICK, *WELL)))
        ports = ports_to_keep(len(PORTS))
        self.addresses = {name: f"127.0.0.1:{port}" for name, port in zip(PORTS, ports, strict=True)}
        flags = {f"--{name}-addr": address for name, address in self.addresses.items()}
        flags["--config"] = str(file)
        flags["--event-log"] = f"file:{folder / 'logs'}"
        flags["--max-calls"] = str(MAX_CALLS)
        flags["--drain-timeout"] = f"{DRAIN}s"
        disk = {name: str(folder / "never") for name in ("FAIL_SYNC", "FAIL_WRITE_BACK")}
        disk |= {"FAIL_WRITE": str(self._full), "FAIL_LOG": f"id-of-{SICK}."}
        self.process = subprocess.Popen(
            [binary(), "serve", *(word for flag in flags.items() for word in flag)],
            env={**shim.build("failing_disk", folder), **disk},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=pipe.writer,
        )

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self.is_well():
            assert self.process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)

    def is_well(self) -> bool:
        """Whether an orchestrator takes it for alive and ready."""
        try:
            return all(http_call(self.addresses["admin"], "GET", path)[0] == 200 for path in ("/livez", "/readyz"))
        except OSError:
            return False

    def metrics(self) -> str:
        return http_call(self.addresses["admin"], "GET", "/metrics")[1]

    def enter(self, phase: int) -> None:
        """Makes it worse. What was bad before stays so."""
        if phase == HANGING:
            self._koras.hanging.add(SICK)
        elif phase == DISK_FULL:
            self._full.touch()
        elif phase == SECRET_BROKEN:
            self._secret.write_bytes(b"\xff\xfe\x00")

    def event_ids(self, tenant: str) -> list[str]:
        """All events in this tenant's log."""
        channel = connect(self.addresses["grpc"])
        asked = WatchEventsRequest(until_caught_up=True, position=START_POSITION_EARLIEST)
        metadata = [("x-kora-tenant", tenant)]
        stream = ComplianceServiceStub(channel).WatchEvents(asked, metadata=metadata, timeout=PATIENCE)
        ids = [event.event_id for message in stream for event in message.events]
        channel.close()
        return ids

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)


@pytest.fixture
def sickroom(tmp_path: Path) -> Iterator[Sickroom]:
    koras, pipe = TenantKoras(SICK, *WELL), FullPipe()
    made = Sickroom(tmp_path, koras, pipe)
    yield made
    made.kill()
    pipe.close()
    koras.close()


def run_phases(sickroom: Sickroom, loads: list[TenantLoad]) -> None:
    for phase in PHASES:
        sickroom.enter(phase)
        for load in loads:
            load.enter(phase)
        end = time.monotonic() + PHASE
        while time.monotonic() < end:
            assert sickroom.is_well(), phase
            time.sleep(0.2)


def check_sick(outcomes: Outcomes) -> None:
    """The trouble was there, or the others have proved nothing."""
    for phase, kind in ((QUIET, CALL), (QUIET, WEBHOOK), (HANGING, WEBHOOK)):
        # Those that were under way when it got worse belong to the phase in which they began.
        assert outcomes.of[phase, kind].failures.total() <= AT_A_TIME, (phase, kind)
    assert outcomes.of[HANGING, CALL].failures["GATEWAY_OVERLOADED"] > 0
    for phase in (DISK_FULL, SECRET_BROKEN):
        assert outcomes.of[phase, WEBHOOK].failures["503"] > 0


def check_well(outcomes: Outcomes, tenant: str) -> None:
    for phase in PHASES:
        for kind in (CALL, WEBHOOK):
            outcome = outcomes.of[phase, kind]
            assert len(outcome.seconds) > PHASE, (tenant, phase, kind)
            assert not outcome.failures, (tenant, phase, kind, outcome.failures)
            # How fast it is, is reported and not judged: the machine is not the test's alone.
            times = outcome.p99 / outcomes.of[QUIET, kind].p99
            print(f"{tenant} phase {phase} {kind}: p99 {1000 * outcome.p99:.0f} ms, {times:.1f} times the quiet one")


def test_one_tenants_trouble_stays_its_own(sickroom: Sickroom) -> None:
    sickroom.wait_until_ready()
    loads = {tenant: TenantLoad(sickroom.addresses, tenant, RATE) for tenant in WELL}
    loads[SICK] = TenantLoad(sickroom.addresses, SICK, RATE, SICK_TIMEOUT)
    try:
        run_phases(sickroom, list(loads.values()))
        metrics = sickroom.metrics()
        outcomes = {tenant: load.stop() for tenant, load in loads.items()}
    finally:
        for load in loads.values():
            load.kill()
    check_sick(outcomes[SICK])
    for tenant, writable in ((SICK, 0), (WELL[0], 1), (WELL[1], 1)):
        assert f'kora_gateway_store_writable{{tenant="{tenant}"}} {writable}\n' in metrics
    for tenant in WELL:
        check_well(outcomes[tenant], tenant)
        ids = sickroom.event_ids(tenant)
        assert len(ids) == len(set(ids))
        assert set(ids) >= outcomes[tenant].acknowledged
    sickroom.process.send_signal(signal.SIGTERM)
    assert sickroom.process.wait(DRAIN + 1) == 0
