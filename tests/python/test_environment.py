"""A variable or a file that is not what it seems is named, and never taken for something else in silence."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from gateway import StartGateway
from program import Program, run
from test_blocked_output import ANY_PORTS
from test_callers import wait_for_log
from test_command_line import BAD_CONFIGURATION, GIVEN, KEY, WITHOUT_KEY

# What is no UTF-8, as a variable's text.
NOT_UTF8 = os.fsdecode(b"\xff/etc/gateway")

WITHOUT_CERTIFICATES = {"SSL_CERT_FILE": "/no/such/file", "SSL_CERT_DIR": "/no/such/directory"}


@pytest.mark.parametrize("verb", ["check-config", "serve"])
@pytest.mark.parametrize(
    "variable",
    ["GATEWAY_CONFIG", "GATEWAY_TLS_CERT", "KORA_API_KEY_FILE", "KORA_WEBHOOK_SECRET", "KORA_TIMEOUT", "RUST_LOG"],
)
def test_a_variable_that_is_not_utf8_is_refused(verb: str, variable: str) -> None:
    ended = run(verb, *ANY_PORTS, env={**GIVEN, variable: NOT_UTF8})
    assert (ended.returncode, ended.stdout) == (BAD_CONFIGURATION, "")
    assert f"{variable} is not UTF-8" in ended.stderr


def test_one_that_is_no_settings_does_not_matter() -> None:
    ended = run("check-config", env={**GIVEN, "OTHER": NOT_UTF8})
    assert ended.returncode == 0, ended.stderr


def test_a_misspelt_variable_is_named_at_start(start_gateway: StartGateway) -> None:
    misspelt = {"GATEWAY_TLS_CRT": "x", "KORA_SECRET_SAUCE": "y"}
    near = "the variable GATEWAY_TLS_CRT is no setting: is GATEWAY_TLS_CERT meant?"
    far = "the variable KORA_SECRET_SAUCE is no setting"
    shown = run("check-config", env={**GIVEN, **misspelt})
    assert shown.returncode == 0, shown.stderr
    assert {f"warning: {near}", f"warning: {far}"} <= set(shown.stdout.splitlines())
    gateway = start_gateway(env=misspelt)
    log = gateway.program.log()
    assert near in log and far in log
    assert "is no setting" not in run("check-config", env=GIVEN).stdout


def test_what_an_editor_adds_to_a_secrets_file_is_no_part_of_the_secret(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"\xef\xbb\xbfemulator-api-key\r\n")
    said = "has a byte order mark and carriage returns"
    shown = run("check-config", env={**WITHOUT_KEY, "KORA_API_KEY_FILE": str(file)})
    assert shown.returncode == 0, shown.stderr
    assert f"the file of kora-api-key {said}" in shown.stdout
    assert "emulator-api-key" not in shown.stdout
    gateway = start_gateway(env={"KORA_API_KEY_FILE": str(file), "RUST_LOG": "info"})
    assert said in gateway.program.log()
    # So it is when it is read again.
    file.write_bytes(b"\xef\xbb\xbfanother-key")
    wait_for_log(gateway, 'left_out="a byte order mark"')


def test_a_configuration_file_of_windows_is_read(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_bytes(b'\xef\xbb\xbfkora_timeout = "20s"\r\ndrain_timeout = "50s"\r\n')
    ended = run("check-config", "--config", str(file), env=GIVEN)
    assert ended.returncode == 0, ended.stderr
    assert KEY not in ended.stdout


@pytest.mark.parametrize("verb", ["check-config", "serve"])
def test_certificates_that_are_missing_are_named(verb: str) -> None:
    ended = run(verb, *ANY_PORTS, env={**GIVEN, **WITHOUT_CERTIFICATES})
    assert (ended.returncode, ended.stdout) == (BAD_CONFIGURATION, "")
    assert "no CA certificates on this system" in ended.stderr and "--kora-ca-file" in ended.stderr


def test_an_emulator_is_tried_without_certificates(start_gateway: StartGateway, tmp_path: Path) -> None:
    start_gateway(env=WITHOUT_CERTIFICATES)
    ended = run("demo", "--once", env=WITHOUT_CERTIFICATES)
    assert ended.returncode == 0, ended.stderr
    # An emulator elsewhere on this machine is reached in the clear too.
    plain = ("--kora-base-url", "http://127.0.0.1:4010/api/v1")
    shown = run("check-config", *plain, env={**GIVEN, **WITHOUT_CERTIFICATES})
    assert shown.returncode == 0, shown.stderr
    program = Program("emulator", "--emulator-addr", "127.0.0.1:0", env=WITHOUT_CERTIFICATES, stderr=tmp_path / "e")
    program.lines_until("ready")
    program.send(signal.SIGTERM)
    assert program.exit_code() == 0
