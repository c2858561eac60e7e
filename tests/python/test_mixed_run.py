"""Everything at once on the embedded log: no acknowledged event is lost or doubled, and nobody waits long.

Set by the environment, for a longer run: `MIXED_RUN_SECONDS=3600 MIXED_RUN_RATE=300 MIXED_RUN_STREAMS=2000
MIXED_RUN_OLD=1000000`.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import shim
from flooder import flooding, raise_file_limit
from gateway import StartGateway
from junk_webhooks import junk_webhooks
from mixed_run.readers import Readers
from mixed_run.sender import SUBJECTS, Sender, body_of
from mixed_run.watch import Watch
from program import run
from restarts import Phoenix
from webhooks import deliver_all

SECONDS = float(os.environ.get("MIXED_RUN_SECONDS", "16"))
RATE = float(os.environ.get("MIXED_RUN_RATE", "100"))
STREAMS = int(os.environ.get("MIXED_RUN_STREAMS", "200"))

# How many events are in the log before, all of which are trimmed at once.
OLD = int(os.environ.get("MIXED_RUN_OLD", "4000"))

# What the log keeps from its second start on: the last minutes.
RETENTION_MIB = 64

# How long webhooks may be refused in a row while the disk has room, in seconds, and how late `/livez` may be. A short run
# shares its machine with others.
MAX_REFUSED = 5.0
MAX_LATE = 1.0 if SECONDS >= 600 else 5.0

# How much memory the gateway may have.
MAX_MEMORY = 768 << 20

# How long the disk is full, each time.
DISK_FULL_SECONDS = min(15.0, SECONDS / 8)


def wait(seconds: float) -> None:
    """Lets the load go on. Nothing is waited for: the time is what is tested."""
    threading.Event().wait(seconds)


class Place:
    """One gateway after the other, the disk that it has, and what is done to both."""

    def __init__(self, start: StartGateway, folder: Path) -> None:
        self._folder = folder
        self._full = folder / "full"
        disk = {name: str(folder / "never") for name in ("FAIL_SYNC", "FAIL_WRITE_BACK")}
        disk |= {"FAIL_WRITE": str(self._full), **shim.build("failing_disk", folder)}
        self.phoenix = Phoenix(start, f"file:{folder / 'data'}", {**disk, "RUST_LOG": "info"})
        self.watch = Watch(self.phoenix.addresses["admin"])
        self.watch.follow(self.phoenix.gateway.program.pid)
        # When it was full, and how many backups were made.
        self.full: list[tuple[float, float]] = []
        self.backups = 0

    def fill_disk(self) -> None:
        began = time.monotonic()
        self._full.touch()
        wait(DISK_FULL_SECONDS)
        self._full.unlink()
        self.full.append((began, time.monotonic()))

    def keep_less(self) -> None:
        """Starts it again with another retention."""
        self.phoenix.env["GATEWAY_RETENTION_SIZE"] = f"{RETENTION_MIB}MiB"
        self.phoenix.drain()
        self.watch.follow(self.phoenix.rise().program.pid)

    def back_up(self) -> None:
        folder = self._folder / f"backup-{self.backups}"
        done = run("store", "backup", str(folder), "--admin-addr", self.phoenix.addresses["admin"])
        assert done.returncode == 0, done.stderr
        [copy] = folder.glob("*.events.db")
        with closing(sqlite3.connect(copy)) as log:
            assert log.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert log.execute("SELECT count(*) FROM events").fetchone()[0] > 0
        copy.unlink()
        self.backups += 1

    def refused_too_long(self, refused: list[tuple[float, float]]) -> list[float]:
        """For how long webhooks were refused in a row while the disk had room."""
        spans = []
        for began, ended in refused:
            for _, has_room in (span for span in self.full if began <= span[1] and span[0] <= ended):
                began = max(began, has_room)
            spans.append(ended - began)
        return [span for span in spans if span > MAX_REFUSED]


def go_through(place: Place) -> None:
    part = SECONDS / 8
    wait(part)
    place.back_up()
    place.fill_disk()
    wait(part)
    place.keep_less()
    wait(part)
    place.back_up()
    with flooding(junk_webhooks(), place.phoenix.addresses["webhook"]) as flood:
        wait(part)
        place.back_up()
        place.fill_disk()
        wait(part)
        assert flood.stop().count > 0
    wait(part)


def test_whatever_happens_at_once_no_acknowledged_event_is_lost(start_gateway: StartGateway, tmp_path: Path) -> None:
    raise_file_limit()
    place = Place(start_gateway, tmp_path)
    webhooks = place.phoenix.addresses["webhook"]
    deliver_all(webhooks, [body_of(number, 500) for number in range(1, OLD + 1)])
    first = (OLD // SUBJECTS + 2) * SUBJECTS
    readers = sender = None
    try:
        readers = Readers(place.phoenix.addresses["grpc"], STREAMS)
        sender = Sender(webhooks, RATE, first)
        go_through(place)
        delivered = sender.stop()
        last_round = max(delivered.acknowledged) // SUBJECTS * SUBJECTS + SUBJECTS
        deliver_all(webhooks, [body_of(last_round + subject, 500) for subject in range(SUBJECTS)])
        read = readers.stop(last_round)
    finally:
        place.watch.stop()
        for process in (readers, sender):
            if process:
                process.kill()
    answers = {"answers": dict(delivered.answers), "streams": dict(read.ends), "events": read.events}
    seen = {"late": round(place.watch.latest, 3), "MiB": place.watch.largest >> 20, "backups": place.backups}
    print(f"{answers}; {seen}; refused: {[round(end - start, 1) for start, end in delivered.refused]}")
    assert delivered.left == 0
    assert len(read.log) == len(set(read.log)), "an event is there twice"
    assert delivered.acknowledged <= set(read.log), "an acknowledged event is not there"
    assert read.faults == []
    assert place.refused_too_long(delivered.refused) == []
    assert place.watch.latest < MAX_LATE
    assert place.watch.largest < MAX_MEMORY
