"""Kora: webhooks at a steady rate, each sent again until it is answered 200."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import queue
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from program import PATIENCE
from webhooks import Kora

# How many webhooks are sent at a time, and how long one rests before it is sent again, in seconds.
CONNECTIONS = 16
RETRY_AFTER = 0.25

# A subject of its own has each five-hundredth event.
SUBJECTS = 500

# How often the largest webhook is sent, in seconds.
LARGEST_EVERY = 60.0
LARGEST_BYTES = 4 << 20

SPAWNED = multiprocessing.get_context("spawn")


@dataclass
class Delivered:
    """What Kora knows at the end."""

    # The numbers of the events that were answered 200.
    acknowledged: set[int] = field(default_factory=set)
    # When answers other than 200 began and ended, as long as no other came in between.
    refused: list[tuple[float, float]] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    # Sent, and never answered 200.
    left: int = 0


def subject_of(number: int) -> str:
    return f"subj_{number % SUBJECTS}"


def body_of(number: int, size: int) -> bytes:
    """A webhook of about this size, most of which is text that nobody reads."""
    screening = {
        "screening_id": f"scr_{number}",
        "subject_id": subject_of(number),
        "decision": {"outcome": "APPROVE"},
        "note": "x" * max(0, size - 200),
    }
    return json.dumps({"id": f"evt_{number}", "event": "screening.completed", "data": screening}).encode()


class Sender:
    """The process that Kora is."""

    def __init__(self, address: str, rate: float, first: int) -> None:
        self._stop = SPAWNED.Event()
        self._results, sending = SPAWNED.Pipe(duplex=False)
        self._process = SPAWNED.Process(target=_run, args=(address, rate, first, self._stop, sending))
        self._process.start()
        sending.close()

    def stop(self) -> Delivered:
        """Sends nothing new, and waits for what is under way."""
        self._stop.set()
        try:
            assert self._results.poll(8 * PATIENCE), "Kora does not end"
            delivered: Delivered = self._results.recv()
            return delivered
        finally:
            self.kill()

    def kill(self) -> None:
        self._process.join(1)
        self._process.kill()
        self._process.join()


class _Deliveries:
    def __init__(self, address: str) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._refused_since: float | None = None
        self.waiting: queue.Queue[tuple[int, int] | None] = queue.Queue()
        self.delivered = Delivered()

    def run(self, deadline: list[float]) -> None:
        kora = Kora(self._address)
        while (next_one := self.waiting.get()) is not None:
            number, size = next_one
            body = body_of(number, size)
            while not self._is_taken(kora, number, body):
                if deadline and time.monotonic() > deadline[0]:
                    with self._lock:
                        self.delivered.left += 1
                    break
                time.sleep(RETRY_AFTER)
        kora.close()

    def _is_taken(self, kora: Kora, number: int, body: bytes) -> bool:
        try:
            answer = str(kora.deliver(body).status)
        except (OSError, http.client.HTTPException) as error:
            answer = type(error).__name__
        now = time.monotonic()
        with self._lock:
            self.delivered.answers[answer] += 1
            if answer != "200":
                self._refused_since = self._refused_since or now
                return False
            if self._refused_since:
                self.delivered.refused.append((self._refused_since, now))
                self._refused_since = None
            self.delivered.acknowledged.add(number)
            return True


def _run(address: str, rate: float, first: int, stop: threading.Event, results: Connection) -> None:
    deliveries, chance, deadline = _Deliveries(address), random.Random(first), []
    threads = [threading.Thread(target=deliveries.run, args=(deadline,)) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    turn = largest = time.monotonic()
    number = first
    # A turn that comes late is made up for, but not without end: what waits has a bound.
    while not stop.wait(max(0.0, turn - time.monotonic())):
        turn += 1 / rate
        if deliveries.waiting.qsize() >= 2 * CONNECTIONS:
            continue
        if turn >= largest:
            size, largest = LARGEST_BYTES, turn + LARGEST_EVERY
        elif chance.random() < 0.01:
            size = chance.randint(4 << 10, 64 << 10)
        else:
            size = chance.randint(500, 4 << 10)
        deliveries.waiting.put((number, size))
        number += 1
    deadline.append(time.monotonic() + 4 * PATIENCE)
    for _ in threads:
        deliveries.waiting.put(None)
    for thread in threads:
        thread.join()
    results.send(deliveries.delivered)
