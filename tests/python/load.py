"""Kora's deliveries while the gateway dies and comes back: an event that got no 200 is sent again until it has one."""

from __future__ import annotations

import http.client
import threading
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from types import TracebackType

from program import PATIENCE
from webhooks import CONNECTIONS, Kora, event_body

# How often one event is sent at most: more than there are kills in any run.
ATTEMPTS = 100


class Load:
    """Events on their way over several connections, each connection's one after the other."""

    def __init__(self, address: str, events: int) -> None:
        self._address = address
        self._changed = threading.Condition()
        self._in_flight = 0
        self._may_go_on = threading.Event()
        # The ids of each connection, in the order in which it sends them.
        self.shares = [[f"evt_{n}" for n in range(first, events, CONNECTIONS)] for first in range(CONNECTIONS)]
        self.events = events
        self.acknowledged = 0
        # Sent and never answered, for the gateway died.
        self.cut = 0
        self._connections = ThreadPoolExecutor(CONNECTIONS)
        self._running: list[Future[None]] = []

    def __enter__(self) -> Load:
        self._running = [self._connections.submit(self._deliver_share, share) for share in self.shares]
        for running in self._running:
            running.add_done_callback(lambda _: self._notify())
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        # After a failure nobody waits for what cannot be delivered any more.
        self._connections.shutdown(wait=kind is None, cancel_futures=True)

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

    def finish(self) -> None:
        """Waits until every event was answered 200."""
        done, _ = wait(self._running, return_when=FIRST_EXCEPTION)
        for running in done:
            running.result()
        assert self.acknowledged == self.events

    def _is_there(self, acknowledged: int) -> bool:
        return self.acknowledged >= acknowledged and self._in_flight > 0

    def _failed(self) -> list[Future[None]]:
        return [running for running in self._running if running.done() and running.exception()]

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _deliver_share(self, share: list[str]) -> None:
        kora = Kora(self._address)
        for event_id in share:
            self._deliver(kora, event_body(event_id))
        kora.close()

    def _deliver(self, kora: Kora, body: bytes) -> None:
        for _ in range(ATTEMPTS):
            status = self._attempt(kora, body)
            if status == 200:
                return
            # A process that is killed cannot refuse: it answers 200 or not at all.
            assert status is None
            assert self._may_go_on.wait(PATIENCE), "the gateway did not come back"
        raise AssertionError(f"no 200 after {ATTEMPTS} attempts")

    def _attempt(self, kora: Kora, body: bytes) -> int | None:
        """The answer's status; `None` without an answer."""
        with self._changed:
            self._in_flight += 1
            self._changed.notify_all()
        status = None
        try:
            status = kora.deliver(body).status
        except (OSError, http.client.HTTPException):
            pass
        finally:
            with self._changed:
                self._in_flight -= 1
                self.acknowledged += status == 200
                self.cut += status is None
                self._changed.notify_all()
        return status
