"""A stderr or stdout that nobody reads holds nothing up: no call, no webhook, no probe, and no stop."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from kora.compliance.v1.compliance_service_pb2_grpc import ComplianceServiceStub

import messages
from gateway import Emulator, connect, http_call
from program import PATIENCE, binary, run
from restarts import ports_to_keep
from test_callers import caller, new_token, write
from webhooks import event_body, offer

PORTS = ("grpc", "webhook", "admin", "emulator")
ANY_PORTS = tuple(text for name in PORTS for text in (f"--{name}-addr", "127.0.0.1:0"))

DRAIN = 5

# Far more than a pipe and its reader's buffers hold of the lines that they cause.
STRANGERS = 500

F_GETPIPE_SZ = 1032


class FullPipe:
    """A pipe that is full, and that nobody reads."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        room = fcntl.fcntl(self.writer, F_GETPIPE_SZ)
        self.filling = b"." * room
        assert os.write(self.writer, self.filling) == room

    def read_until(self, text: bytes) -> bytes:
        """Reads on until this has come."""
        read, deadline = b"", time.monotonic() + PATIENCE
        while text not in read:
            remaining = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self._reader], [], [], remaining)
            assert ready, f"{text!r} has not come; the last of what has: {read[-500:]!r}"
            read += os.read(self._reader, 1 << 16)
        return read

    def close(self) -> None:
        os.close(self._reader)
        os.close(self.writer)


@pytest.fixture
def pipe() -> Iterator[FullPipe]:
    made = FullPipe()
    yield made
    made.close()


class Blocked:
    """A gateway with such a pipe in the place of stdout or stderr, on ports that are known without a word of it."""

    def __init__(self, folder: Path, blocked: str, pipe: FullPipe, *flags: str) -> None:
        ports = ports_to_keep(len(PORTS))
        self.addresses = {name: f"127.0.0.1:{port}" for name, port in zip(PORTS, ports, strict=True)}
        where = [text for name, address in self.addresses.items() for text in (f"--{name}-addr", address)]
        end = ("--event-log", f"file:{folder / 'log'}", "--drain-timeout", f"{DRAIN}s")
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, blocked: pipe.writer}
        self.process = subprocess.Popen(
            [binary(), "serve", "--emulator", *where, *end, *flags],
            env={"KORA_WEBHOOK_SECRET": SECRET},
            stdin=subprocess.DEVNULL,
            **streams,
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            assert self.process.poll() is None and time.monotonic() < deadline
            try:
                if http_call(self.addresses["admin"], "GET", "/readyz")[0] == 200:
                    return
            except OSError:
                time.sleep(0.02)

    def deliver(self, secret: str) -> int:
        """A webhook that is signed with this."""
        return offer(self.addresses["webhook"], "/webhooks/compliance", secret, event_body("evt_1"))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)

    def ends_within(self, seconds: float) -> int:
        return self.process.wait(seconds)


SECRET = "a-secret-of-the-test"


@pytest.fixture(params=["stderr", "stdout"])
def blocked(request: pytest.FixtureRequest, pipe: FullPipe, tmp_path: Path) -> Iterator[Blocked]:
    made = Blocked(tmp_path, request.param, pipe)
    yield made
    made.kill()


def test_everything_goes_on_while_nobody_reads_what_the_gateway_writes(blocked: Blocked) -> None:
    for _ in range(STRANGERS):
        assert blocked.deliver("not-the-secret") == 401
    assert blocked.deliver(SECRET) == 200
    assert http_call(blocked.addresses["admin"], "GET", "/livez")[0] == 200
    channel = connect(blocked.addresses["grpc"])
    ComplianceServiceStub(channel).Screen(messages.screen(), timeout=PATIENCE)
    channel.close()
    blocked.process.send_signal(signal.SIGTERM)
    assert blocked.ends_within(DRAIN) == 0


def test_a_second_signal_ends_it_at_once_all_the_same(blocked: Blocked) -> None:
    emulator = Emulator(blocked.addresses["emulator"])
    emulator.next({"kind": "hang"})
    channel = connect(blocked.addresses["grpc"])
    waits = ComplianceServiceStub(channel).Screen.future(messages.screen(), timeout=PATIENCE)
    emulator.wait_for_requests(1)
    assert not waits.done()
    blocked.process.send_signal(signal.SIGTERM)
    while http_call(blocked.addresses["admin"], "GET", "/readyz")[0] == 200:
        assert blocked.process.poll() is None
    blocked.process.send_signal(signal.SIGTERM)
    assert blocked.ends_within(2) == 1
    channel.close()


def test_strangers_fill_no_log(tmp_path: Path, pipe: FullPipe) -> None:
    token, line = new_token()
    assert token
    file = tmp_path / "gateway.toml"
    write(file, caller("a", line))
    gateway = Blocked(tmp_path, "stderr", pipe, "--config", str(file))
    try:
        channel = connect(gateway.addresses["grpc"])
        stub = ComplianceServiceStub(channel)
        for _ in range(100):
            assert gateway.deliver("not-the-secret") == 401
            with pytest.raises(grpc.RpcError) as failed:
                stub.Screen(messages.screen(), timeout=PATIENCE)
            assert failed.value.code() == grpc.StatusCode.UNAUTHENTICATED
        channel.close()
        gateway.process.send_signal(signal.SIGTERM)
        log = pipe.read_until(b"received: draining")[len(pipe.filling) :].decode()
        for kind in ("a webhook is not signed by Kora", "call failed"):
            assert 0 < sum(kind in line for line in log.splitlines()) <= 60, log
        assert gateway.ends_within(DRAIN) == 0
    finally:
        gateway.kill()


def test_a_complaint_at_the_end_is_written_whole(tmp_path: Path) -> None:
    """What is said last is not lost with the process."""
    taken = tmp_path / "log"
    taken.write_text("")
    ended = run("serve", "--emulator", "--event-log", f"file:{taken}", *ANY_PORTS)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("error: "), ended.stderr
    assert ended.stdout.count("listening ") == 4

