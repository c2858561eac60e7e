"""What a start leaves on disk before anybody is served: what a killed gateway did not sync, and the files' names."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from gateway import StartGateway
from syscalls import SYNCS, WRITES, calls, tracer, whole
from webhooks import deliver_all, event_body, read_past

# The file that was written last, and may never have been synced.
LOG_FILE = ".events.db-wal"


def test_what_is_found_is_written_again_and_synced_before_anybody_is_served(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    data, trace = tmp_path / "data", tmp_path / "trace"
    log = ("--event-log", f"file:{data}")
    killed = start_gateway(*log)
    deliver_all(killed.addresses["webhook"], [event_body(f"evt_{number:05}") for number in range(50)])
    killed.program.send(signal.SIGKILL)
    killed.program.exit_code()
    [left] = data.glob(f"*{LOG_FILE}")
    size = left.stat().st_size
    assert size > 0

    gateway = start_gateway(*log, env={"RUST_LOG": "info"}, under=tracer(trace))
    assert len(read_past(gateway.stub).ids) == 50
    gateway.stop()
    seen = calls(whole(trace, gateway.program.pid))
    ready = next(call.begin for call in seen if call.name in WRITES and '"ready' in call.text)
    on_log = [call for call in seen if call.file.endswith(LOG_FILE) and call.end < ready]
    written: set[int] = set()
    for call in on_log:
        if call.name == "pwrite64" and (found := re.search(r", (\d+), (\d+)\) += (\d+)$", call.text)):
            _, offset, done = (int(number) for number in found.groups())
            written.update(range(offset, offset + done))
    last_write = max(call.end for call in on_log if call.name == "pwrite64")
    assert written >= set(range(size)), f"{len(written)} of {size} bytes were written again"
    assert any(call.name in SYNCS and call.succeeded and call.begin > last_write for call in on_log)


def test_the_names_of_new_files_are_durable_before_anybody_is_served(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    data, trace = tmp_path / "new" / "data", tmp_path / "trace"
    data.parent.mkdir()
    gateway = start_gateway("--event-log", f"file:{data}", env={"RUST_LOG": "info"}, under=tracer(trace))
    gateway.stop()
    seen = calls(whole(trace, gateway.program.pid))
    ready = next(call.begin for call in seen if call.name in WRITES and '"ready' in call.text)
    created = next(call.end for call in seen if call.name == "openat" and "O_CREAT" in call.text and ".events.db" in call.text)
    synced = [call for call in seen if call.name in SYNCS and call.succeeded and call.end < ready]
    assert any(call.file == str(data.parent) for call in synced)
    assert any(call.file == str(data) and call.begin > created for call in synced)
