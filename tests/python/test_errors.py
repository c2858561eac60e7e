"""Every error tells a program why it failed, and whether the call may have happened."""

from __future__ import annotations

import socket
import uuid
from typing import Any

import pytest
from google.rpc import code_pb2
from kora.compliance.v1 import error_reason_pb2
from kora.compliance.v1.compliance_service_pb2 import (
    CreateSubjectRequest,
    GetRequestRequest,
    GetScreeningRequest,
    GetSubjectRequest,
    ScreenRequest,
)
from kora.compliance.v1.error_reason_pb2 import ErrorReason
from kora.compliance.v1.screening_pb2 import SCREENING_PURPOSE_UNSPECIFIED
from kora.compliance.v1.subject_pb2 import Identifier

import messages
from gateway import Gateway, StartGateway
from program import PATIENCE
from typed_errors import fails

SERVICE = "/kora.compliance.v1.ComplianceService"


def answers(status: int, code: str | None = None, retry_after: int | None = None) -> dict[str, Any]:
    """A fault that the emulator answers with."""
    fault: dict[str, Any] = {"kind": "fail", "status": status}
    if code:
        fault["code"] = code
    if retry_after:
        fault["retry_after_seconds"] = retry_after
    return fault


# What Kora does to a Screen, and the reason that its caller gets.
SCREEN_FAULTS = [
    (answers(400, "VALIDATION_ERROR"), "KORA_VALIDATION"),
    (answers(401, "UNAUTHORIZED"), "KORA_CREDENTIAL_REJECTED"),
    (answers(403, "FORBIDDEN"), "KORA_FORBIDDEN"),
    (answers(404), "KORA_ROUTE_NOT_FOUND"),
    (answers(409, "CONFLICT"), "KORA_CONFLICT"),
    (answers(413, "BODY_TOO_LARGE"), "KORA_TOO_LARGE"),
    (answers(429, "RATE_LIMITED", 90), "KORA_RATE_LIMITED"),
    (answers(418), "KORA_REFUSED"),
    (answers(500, "SCREENING_FAILED"), "SCREENING_FAILED"),
    (answers(500, "INTERNAL_ERROR"), "KORA_OUTCOME_UNKNOWN"),
    (answers(502), "KORA_OUTCOME_UNKNOWN"),
    (answers(503, "SERVICE_UNAVAILABLE", 90), "KORA_OUTCOME_UNKNOWN"),
    (answers(503, "SCREENING_TIMEOUT"), "KORA_SCREENING_TIMEOUT"),
    (answers(302), "KORA_REDIRECT"),
    ({"kind": "junk"}, "KORA_RESPONSE_INVALID"),
    ({"kind": "junk", "body": '{"screening_id": "", "status": "COMPLETED"}'}, "KORA_RESPONSE_INVALID"),
    ({"kind": "cut_after_reading"}, "KORA_OUTCOME_UNKNOWN"),
    ({"kind": "cut_mid_answer"}, "KORA_OUTCOME_UNKNOWN"),
]

# The same for a GetScreening: reading again does no harm.
READ_FAULTS = [
    (answers(500, "INTERNAL_ERROR"), "KORA_INTERNAL"),
    (answers(503, "SERVICE_UNAVAILABLE", 90), "KORA_UNAVAILABLE"),
    (answers(429, "RATE_LIMITED", 90), "KORA_RATE_LIMITED"),
    ({"kind": "cut_after_reading"}, "KORA_INTERNAL"),
    ({"kind": "junk", "body": '{"screening_id": "scr_other", "status": "PENDING"}'}, "KORA_RESPONSE_INVALID"),
]

# More than a call could use up by trying again.
ALWAYS = 100


def test_the_catalogue_says_code_outcome_and_message_of_every_reason() -> None:
    for value in ErrorReason.DESCRIPTOR.values:
        specified = value.GetOptions().Extensions[error_reason_pb2.reason]
        if value.number == 0:
            assert not specified.ByteSize()
            continue
        assert specified.code != code_pb2.OK, value.name
        assert specified.message, value.name
        # Meshes resend these by themselves.
        if specified.code in (code_pb2.UNAVAILABLE, code_pb2.CANCELLED):
            assert specified.outcome not in (
                error_reason_pb2.CALL_OUTCOME_ACCEPTED,
                error_reason_pb2.CALL_OUTCOME_UNKNOWN,
            ), value.name


@pytest.mark.parametrize(("fault", "reason"), SCREEN_FAULTS)
def test_what_kora_does_to_a_paid_call_has_its_reason(gateway: Gateway, fault: dict[str, Any], reason: str) -> None:
    gateway.emulator.next(fault, times=ALWAYS)
    error = fails(gateway.stub.Screen, messages.screen(), reason, paid=True)
    assert error.retry_seconds == (90 if reason == "KORA_RATE_LIMITED" else None)
    # Kora's envelope has an id; a proxy's page and a lost answer have none.
    if "code" in fault:
        assert error.request_info.serving_data.startswith("req_")


@pytest.mark.parametrize(("fault", "reason"), READ_FAULTS)
def test_what_kora_does_to_a_reading_call_has_its_reason(gateway: Gateway, fault: dict[str, Any], reason: str) -> None:
    gateway.emulator.next(fault, times=ALWAYS)
    error = fails(gateway.stub.GetScreening, GetScreeningRequest(screening_id="scr_1"), reason, paid=False)
    assert error.retry_seconds == (90 if "retry_after_seconds" in fault else None)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (messages.FAILED, "SCREENING_FAILED"),
        (messages.BROKEN, "SCREENING_FAILED"),
        (messages.TIMEOUT, "KORA_SCREENING_TIMEOUT"),
        (messages.RATE_LIMITED, "KORA_RATE_LIMITED"),
    ],
)
def test_the_sandbox_names_that_fail(gateway: Gateway, name: str, reason: str) -> None:
    error = fails(gateway.stub.Screen, messages.screen(name), reason, paid=True)
    assert error.request_info.serving_data.startswith("req_")
    assert (error.retry_seconds is not None) == (reason == "KORA_RATE_LIMITED")
    if name == messages.FAILED:
        assert error.resource is not None
        kind, screening_id = error.resource
        assert kind == "kora.compliance.v1.Screening" and screening_id.startswith("scr_")


def test_the_callers_id_is_in_errors_and_answers(gateway: Gateway) -> None:
    mine = (("x-request-id", "order-4711"),)
    error = fails(gateway.stub.Screen, messages.screen(messages.BROKEN), "SCREENING_FAILED", paid=True, metadata=mine)
    assert error.request_info.request_id == "order-4711"

    _, call = gateway.stub.Screen.with_call(messages.screen(), timeout=PATIENCE, metadata=mine)
    assert mine[0] in [tuple(pair) for pair in call.initial_metadata()]


def test_a_call_without_an_id_gets_one(gateway: Gateway) -> None:
    error = fails(gateway.stub.Screen, messages.screen(messages.BROKEN), "SCREENING_FAILED", paid=True)
    uuid.UUID(error.request_info.request_id)


def test_every_bad_field_is_named_and_nothing_is_sent(gateway: Gateway) -> None:
    subject = messages.profile(name="", external_id="x")
    subject.date_of_birth = "1971-02-30"
    subject.nationality = "Britain"
    subject.identifiers.append(Identifier(type="PASSPORT", country="gb"))
    subject.additional_fields["callback_url"] = "https://example.com"
    request = ScreenRequest(subject=subject, request_id="not-a-uuid", checks=[99], mode=7)
    error = fails(gateway.stub.Screen, request, "INVALID_REQUEST", paid=True)
    assert sorted(error.bad_fields) == [
        "checks[0]",
        "mode",
        "purpose",
        "request_id",
        "subject.additional_fields.callback_url",
        "subject.date_of_birth",
        "subject.identifiers[1].country",
        "subject.identifiers[1].value",
        "subject.name",
        "subject.nationality",
    ]
    assert gateway.emulator.requests() == []


@pytest.mark.parametrize(
    ("method", "request_message", "field", "paid"),
    [
        ("Screen", messages.screen(subject_id=""), "subject_id", True),
        ("CreateSubject", CreateSubjectRequest(), "subject", True),
        ("GetScreening", GetScreeningRequest(), "screening_id", False),
        ("GetSubject", GetSubjectRequest(), "subject_id", False),
    ],
)
def test_what_is_required_is_required(
    gateway: Gateway, method: str, request_message: Any, field: str, paid: bool
) -> None:
    error = fails(getattr(gateway.stub, method), request_message, "INVALID_REQUEST", paid=paid)
    assert error.bad_fields == [field]


def test_a_field_that_kora_refuses_is_named_as_the_caller_knows_it(gateway: Gateway) -> None:
    request = messages.screen(purpose=SCREENING_PURPOSE_UNSPECIFIED)
    request.additional_fields["purpose"] = " "
    error = fails(gateway.stub.Screen, request, "KORA_VALIDATION", paid=True)
    assert error.bad_fields == ["purpose"]


def test_what_kora_does_not_have_is_named(gateway: Gateway) -> None:
    subject = ("kora.compliance.v1.Subject", "subj_none")
    error = fails(gateway.stub.GetSubject, GetSubjectRequest(subject_id="subj_none"), "SUBJECT_NOT_FOUND", paid=False)
    assert error.resource == subject
    error = fails(gateway.stub.Screen, messages.screen(subject_id="subj_none"), "SUBJECT_NOT_FOUND", paid=True)
    assert error.resource == subject
    error = fails(
        gateway.stub.GetScreening, GetScreeningRequest(screening_id="../x"), "SCREENING_NOT_FOUND", paid=False
    )
    assert error.resource == ("kora.compliance.v1.Screening", "../x")


def test_a_subject_that_is_there_is_not_created_again(gateway: Gateway) -> None:
    request = messages.create_subject(external_id="customer-8")
    gateway.stub.CreateSubject(request, timeout=PATIENCE)
    fails(gateway.stub.CreateSubject, request, "SUBJECT_EXISTS", paid=True)


def test_requests_that_are_none_never_reach_kora(gateway: Gateway) -> None:
    def raw(method: str, sent: bytes, reason: str, *, paid: bool) -> None:
        fails(gateway.channel.unary_unary(f"{SERVICE}/{method}"), sent, reason, paid=paid)

    raw("Screen", b"\xff\xff\xff", "MALFORMED_REQUEST", paid=True)
    raw("GetSubject", b"\xff\xff\xff", "MALFORMED_REQUEST", paid=False)
    raw("CreateSubject", messages.create_subject("x" * 1024 * 1024).SerializeToString(), "REQUEST_TOO_LARGE", paid=True)
    assert gateway.emulator.requests() == []


@pytest.mark.parametrize("path", [f"{SERVICE}/Approve", "/kora.compliance.v2.ComplianceService/Screen"])
def test_a_method_that_does_not_exist_says_so(gateway: Gateway, path: str) -> None:
    fails(gateway.channel.unary_unary(path), b"", "UNKNOWN_METHOD", paid=False)


def test_a_request_that_was_never_seen_is_not_found(gateway: Gateway) -> None:
    fails(gateway.stub.GetRequest, GetRequestRequest(request_id=str(uuid.uuid4())), "REQUEST_NOT_FOUND", paid=False)


def test_a_kora_that_is_not_there_was_sent_nothing(start_gateway: StartGateway) -> None:
    # A port that is taken and not listened on refuses every connection.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        gateway = start_gateway(
            "--kora-base-url",
            f"http://127.0.0.1:{taken.getsockname()[1]}/api/v1",
            "--kora-tenant-id",
            "tenant-1",
            env={"KORA_API_KEY": "emulator-api-key", "KORA_WEBHOOK_SECRET": "secret"},
            emulator=False,
        )
        fails(gateway.stub.Screen, messages.screen(), "KORA_UNREACHABLE", paid=True)
        fails(gateway.stub.GetSubject, GetSubjectRequest(subject_id="subj_1"), "KORA_UNREACHABLE", paid=False)
