"""Events from end to end: an asynchronous screening at the emulator, its signed webhook, and the stream."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kora.compliance.v1 import event_pb2, screening_pb2
from kora.compliance.v1.compliance_service_pb2 import GetScreeningRequest
from kora.compliance.v1.event_pb2 import Event
from kora.compliance.v1.watch_events_pb2 import START_POSITION_EARLIEST, EventFilter, WatchEventsRequest

import messages
from gateway import Gateway, http_call
from program import PATIENCE, run

ALL = WatchEventsRequest(position=START_POSITION_EARLIEST, until_caught_up=True, include_raw_json=True)


@contextmanager
def following(gateway: Gateway, **request: Any) -> Iterator[Iterator[Event]]:
    """The events of a stream that is open from here on, as they come."""
    call = gateway.stub.WatchEvents(WatchEventsRequest(**request), timeout=PATIENCE)
    assert next(call).WhichOneof("signal") == "opened"
    yield (event for message in call for event in message.events)
    call.cancel()


def kept(gateway: Gateway) -> list[Event]:
    """Everything in the log."""
    return [event for message in gateway.stub.WatchEvents(ALL, timeout=PATIENCE) for event in message.events]


def webhooks(gateway: Gateway, **faults: Any) -> None:
    """How the emulator's next webhooks are sent."""
    status, text = http_call(gateway.addresses["emulator"], "PUT", "/__emulator/webhooks", faults)
    assert status == 204, text


def send(gateway: Gateway, **event: Any) -> None:
    """Has the emulator fire one webhook."""
    status, text = http_call(gateway.addresses["emulator"], "POST", "/__emulator/webhooks", event)
    assert status == 202, text


def wait_until_delivered(gateway: Gateway, count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        _, text = http_call(gateway.addresses["emulator"], "GET", "/__emulator/webhooks")
        done = [one["progress"] for one in json.loads(text)["deliveries"]]
        if done == ["delivered"] * count:
            return
        assert time.monotonic() < deadline, done


def screen_later(gateway: Gateway, name: str) -> str:
    request = messages.screen(name, mode=screening_pb2.SCREENING_MODE_ASYNC)
    screening = gateway.stub.Screen(request, timeout=PATIENCE).screening
    assert not screening.HasField("decision")
    return screening.screening_id


@pytest.mark.parametrize(
    ("name", "status", "outcome"),
    [
        (messages.CLEAN, screening_pb2.SCREENING_STATUS_COMPLETED, screening_pb2.OUTCOME_APPROVE),
        (messages.SANCTIONED, screening_pb2.SCREENING_STATUS_COMPLETED, screening_pb2.OUTCOME_BLOCK),
        (messages.UNDOCUMENTED, screening_pb2.SCREENING_STATUS_COMPLETED, screening_pb2.OUTCOME_UNRECOGNIZED),
        (messages.FAILED, screening_pb2.SCREENING_STATUS_FAILED, None),
    ],
)
def test_an_asynchronous_result_arrives_as_it_is(gateway: Gateway, name: str, status: int, outcome: int | None) -> None:
    with following(gateway, filter=EventFilter(types=["screening.completed", "screening.failed"])) as events:
        screening_id = screen_later(gateway, name)
        event = next(events)
    assert event.screening_id == screening_id
    assert event.source == event_pb2.EVENT_SOURCE_WEBHOOK
    assert event.HasField("occur_time")
    screening = event.screening_update.screening
    assert (screening.screening_id, screening.status) == (screening_id, status)
    assert screening.HasField("decision") == (outcome is not None)
    assert screening.decision.outcome == (outcome or 0)
    # Its present state says the same.
    found = gateway.stub.GetScreening(GetScreeningRequest(screening_id=screening_id), timeout=PATIENCE).screening
    assert (found.status, found.decision.outcome) == (status, outcome or 0)


def test_a_match_arrives_with_its_screening(gateway: Gateway) -> None:
    with following(gateway, filter=EventFilter(types=["screening.match_found"])) as events:
        screening_id = screen_later(gateway, messages.SANCTIONED)
        event = next(events)
    assert event.match_found.screening_id == event.screening_id == screening_id
    assert event.match_found.match.source


def test_events_that_come_twice_late_badly_signed_and_out_of_order_are_kept_once(gateway: Gateway) -> None:
    webhooks(gateway, duplicates=2, disorder=True, bad_signature=2, delay_milliseconds=50)
    for number in range(4):
        send(gateway, event="case.created", id=f"evt_{number}", data={"case_id": f"cas_{number}"})
    wait_until_delivered(gateway, 12)
    events = kept(gateway)
    assert sorted(event.event_id for event in events) == [f"evt_{number}" for number in range(4)]
    assert sorted(event.case_id for event in events) == [f"cas_{number}" for number in range(4)]
    results = {result: gateway.count("kora_gateway_webhooks_total", result=result) for result in RESULTS}
    assert results == {"accepted": 4, "duplicate": 8, "unauthentic": 2}


RESULTS = ("accepted", "duplicate", "unauthentic")


def test_an_event_without_an_id_is_known_by_its_body(gateway: Gateway) -> None:
    webhooks(gateway, duplicates=1, omit_id=True)
    send(gateway, event="subject.updated", data={"subject_id": "subj_1"})
    wait_until_delivered(gateway, 2)
    [event] = kept(gateway)
    assert event.event_id.startswith("sha256-")
    assert event.subject_id == "subj_1"


def test_what_nobody_has_heard_of_is_carried_with_its_ids_and_its_bytes(gateway: Gateway) -> None:
    raw = '{"event": "batch.exploded",  "data": {"batch_id": "bat_1", "subject_id": "subj_1"}}'
    send(gateway, event="ignored", raw=raw)
    send(gateway, event="ignored", raw="not JSON")
    wait_until_delivered(gateway, 2)
    known, unreadable = sorted(kept(gateway), key=lambda event: event.type)
    assert (known.type, known.batch_id, known.subject_id) == ("batch.exploded", "bat_1", "subj_1")
    assert known.raw_json == raw.encode()
    assert known.WhichOneof("payload") is None
    assert (unreadable.type, unreadable.raw_json) == ("gateway.unreadable", b"not JSON")


def test_a_risk_threshold_is_typed(gateway: Gateway) -> None:
    data = {"subject_id": "subj_1", "risk_score": 812, "risk_band": "CRITICAL", "previous": {"band": "LOW"}}
    send(gateway, event="risk.threshold_breached", data=data)
    wait_until_delivered(gateway, 1)
    [event] = kept(gateway)
    breached = event.risk_threshold_breached
    assert (breached.subject_id, breached.risk_score, breached.risk_band_code) == ("subj_1", 812, "CRITICAL")
    assert breached.fields["previous"]["band"] == "LOW"


def test_the_client_prints_what_was_kept(gateway: Gateway) -> None:
    send(gateway, event="case.closed", id="evt_1", data={"case_id": "cas_1"})
    send(gateway, event="case.closed", id="evt_2", data={"case_id": "cas_2"})
    wait_until_delivered(gateway, 2)
    there = ("watch", "--gateway", f"http://{gateway.addresses['grpc']}", "--until-caught-up", "--from", "earliest")
    ended = run(*there)
    assert ended.returncode == 0, ended.stderr
    assert sorted(line.split()[3] for line in ended.stdout.splitlines()) == ["case=cas_1:", "case=cas_2:"]
    ended = run(*there, "--json")
    assert ended.returncode == 0, ended.stderr
    printed = [json.loads(line) for line in ended.stdout.splitlines()]
    assert sorted(event["event_id"] for event in printed) == ["evt_1", "evt_2"]
