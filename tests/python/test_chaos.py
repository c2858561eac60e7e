"""Under chaos no request is paid twice, no error is untyped, no outcome is untrue, and no event is lost.

Set by the environment: `KORA_CHAOS_IDS=10000` for a longer run, `KORA_CHAOS_SEED` for another plan (`random` for one that
nobody chose), `KORA_CHAOS_BACKENDS=embedded,nats`, `KORA_CHAOS_CLOCK=0` for no clock steps, `KORA_CHAOS_RENAME=0` to
rename no caller at a restart (`ids_of`).
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from chaos.callers import Callers
from chaos.deliveries import Deliveries
from chaos.kora import ChaosKora
from chaos.machine import Machine, disruptions, play
from chaos.tickets import TENANTS, tickets
from chaos.verdict import Verdict, Violation, log_faults
from gateway import StartGateway
from nats_server import NatsServer
from shifted_clock import ShiftedClock

IDS = int(os.environ.get("KORA_CHAOS_IDS", "150"))
CHOSEN_SEED = os.environ.get("KORA_CHAOS_SEED", "1")
SEED = random.randrange(1, 1_000_000) if CHOSEN_SEED == "random" else int(CHOSEN_SEED)
BACKENDS = os.environ.get("KORA_CHAOS_BACKENDS", "embedded").split(",")
WITH_CLOCK = os.environ.get("KORA_CHAOS_CLOCK", "1") == "1"
WITH_RENAMES = os.environ.get("KORA_CHAOS_RENAME", "1") == "1"

# How many violations of one promise are reported in full.
MAX_REPORTED = 4


@pytest.mark.parametrize("backend", BACKENDS)
def test_chaos(start_gateway: StartGateway, clock: ShiftedClock, tmp_path: Path, backend: str) -> None:
    start, on_nats = time.monotonic(), backend == "nats"
    print(f"KORA_CHAOS_SEED={SEED} KORA_CHAOS_IDS={IDS}")
    asked = tickets(SEED, IDS)
    deliveries: list[Deliveries] = []
    callers = None
    nats = NatsServer(tmp_path / "nats") if on_nats else None
    kora = ChaosKora(SEED, asked, lambda screening: deliveries[0].schedule(screening))
    try:
        machine = Machine(start_gateway, kora, clock, nats, tmp_path, renames=WITH_RENAMES)
        deliveries.append(Deliveries(machine.place.addresses["webhook"], SEED))
        callers = Callers(machine)
        load = threading.Thread(target=callers.ask_for_all, args=(asked,))
        load.start()
        plan = disruptions(SEED, IDS, nats=on_nats, clock=WITH_CLOCK)
        done = play(machine, plan, callers.begun)
        load.join()
        clock.correct()
        kora.well.set()
        deliveries[0].finish()
        records = callers.records(asked)
        recorded = time.monotonic()
        callers.repeat_all(asked)
        logs = {tenant: callers.events(tenant) for tenant in TENANTS}
    finally:
        if callers:
            callers.close()
        kora.close()
        if deliveries:
            deliveries[0].close()
        if nats:
            nats.kill()
    found = Verdict(kora.record, callers.calls, records, recorded, machine.outages).violations()
    for tenant, events in logs.items():
        found += [Violation("events", None, what) for what in log_faults(events, deliveries[0].delivered[tenant])]
    ends = Counter(
        "cancelled" if call.cancelled else "OK" if call.answer is not None else call.outcome or "untyped"
        for call in callers.calls
    )
    print(f"{IDS} ids, {len(callers.calls)} calls: {dict(ends)}; {len(kora.record.posts)} POSTs; {dict(done)}")
    print(f"{deliveries[0].sent} webhooks, {sum(map(len, logs.values()))} events; {time.monotonic() - start:.1f} s")
    excused = sum(call.met_a_stall and not call.is_typed for call in callers.calls)
    print(f"{excused} untyped errors excused by stalls of this machine")
    print(f"broken promises: {dict(Counter(violation.promise for violation in found))}")
    by_promise: defaultdict[str, list[str]] = defaultdict(list)
    for violation in found:
        by_promise[violation.promise].append(f"{violation.promise}: {violation.what}")
    report = "\n".join(what for violations in by_promise.values() for what in violations[:MAX_REPORTED])
    assert not found, f"KORA_CHAOS_SEED={SEED} KORA_CHAOS_IDS={IDS}: {len(found)} broken promises\n{report}"
