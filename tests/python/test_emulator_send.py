"""Webhooks of the emulator, fired by hand from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway import FREE_PORT, http_call
from program import Program, addresses, run
from webhook_receiver import Receiver

DEFAULT_SECRET = "emulator-webhook-secret"
BAD_CONFIGURATION = 64


@contextmanager
def emulator(tmp_path: Path, *flags: str, env: dict[str, str] | None = None) -> Iterator[str]:
    """The address of an emulator that runs alone."""
    stderr = tmp_path / "stderr"
    program = Program("emulator", "--emulator-addr", FREE_PORT, *flags, env=env or {}, stderr=stderr)
    try:
        yield addresses(program.lines_until("ready"))["emulator"]
    finally:
        program.kill()
    assert "secret" not in stderr.read_text()


@pytest.mark.parametrize("given", [None, "KORA_WEBHOOK_SECRET", "KORA_WEBHOOK_SECRET_FILE"])
def test_a_webhook_is_fired_and_its_answer_shown(tmp_path: Path, given: str | None) -> None:
    secret, env = DEFAULT_SECRET, {"RUST_LOG": "trace"}
    if given:
        secret, lines = "the-new-secret-ü", "the-new-secret-ü\nthe-old-secret\n"
        file = tmp_path / "secrets"
        file.write_text(lines)
        env[given] = str(file) if given.endswith("_FILE") else lines
    with Receiver() as receiver, emulator(tmp_path, "--webhook-url", receiver.url, env=env) as address:
        data = '{"screening_id": "scr_1", "name": "Zoë"}'
        there = ("--emulator", f"http://{address}")
        ended = run("emulator", "send", "screening.completed", "--data", data, "--id", "evt_1", *there)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout == "screening.completed evt_1: delivered (answered 200, 1 attempt)\n"
        arrival = receiver.next()
        assert arrival.path == "/hook"
        assert arrival.is_signed_with(secret)
        assert not arrival.is_signed_with(f"{secret}.")
        body = json.loads(arrival.body)
        assert (body["event"], body["id"]) == ("screening.completed", "evt_1")
        assert body["data"] == json.loads(data)

        ended = run("emulator", "send", "case.created", *there)
        assert ended.returncode == 0, ended.stderr
        body = json.loads(receiver.next().body)
        assert ended.stdout.startswith(f"case.created {body['id']}: delivered")
        assert body["data"] == {}


def test_a_webhook_that_is_refused_is_sent_again(tmp_path: Path) -> None:
    with Receiver(401, 500) as receiver, emulator(tmp_path, "--webhook-url", receiver.url) as address:
        ended = run("emulator", "send", "case.created", "--emulator", f"http://{address}")
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout.endswith(": delivered (answered 200, 3 attempts)\n")
        first = receiver.next()
        assert first == receiver.next() == receiver.next()
        assert first.is_signed_with(DEFAULT_SECRET)


def test_a_webhook_that_does_not_get_there_is_a_failure(tmp_path: Path) -> None:
    with Receiver() as receiver, emulator(tmp_path, "--webhook-url", receiver.url) as address:
        status, text = http_call(address, "PUT", "/__emulator/webhooks", {"withhold": True})
        assert status == 204, text
        ended = run("emulator", "send", "case.created", "--id", "evt_1", "--emulator", f"http://{address}")
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr == "error: case.created evt_1: withheld by command\n"


def test_what_cannot_be_sent_is_one_line(tmp_path: Path) -> None:
    with emulator(tmp_path) as address:
        for where, complaint in [
            (f"http://{address}", "nobody has subscribed to webhooks"),
            ("http://127.0.0.1:1", "no emulator answers"),
        ]:
            ended = run("emulator", "send", "case.created", "--emulator", where)
            assert (ended.returncode, ended.stdout) == (1, "")
            [line] = ended.stderr.splitlines()
            assert complaint in line
    for flags in [("--data", "[]"), ("--data", "{"), ("--emulator", "nowhere")]:
        assert run("emulator", "send", "case.created", *flags).returncode == BAD_CONFIGURATION
    assert run("emulator", "send").returncode == BAD_CONFIGURATION


def test_webhooks_go_to_this_machine_only() -> None:
    for url in ("http://example.com/hook", "https://127.0.0.1/hook", "nowhere"):
        ended = run("emulator", "--emulator-addr", FREE_PORT, "--webhook-url", url)
        assert (ended.returncode, ended.stdout) == (BAD_CONFIGURATION, "")
        assert "webhook-url" in ended.stderr and url not in ended.stderr
