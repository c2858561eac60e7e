"""Screenings and subjects come back typed, and only what is an approval reads as one."""

from __future__ import annotations

import json
import uuid

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from kora.compliance.v1.compliance_service_pb2 import GetScreeningRequest, GetSubjectRequest, ScreenRequest
from kora.compliance.v1.risk_band_pb2 import RiskBand
from kora.compliance.v1.screening_pb2 import (
    CHECK_TYPE_PEP,
    CHECK_TYPE_SANCTIONS,
    OUTCOME_APPROVE,
    OUTCOME_APPROVE_WITH_MONITORING,
    SCREENING_MODE_ASYNC,
    SCREENING_MODE_SYNC,
    SCREENING_PURPOSE_ONBOARDING,
    SCREENING_STATUS_COMPLETED,
    SCREENING_STATUS_FAILED,
    SCREENING_STATUS_IN_PROGRESS,
    SCREENING_STATUS_PENDING,
    Outcome,
    Screening,
)
from kora.compliance.v1.subject_pb2 import SUBJECT_TYPE_ENTITY, SubjectProfile

import messages
from gateway import Gateway
from program import PATIENCE

# Name, outcome, outcome_code, risk_score, risk_band, rules.
DECIDED = [
    (messages.ORDINARY, "OUTCOME_APPROVE", "APPROVE", 150, "RISK_BAND_LOW", []),
    (messages.CLEAN, "OUTCOME_APPROVE", "APPROVE", 50, "RISK_BAND_LOW", []),
    (messages.SLOW, "OUTCOME_APPROVE", "APPROVE", 50, "RISK_BAND_LOW", []),
    (
        messages.MONITORED,
        "OUTCOME_APPROVE_WITH_MONITORING",
        "APPROVE_WITH_MONITORING",
        350,
        "RISK_BAND_MEDIUM",
        ["ELEVATED_RISK"],
    ),
    (messages.PEP, "OUTCOME_REVIEW_REQUIRED", "REVIEW_REQUIRED", 650, "RISK_BAND_HIGH", ["PEP_MATCH"]),
    (messages.SANCTIONED, "OUTCOME_BLOCK", "BLOCK", 950, "RISK_BAND_CRITICAL", ["SANCTIONS_MATCH"]),
    (
        messages.UNDOCUMENTED,
        "OUTCOME_UNRECOGNIZED",
        "ESCALATE_TO_REGULATOR",
        400,
        "RISK_BAND_MEDIUM",
        ["REGULATORY_ESCALATION"],
    ),
]


def may_go_on(screening: Screening) -> bool:
    """The whole rule that a caller needs."""
    return screening.decision.outcome in (OUTCOME_APPROVE, OUTCOME_APPROVE_WITH_MONITORING)


def struct(**fields: object) -> Struct:
    made = Struct()
    made.update(fields)
    return made


@pytest.mark.parametrize(("name", "outcome", "code", "score", "band", "rules"), DECIDED)
def test_every_decision_is_typed(
    gateway: Gateway, name: str, outcome: str, code: str, score: int, band: str, rules: list[str]
) -> None:
    screening = gateway.stub.Screen(messages.screen(name), timeout=PATIENCE).screening
    assert screening.screening_id.startswith("scr_")
    assert screening.subject_id.startswith("subj_")
    assert screening.status == SCREENING_STATUS_COMPLETED
    assert screening.status_code == "COMPLETED"
    assert Outcome.Name(screening.decision.outcome) == outcome
    assert screening.decision.outcome_code == code
    assert list(screening.decision.triggered_rules) == rules
    assert screening.decision.explanation
    assert (screening.risk_score, RiskBand.Name(screening.risk_band)) == (score, band)
    assert screening.mode == SCREENING_MODE_SYNC
    assert screening.purpose == SCREENING_PURPOSE_ONBOARDING
    assert list(screening.checks) == [CHECK_TYPE_SANCTIONS, CHECK_TYPE_PEP]
    assert screening.kora_request_id.startswith("req_")
    assert screening.complete_time.ToDatetime() >= screening.create_time.ToDatetime()
    assert screening.raw_json == b""


def test_a_match_comes_with_all_that_kora_said_of_it(gateway: Gateway) -> None:
    screening = gateway.stub.Screen(messages.screen(messages.SANCTIONED), timeout=PATIENCE).screening
    [match] = screening.matches
    assert match.match_id.startswith("mat_")
    assert (match.source, match.strength, match.score) == ("OFAC_SDN", "EXACT", 1.0)
    assert MessageToDict(match.fields) == {
        "match_id": match.match_id,
        "source": "OFAC_SDN",
        "strength": "EXACT",
        "score": 1.0,
        "matched_name": messages.SANCTIONED,
    }


def test_a_count_that_kora_did_not_send_is_not_zero(gateway: Gateway) -> None:
    summary = gateway.stub.Screen(messages.screen(messages.PEP), timeout=PATIENCE).screening.match_summary
    assert (summary.total_matches, summary.pep_matches, summary.strong_matches) == (1, 1, 1)
    assert summary.HasField("sanctions_matches") and summary.sanctions_matches == 0
    assert not summary.HasField("adverse_media_matches")
    assert not summary.HasField("possible_matches")
    assert not summary.other


def test_only_two_outcomes_let_a_customer_in(gateway: Gateway) -> None:
    let_in = set()
    for name in messages.NAMES:
        try:
            screening = gateway.stub.Screen(messages.screen(name), timeout=PATIENCE).screening
        except grpc.RpcError:
            continue
        if may_go_on(screening):
            let_in.add(name)
    assert let_in == {messages.ORDINARY, messages.CLEAN, messages.SLOW, messages.MONITORED}


@pytest.mark.parametrize(
    ("name", "end"),
    [
        (messages.SANCTIONED, SCREENING_STATUS_COMPLETED),
        (messages.TIMEOUT, SCREENING_STATUS_COMPLETED),
        (messages.FAILED, SCREENING_STATUS_FAILED),
    ],
)
def test_an_async_screening_has_no_decision_before_it_is_completed(gateway: Gateway, name: str, end: int) -> None:
    request = messages.screen(name, mode=SCREENING_MODE_ASYNC)
    screening = gateway.stub.Screen(request, timeout=PATIENCE).screening
    seen = [screening.status]
    # The emulator moves a screening on each time it is asked for it.
    while screening.status in (SCREENING_STATUS_PENDING, SCREENING_STATUS_IN_PROGRESS):
        assert not screening.HasField("decision")
        assert not may_go_on(screening)
        assert len(seen) < 10
        request = GetScreeningRequest(screening_id=screening.screening_id)
        screening = gateway.stub.GetScreening(request, timeout=PATIENCE).screening
        seen.append(screening.status)
    assert seen == [
        SCREENING_STATUS_PENDING, SCREENING_STATUS_PENDING, SCREENING_STATUS_IN_PROGRESS, end,
    ]  # fmt: skip
    assert screening.HasField("decision") == (end == SCREENING_STATUS_COMPLETED)
    assert screening.mode == SCREENING_MODE_ASYNC


def test_a_subject_is_created_read_and_screened_by_its_id(gateway: Gateway) -> None:
    sent = messages.profile(messages.PEP, external_id="customer-7")
    created = gateway.stub.CreateSubject(
        messages.create_subject(messages.PEP, external_id="customer-7"), timeout=PATIENCE
    ).subject
    assert created.subject_id.startswith("subj_")
    assert created.profile == sent
    assert created.risk_band_code == "LOW"
    assert created.HasField("create_time") and created.HasField("update_time")

    request = GetSubjectRequest(subject_id=created.subject_id)
    assert gateway.stub.GetSubject(request, timeout=PATIENCE).subject == created

    request = messages.screen(subject_id=created.subject_id)
    screening = gateway.stub.Screen(request, timeout=PATIENCE).screening
    assert screening.subject_id == created.subject_id
    assert Outcome.Name(screening.decision.outcome) == "OUTCOME_REVIEW_REQUIRED"


def test_koras_own_body_comes_when_asked_for(gateway: Gateway) -> None:
    screening = gateway.stub.Screen(
        messages.screen(messages.UNDOCUMENTED, include_raw_json=True), timeout=PATIENCE
    ).screening
    raw = json.loads(screening.raw_json)
    assert raw["screening_id"] == screening.screening_id
    assert raw["decision"]["outcome"] == "ESCALATE_TO_REGULATOR"

    request = GetScreeningRequest(screening_id=screening.screening_id, include_raw_json=True)
    again = gateway.stub.GetScreening(request, timeout=PATIENCE).screening
    assert json.loads(again.raw_json)["screening_id"] == screening.screening_id


def test_kora_gets_what_was_sent_and_nothing_else(gateway: Gateway) -> None:
    subject = messages.profile()
    subject.additional_fields.update({"aliases": ["Q. O."]})
    request = messages.screen(
        subject=subject, request_id=str(uuid.uuid4()), additional_fields=struct(risk_model={"version": 2})
    )
    gateway.stub.Screen(request, timeout=PATIENCE)
    gateway.stub.Screen(messages.screen(messages.CLEAN), timeout=PATIENCE)

    first, second = gateway.emulator.requests()
    assert (first["method"], first["path"]) == ("POST", "/api/v1/screenings")
    assert first["authorization"] == "valid"
    assert first["body"] == {
        "subject": {
            "type": "INDIVIDUAL",
            "name": messages.ORDINARY,
            "date_of_birth": messages.BIRTH_DATE,
            "nationality": "GB",
            "identifiers": [{"type": "PASSPORT", "value": messages.DOCUMENT, "country": "GB"}],
            "aliases": ["Q. O."],
        },
        "mode": "SYNC",
        "purpose": "ONBOARDING",
        "checks": ["SANCTIONS", "PEP"],
        "risk_model": {"version": 2},
    }
    assert uuid.UUID(first["headers"]["idempotency-key"]).version == 5
    assert "idempotency-key" not in second["headers"]


def test_additional_fields_can_stand_in_for_purpose_and_checks(gateway: Gateway) -> None:
    request = ScreenRequest(
        subject=SubjectProfile(type=SUBJECT_TYPE_ENTITY, name=messages.CLEAN, country="NG"),
        additional_fields=struct(purpose="REMEDIATION", checks=["VESSELS"]),
    )
    screening = gateway.stub.Screen(request, timeout=PATIENCE).screening
    assert may_go_on(screening)
    [sent] = gateway.emulator.requests()
    assert (sent["body"]["purpose"], sent["body"]["checks"]) == ("REMEDIATION", ["VESSELS"])
    assert sent["body"]["subject"] == {"type": "ENTITY", "name": messages.CLEAN, "country": "NG"}
