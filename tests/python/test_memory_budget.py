"""Everything large shares one memory budget: whatever streams, webhooks and filters come, the gateway grows by a bounded
amount, and nothing is lost for that.

The number of a longer run comes from the environment: `MEMORY_STREAMS=600`.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import grpc
from kora.compliance.v1.watch_events_pb2 import START_POSITION_LATEST, EventFilter, WatchEventsRequest

from flooder import raise_file_limit
from gateway import Gateway, StartGateway
from process_memory import ProcessMemory
from program import PATIENCE
from silent_streams import digest, silent_streams
from webhooks import Kora, event_body, read_past

STREAMS = int(os.environ.get("MEMORY_STREAMS", "200"))

# So small that nothing can hide in it.
BUDGET = 64 << 20

# What is beside the budget, as the README states it: the gateway itself grows into this much while it works, and
# allocators keep a quarter of what was in use.
BASE = 64 << 20
PER_STREAM = 48 << 10

# The largest event that clients get with its body, nearly.
LARGE = 2_900_000


def growth_limit(budget: int, streams: int = 0) -> int:
    return BASE + budget * 5 // 4 + PER_STREAM * streams


def start(start_gateway: StartGateway, budget: int = BUDGET) -> tuple[Gateway, ProcessMemory]:
    raise_file_limit()
    gateway = start_gateway("--memory-budget", str(budget), env={"RUST_LOG": "info"})
    return gateway, ProcessMemory(gateway.program.pid)


def deliver(gateway: Gateway, body: bytes) -> int:
    """Delivers as Kora does: what is answered 503 is offered again. Returns how often it was."""
    deadline, refused = time.monotonic() + 20 * PATIENCE, 0
    with closing(Kora(gateway.addresses["webhook"], within=5 * PATIENCE)) as kora:
        while (status := kora.deliver(body).status) == 503:
            assert time.monotonic() < deadline
            refused += 1
    assert status == 200
    return refused


def watch_from_now(**filters: list[str]) -> WatchEventsRequest:
    position = {"position": START_POSITION_LATEST, "include_raw_json": not filters}
    return WatchEventsRequest(filter=EventFilter(**filters), **position)


def test_large_events_cost_their_size_once_however_many_streams_have_not_read_them(
    start_gateway: StartGateway,
) -> None:
    gateway, memory = start(start_gateway)
    with silent_streams(gateway.addresses["grpc"], [watch_from_now()] * STREAMS) as streams:
        before = memory.now()
        memory.forget_peak()
        for number in range(6):
            deliver(gateway, event_body(f"evt_large_{number}", filling="x" * LARGE))
            deliver(gateway, event_body(f"evt_small_{number}"))
        # All streams stand still in the middle of the first one.
        follower = read_past(gateway.stub, include_raw_json=True)
        silent = memory.peak() - before
        streams.read_until("evt_small_5")
        peak = memory.peak() - before
        print(f"{STREAMS} streams: grown by {silent >> 20} MiB while silent, by {peak >> 20} MiB in all")
        assert max(silent, peak) < growth_limit(BUDGET, STREAMS)
        digests = [digest(event) for event in follower.events]
        assert len(set(follower.ids)) == 12
        for received in streams.all:
            assert received.ids == follower.ids
            assert received.digests == digests
    gateway.wait_for_count(0, "kora_gateway_memory_used_bytes", pool="streams")


def test_large_webhooks_at_once_are_parsed_within_the_budget(start_gateway: StartGateway) -> None:
    budget = 256 << 20
    gateway, memory = start(start_gateway, budget)
    match = '{"match_id":"m_1","name":"A Name","list":"OFAC","score":0.93,"aliases":["a","b"],"born":"1970-01-01"}'
    shapes = {
        # What takes most memory for each byte.
        "objects": ("risk.threshold_breached", '"fields":[' + ",".join(['{"a":1}'] * 500_000) + "]"),
        "lists": ("risk.threshold_breached", '"fields":[' + ",".join(["[1]"] * 900_000) + "]"),
        "matches": ("screening.completed", '"matches":[' + ",".join([match] * 38_000) + "]"),
        "text": ("screening.completed", '"text":"' + "x" * 4_000_000 + '"'),
    }
    bodies = [
        f'{{"id":"evt_{shape}_{number}","event":"{kind}","data":{{"screening_id":"scr_{shape}_{number}",{rest}}}}}'
        for number in range(3)
        for shape, (kind, rest) in shapes.items()
    ]
    before = memory.now()
    memory.forget_peak()
    with ThreadPoolExecutor(len(bodies)) as senders:
        refused = sum(senders.map(lambda body: deliver(gateway, body.encode()), bodies))
    peak = memory.peak() - before
    print(f"{len(bodies)} bodies: grown by {peak >> 20} MiB, {refused} answered 503 before they were taken")
    assert peak < growth_limit(budget)
    events = {event.event_id: event for event in read_past(gateway.stub).events}
    assert len(events) == len(bodies)
    for number in range(3):
        # Too costly to be parsed whole: the body alone is kept, and that is told.
        assert events[f"evt_objects_{number}"].payload_omitted
        screening = events[f"evt_matches_{number}"].screening_update.screening
        assert len(screening.matches) + screening.matches_omitted == 38_000
        assert events[f"evt_text_{number}"].screening_id == f"scr_text_{number}"


def test_streams_with_one_large_filter_share_it(start_gateway: StartGateway) -> None:
    gateway, memory = start(start_gateway)
    request = watch_from_now(subject_ids=[f"subj_{number:06}" for number in range(1000)])
    before = memory.now()
    with silent_streams(gateway.addresses["grpc"], [request] * 1000):
        grown = memory.now() - before
        print(f"1,000 streams with one filter of {request.ByteSize()} bytes: grown by {grown >> 20} MiB")
        assert grown < PER_STREAM * 1000


def test_large_filters_are_charged_and_what_has_no_room_is_refused(start_gateway: StartGateway) -> None:
    gateway, memory = start(start_gateway, 256 << 20)

    def request(stream: int) -> WatchEventsRequest:
        return watch_from_now(subject_ids=[f"s{stream:03}{at:06}" for at in range(1000)])

    size = request(0).ByteSize()
    before = memory.now()
    with silent_streams(gateway.addresses["grpc"], [request(stream) for stream in range(250)]) as streams:
        # The requests are decoded, and what that took is given back.
        limit = (PER_STREAM + 10 * size) * 250
        grown = memory.settle_at(before + limit - 1) - before
        print(f"250 streams with filters of {size} bytes: grown by {grown >> 20} MiB")
        assert grown < limit
        charged = gateway.count("kora_gateway_memory_used_bytes", pool="filters")
        assert charged > size * 250
        # Each of these has memory for itself or none; in the end there is none.
        refused = None
        with ExitStack() as opened:
            for stream in range(250, 500):
                call = gateway.stub.WatchEvents(request(stream))
                opened.callback(call.cancel)
                try:
                    next(call)
                except grpc.RpcError as error:
                    refused = error
                    break
            assert refused is not None and refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            size = gateway.count("kora_gateway_memory_budget_bytes", pool="filters")
            assert charged < gateway.count("kora_gateway_memory_used_bytes", pool="filters") <= size
        deliver(gateway, event_body("evt_1", subject_id="s007000123"))
        streams.read_until("evt_1", [7])
        assert [received.ids for received in streams.all] == [["evt_1"] if at == 7 else [] for at in range(250)]
    gateway.wait_for_count(0, "kora_gateway_memory_used_bytes", pool="filters")
