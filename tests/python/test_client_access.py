"""The client verbs at a gateway that does not let everybody in: tokens, certificates, tenants, and TLS."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

import messages
from certificates import Authority
from gateway import Gateway, StartGateway
from program import PATIENCE, Program, run
from restarts import Phoenix
from test_callers import caller, new_token, wait_for, write
from test_command_line import BAD_CONFIGURATION
from test_tenants import configuration, deliver
from webhooks import deliver_in_order

SPIFFE = "spiffe://bank.example/onboarding"
SCREEN = ("screen", "--name", messages.CLEAN)
VERBS = [
    (SCREEN, "decision"),
    (("subject", "create", "--name", messages.CLEAN), "subject"),
    (("subject", "get", "subj_none"), "SUBJECT_NOT_FOUND"),
    (("request", "get", str(uuid.uuid4())), "REQUEST_NOT_FOUND"),
    (("watch", "--from", "earliest", "--until-caught-up"), "event=evt_0"),
]


@dataclass(frozen=True)
class Door:
    """A gateway over TLS that knows one caller, by a token and by a certificate."""

    gateway: Gateway
    authority: Authority
    token: str
    token_file: Path

    @property
    def place(self) -> tuple[str, ...]:
        return ("--gateway", f"https://{self.gateway.addresses['grpc']}")

    @property
    def trust(self) -> tuple[str, ...]:
        return (*self.place, "--ca-file", str(self.authority.cert))

    def call(self, verb: tuple[str, ...], *flags: str, env: dict[str, str] | None = None) -> Ended:
        """Runs a verb, which must keep the token to itself."""
        ended = run(*verb, *flags, env={"RUST_LOG": "trace", **(env or {})})
        assert self.token not in ended.stdout + ended.stderr
        return ended

    def file(self, text: str) -> str:
        file = self.token_file.with_name("other-token")
        file.write_text(text)
        return str(file)


Ended = subprocess.CompletedProcess[str]


def one_line(ended: Ended, code: int = 1) -> str:
    """What a verb that failed has to say."""
    assert (ended.returncode, ended.stdout) == (code, ""), ended.stderr
    [line] = ended.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.fixture
def door(start_gateway: StartGateway, tmp_path: Path) -> Door:
    authority = Authority.make(tmp_path, "ca")
    token, line = new_token()
    token_file = tmp_path / "token"
    token_file.write_text(f"{token}\n")
    config = tmp_path / "gateway.toml"
    rights = 'rights = ["screen", "subjects", "watch"]'
    config.write_text(f'[[callers]]\nname = "onboarding"\n{line}\nsan = ["{SPIFFE}"]\n{rights}\n')
    shown = authority.issue("IP:127.0.0.1")
    tls = ("--tls-cert", str(shown.cert), "--tls-key", str(shown.key), "--tls-client-ca", str(authority.cert))
    gateway = start_gateway("--config", str(config), *tls)
    return Door(gateway, authority, token, token_file)


@pytest.mark.parametrize(("verb", "word"), VERBS)
def test_every_verb_shows_a_token(door: Door, verb: tuple[str, ...], word: str) -> None:
    deliver_in_order(door.gateway.addresses["webhook"], ["evt_0"])
    ended = door.call(verb, *door.trust, "--token-file", str(door.token_file))
    assert word in ended.stdout + ended.stderr
    assert "UNAUTHENTICATED" not in ended.stderr
    stranger, _ = new_token()
    for flags in [(), ("--token-file", door.file(stranger))]:
        refused = door.call(verb, *door.trust, *flags)
        line = one_line(refused)
        assert "UNAUTHENTICATED" in line and "--token-file" in line and "--cert-file" in line
        assert stranger not in line
    assert door.token not in door.gateway.program.log()


def test_a_certificate_is_enough(door: Door) -> None:
    own = door.authority.issue(f"URI:{SPIFFE}")
    ended = door.call(SCREEN, *door.trust, "--cert-file", str(own.cert), "--key-file", str(own.key))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "APPROVE: go on" in ended.stdout

    unlisted = door.authority.issue("URI:spiffe://bank.example/other")
    shown = ("--cert-file", str(unlisted.cert), "--key-file", str(unlisted.key))
    assert "UNAUTHENTICATED" in one_line(door.call(SCREEN, *door.trust, *shown))
    # A certificate and its key are for one another.
    wrong = ("--cert-file", str(own.cert), "--key-file", str(unlisted.key))
    line = one_line(door.call(SCREEN, *door.trust, *wrong), BAD_CONFIGURATION)
    assert "--cert-file and --key-file" in line
    alone = door.call(SCREEN, *door.trust, "--cert-file", str(own.cert))
    assert alone.returncode == BAD_CONFIGURATION and "--key-file" in alone.stderr


def test_a_certificate_of_another_authority_ends_a_call_before_it_can_have_happened(door: Door, tmp_path: Path) -> None:
    stranger = Authority.make(tmp_path, "stranger").issue(f"URI:{SPIFFE}")
    shown = ("--cert-file", str(stranger.cert), "--key-file", str(stranger.key))
    line = one_line(door.call(SCREEN, *door.trust, *shown))
    assert "before anything was asked" in line and "--cert-file" in line
    # A watcher may have to come back for the reason, and does not do so for ever.
    ended = door.call(("watch",), *door.trust, *shown)
    assert ended.returncode == 1
    assert "before anything was asked (UnknownCA)" in ended.stderr.splitlines()[-1]
    assert door.gateway.emulator.requests() == []


def test_a_gateway_that_is_not_trusted_is_asked_nothing(door: Door, tmp_path: Path) -> None:
    token = ("--token-file", str(door.token_file))
    other = Authority.make(tmp_path, "other")
    for trust in [("--ca-file", str(other.cert)), ()]:
        line = one_line(door.call(SCREEN, *door.place, *token, *trust))
        assert "UnknownIssuer" in line and "--ca-file" in line
    assert door.gateway.emulator.requests() == []
    # What the system trusts is enough, and is not added to what is named.
    system = {"SSL_CERT_FILE": str(door.authority.cert)}
    assert door.call(SCREEN, *door.place, *token, env=system).returncode == 0
    named = door.call(SCREEN, *door.place, *token, "--ca-file", str(other.cert), env=system)
    assert "UnknownIssuer" in one_line(named)


def test_a_gateway_with_tls_and_a_url_without(door: Door) -> None:
    flags = ("--gateway", f"http://{door.gateway.addresses['grpc']}", "--token-file", str(door.token_file))
    line = one_line(door.call(SCREEN, *flags))
    assert "before anything was asked" in line and "https://" in line


@pytest.mark.parametrize("verb", [SCREEN, ("watch",)])
def test_a_flag_that_is_of_no_use_is_named(door: Door, tmp_path: Path, verb: tuple[str, ...]) -> None:
    empty, none = door.file(""), str(tmp_path / "none")
    two_lines = tmp_path / "two-lines"
    two_lines.write_text(f"{door.token}\ntoken_sha256 = []\n")
    for flags, words in [
        (("--token-file", empty), ["--token-file", "empty"]),
        (("--token-file", none), ["--token-file", "cannot be read"]),
        (("--token-file", str(two_lines)), ["--token-file", "more than one line"]),
        (("--ca-file", none), ["--ca-file", "No such file"]),
        (("--ca-file", str(door.token_file)), ["--ca-file", "no certificate"]),
        (("--tenant", "a\nb"), ["--tenant"]),
        (("--gateway", "ftp://127.0.0.1:1"), ["--gateway", "https://"]),
        (("--gateway", "http://127.0.0.1:1", "--ca-file", none), ["--ca-file", "https://"]),
    ]:
        place = () if "--gateway" in flags else door.place
        line = one_line(door.call(verb, *place, *flags), BAD_CONFIGURATION)
        assert all(word in line for word in words), line


def test_a_token_is_not_sent_in_the_clear_to_another_machine(tmp_path: Path) -> None:
    token, _ = new_token()
    file = tmp_path / "token"
    file.write_text(token)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        # Not a loopback address, and yet one that leads to this machine.
        flags = ("--gateway", f"http://0.0.0.0:{server.getsockname()[1]}", "--timeout", "100ms")
        line = one_line(run(*SCREEN, *flags, "--token-file", str(file)), BAD_CONFIGURATION)
        assert "--token-file" in line and "in the clear" in line and token not in line
        with pytest.raises(BlockingIOError):
            server.accept()
        # The other half: without a token it comes.
        run(*SCREEN, *flags)
        server.accept()[0].close()


def test_a_tenant_is_named_where_there_are_several(start_gateway: StartGateway, tmp_path: Path) -> None:
    token, line = new_token()
    (tmp_path / "token").write_text(token)
    config = configuration(tmp_path, 3)
    tenants = '\ntenants = ["t0", "t1"]\n'
    config.write_text(config.read_text() + caller("both", line, "watch") + tenants)
    gateway = start_gateway("--config", str(config), "--event-log", f"file:{tmp_path}/logs", emulator=False)
    assert [deliver(gateway, number) for number in (0, 1, 2)] == [200] * 3
    flags = ("--gateway", f"http://{gateway.addresses['grpc']}", "--token-file", str(tmp_path / "token"))
    watch = ("watch", "--from", "earliest", "--until-caught-up", "--json", *flags)
    for number in (0, 1):
        ended = run(*watch, "--tenant", f"t{number}")
        assert (ended.returncode, ended.stderr) == (0, "")
        assert [json.loads(event)["event_id"] for event in ended.stdout.splitlines()] == [f"evt-{number}"]
    unnamed = one_line(run(*watch))
    assert "x-kora-tenant" in unnamed and "name one with --tenant" in unnamed
    for tenant in ("t2", "t3"):
        refused = one_line(run(*watch, "--tenant", tenant))
        assert "PERMISSION_MISSING" in refused and "name a tenant with --tenant" in refused
    lacking = one_line(run(*SCREEN, *flags, "--tenant", "t0"))
    assert "PERMISSION_MISSING" in lacking and "right `screen`" in lacking


def test_a_watcher_shows_the_token_that_the_file_holds_by_now(start_gateway: StartGateway, tmp_path: Path) -> None:
    (first, first_line), (second, second_line) = new_token(), new_token()
    file, config = tmp_path / "token", tmp_path / "gateway.toml"
    write(file, first)
    write(config, caller("watcher", first_line, "watch"))
    gateway = start_gateway("--config", str(config))
    flags = ("--gateway", f"http://{gateway.addresses['grpc']}", "--token-file", str(file), "--from", "earliest")
    watcher = Program("watch", *flags, env={"RUST_LOG": "trace"}, stderr=tmp_path / "watcher")
    try:
        deliver_in_order(gateway.addresses["webhook"], ["evt_0"])
        assert "event=evt_0" in watcher.next_line()

        write(file, f"{second}\n")
        write(config, caller("watcher", second_line, "watch"))
        wait_for(gateway, second, grpc.StatusCode.PERMISSION_DENIED)
        wait_for(gateway, first, grpc.StatusCode.UNAUTHENTICATED)
        deliver_in_order(gateway.addresses["webhook"], ["evt_1"])
        assert "event=evt_1" in watcher.next_line()
        [lost, found] = watcher.log().splitlines()
        assert "does not know the caller" in lost and "watching again" in found

        # Where the file says nothing new, nothing gets better by waiting.
        write(config, caller("watcher", first_line, "watch"))
        wait_for(gateway, second, grpc.StatusCode.UNAUTHENTICATED)
        deliver_in_order(gateway.addresses["webhook"], ["evt_2"])
        assert watcher.exit_code() == 1
        [_, _, last] = watcher.log().splitlines()
        assert last.startswith("error: UNAUTHENTICATED") and "--token-file" in last
        assert not [token for token in (first, second) if token in watcher.log() + gateway.program.log()]
    finally:
        watcher.kill()


def test_a_token_file_that_is_away_for_a_moment_ends_no_watcher(start_gateway: StartGateway, tmp_path: Path) -> None:
    token, line = new_token()
    file, config = tmp_path / "token", tmp_path / "gateway.toml"
    write(file, token)
    write(config, caller("watcher", line, "watch"))
    phoenix = Phoenix(start_gateway, f"file:{tmp_path / 'data'}", env={"GATEWAY_CONFIG": str(config)})
    flags = ("--gateway", f"http://{phoenix.addresses['grpc']}", "--token-file", str(file), "--from", "earliest")
    watcher = Program("watch", *flags, env={}, stderr=tmp_path / "watcher")
    try:
        deliver_in_order(phoenix.addresses["webhook"], ["evt_0"])
        assert "event=evt_0" in watcher.next_line()
        file.unlink()
        phoenix.kill()
        deadline = time.monotonic() + PATIENCE
        while "--token-file: the token cannot be read" not in watcher.log():
            assert time.monotonic() < deadline, watcher.log()
        phoenix.rise()
        deliver_in_order(phoenix.addresses["webhook"], ["evt_1"])
        write(file, token)
        assert "event=evt_1" in watcher.next_line()
        watcher.send(signal.SIGTERM)
        assert watcher.exit_code() == 0
    finally:
        watcher.kill()
