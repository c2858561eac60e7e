"""The little client: what its flags send, and what it says of the answer."""

from __future__ import annotations

import json
import uuid

import pytest

import messages
from gateway import Gateway, StartGateway
from program import run


def where(gateway: Gateway) -> tuple[str, str]:
    return ("--gateway", f"http://{gateway.addresses['grpc']}")


def test_the_flags_of_screen_are_sent(gateway: Gateway) -> None:
    ended = run("subject", "create", *where(gateway), "--json", "--name", messages.CLEAN)
    subject_id = json.loads(ended.stdout)["subject"]["subject_id"]
    known = ("screen", *where(gateway), "--subject-id", subject_id, "--mode", "async")
    ended = run(*known, "--purpose", "periodic")
    assert ended.returncode == 0, ended.stderr
    assert "none yet: not an approval" in ended.stdout
    assert gateway.emulator.requests()[-1]["body"] == {
        "subject_id": subject_id,
        "mode": "ASYNC",
        "purpose": "PERIODIC",
        "checks": ["SANCTIONS", "PEP", "ADVERSE_MEDIA"],
    }


@pytest.mark.parametrize("name", [messages.SANCTIONED, messages.PEP, messages.UNDOCUMENTED])
def test_what_is_no_approval_is_never_printed_as_one(gateway: Gateway, name: str) -> None:
    ended = run("screen", *where(gateway), "--name", name)
    assert "not an approval" in ended.stdout
    assert "go on" not in ended.stdout


def test_an_answer_cannot_rewrite_the_terminal(gateway: Gateway) -> None:
    decision = {"outcome": "BLOCK", "explanation": "\x1b[1A\x1b[2Kdecision  APPROVE: go on\r"}
    answer = json.dumps({"screening_id": "s", "status": "COMPLETED", "decision": decision})
    gateway.emulator.next({"kind": "junk", "body": answer})
    ended = run("screen", *where(gateway), "--name", "x")
    assert ended.returncode == 0, ended.stderr
    assert "BLOCK: not an approval" in ended.stdout
    assert not any(letter in ended.stdout for letter in "\x1b\r")


def test_the_advice_is_the_outcomes(start_gateway: StartGateway) -> None:
    gateway = start_gateway("--kora-timeout", "2s")
    gateway.emulator.next({"kind": "hang"})
    ended = run("screen", *where(gateway), "--name", "x", "--timeout", "1s")
    assert ended.returncode == 1
    assert "look for it at Kora before you send it again" in ended.stderr
    gateway.emulator.next({"kind": "fail", "status": 500, "code": "INTERNAL_ERROR"})
    ended = run("screen", *where(gateway), "--name", "x")
    assert "look for it at Kora before you send it again" in ended.stderr
    gateway.emulator.next({"kind": "fail", "status": 429, "code": "RATE_LIMITED", "retry_after_seconds": 70})
    ended = run("screen", *where(gateway), "--name", "x")
    assert ended.stderr.strip().endswith("try again in 1m 10s")


def test_what_became_of_a_request_is_told(gateway: Gateway) -> None:
    request_id = str(uuid.uuid4())
    screen = ("screen", *where(gateway), "--request-id", request_id, "--on-timeout", "continue-async")
    gateway.emulator.next({"kind": "fail", "status": 429, "code": "RATE_LIMITED", "retry_after_seconds": 2})
    assert run(*screen, "--timeout", "1s", "--name", messages.CLEAN).returncode == 1
    told = run("request", "get", *where(gateway), request_id)
    assert "REJECTED" in told.stdout and "KORA_RATE_LIMITED" in told.stdout
    told = run("request", "get", *where(gateway), "--json", request_id)
    details = json.loads(told.stdout)["record"]["error"]["details"]
    assert details[0]["reason"] == "KORA_RATE_LIMITED"

    first = run(*screen, "--name", messages.CLEAN)
    assert first.returncode == 0, first.stderr
    assert run(*screen, "--name", messages.CLEAN).stdout == first.stdout
    told = run("request", "get", *where(gateway), request_id)
    assert "SUCCEEDED" in told.stdout and told.stdout.endswith(first.stdout)
    reused = run(*screen, "--name", messages.PEP)
    assert "REQUEST_ID_REUSED" in reused.stderr and "make up a new request_id" in reused.stderr
    unknown = run("request", "get", *where(gateway), str(uuid.uuid4()))
    assert unknown.returncode == 1 and "REQUEST_NOT_FOUND" in unknown.stderr
