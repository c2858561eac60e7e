"""A gateway that starts on a full disk says so, serves what it can, and heals."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from gateway import EMULATORS_TENANT, FREE_PORT, StartGateway, http_call
from program import PATIENCE, Program
from restarts import ports_to_keep
from test_failing_disk import ACKNOWLEDGED, Disk
from webhooks import deliver_in_order


def test_it_is_not_ready_until_there_is_room(start_gateway: StartGateway, tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    killed = disk.start(start_gateway)
    deliver_in_order(killed.addresses["webhook"], ACKNOWLEDGED)
    # It leaves a write-ahead log that its successor would write back.
    killed.program.send(signal.SIGKILL)
    killed.program.exit_code()

    disk.has_no_room_to_write_back.touch()
    [port] = ports_to_keep(1)
    admin = f"127.0.0.1:{port}"
    free = [word for name in ("grpc", "webhook", "emulator") for word in (f"--{name}-addr", FREE_PORT)]
    flags = ["--emulator", *free, "--admin-addr", admin, "--event-log", disk.log]
    program = Program("serve", *flags, env=disk.env, stderr=tmp_path / "stderr")
    try:
        program.lines_until(f"listening admin {admin}")
        for _ in range(20):
            assert http_call(admin, "GET", "/readyz") == (503, "not ready\n")
            assert http_call(admin, "GET", "/livez")[0] == 200
        # The log's figures are there once it is open.
        deadline = time.monotonic() + PATIENCE
        unwritable = f'kora_gateway_store_writable{{tenant="{EMULATORS_TENANT}"}} 0'
        while unwritable not in http_call(admin, "GET", "/metrics")[1]:
            assert time.monotonic() < deadline
        disk.has_no_room_to_write_back.unlink()
        program.lines_until("ready")
        assert http_call(admin, "GET", "/readyz") == (200, "ready\n")
        program.send(signal.SIGTERM)
        assert program.exit_code() == 0
    finally:
        program.kill()
