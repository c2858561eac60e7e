"""A log that was restored from a backup goes on, and never passes for the one that it was copied from."""

from __future__ import annotations

import http.client
import itertools
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from kora.compliance.v1.watch_events_pb2 import (
    GAP_POLICY_SKIP,
    GAP_REASON_FOREIGN,
    WatchEventsRequest,
    WatchEventsResponse,
)

import messages
from gateway import EMULATORS_TENANT, Gateway, StartGateway, http_call
from nats_server import NatsServer
from program import PATIENCE, run
from typed_errors import fails
from webhooks import Kora, Past, deliver_all, event_body, read_past

REQUEST_ID = "6f1d3c1e-6a56-4a55-9a3e-0c7f1b8f0a11"


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path / "nats")
    yield server
    server.kill()


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def back_up(gateway: Gateway, directory: Path) -> Path:
    """The copy of the one tenant's log."""
    done = run("store", "backup", str(directory), "--admin-addr", gateway.addresses["admin"])
    assert done.returncode == 0, done.stderr + done.stdout
    [copy] = directory.iterdir()
    return copy


def log_file(data: Path) -> Path:
    [log] = data.glob("*.events.db")
    return log


def restore(copy: Path, data: Path) -> None:
    """What the manual tells operators to do while the gateway is stopped."""
    log = log_file(data)
    shutil.copy(copy, log)
    for beside in ("-wal", "-shm"):
        Path(f"{log}{beside}").unlink(missing_ok=True)


def deliver(gateway: Gateway, kind: str, count: int) -> None:
    deliver_all(gateway.addresses["webhook"], [event_body(f"evt_{kind}_{number}") for number in range(count)])


def a_token_inside(past: Past) -> tuple[str, int]:
    """A token from the middle of a stream, and how many events came up to it."""
    with_events = [message for message in past.messages if message.events]
    before = with_events[: len(with_events) // 2]
    return before[-1].resume_token, sum(len(message.events) for message in before)


def expect_foreign(gateway: Gateway, token: str) -> None:
    def watch(request: WatchEventsRequest, **options: Any) -> list[WatchEventsResponse]:
        return list(gateway.stub.WatchEvents(request, **options))

    fails(watch, WatchEventsRequest(resume_token=token, until_caught_up=True), "TOKEN_FOREIGN", paid=False)


def test_a_restored_log_goes_on_and_knows_the_tokens_of_what_it_lost(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    gateway = start_gateway("--event-log", f"file:{data}")
    deliver(gateway, "kept", 900)
    kept = read_past(gateway.stub)
    copy = back_up(gateway, tmp_path / "backup")
    deliver(gateway, "lost", 100)
    lost_token = read_past(gateway.stub).token
    gateway.stop()
    restore(copy, data)

    gateway = start_gateway("--event-log", f"file:{data}")
    # Its place is after the newest event.
    expect_foreign(gateway, lost_token)
    deliver(gateway, "new", 200)
    # By now there is an event in its place, and it is another one.
    expect_foreign(gateway, lost_token)

    log = read_past(gateway.stub).ids
    assert log[:900] == kept.ids
    assert sorted(log[900:]) == sorted(f"evt_new_{number}" for number in range(200))
    skipped = read_past(gateway.stub, resume_token=lost_token, on_gap=GAP_POLICY_SKIP)
    assert skipped.signals() == ["opened", "gap", "caught_up"]
    gap = skipped.messages[1].gap
    assert (gap.from_token, gap.reason) == (lost_token, GAP_REASON_FOREIGN)
    assert skipped.ids == log
    inside, count = a_token_inside(kept)
    for token, sent in ((kept.token, 900), (inside, count)):
        resumed = read_past(gateway.stub, resume_token=token)
        assert resumed.signals() == ["opened", "caught_up"]
        assert resumed.ids == log[sent:]


def test_a_backup_of_a_busy_log_holds_what_was_acknowledged_before_it_began(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    gateway = start_gateway("--event-log", f"file:{data}")
    # Some steps of 1 MiB before the others begin.
    filling = "x" * 20_000
    deliver_all(gateway.addresses["webhook"], [event_body(f"evt_old_{n}", filling=filling) for n in range(400)])
    screened = gateway.stub.Screen(messages.screen(request_id=REQUEST_ID), timeout=PATIENCE)
    is_over = threading.Event()
    delivered: list[str] = []

    def keep_delivering(connection: int) -> None:
        kora = Kora(gateway.addresses["webhook"])
        for number in itertools.count():
            if is_over.is_set():
                break
            event_id = f"evt_{connection}_{number}"
            assert kora.deliver(event_body(event_id)).status == 200
            delivered.append(event_id)
        kora.close()

    with ThreadPoolExecutor(4) as pool:
        deliveries = [pool.submit(keep_delivering, connection) for connection in range(4)]
        try:
            wait_until(lambda: len(delivered) >= 40)
            acknowledged = set(delivered)
            copy = back_up(gateway, tmp_path / "backup")
            acknowledged_during = len(delivered) - len(acknowledged)
        finally:
            is_over.set()
        for delivery in deliveries:
            delivery.result()
    assert acknowledged_during > 0
    assert copy.name == log_file(data).name
    assert copy.stat().st_mode & 0o777 == 0o600
    log = read_past(gateway.stub).ids
    gateway.stop()
    restore(copy, data)
    gateway = start_gateway("--event-log", f"file:{data}")
    restored = read_past(gateway.stub).ids
    assert acknowledged <= set(restored)
    assert restored == log[: len(restored)]
    # The record answers; Kora is not asked.
    before = gateway.emulator.requests()
    assert gateway.stub.Screen(messages.screen(request_id=REQUEST_ID), timeout=PATIENCE) == screened
    assert gateway.emulator.requests() == before


def test_a_backup_replaces_nothing_and_says_why(start_gateway: StartGateway, tmp_path: Path) -> None:
    gateway = start_gateway("--event-log", f"file:{tmp_path / 'data'}")
    deliver(gateway, "kept", 10)
    copy = back_up(gateway, tmp_path / "backup")
    content = copy.read_bytes()
    again = run("store", "backup", str(copy.parent), "--admin-addr", gateway.addresses["admin"])
    assert again.returncode == 1
    assert "is there already, and is not replaced" in again.stdout
    assert copy.read_bytes() == content
    assert list(copy.parent.iterdir()) == [copy]
    # A web page can send this one; nothing is written for it.
    status, text = http_call(gateway.addresses["admin"], "POST", "/store/backup")
    assert (status, "is missing" in text) == (400, True)


def test_a_backup_that_is_interrupted_leaves_no_file(start_gateway: StartGateway, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    partial = backup / f"{EMULATORS_TENANT}.events.db.partial"
    # Each page takes 20 ms to write, so that the copy takes minutes.
    slow = ("-e", "trace=pwrite64", "-e", "inject=pwrite64:delay_enter=20000", "-P", str(partial))
    under = ("strace", "-D", "-f", "-qq", "-o", str(tmp_path / "trace"), *slow)
    gateway = start_gateway("--event-log", f"file:{tmp_path / 'data'}", under=under)
    filling = "x" * 900_000
    deliver_all(gateway.addresses["webhook"], [event_body(f"evt_{n}", filling=filling) for n in range(40)])
    order = http.client.HTTPConnection(gateway.addresses["admin"], timeout=PATIENCE)
    order.request("POST", "/store/backup", headers={"x-kora-gateway-backup-directory": str(backup)})
    answer = order.getresponse()
    assert answer.status == 200
    answer.close()
    order.close()
    wait_until(lambda: "was not backed up" in gateway.program.log())
    assert "it was cancelled" in gateway.program.log()
    assert list(backup.iterdir()) == []


def test_a_log_on_nats_is_backed_up_there(start_gateway: StartGateway, nats: NatsServer, tmp_path: Path) -> None:
    gateway = start_gateway("--event-log", nats.url)
    refused = run("store", "backup", str(tmp_path / "backup"), "--admin-addr", gateway.addresses["admin"])
    assert refused.returncode == 1
    assert "nats stream backup" in refused.stderr
    assert not (tmp_path / "backup").exists()
