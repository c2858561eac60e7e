"""Shifts the clocks that the gateway reads: a wrong wall clock, and suspends."""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path

from shim import build

# Milliseconds: the error of the wall clock, and the total of all suspends.
OFFSETS = struct.Struct("qq")
OFFSET = struct.Struct("q")

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
YEAR = 365 * DAY


class ShiftedClock:
    """A clock for all processes that are started with `env`. Changes take effect at once."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        file = folder / "clock-offsets"
        file.write_bytes(OFFSETS.pack(0, 0))
        with file.open("r+b") as opened:
            self._offsets = mmap.mmap(opened.fileno(), OFFSETS.size)
        self.env = {**build("shifted_clock", folder), "CLOCK_OFFSETS": str(file)}

    def step(self, wall_ms: int) -> None:
        """Steps the wall clock forward, or back if negative."""
        self._add(0, wall_ms)

    def suspend(self, ms: int) -> None:
        """Suspends the machine: wall clock and CLOCK_BOOTTIME advance, CLOCK_MONOTONIC and timers do not."""
        self._add(OFFSET.size, ms)

    def correct(self) -> None:
        """Undoes all steps. Suspends stay."""
        OFFSET.pack_into(self._offsets, 0, 0)

    def wall(self) -> float:
        """The wall clock, in seconds since the epoch."""
        return time.time() + sum(OFFSETS.unpack(self._offsets)) / SECOND

    def right(self) -> float:
        """The wall clock without its steps, in seconds since the epoch."""
        return time.time() + OFFSETS.unpack(self._offsets)[1] / SECOND

    def _add(self, at: int, ms: int) -> None:
        # One aligned 8-byte store, so that no reader sees half of it.
        OFFSET.pack_into(self._offsets, at, OFFSET.unpack_from(self._offsets, at)[0] + ms)
