"""Durable first: no webhook is answered, and no subscriber sees its event, before the disk has it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from kora.compliance.v1.watch_events_pb2 import START_POSITION_LATEST, WatchEventsRequest

import shim
from gateway import StartGateway
from syscalls import READS, SYNCS, WRITES, Call, calls, tracer, whole
from webhooks import deliver_all, event_body, new_events

EVENTS = 200
IDS = [f"evt_{number:05}" for number in range(EVENTS)]

# The write-ahead log: what is in it, and synced, survives.
LOG_FILE = ".events.db-wal"


@dataclass
class Seen:
    """The calls that concern the events, the first of each kind by event."""

    syncs: list[Call] = field(default_factory=list)
    written: dict[str, Call] = field(default_factory=dict)
    answered: dict[str, Call] = field(default_factory=dict)
    shown: dict[str, Call] = field(default_factory=dict)
    # The event that a connection waits for the answer to.
    _asked: dict[str, str] = field(default_factory=dict)

    def note(self, call: Call) -> None:
        is_socket = call.file.startswith("socket:")
        if call.file.endswith(LOG_FILE) and call.name in SYNCS and call.succeeded:
            self.syncs.append(call)
        elif call.file.endswith(LOG_FILE) and call.name in WRITES:
            self._note_ids(self.written, call)
        elif is_socket and call.name in READS and call.ids():
            [self._asked[call.file]] = call.ids()
        elif is_socket and call.name in WRITES and call.file in self._asked:
            assert "HTTP/1.1 200 OK" in call.text
            self.answered[self._asked.pop(call.file)] = call
        elif is_socket and call.name in WRITES:
            self._note_ids(self.shown, call)

    def _note_ids(self, first: dict[str, Call], call: Call) -> None:
        for event_id in call.ids():
            first.setdefault(event_id, call)

    def synced_after(self, written: Call) -> int | None:
        """Where the first sync ended that began after this write."""
        return next((sync.end for sync in self.syncs if sync.begin > written.end), None)

    def too_early(self, told: dict[str, Call]) -> list[str]:
        """The events that somebody was told of before they were durable."""
        early = []
        for event_id in IDS:
            durable = self.synced_after(self.written[event_id])
            if durable is None or durable > told[event_id].begin:
                early.append(event_id)
        return early


def watch_the_disk(start_gateway: StartGateway, folder: Path, env: dict[str, str]) -> Seen:
    """Lets a gateway take events that a subscriber follows live. Returns what it asked of the system."""
    trace = folder / "trace"
    gateway = start_gateway(env={"RUST_LOG": "info", **env}, under=tracer(trace))
    stream = gateway.stub.WatchEvents(WatchEventsRequest(position=START_POSITION_LATEST))
    assert next(stream).HasField("opened")
    deliver_all(gateway.addresses["webhook"], [event_body(event_id) for event_id in IDS])
    assert sorted(event.event_id for event in new_events(stream, EVENTS)) == IDS
    gateway.stop()

    seen = Seen()
    for call in calls(whole(trace, gateway.program.pid)):
        seen.note(call)
    for kind in (seen.written, seen.answered, seen.shown):
        assert sorted(kind) == IDS
    return seen


def test_nobody_is_told_of_an_event_before_it_is_durable(start_gateway: StartGateway, tmp_path: Path) -> None:
    seen = watch_the_disk(start_gateway, tmp_path, {})
    assert seen.too_early(seen.answered) == []
    assert seen.too_early(seen.shown) == []


def test_this_is_seen_to_be_broken_where_syncs_are_left_out(start_gateway: StartGateway, tmp_path: Path) -> None:
    seen = watch_the_disk(start_gateway, tmp_path, shim.build("no_sync", tmp_path))
    assert seen.syncs == []
    assert seen.too_early(seen.answered) == IDS
    assert seen.too_early(seen.shown) == IDS
