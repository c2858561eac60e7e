"""Clients that mean harm cost the gateway a bounded amount of memory, which it gives back, and nobody else an answer.

A longer run comes from the environment: `FLOOD_SECONDS=30 FLOOD_CONNECTIONS=8 FLOOD_SILENT=20000`.
"""

from __future__ import annotations

import os
import time

import pytest

from connection_floods import connection_floods
from flooder import Flood, flooding, raise_file_limit
from frame_floods import frame_floods
from gateway import StartGateway
from message_floods import message_floods
from normal_caller import NormalUse
from process_memory import ProcessMemory

# How long each flood lasts.
SECONDS = float(os.environ.get("FLOOD_SECONDS", "1"))

# By how much the gateway may grow while it is flooded, in bytes.
PEAK_LIMIT = 384 << 20

# How much of that it may keep.
REST_LIMIT = 64 << 20

FLOODS = [*frame_floods(), *message_floods(), *connection_floods()]


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.name)
def test_a_flood_costs_bounded_memory_and_nobody_an_answer(start_gateway: StartGateway, flood: Flood) -> None:
    raise_file_limit()
    gateway = start_gateway(env={"RUST_LOG": "info"})
    use, memory = NormalUse(gateway), ProcessMemory(gateway.program.pid)
    with use.going_on():
        before = memory.now()
        memory.forget_peak()
        with flooding(flood, gateway.addresses[flood.port]) as running:
            time.sleep(SECONDS)
            sent = running.stop()
        peak = memory.peak()
        after = memory.settle_at(before + REST_LIMIT)
    sizes = "/".join(str(size >> 20) for size in (before, peak, after))
    print(f"{flood.name}: {sent.count} sent, {sent.turned_away} turned away; {sizes} MiB; {use.table()}")
    assert sent.count >= flood.enough
    assert peak - before < PEAK_LIMIT
    assert after - before <= REST_LIMIT
