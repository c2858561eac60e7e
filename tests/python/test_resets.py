"""A client that cancels calls by the hundred loses no call that is under way on the same connection."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

import messages
from gateway import Gateway, StartGateway
from held_kora import HeldKora
from http2_client import SCREEN
from program import PATIENCE
from wire_call import WireClient

GRPC = "application/grpc"

# The gateway's own limit on resets of calls that were not admitted, and that of h2.
EARLY_RESETS = 200
H2_RESETS = 1000

REFUSED_STREAM = 7
NO_ERROR, ENHANCE_YOUR_CALM = 0, 11

RESET_TOO_OFTEN = "kora_gateway_connections_reset_too_often_total"


@pytest.fixture
def kora() -> Iterator[HeldKora]:
    held = HeldKora()
    yield held
    held.close()


@pytest.fixture
def gateway(start_gateway: StartGateway, kora: HeldKora) -> Gateway:
    env = {"KORA_API_KEY": "key", "KORA_TENANT_ID": "tenant", "KORA_WEBHOOK_SECRET": "0123456789abcdef"}
    return start_gateway("--kora-base-url", kora.base_url, env=env, emulator=False)


def begin_paid(client: WireClient, kora: HeldKora, subject_id: str) -> int:
    """A paid call that Kora has."""
    stream = client.begin(SCREEN, messages.screen(subject_id=subject_id).SerializeToString(), content_type=GRPC)
    client.flush()
    kora.wait_for(subject_id)
    return stream


def cancel_at_once(client: WireClient, count: int) -> None:
    """Begins calls and cancels them in the same breath, all in one write."""
    message = messages.screen(subject_id="cancelled").SerializeToString()
    for _ in range(count):
        stream = client.begin(SCREEN, message, content_type=GRPC)
        client.cancel(stream)
    client.flush()


def test_a_paid_call_survives_quick_cancels_on_its_connection(gateway: Gateway, kora: HeldKora) -> None:
    with WireClient(gateway.addresses["grpc"]) as client:
        paid = begin_paid(client, kora, "paid")
        cancel_at_once(client, EARLY_RESETS)
        while client.goaway is None:
            assert client.read(), "the connection was cut"
        assert client.goaway == NO_ERROR
        assert gateway.count(RESET_TOO_OFTEN, listener="grpc") == 1
        kora.answer("paid")
        answer = client.finish(paid)
        assert answer.headers["grpc-status"] == "0"
        assert b"scr_paid" in answer.body
        # With nothing under way any more, it ends.
        while client.read():
            pass
    assert kora.arrived == ["paid"]


def test_no_new_stream_is_taken_after_that(gateway: Gateway, kora: HeldKora) -> None:
    with WireClient(gateway.addresses["grpc"]) as client:
        paid = begin_paid(client, kora, "paid")
        cancel_at_once(client, EARLY_RESETS)
        late = client.begin(SCREEN, messages.screen(subject_id="late").SerializeToString(), content_type=GRPC)
        client.flush()
        kora.answer("paid")
        assert client.finish(paid).headers["grpc-status"] == "0"
        while not client.is_closed and not client.answers[late].is_over:
            client.read()
        # It is refused, or not looked at any more: in both cases its client knows that nothing was done.
        assert client.answers[late].reset in (REFUSED_STREAM, None)
        assert client.answers[late].headers == {}
    assert kora.arrived == ["paid"]


def test_fewer_cancels_change_nothing(gateway: Gateway, kora: HeldKora) -> None:
    with WireClient(gateway.addresses["grpc"]) as client:
        paid = begin_paid(client, kora, "paid")
        cancel_at_once(client, EARLY_RESETS - 1)
        kora.answer("paid")
        assert client.finish(paid).headers["grpc-status"] == "0"
        next_one = begin_paid(client, kora, "next")
        kora.answer("next")
        assert client.finish(next_one).headers["grpc-status"] == "0"
        assert client.goaway is None
    assert gateway.count(RESET_TOO_OFTEN, listener="grpc") == 0
    assert kora.arrived == ["paid", "next"]


def test_cancels_of_admitted_calls_do_not_count(gateway: Gateway, kora: HeldKora) -> None:
    with WireClient(gateway.addresses["grpc"]) as client:
        for number in range(EARLY_RESETS + 10):
            stream = begin_paid(client, kora, f"s{number}")
            client.cancel(stream)
            client.flush()
            kora.answer(f"s{number}")
        paid = begin_paid(client, kora, "paid")
        kora.answer("paid")
        assert client.finish(paid).headers["grpc-status"] == "0"
        assert client.goaway is None


def test_the_log_says_what_a_cut_connection_had_in_flight(gateway: Gateway, kora: HeldKora) -> None:
    with WireClient(gateway.addresses["grpc"]) as client:
        for subject_id in ("one", "two"):
            begin_paid(client, kora, subject_id)
        # All of them are there when the gateway reads on.
        gateway.program.send(signal.SIGSTOP)
        cancel_at_once(client, H2_RESETS + 1)
        gateway.program.send(signal.SIGCONT)
        while client.read():
            pass
        assert client.goaway == ENHANCE_YOUR_CALM
    deadline = time.monotonic() + PATIENCE
    while "paid_calls=2" not in gateway.program.log():
        assert time.monotonic() < deadline, "the log does not say it"
        time.sleep(0.05)
    for subject_id in ("one", "two"):
        kora.answer(subject_id)
