"""The same thing done a hundred times a second, while something else changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

# A hundred a second.
PAUSE = 0.01

# How many may be under way at a time.
AT_A_TIME = 16


class SteadyLoad:
    """What was done so far."""

    def __init__(self, once: Callable[[], None]) -> None:
        self._once = once
        self._all: list[Future[None]] = []
        self._stopped = threading.Event()

    @property
    def count(self) -> int:
        return len(self._all)

    def run(self) -> None:
        """Goes on until it is stopped. A turn that comes late is made up for."""
        turn = time.monotonic()
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            while not self._stopped.wait(max(0.0, turn - time.monotonic())):
                self._all.append(pool.submit(self._once))
                turn += PAUSE

    def stop(self) -> None:
        self._stopped.set()

    def failures(self) -> list[str]:
        """What went wrong, each once."""
        return sorted({repr(error) for done in self._all if (error := done.exception())})


@contextmanager
def steady_load(*actions: Callable[[], None]) -> Iterator[list[SteadyLoad]]:
    """Does each of these all the time, and at the end wants each to have gone well every time."""
    loads = [SteadyLoad(once) for once in actions]
    threads = [threading.Thread(target=load.run) for load in loads]
    for thread in threads:
        thread.start()
    try:
        yield loads
    finally:
        for load in loads:
            load.stop()
        for thread in threads:
            thread.join()
    assert [load.failures() for load in loads] == [[] for _ in loads]
