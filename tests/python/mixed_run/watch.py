"""What an orchestrator and a platform team see of one gateway: how late `/livez` is, and how much memory it has."""

from __future__ import annotations

import threading
import time

from gateway import http_call
from process_memory import ProcessMemory

# How often it is looked at, in seconds.
EVERY = 0.1


class Watch:
    """Looks at a gateway until it is told to stop. It may be another process at the same address at any time."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._stopped = threading.Event()
        self._memory: ProcessMemory | None = None
        self.latest = 0.0
        self.largest = 0
        self.away = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def follow(self, pid: int) -> None:
        self._memory = ProcessMemory(pid)

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        turn = time.monotonic()
        while not self._stopped.wait(max(0.0, turn - time.monotonic())):
            # How late this thread itself is says how busy the machine is.
            own_lateness = time.monotonic() - turn
            began = time.monotonic()
            try:
                http_call(self._address, "GET", "/livez")
                took = time.monotonic() - began
                self.latest = max(self.latest, took - own_lateness)
                if self._memory:
                    self.largest = max(self.largest, self._memory.now())
            except (OSError, ValueError):
                self.away += 1
            turn = max(turn + EVERY, time.monotonic())
