"""What is set wrongly on NATS is named as that, and ends the start after a while; a server that is down does not matter
where there are others."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

import messages
from gateway import StartGateway, http_call
from nats_server import ROOM, NatsServer
from program import PATIENCE, Program, binary, run
from restarts import ports_to_keep
from test_blocked_output import ANY_PORTS
from test_command_line import BAD_CONFIGURATION, GIVEN

# How long a start waits for somebody to correct a mistake, and how much longer it may take to end.
WAITS, MARGIN = 30, 15


def account(settings: str) -> str:
    """A server's settings with one account, which everybody who comes is in."""
    return f"{ROOM}\naccounts {{ A {{ {settings} }} }}\nno_auth_user: a"


USER = "users: [{user: a, password: b}]"
MAY_NOT_CREATE = "users: [{user: a, password: b, permissions: {publish: {deny: ['$JS.API.STREAM.CREATE.>']}}}]"


@dataclass
class Mistake:
    """Settings of a server, flags of the gateway, and what the gateway says."""

    settings: str
    says: tuple[str, ...]
    flags: tuple[str, ...] = ()


MISTAKES = {
    "no room": Mistake("jetstream { max_file: 1MB }", ("insufficient storage", "--retention-size")),
    "no room in the account": Mistake(
        account(f"jetstream: {{max_file: 1MB, max_streams: 9}}, {USER}"), ("insufficient storage", "--retention-size")
    ),
    "too few streams": Mistake(
        account(f"jetstream: {{max_file: 40GB, max_streams: 2}}, {USER}"), ("number of streams", "max_streams")
    ),
    "no JetStream": Mistake("max_payload: 1MB", ("JetStream switched off",)),
    "messages too small": Mistake(f"max_payload: 64KB\n{ROOM}", ("max_payload", "262144")),
    "no JetStream in the account": Mistake(account(USER), ("not enabled for account", "--nats-credentials-file")),
    "no right": Mistake(
        account(f"jetstream: enabled, {MAY_NOT_CREATE}"), ("STREAM.CREATE", "--nats-credentials-file")
    ),
    "not let in": Mistake(f"{ROOM}\nauthorization {{ token: x }}", ("authorization", "--nats-credentials-file")),
    "too many replicas": Mistake(ROOM, ("replicas", "--nats-replicas"), ("--nats-replicas", "3")),
}


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[dict[str, NatsServer]]:
    with ExitStack() as ends:
        started = {}
        for number, (name, mistake) in enumerate(MISTAKES.items()):
            started[name] = NatsServer(tmp_path / str(number), mistake.settings)
            ends.callback(started[name].kill)
        yield started


def test_a_mistake_is_named_while_it_is_waited_for_and_ends_the_start(servers: dict[str, NatsServer]) -> None:
    """All at once, for the wait is long."""
    waiting = {}
    began = time.monotonic()
    with ExitStack() as ends:
        for name, mistake in MISTAKES.items():
            [port] = ports_to_keep(1)
            flags = (*ANY_PORTS, "--admin-addr", f"127.0.0.1:{port}", "--event-log", servers[name].url, *mistake.flags)
            process = subprocess.Popen(
                [binary(), "serve", *without_twins(flags)],
                env=GIVEN,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            ends.enter_context(process)
            ends.callback(process.kill)
            waiting[name] = process, f"127.0.0.1:{port}"
        for name, (_, admin) in waiting.items():
            wait_until_said(admin, MISTAKES[name].says)
        for name, (process, _) in waiting.items():
            _, log = process.communicate(timeout=WAITS + MARGIN)
            assert process.returncode == BAD_CONFIGURATION, (name, log)
            [complaint] = [line for line in log.splitlines() if line.startswith("error: ")]
            assert all(part in complaint for part in MISTAKES[name].says), (name, complaint)
            assert time.monotonic() - began > WAITS - 1, name


def without_twins(flags: tuple[str, ...]) -> list[str]:
    """The last of each flag."""
    pairs = dict(zip(flags[::2], flags[1::2], strict=True))
    pairs.pop("--emulator-addr")
    return [text for pair in pairs.items() for text in pair]


def wait_until_said(admin: str, parts: tuple[str, ...]) -> None:
    """Waits until `/readyz` says these."""
    deadline = time.monotonic() + PATIENCE
    text = ""
    while not all(part in text for part in parts):
        assert time.monotonic() < deadline, (parts, text)
        try:
            status, text = http_call(admin, "GET", "/readyz")
        except OSError:
            continue
        assert status == 503
        time.sleep(0.05)
    assert text.startswith("not ready: waiting for NATS: ")


def test_a_mistake_that_is_corrected_in_time_is_forgotten(tmp_path: Path) -> None:
    first = NatsServer(tmp_path / "nats", "jetstream { max_file: 1MB }")
    port = first.port
    [admin] = ports_to_keep(1)
    flags = without_twins((*ANY_PORTS, "--admin-addr", f"127.0.0.1:{admin}", "--event-log", first.url))
    gateway = Program("serve", *flags, env=GIVEN, stderr=tmp_path / "stderr")
    try:
        wait_until_said(f"127.0.0.1:{admin}", ("insufficient storage",))
        first.kill()
        wait_until_said(f"127.0.0.1:{admin}", ("cannot be reached",))
        second = NatsServer(tmp_path / "roomy", port=port)
        try:
            gateway.lines_until("ready")
            assert http_call(f"127.0.0.1:{admin}", "GET", "/readyz") == (200, "ready\n")
        finally:
            gateway.kill()
            second.kill()
    finally:
        gateway.kill()
        first.kill()


def test_one_of_several_servers_is_enough(start_gateway: StartGateway, tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats")
    try:
        for down in (f"nats://127.0.0.1:{port}" for port in ports_to_keep(2)):
            for servers in ((down, server.url), (server.url, down)):
                gateway = start_gateway("--event-log", ",".join(servers), env={"RUST_LOG": "info"})
                gateway.stub.Screen(messages.screen(), timeout=PATIENCE)
                gateway.stop()
    finally:
        server.kill()


@pytest.mark.parametrize(
    "servers",
    [
        "nats://a:4222,",
        "nats://a:4222,tls://b:4222",
        "nats://a:4222,nats://user:secret@b:4222",
        "nats://a:4222, nats://b:4222",
        "nats://a:4222,file:./x",
    ],
)
def test_each_of_several_servers_is_checked(servers: str) -> None:
    ended = run("check-config", "--event-log", servers, env=GIVEN)
    assert ended.returncode == BAD_CONFIGURATION
    assert "event-log" in ended.stderr and "secret" not in ended.stderr
