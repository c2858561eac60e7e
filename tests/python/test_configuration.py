"""What is configured wrongly is refused before anything is bound, by `check-config` and `serve` alike."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

import messages
from certificates import Certificate
from gateway import FREE_PORT, StartGateway
from program import PATIENCE, run
from test_command_line import BAD_CONFIGURATION, GIVEN, KEY, WITHOUT_KEY, effective
from typed_errors import fails

FILE = "the path of a file with this text"

# Text of a file, flags, variables, and what the complaint names.
WRONG: list[tuple[str | None, tuple[str, ...], dict[str, str], str]] = [
    (None, ("--config", "/no/such/file"), {}, "config"),
    (None, (), {"GATEWAY_CONFIG": "/no/such/file"}, "config"),
    (None, ("--config", ""), {}, "(--config)"),
    (None, (), {"GATEWAY_CONFIG": ""}, "(GATEWAY_CONFIG)"),
    ("", ("--config", ""), {"GATEWAY_CONFIG": FILE}, "(--config)"),
    (None, (), {"KORA_TENANT_ID": "tenant-1 "}, "kora-tenant-id begins or ends with white space"),
    ('kora_api_key = "SECRET-IN-FILE\n', ("--config", FILE), {}, "config"),
    ("", (), {"KORA_API_KEY_FILE": FILE}, "KORA_API_KEY"),
    ("", ("--kora-ca-file", FILE), {}, "CA file"),
    (None, ("--kora-ca-file", "/no/such/file"), {}, "CA file"),
    (None, ("--emulator", "--kora-base-url", "https://x.example"), {}, "kora-base-url"),
    (None, ("--emulator", "--emulator-addr", "0.0.0.0:0"), {}, "emulator-addr"),
    (None, ("--kora-base-url", "http://kora.example"), {}, "kora-base-url"),
    (None, ("--kora-base-url", "https://u:p@kora.example"), {}, "kora-base-url"),
    (None, ("--kora-base-url", "https://kora.example/#a"), {}, "kora-base-url"),
    (None, ("--emulator", "--webhook-addr", "0.0.0.0:0"), {"KORA_WEBHOOK_SECRET": ""}, "webhook-addr"),
    (None, ("--event-log", "nats://user:secret@127.0.0.1:4222"), {}, "event-log"),
    (None, ("--event-log", "file:"), {}, "event-log"),
    (None, ("--retention-age", "0s"), {}, "retention-age"),
    (None, ("--retention-size", "1B"), {}, "retention-size"),
    (None, ("--request-retention", "59m"), {}, "request-retention is not between 1h and 10 years"),
    (None, (), {"GATEWAY_REQUEST_RETENTION": "1s"}, "request-retention is not between 1h and 10 years"),
    (None, ("--request-size", "1023KiB"), {}, "request-size is not between 1MiB and 1PiB"),
    (None, (), {"GATEWAY_REQUEST_SIZE": "much"}, "request-size"),
    (None, ("--webhook-max-bytes", "64MiB"), {}, "webhook-max-bytes"),
    (None, ("--memory-budget", "31MiB"), {}, "memory-budget is less than 32MiB"),
    (None, ("--webhook-max-bytes", "9MiB"), {"GATEWAY_MEMORY_BUDGET": "64MiB"}, "memory-budget is less than 8 times"),
    (None, ("--max-request-bytes", "33MiB"), {}, "memory-budget is less than 8 times"),
    (None, (), {"KORA_WEBHOOK_SECRET": "\n".join("s" * 17)}, "KORA_WEBHOOK_SECRET"),
    (None, (), {"KORA_WEBHOOK_SECRET": " \n "}, "KORA_WEBHOOK_SECRET"),
    (None, (), {"RUST_LOG": "kora=nonsense=x"}, "RUST_LOG"),
]


@pytest.mark.parametrize(("text", "flags", "variables", "named"), WRONG)
@pytest.mark.parametrize("verb", ["check-config", "serve"])
def test_what_cannot_be_meant_is_refused(
    tmp_path: Path, text: str | None, flags: tuple[str, ...], variables: dict[str, str], named: str, verb: str
) -> None:
    file = tmp_path / "file"
    if text is not None:
        file.write_text(text)
    listeners = ["--grpc-addr", FREE_PORT, "--admin-addr", FREE_PORT]
    env = dict(WITHOUT_KEY) if "KORA_API_KEY_FILE" in variables else dict(GIVEN)
    env |= {name: value.replace(FILE, str(file)) for name, value in variables.items()}
    ended = run(verb, *listeners, *(flag.replace(FILE, str(file)) for flag in flags), env=env)
    assert (ended.returncode, ended.stdout) == (BAD_CONFIGURATION, "")
    assert named in ended.stderr
    assert "SECRET-IN-FILE" not in ended.stderr


def test_a_key_in_place_of_its_files_path_is_not_shown(tmp_path: Path) -> None:
    ended = run("check-config", env={**WITHOUT_KEY, "KORA_API_KEY_FILE": KEY})
    assert ended.returncode == BAD_CONFIGURATION
    assert "KORA_API_KEY" in ended.stderr
    assert KEY not in ended.stderr
    file = tmp_path / "gateway.toml"
    file.write_text(f'kora_api_key_file = "{KEY}"\nkora_tenant_id = "t"\n')
    ended = run("check-config", "--config", str(file))
    assert ended.returncode == BAD_CONFIGURATION
    assert KEY not in ended.stderr


def test_as_many_webhook_secrets_as_are_allowed_are_taken() -> None:
    ended = run("check-config", env={**GIVEN, "KORA_WEBHOOK_SECRET": "\n".join("s" * 16)})
    assert ended.returncode == 0, ended.stderr


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("x")
    ended = run("check-config", env={**GIVEN, "KORA_API_KEY_FILE": str(secret)})
    assert ended.returncode == BAD_CONFIGURATION
    assert "KORA_API_KEY" in ended.stderr


def test_a_secrets_file_can_be_named_in_the_file(tmp_path: Path) -> None:
    secret, file = tmp_path / "key", tmp_path / "gateway.toml"
    secret.write_text(KEY)
    file.write_text(f'kora_api_key_file = "{secret}"\nkora_tenant_id = "t"\nkora_webhook_secret_file = "{secret}"\n')
    ended = run("check-config", env={"GATEWAY_CONFIG": str(file)})
    assert ended.returncode == 0, ended.stderr
    assert effective(ended.stdout)["kora-webhook-secret"] == ("(redacted)", str(file))
    assert effective(ended.stdout)["kora-api-key"] == ("(redacted)", str(file))


def test_an_empty_variable_is_none_and_credentials_are_not_shown() -> None:
    env = {**GIVEN, "KORA_TIMEOUT": "", "KORA_PROXY": "http://token:hunter2@proxy.example:3128"}
    ended = run("check-config", "--drain-timeout", "44s", env=env)
    assert ended.returncode == 0, ended.stderr
    assert effective(ended.stdout)["kora-timeout"] == ("35s", "default")
    assert "hunter2" not in ended.stdout
    assert "token" not in ended.stdout
    assert "warning: drain-timeout" in ended.stdout


def test_serve_says_its_warnings(start_gateway: StartGateway) -> None:
    gateway = start_gateway("--drain-timeout", "10s")
    assert "drain-timeout is less" in gateway.program.log()


@pytest.mark.parametrize("value", ["true", "1", "on"])
def test_a_switch_can_be_a_variable(start_gateway: StartGateway, value: str) -> None:
    gateway = start_gateway(env={"KORA_TRUST_503": value})
    later = {"retry_after_seconds": 3600}
    gateway.emulator.next({"kind": "fail", "status": 503, "code": "SERVICE_UNAVAILABLE", **later})
    fails(gateway.stub.Screen, messages.screen(), "KORA_UNAVAILABLE", paid=True)


def test_a_taken_port_is_an_error_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        addr = f"127.0.0.1:{taken.getsockname()[1]}"
        twin = ["--emulator", "--emulator-addr", FREE_PORT, "--webhook-addr", FREE_PORT]
        ended = run("serve", *twin, "--admin-addr", FREE_PORT, "--grpc-addr", addr)
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert addr in ended.stderr


def test_one_gateway_at_a_time_has_the_event_log(start_gateway: StartGateway, tmp_path: Path) -> None:
    log = ("--event-log", f"file:{tmp_path / 'data'}")
    first = start_gateway(*log)
    ports = ("--grpc-addr", "--webhook-addr", "--admin-addr", "--emulator-addr")
    free = [word for port in ports for word in (port, FREE_PORT)]
    ended = run("serve", "--emulator", *free, *log)
    assert ended.returncode == 1
    assert "in use by another process" in ended.stderr
    assert "ready" not in ended.stdout
    first.stop()
    assert start_gateway(*log).program.is_running()


def test_the_environments_proxies_are_not_for_kora(start_gateway: StartGateway) -> None:
    nobody = "http://127.0.0.1:1"
    names = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    gateway = start_gateway(env=dict.fromkeys(names, nobody))
    gateway.stub.Screen(messages.screen(), timeout=PATIENCE)


def test_of_other_crates_only_errors_are_logged(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    gateway.stub.Screen(messages.screen(), timeout=PATIENCE)
    gateway.stop()
    lines = gateway.program.log().splitlines()
    assert lines
    for line in lines:
        _, level, rest = line.split(maxsplit=2)
        assert level == "ERROR" or rest.startswith("kora_gateway"), line


def tenants(directory: Path, *changes: str) -> Path:
    """A configuration file with two tenants and their secrets, and with these changes, each `OLD=>NEW`."""
    text = ""
    for name in ("alpha", "beta"):
        (directory / f"{name}-key").write_text(f"{KEY}-{name}")
        (directory / f"{name}-secret").write_text(f"whsec-{name}\nwhsec-next-{name}\n")
        text += f'[[tenants]]\nname = "{name}"\nkora_tenant_id = "id-{name}"\n'
        text += f'api_key_file = "{directory}/{name}-key"\nwebhook_secret_file = "{directory}/{name}-secret"\n'
    for change in changes:
        old, new = change.split("=>")
        assert old in text
        text = text.replace(old, new, 1)
    file = directory / "gateway.toml"
    file.write_text(text)
    return file


# Changes of the file, flags, variables, and what the complaint names.
WRONG_TENANTS: list[tuple[tuple[str, ...], tuple[str, ...], dict[str, str], str]] = [
    (("name =>nom ",), (), {}, "tenants[0].nom is not a key of a tenant"),
    (("name =>nom ",), (), {}, "tenants[0].name is missing"),
    (('"beta"=>7',), (), {}, "tenants[1].name is not a text"),
    (('"beta"=>"a b"',), (), {}, "tenants[1].name"),
    (('"beta"=>"alpha"',), (), {}, "tenants[1].name is that of tenants[0] too"),
    (('"id-beta"=>"id-alpha"',), (), {}, "tenants[1].kora_tenant_id is that of tenants[0] too"),
    (('"id-beta"=>"id-alpha "',), (), {}, "tenants[1].kora_tenant_id begins or ends with white space"),
    (("beta-key=>no-key",), (), {}, "tenants[1].api_key_file"),
    (("beta-secret=>alpha-secret",), (), {}, "tenants[1].webhook_secret_file shares a secret"),
    (("beta-secret=>alpha-secret",), (), {}, "beta and alpha"),
    (("[[tenants]]=>[[tenants]]\nbase_url = 'http://kora.example'",), (), {}, "tenants[0].base_url"),
    ((), ("--kora-tenant-id", "t"), {}, "kora-tenant-id cannot be given together with [[tenants]]"),
    ((), (), {"KORA_API_KEY": KEY}, "kora-api-key cannot be given together with [[tenants]]"),
    ((), (), {"KORA_WEBHOOK_SECRET": "s"}, "kora-webhook-secret cannot be given together with [[tenants]]"),
    ((), ("--emulator",), {}, "tenants cannot be given together with --emulator"),
]


@pytest.mark.parametrize(("changes", "flags", "variables", "named"), WRONG_TENANTS)
@pytest.mark.parametrize("verb", ["check-config", "serve"])
def test_tenants_that_cannot_be_meant_are_refused(
    tmp_path: Path, changes: tuple[str, ...], flags: tuple[str, ...], variables: dict[str, str], named: str, verb: str
) -> None:
    file = tenants(tmp_path, *changes)
    free = [word for port in ("grpc", "webhook", "admin") for word in (f"--{port}-addr", FREE_PORT)]
    ended = run(verb, "--config", str(file), *free, *flags, env=variables)
    assert (ended.returncode, ended.stdout) == (BAD_CONFIGURATION, "")
    assert named in ended.stderr
    assert "whsec" not in ended.stderr
    assert KEY not in ended.stderr


def test_the_tenants_and_their_secrets_are_listed(tmp_path: Path) -> None:
    file = tenants(tmp_path)
    changed = 1_700_000_000
    os.utime(tmp_path / "beta-secret", (changed, changed))
    ended = run("check-config", "--config", str(file), "--event-log", f"file:{tmp_path}/data")
    assert (ended.returncode, ended.stderr) == (0, "")
    rows = [line.split() for line in ended.stdout.splitlines()]
    url = "https://api.korastratum.com/api/v1"
    for name in ("alpha", "beta"):
        assert [name, f"id-{name}", url, f"{tmp_path}/data/id-{name}.events.db"] in rows
    assert ["webhook_secret", "of", "beta", f"{tmp_path}/beta-secret", "2023-11-14T22:13:20Z"] in rows
    assert KEY not in ended.stdout
    assert "whsec" not in ended.stdout


def test_the_callers_and_what_they_may_do_are_listed(tmp_path: Path) -> None:
    file = tenants(tmp_path)
    line = run("token", "new").stdout.splitlines()[1]
    both = 'tenants = ["alpha", "beta"]\nrights = ["watch", "screen"]'
    file.write_text(f'{file.read_text()}\n[[callers]]\nname = "kyc"\n{line}\n{both}\n')
    changed = 1_700_000_000
    os.utime(file, (changed, changed))
    ended = run("check-config", "--config", str(file), "--event-log", f"file:{tmp_path}/data")
    assert (ended.returncode, ended.stderr) == (0, "")
    rows = [line.split() for line in ended.stdout.splitlines()]
    assert ["kyc", "kyc", "1", "alpha,", "beta", "screen,", "watch"] in rows
    assert ["callers", str(file), "2023-11-14T22:13:20Z"] in rows


def test_where_nobody_is_listed_it_is_said_who_may_do_everything(tmp_path: Path) -> None:
    ended = run("check-config", env=GIVEN)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "callers: whoever reaches the port, with every right" in ended.stdout.splitlines()
    shown = Certificate.make(tmp_path)
    tls = ("--tls-cert", str(shown.cert), "--tls-key", str(shown.key), "--tls-client-ca", str(shown.cert))
    ended = run("check-config", *tls, env=GIVEN)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "callers: whoever shows a certificate of --tls-client-ca, with every right" in ended.stdout.splitlines()
    listed = tmp_path / "gateway.toml"
    listed.write_text("callers = []\n")
    ended = run("check-config", *tls, "--config", str(listed), env=GIVEN)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "whoever" not in ended.stdout


def test_serve_says_who_may_do_everything(start_gateway: StartGateway, tmp_path: Path) -> None:
    gateway = start_gateway()
    assert "callers: whoever reaches the port, with every right" in gateway.program.log()
    gateway.stop()
    listed = tmp_path / "gateway.toml"
    listed.write_text("callers = []\n")
    assert "whoever" not in start_gateway("--config", str(listed)).program.log()


def test_short_webhook_secrets_are_warned_of(tmp_path: Path) -> None:
    """Whoever guesses one signs as Kora. Of which tenant it is, is said; the secret is not."""
    ended = run("check-config", env={**GIVEN, "KORA_WEBHOOK_SECRET": f"{'l' * 16}\n{'s' * 15}\n"})
    assert ended.returncode == 0, ended.stderr
    assert "warning: a webhook secret of tenant-1 is shorter than 16 bytes" in ended.stdout
    assert "s" * 15 not in ended.stdout
    ended = run("check-config", env={**GIVEN, "KORA_WEBHOOK_SECRET": "l" * 16})
    assert "warning" not in ended.stdout
    ended = run("check-config", "--config", str(tenants(tmp_path)))
    assert "warning: a webhook secret of alpha is shorter than 16 bytes" in ended.stdout
    assert "(tenants with one: 2)" in ended.stdout
    assert "whsec" not in ended.stdout


def test_the_file_of_a_secret_that_a_variable_names_is_told_by_the_variable(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text(KEY)
    changed = 1_700_000_000
    os.utime(secret, (changed, changed))
    ended = run("check-config", env={**WITHOUT_KEY, "KORA_API_KEY_FILE": str(secret)})
    rows = [line.split() for line in ended.stdout.splitlines()]
    assert ["kora-api-key", "KORA_API_KEY_FILE", "2023-11-14T22:13:20Z"] in rows
    assert ["kora-webhook-secret", "KORA_WEBHOOK_SECRET", "(no", "file)"] in rows
    assert str(secret) not in ended.stdout
