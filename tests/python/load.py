"""Kora's deliveries while gateways die and come back: an event that got no 200 is sent again until it has one."""

from __future__ import annotations

import http.client
import itertools
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from types import TracebackType

from program import PATIENCE
from webhooks import CONNECTIONS, Kora, event_body

# How often one event is sent at most: more than there are kills in any run.
ATTEMPTS = 100


class Load:
    """Events on their way over several connections, each connection's one after the other.

    Where there are several gateways, a connection has one to each, and every attempt goes to the next.
    """

    def __init__(self, addresses: Sequence[str], events: int, connections: int = CONNECTIONS) -> None:
        self._addresses = addresses
        self._changed = threading.Condition()
        self._in_flight = 0
        self._may_go_on = threading.Event()
        self._stopping = False
        self.events = events
        # Sent and never answered, for the gateway died.
        self.cut = 0
        # What was answered 200, by connection, in the order in which it was sent.
        self.delivered: list[list[str]] = [[] for _ in range(connections)]
        self._connections = ThreadPoolExecutor(connections)
        self._running: list[Future[None]] = []

    @property
    def acknowledged(self) -> int:
        return sum(map(len, self.delivered))

    def __enter__(self) -> Load:
        self._running = [self._connections.submit(self._deliver_share, share) for share in self.delivered]
        for running in self._running:
            running.add_done_callback(lambda _: self._notify())
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        # After a failure nobody waits for what cannot be delivered any more.
        self._connections.shutdown(wait=kind is None, cancel_futures=True)

    def ids(self) -> set[str]:
        """What was answered 200."""
        return {event_id for share in self.delivered for event_id in share}

    def wait_for(self, acknowledged: int) -> None:
        """Waits for so many 200s and an event in flight. Every single event has a deadline of its own."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_there(acknowledged) or self._failed())
        for running in self._failed():
            running.result()

    def hold(self) -> None:
        """From now on, what got no answer is not sent again."""
        self._may_go_on.clear()

    def go_on(self) -> None:
        """What got no answer is sent again."""
        self._may_go_on.set()

    def stop(self) -> None:
        """Begins no further event, and waits until those that were sent are answered 200."""
        self._stopping = True
        self._wait_for_the_end()

    def finish(self) -> None:
        """Waits until every event was answered 200."""
        self._wait_for_the_end()
        assert self.acknowledged == self.events

    def _wait_for_the_end(self) -> None:
        done, _ = wait(self._running, return_when=FIRST_EXCEPTION)
        for running in done:
            running.result()

    def _is_there(self, acknowledged: int) -> bool:
        return self.acknowledged >= acknowledged and self._in_flight > 0

    def _failed(self) -> list[Future[None]]:
        return [running for running in self._running if running.done() and running.exception()]

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _deliver_share(self, delivered: list[str]) -> None:
        koras = [Kora(address) for address in self._addresses]
        turns = itertools.cycle(koras)
        first = next(index for index, share in enumerate(self.delivered) if share is delivered)
        for number in range(first, self.events, len(self.delivered)):
            if self._stopping:
                break
            self._deliver(turns, f"evt_{number}", delivered)
        for kora in koras:
            kora.close()

    def _deliver(self, turns: Iterator[Kora], event_id: str, delivered: list[str]) -> None:
        for _ in range(ATTEMPTS):
            if self._attempt(next(turns), event_id, delivered):
                return
            assert self._may_go_on.wait(PATIENCE), "the gateway did not come back"
        raise AssertionError(f"no 200 after {ATTEMPTS} attempts")

    def _attempt(self, kora: Kora, event_id: str, delivered: list[str]) -> bool:
        with self._changed:
            self._in_flight += 1
            self._changed.notify_all()
        status = None
        try:
            status = kora.deliver(event_body(event_id)).status
        except (OSError, http.client.HTTPException):
            pass
        finally:
            with self._changed:
                self._in_flight -= 1
                self.cut += status is None
                if status == 200:
                    delivered.append(event_id)
                self._changed.notify_all()
        # A process that is killed cannot refuse: it answers 200 or not at all.
        assert status in (200, None)
        return status == 200
