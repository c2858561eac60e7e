"""A log that was restored from a backup goes on, and never passes for the one that it was copied from."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kora.compliance.v1.watch_events_pb2 import (
    GAP_POLICY_SKIP,
    GAP_REASON_FOREIGN,
    WatchEventsRequest,
    WatchEventsResponse,
)

from gateway import Gateway, StartGateway
from program import PATIENCE
from typed_errors import fails
from webhooks import Past, deliver_all, event_body, read_past


def by_command_line(log: Path, copy: Path) -> None:
    subprocess.run(["sqlite3", log, f"VACUUM INTO '{copy}'"], check=True, timeout=PATIENCE)


def by_api(log: Path, copy: Path) -> None:
    source, target = sqlite3.connect(f"file:{log}?mode=ro", uri=True), sqlite3.connect(copy)
    with target:
        source.backup(target)
    source.close()
    target.close()


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


@pytest.mark.parametrize("back_up", [by_command_line, by_api])
def test_a_restored_log_goes_on_and_knows_the_tokens_of_what_it_lost(
    start_gateway: StartGateway, tmp_path: Path, back_up: Callable[[Path, Path], None]
) -> None:
    data, copy = tmp_path / "data", tmp_path / "backup.db"
    gateway = start_gateway("--event-log", f"file:{data}")
    deliver(gateway, "kept", 900)
    kept = read_past(gateway.stub)
    back_up(log_file(data), copy)
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


@pytest.mark.parametrize("back_up", [by_command_line, by_api])
def test_a_backup_of_a_busy_log_is_a_log(
    start_gateway: StartGateway, tmp_path: Path, back_up: Callable[[Path, Path], None]
) -> None:
    data, copy = tmp_path / "data", tmp_path / "backup.db"
    gateway = start_gateway("--event-log", f"file:{data}")
    bodies = [event_body(f"evt_{number}") for number in range(1000)]
    at_half = iter([lambda: back_up(log_file(data), copy)])
    delivered: list[None] = []

    def note() -> None:
        delivered.append(None)
        if len(delivered) >= len(bodies) // 2:
            # One connection makes the backup while the others go on.
            next(at_half, lambda: None)()

    deliver_all(gateway.addresses["webhook"], bodies, note)
    log = read_past(gateway.stub).ids
    gateway.stop()
    restore(copy, data)
    gateway = start_gateway("--event-log", f"file:{data}")
    restored = read_past(gateway.stub).ids
    assert len(bodies) // 2 <= len(restored) <= len(log)
    assert restored == log[: len(restored)]
