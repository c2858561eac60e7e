"""How much memory a process has, in bytes."""

from __future__ import annotations

import time
from pathlib import Path

from program import PATIENCE

# How long to wait before another look, in seconds.
PAUSE = 0.05


class ProcessMemory:
    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")

    def forget_peak(self) -> None:
        """From now on a new peak counts."""
        (self._folder / "clear_refs").write_text("5")

    def peak(self) -> int:
        return self._status("VmHWM")

    def now(self) -> int:
        return self._status("VmRSS")

    def settle_at(self, limit: int) -> int:
        """Waits until it has given back what is above the limit, for as long as a test waits. Returns what it has
        then."""
        deadline = time.monotonic() + PATIENCE
        while (found := self.now()) > limit and time.monotonic() < deadline:
            time.sleep(PAUSE)
        return found

    def _status(self, name: str) -> int:
        lines = (self._folder / "status").read_text().splitlines()
        [kib] = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
        return int(kib) << 10
