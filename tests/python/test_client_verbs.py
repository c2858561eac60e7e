"""The little client: what its flags send, and what it says of the answer."""

from __future__ import annotations

import json

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
    gateway.emulator.next({"kind": "fail", "status": 429, "code": "RATE_LIMITED", "retry_after_seconds": 7})
    ended = run("screen", *where(gateway), "--name", "x")
    assert ended.stderr.strip().endswith("try again in 7s")
