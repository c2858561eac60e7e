"""A disk that fills up while webhooks keep coming: the log goes on from its reserve, and heals without a pause in them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import Gateway, StartGateway
from program import PATIENCE
from test_failing_disk import wait_until_ready
from webhooks import Kora, event_body, read_past

# The disk, and what the gateway sets aside of it.
DISK_MIB = 64
RESERVE_BYTES = 16 << 20

# How long webhooks may be refused while there is something to write to.
REFUSED_SECONDS = 5.0

# Between two webhooks: more than one a second.
PAUSE = 0.1


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "none", folder], check=False)
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


class Deliveries:
    """Webhooks that never stop coming, and what was answered."""

    def __init__(self, gateway: Gateway) -> None:
        self._kora = Kora(gateway.addresses["webhook"])
        self._count = 0
        self.acknowledged: list[str] = []
        self.refused: list[str] = []

    def one(self, size: int) -> bool:
        """Delivers the next event. Returns whether it was acknowledged."""
        event_id = f"evt_{self._count}"
        self._count += 1
        status = self._kora.deliver(event_body(event_id, note="n" * size)).status
        assert status in (200, 503)
        (self.acknowledged if status == 200 else self.refused).append(event_id)
        return status == 200

    def close(self) -> None:
        self._kora.close()

    def until_refused(self, size: int) -> None:
        deadline = time.monotonic() + 4 * PATIENCE
        while self.one(size):
            assert time.monotonic() < deadline, "the disk never was full"

    def until_acknowledged(self, size: int) -> None:
        """Delivers until one succeeds again, which must not take long."""
        deadline = time.monotonic() + REFUSED_SECONDS
        while not self.one(size):
            assert time.monotonic() < deadline, f"refused for too long, {len(self.refused)} in all"
            time.sleep(PAUSE)


def fill(file: Path) -> None:
    """Somebody else takes all that is left of the disk."""
    chunk = 1 << 20
    with file.open("wb", buffering=0) as filler:
        while chunk:
            try:
                filler.write(b"x" * chunk)
            except OSError:
                chunk //= 2


def wait_for_reserve(disk: Path) -> None:
    reserve = disk / "data" / "reserve"
    deadline = time.monotonic() + 2 * PATIENCE
    while not (reserve.exists() and reserve.stat().st_blocks * 512 >= RESERVE_BYTES):
        assert time.monotonic() < deadline, "no reserve"
        time.sleep(PAUSE)


def test_webhooks_that_keep_coming_do_not_keep_a_full_disk_full(
    start_gateway: StartGateway, tmp_path: Path, disk: Path
) -> None:
    gateway = start_gateway("--event-log", f"file:{disk / 'data'}", "--retention-age", "1h")
    wait_for_reserve(disk)
    deliveries = Deliveries(gateway)
    assert deliveries.one(10)
    filler = disk / "filler"
    fill(filler)

    # The disk is full. It stays so, and the log has its reserve.
    deliveries.until_refused(10_000)
    deliveries.until_acknowledged(10_000)
    wait_until_ready(gateway)
    assert not (disk / "data" / "reserve").exists()
    for _ in range(20):
        assert deliveries.one(10_000)

    # That comes to an end as well.
    deliveries.until_refused(200_000)
    for _ in range(30):
        deliveries.one(200_000)
        time.sleep(PAUSE)
    filler.unlink()
    deliveries.until_acknowledged(200_000)
    wait_until_ready(gateway)
    # There is room: the reserve is taken again, without a pause in the deliveries.
    deadline = time.monotonic() + 2 * PATIENCE
    while not (disk / "data" / "reserve").exists():
        assert time.monotonic() < deadline, "the reserve is gone for good"
        assert deliveries.one(10)
        time.sleep(PAUSE)
    wait_for_reserve(disk)

    deliveries.close()
    found = read_past(gateway.stub).ids
    assert found == deliveries.acknowledged
