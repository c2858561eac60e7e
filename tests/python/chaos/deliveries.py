"""Kora's webhooks: delayed, duplicated, out of order, and retried until they are answered 200."""

from __future__ import annotations

import heapq
import http.client
import itertools
import json
import random
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from chaos.kora import Screening
from program import PATIENCE
from webhooks import offer

# How many webhooks are sent concurrently, and the pause before a retry.
CONNECTIONS = 4
AGAIN_AFTER = 0.3

# The maximum random delay of a webhook, in seconds.
DISORDER = 0.5


class Deliveries:
    """All webhooks of a run."""

    def __init__(self, address: str, seed: int) -> None:
        self._address = address
        self._chance = random.Random(seed)
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, str, bytes]] = []
        self._open = 0
        self._ended = False
        # The event ids that were answered 200, by tenant.
        self.delivered: defaultdict[str, set[str]] = defaultdict(set)
        # The number of attempts.
        self.sent = 0
        self._threads = ThreadPoolExecutor(CONNECTIONS)
        self._running = [self._threads.submit(self._run) for _ in range(CONNECTIONS)]

    def schedule(self, screening: Screening) -> None:
        """Schedules the webhooks of a screening for when it completes."""
        tenant = screening.ticket.tenant
        with self._changed:
            if screening.ticket.misleading:
                other = {**screening.body(screening.end), "subject_id": "subj_somebody-else"}
                other["decision"] = {"outcome": "APPROVE"}
                self._plan(screening.end, tenant, event(f"evt_{screening.screening_id}_other", "completed", other))
            ended = event(f"evt_{screening.screening_id}", "completed", screening.body(screening.end))
            started = event(f"evt_{screening.screening_id}_started", "started", screening.body(0.0))
            for body in (ended, started):
                for _ in range(self._chance.choice([1, 1, 2, 3])):
                    self._plan(screening.end + self._chance.uniform(0, DISORDER), tenant, body)
            self._changed.notify_all()

    def finish(self) -> None:
        """Waits until every webhook was answered 200, and closes."""
        with self._changed:
            done = self._changed.wait_for(lambda: not self._due and not self._open, 4 * PATIENCE)
            left = len(self._due)
        self.close()
        assert done, f"{left} webhooks were never answered 200"

    def close(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        for running in self._running:
            running.result(PATIENCE)
        self._threads.shutdown()

    def _plan(self, at: float, tenant: str, body: bytes) -> None:
        heapq.heappush(self._due, (at, next(self._numbers), tenant, body))

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._ended and (not self._due or self._due[0][0] > time.monotonic()):
                    pause = self._due[0][0] - time.monotonic() if self._due else None
                    self._changed.wait(pause)
                if self._ended:
                    return
                _, _, tenant, body = heapq.heappop(self._due)
                self._open += 1
            delivered = self._deliver(tenant, body)
            with self._changed:
                self._open -= 1
                self.sent += 1
                if delivered:
                    self.delivered[tenant].add(json.loads(body)["id"])
                else:
                    self._plan(time.monotonic() + AGAIN_AFTER, tenant, body)
                self._changed.notify_all()

    def _deliver(self, tenant: str, body: bytes) -> bool:
        try:
            status = offer(self._address, f"/webhooks/compliance/{tenant}", f"secret-of-{tenant}", body)
        except (OSError, http.client.HTTPException):
            return False
        # All of them are authentic and readable.
        assert status in (200, 503), status
        return status == 200


def event(event_id: str, what: str, data: dict[str, Any]) -> bytes:
    return json.dumps({"id": event_id, "event": f"screening.{what}", "data": data}).encode()
