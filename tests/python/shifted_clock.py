"""The clock of a machine that was set wrong or suspended, as the gateway reads it."""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path

from shim import build

# Milliseconds by which the wall clock was set wrong, and for which the machine was suspended.
OFFSETS = struct.Struct("qq")
OFFSET = struct.Struct("q")

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
YEAR = 365 * DAY


class ShiftedClock:
    """One machine's clock. Every process that is started with `env` reads it, at once after each change."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        file = folder / "clock-offsets"
        file.write_bytes(OFFSETS.pack(0, 0))
        with file.open("r+b") as opened:
            self._offsets = mmap.mmap(opened.fileno(), OFFSETS.size)
        self.env = {**build("shifted_clock", folder), "CLOCK_OFFSETS": str(file)}

    def step(self, wall_ms: int) -> None:
        """Sets the wall clock ahead of what it is, or back."""
        self._add(0, wall_ms)

    def suspend(self, ms: int) -> None:
        """Lets the machine sleep: wall clock and boot time go on, the timers of its processes do not."""
        self._add(OFFSET.size, ms)

    def correct(self) -> None:
        """Takes every step back. What was slept stays slept."""
        OFFSET.pack_into(self._offsets, 0, 0)

    def wall(self) -> float:
        """What the wall clock shows, in seconds since the epoch."""
        return time.time() + sum(OFFSETS.unpack(self._offsets)) / SECOND

    def right(self) -> float:
        """What the wall clock would show had it never been set wrong, in seconds since the epoch."""
        return time.time() + OFFSETS.unpack(self._offsets)[1] / SECOND

    def _add(self, at: int, ms: int) -> None:
        # One aligned store each, which nobody reads halfway.
        OFFSET.pack_into(self._offsets, at, OFFSET.unpack_from(self._offsets, at)[0] + ms)
