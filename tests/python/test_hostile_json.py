"""JSON that is very deep or very long costs a bounded amount of memory, which is given back, and nobody an answer:
in webhooks that are signed, in what Kora answers and in what callers add to their requests.

A longer run comes from the environment: `HOSTILE_COUNT=100`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from kora.compliance.v1.screening_pb2 import OUTCOME_APPROVE

import messages
from gateway import Gateway, StartGateway
from hostile_json import STRUCT_WIDTH, WIDTH, deep_struct, field, texts, wide_struct
from hostile_kora import HostileKora
from http2_client import SCREEN
from normal_caller import NormalUse
from process_memory import ProcessMemory
from program import PATIENCE
from test_floods import REST_LIMIT
from typed_errors import decoded
from webhooks import Kora, read_past

# How many are sent, and how many of them at a time.
COUNT = int(os.environ.get("HOSTILE_COUNT", "8"))
AT_A_TIME = 4

# By how much the gateway may grow meanwhile, in bytes.
PEAK_LIMIT = 768 << 20


def together(act: Callable[[int], None]) -> None:
    with ThreadPoolExecutor(AT_A_TIME) as senders:
        list(senders.map(act, range(COUNT)))


@contextmanager
def watched(gateway: Gateway, name: str) -> Iterator[None]:
    """Normal use goes on meanwhile, and the memory is given back."""
    use, memory = NormalUse(gateway), ProcessMemory(gateway.program.pid)
    with use.going_on():
        before = memory.now()
        memory.forget_peak()
        yield
        peak = memory.peak()
        after = memory.settle_at(before + REST_LIMIT)
    sizes = "/".join(str(size >> 20) for size in (before, peak, after))
    print(f"{name}: {COUNT} sent; {sizes} MiB; {use.table()}")
    assert peak - before < PEAK_LIMIT
    assert after - before <= REST_LIMIT


@pytest.mark.parametrize("kind", texts())
def test_webhooks(start_gateway: StartGateway, kind: str) -> None:
    gateway = start_gateway(env={"RUST_LOG": "info"})

    def deliver(number: int) -> None:
        kora = Kora(gateway.addresses["webhook"])
        try:
            body = f'{{"id":"bad_{number}","event":"x.y","data":{{"a":{texts()[kind]}}}}}'
            assert kora.deliver(body.encode()).status == 200
        finally:
            kora.close()

    with watched(gateway, f"webhooks with {kind}"):
        together(deliver)
    kept = [event for event in read_past(gateway.stub).events if not event.event_id.startswith("evt_")]
    assert len(kept) == COUNT


# Values that are no matches, and how many matches are told missing for that.
NO_MATCHES = {"deep arrays": 1, "deep objects": 1, "many numbers": WIDTH}


@pytest.mark.parametrize("kind", NO_MATCHES)
def test_answers_of_kora(start_gateway: StartGateway, kind: str) -> None:
    ordinary = {"screening_id": "scr_1", "status": "COMPLETED", "decision": {"outcome": "APPROVE"}}
    answer = json.dumps(ordinary).removesuffix("}") + f', "matches": {texts()[kind]}}}'
    kora = HostileKora({"sub_hostile": answer.encode()})
    try:
        env = {"RUST_LOG": "info", "KORA_API_KEY": "emulator-api-key", "KORA_TENANT_ID": "ten_1"}
        env["KORA_WEBHOOK_SECRET"] = "emulator-webhook-secret"
        gateway = start_gateway("--kora-base-url", kora.base_url, env=env, emulator=False)

        def screen(_: int) -> None:
            request = messages.screen(subject_id="sub_hostile")
            screening = gateway.stub.Screen(request, timeout=PATIENCE).screening
            assert screening.decision.outcome == OUTCOME_APPROVE
            assert screening.matches_omitted == NO_MATCHES[kind]

        with watched(gateway, f"answers with {kind}"):
            together(screen)
    finally:
        kora.close()


STRUCTS = {
    "deep Struct": (deep_struct, "MALFORMED_REQUEST"),
    "long Struct": (lambda: wide_struct(STRUCT_WIDTH), "INVALID_REQUEST"),
    "very long Struct": (lambda: wide_struct(WIDTH), "REQUEST_TOO_LARGE"),
}


@pytest.mark.parametrize("kind", STRUCTS)
def test_additional_fields(start_gateway: StartGateway, kind: str) -> None:
    gateway = start_gateway(env={"RUST_LOG": "info"})
    build, reason = STRUCTS[kind]
    request = field(8, build())
    call = gateway.channel.unary_unary(SCREEN)

    def screen(_: int) -> None:
        error = call.future(request, timeout=PATIENCE).exception(PATIENCE)
        assert isinstance(error, grpc.RpcError)
        assert decoded(error, paid=True).info.reason == reason

    with watched(gateway, kind):
        together(screen)
