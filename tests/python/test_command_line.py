"""The verbs as people and scripts use them."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

import messages
from gateway import FREE_PORT, Gateway, connect
from program import PATIENCE, Program, addresses, binary, run
from reflected import Reflection

BAD_CONFIGURATION = 64
KEY = "the-operators-own-key"
GIVEN = {"KORA_API_KEY": KEY, "KORA_TENANT_ID": "tenant-1", "KORA_WEBHOOK_SECRET": "the-webhook-secret"}
WITHOUT_KEY = {name: value for name, value in GIVEN.items() if name != "KORA_API_KEY"}


def effective(table: str) -> dict[str, tuple[str, str]]:
    """The value and the origin of each setting in the first table of `check-config`."""
    rows = [line.split() for line in table.split("\n\n")[0].splitlines()]
    return {name: (value, origin) for name, value, origin in (row for row in rows if len(row) == 3)}


def test_check_config_names_everything_that_is_missing() -> None:
    ended = run("check-config")
    assert (ended.returncode, ended.stdout) == (BAD_CONFIGURATION, "")
    for missing in ("KORA_API_KEY", "kora-tenant-id", "KORA_WEBHOOK_SECRET"):
        assert missing in ended.stderr


def test_check_config_shows_where_everything_came_from(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('kora_timeout = "20s"\ndrain_timeout = "40s"\nmax_connections = 7\n')
    env = {**GIVEN, "KORA_TIMEOUT": "21s", "GATEWAY_DRAIN_TIMEOUT": "41s"}
    ended = run("check-config", "--config", str(file), "--drain-timeout", "42s", env=env)
    assert (ended.returncode, ended.stderr) == (0, "")
    settings = effective(ended.stdout)
    # A flag beats the environment, that beats the file, that beats the default.
    assert settings["drain-timeout"] == ("42s", "--drain-timeout")
    assert settings["kora-timeout"] == ("21s", "KORA_TIMEOUT")
    assert settings["max-connections"] == ("7", str(file))
    assert settings["kora-idle-timeout"] == ("4s", "default")
    assert settings["kora-api-key"] == ("(redacted)", "KORA_API_KEY")
    assert settings["kora-webhook-secret"] == ("(redacted)", "KORA_WEBHOOK_SECRET")
    assert KEY not in ended.stdout
    assert GIVEN["KORA_WEBHOOK_SECRET"] not in ended.stdout


def test_a_secret_can_be_a_file_and_is_not_shown(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text(f"{KEY}\n")
    ended = run("check-config", env={**WITHOUT_KEY, "KORA_API_KEY_FILE": str(secret)})
    assert ended.returncode == 0, ended.stderr
    assert effective(ended.stdout)["kora-api-key"] == ("(redacted)", "KORA_API_KEY_FILE")
    assert KEY not in ended.stdout


@pytest.mark.parametrize("verb", ["check-config", "serve"])
def test_an_unknown_key_in_the_file_is_refused(tmp_path: Path, verb: str) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('kora_time_out = "20s"\n')
    ended = run(verb, "--config", str(file), env=GIVEN)
    assert (ended.returncode, ended.stdout) == (BAD_CONFIGURATION, "")
    assert "kora_time_out" in ended.stderr


def test_a_bad_value_is_named_by_its_setting_and_not_repeated() -> None:
    ended = run("check-config", env={**GIVEN, "KORA_TIMEOUT": "s00n"})
    assert ended.returncode == BAD_CONFIGURATION
    assert "kora-timeout" in ended.stderr and "KORA_TIMEOUT" in ended.stderr
    assert "s00n" not in ended.stderr


def test_serve_refuses_an_open_address_without_authentication() -> None:
    ended = run("serve", "--grpc-addr", "0.0.0.0:0", env=GIVEN)
    assert (ended.returncode, ended.stdout) == (BAD_CONFIGURATION, "")
    assert "grpc-addr" in ended.stderr
    assert "--allow-unauthenticated" in ended.stderr
    # The other half: it would be accepted if it were said. `check-config` binds nothing.
    assert run("check-config", "--grpc-addr", "0.0.0.0:0", "--allow-unauthenticated", env=GIVEN).returncode == 0


def test_a_wrong_command_line_is_a_bad_configuration() -> None:
    assert run("serve", "--no-such-flag").returncode == BAD_CONFIGURATION
    assert run("no-such-verb").returncode == BAD_CONFIGURATION
    assert run("--help").returncode == 0


def test_screen_prints_json_for_machines_and_a_table_for_people(gateway: Gateway) -> None:
    where = ("--gateway", f"http://{gateway.addresses['grpc']}")
    ended = run("screen", *where, "--name", messages.PEP, "--checks", "pep", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    screening = json.loads(ended.stdout)["screening"]
    assert screening["decision"]["outcome"] == "OUTCOME_REVIEW_REQUIRED"
    assert screening["matches"][0]["fields"]["matched_name"] == messages.PEP
    assert screening["checks"] == ["CHECK_TYPE_PEP"]

    for name, decision in [
        (messages.CLEAN, "APPROVE: go on"),
        (messages.PEP, "REVIEW_REQUIRED: not an approval"),
        (messages.UNDOCUMENTED, "ESCALATE_TO_REGULATOR (unknown word): not an approval"),
    ]:
        ended = run("screen", *where, "--name", name)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert decision in ended.stdout


def test_a_subject_is_created_and_read(gateway: Gateway) -> None:
    where = ("--gateway", f"http://{gateway.addresses['grpc']}", "--json")
    document = f"PASSPORT:{messages.DOCUMENT}:GB"
    ended = run("subject", "create", *where, "--name", messages.ORDINARY, "--identifier", document)
    assert (ended.returncode, ended.stderr) == (0, "")
    created = json.loads(ended.stdout)["subject"]
    assert created["profile"]["identifiers"] == [{"type": "PASSPORT", "value": messages.DOCUMENT, "country": "GB"}]

    ended = run("subject", "get", *where, created["subject_id"])
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["subject"] == created


def test_an_error_is_one_line_for_people(gateway: Gateway) -> None:
    here = f"http://{gateway.addresses['grpc']}"
    for args, words in [
        (("subject", "get", "subj_none", "--gateway", here), ["SUBJECT_NOT_FOUND", "check the id"]),
        (("screen", "--gateway", here), ["INVALID_REQUEST", "subject.name", "correct it"]),
        (("screen", "--gateway", here, "--name", messages.RATE_LIMITED), ["KORA_RATE_LIMITED", "try again in"]),
        (("screen", "--gateway", here, "--name", messages.TIMEOUT), ["KORA_SCREENING_TIMEOUT", "look for it at Kora"]),
        (("screen", "--gateway", f"http://{gateway.addresses['admin']}/x", "--name", "n"), ["error: "]),
    ]:
        ended = run(*args)
        assert (ended.returncode, ended.stdout) == (1, ""), args
        assert len(ended.stderr.splitlines()) == 1, ended.stderr
        assert ended.stderr.startswith("error: ")
        for word in words:
            assert word in ended.stderr


def test_a_gateway_that_is_not_there_is_one_line_too() -> None:
    ended = run("screen", "--gateway", "http://127.0.0.1:1", "--name", messages.CLEAN)
    assert (ended.returncode, ended.stdout) == (1, "")
    [line] = ended.stderr.splitlines()
    assert "no gateway answers at http://127.0.0.1:1" in line


def test_the_demo_plays_its_story_once() -> None:
    ended = run("demo", "--once")
    assert (ended.returncode, ended.stderr) == (0, "")
    for word in ("APPROVE: go on", "APPROVE_WITH_MONITORING", "REVIEW_REQUIRED", "BLOCK", "INVALID_REQUEST"):
        assert word in ended.stdout


def test_the_demos_line_to_try_works(tmp_path: Path) -> None:
    demo = Program("demo", env={}, stderr=tmp_path / "stderr")
    try:
        lines = demo.lines_until("Ctrl-C stops it.")
        [line] = [line for line in lines if line.startswith("grpcurl ")]
        match shlex.split(line):
            case ["grpcurl", "-plaintext", "-d", body, address, method]:
                pass
            case words:
                raise AssertionError(f"not a call that can be made: {words}")
        assert address == addresses(lines)["grpc"]
        with connect(address) as channel:
            answer = Reflection(channel).call(method, body)
        assert answer["screening"]["decision"]["outcome"] == "OUTCOME_REVIEW_REQUIRED"
        assert demo.is_running()
        demo.send(signal.SIGINT)
        assert demo.exit_code() == 0
        assert demo.log() == ""
    finally:
        demo.kill()


def test_the_emulator_runs_alone(tmp_path: Path) -> None:
    emulator = Program("emulator", "--emulator-addr", FREE_PORT, env={}, stderr=tmp_path / "stderr")
    try:
        assert list(addresses(emulator.lines_until("ready"))) == ["emulator"]
        emulator.send(signal.SIGTERM)
        assert emulator.exit_code() == 0
    finally:
        emulator.kill()


def test_a_call_that_breaks_off_may_have_happened(gateway: Gateway) -> None:
    gateway.emulator.next({"kind": "hang"})
    here = f"http://{gateway.addresses['grpc']}"
    with subprocess.Popen(
        [binary(), "screen", "--gateway", here, "--name", "x"], env={}, stderr=subprocess.PIPE, text=True
    ) as client:
        gateway.emulator.wait_for_requests(1)
        gateway.program.kill()
        _, complaint = client.communicate(timeout=PATIENCE)
    assert client.returncode == 1
    assert "may have happened" in complaint and "before you send it again" in complaint
    assert complaint.count("\n") == 1
