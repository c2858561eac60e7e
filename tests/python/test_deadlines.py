"""A caller that stops waiting is told what may have happened, and nothing is sent twice."""

from __future__ import annotations

import pytest
from kora.compliance.v1.compliance_service_pb2 import GetScreeningRequest

import messages
from gateway import CALLS, KORA_REQUESTS, Gateway, StartGateway
from program import PATIENCE
from typed_errors import fails

HANG = {"kind": "hang"}

# Long enough to pass no deadline of these tests, short enough to end what hangs before a test is over.
KORA_TIMEOUT = ("--kora-timeout", "2s")


@pytest.fixture
def patient_gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway that itself waits longer for Kora than these callers do."""
    return start_gateway(*KORA_TIMEOUT)


def test_a_deadline_ends_with_the_gateways_answer(patient_gateway: Gateway) -> None:
    patient_gateway.emulator.next(HANG)
    # Without its ErrorInfo this would be the client's own timer.
    fails(patient_gateway.stub.Screen, messages.screen(), "DEADLINE_EXCEEDED", paid=True, timeout=1.0)
    assert len(patient_gateway.emulator.requests()) == 1


def test_a_deadline_on_creating_a_subject_does_too(patient_gateway: Gateway) -> None:
    patient_gateway.emulator.next(HANG)
    fails(patient_gateway.stub.CreateSubject, messages.create_subject(), "DEADLINE_EXCEEDED", paid=True, timeout=1.0)
    assert len(patient_gateway.emulator.requests()) == 1


def test_a_deadline_on_reading_does_too(patient_gateway: Gateway) -> None:
    patient_gateway.emulator.next(HANG, times=100)
    request = GetScreeningRequest(screening_id="scr_1")
    fails(patient_gateway.stub.GetScreening, request, "DEADLINE_EXCEEDED", paid=False, timeout=1.0)


def test_the_gateways_own_limit_is_no_different(start_gateway: StartGateway) -> None:
    gateway = start_gateway("--kora-timeout", "300ms")
    gateway.emulator.next(HANG)
    fails(gateway.stub.Screen, messages.screen(), "DEADLINE_EXCEEDED", paid=True)
    assert len(gateway.emulator.requests()) == 1


def test_a_caller_that_leaves_cuts_nothing_and_repeats_nothing(patient_gateway: Gateway) -> None:
    patient_gateway.emulator.next({"kind": "delay", "milliseconds": 1000})
    call = patient_gateway.stub.Screen.future(messages.screen(), timeout=PATIENCE)
    patient_gateway.emulator.wait_for_requests(1)
    assert call.cancel()
    patient_gateway.wait_for_count(1, CALLS, method="Screen", code="CANCELLED")

    # Served on, on the same connection.
    patient_gateway.stub.Screen(messages.screen(messages.CLEAN), timeout=PATIENCE)
    # The answer to the first one was still waited for.
    patient_gateway.wait_for_count(2, KORA_REQUESTS, endpoint="POST /screenings", status="200")
    left, served = patient_gateway.emulator.requests()
    assert left["body"]["subject"]["name"] == messages.ORDINARY
    assert served["body"]["subject"]["name"] == messages.CLEAN
