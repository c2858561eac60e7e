"""Those who do as they should while somebody floods: each call of a caller and each webhook of Kora's is answered."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from kora.compliance.v1.compliance_service_pb2_grpc import ComplianceServiceStub
from kora.compliance.v1.screening_pb2 import OUTCOME_APPROVE

import messages
from gateway import Gateway, connect
from program import PATIENCE
from webhooks import Kora, event_body

# How long each rests after an answer, in seconds: the flood is what the gateway is to be busy with.
REST = 0.02


class NormalUse:
    """A caller and Kora, each over a connection that was there before and over a new one each time."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._is_over = threading.Event()
        self._numbers = itertools.count()
        self._kora = Kora(gateway.addresses["webhook"])
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Each is answered once before the block begins, and goes on until it is over. What failed is raised then."""
        uses: dict[str, Callable[[], None]] = {
            "call": lambda: self._screen(self._gateway.stub),
            "new call": self._screen_anew,
            "webhook": lambda: self._deliver(self._kora),
            "new webhook": self._deliver_anew,
        }
        for use in uses.values():
            use()
        with ThreadPoolExecutor(len(uses)) as users:
            running: list[Future[None]] = [users.submit(self._go_on, name, use) for name, use in uses.items()]
            try:
                yield
            finally:
                self._is_over.set()
                self._wait_for(running)

    def table(self) -> str:
        """How long answers took, in milliseconds: of how many, the median and the 99th percentile."""
        return "; ".join(
            f"{name} {len(seconds)}: {1000 * statistics.median(seconds):.0f}/{1000 * percentile(seconds, 99):.0f}"
            for name, seconds in self.seconds.items()
            if seconds
        )

    def _wait_for(self, running: list[Future[None]]) -> None:
        try:
            for one in running:
                one.result(2 * PATIENCE)
        finally:
            self._kora.close()

    def _go_on(self, name: str, use: Callable[[], None]) -> None:
        while not self._is_over.wait(REST):
            start = time.monotonic()
            use()
            self.seconds[name].append(time.monotonic() - start)

    def _screen(self, stub: ComplianceServiceStub) -> None:
        screening = stub.Screen(messages.screen(messages.CLEAN), timeout=PATIENCE).screening
        assert screening.decision.outcome == OUTCOME_APPROVE

    def _screen_anew(self) -> None:
        with connect(self._gateway.addresses["grpc"]) as channel:
            self._screen(ComplianceServiceStub(channel))

    def _deliver(self, kora: Kora) -> None:
        assert kora.deliver(event_body(f"evt_{next(self._numbers)}")).status == 200

    def _deliver_anew(self) -> None:
        kora = Kora(self._gateway.addresses["webhook"])
        try:
            self._deliver(kora)
        finally:
            kora.close()


def percentile(values: list[float], hundredths: int) -> float:
    """The smallest of the values that is not less than so many hundredths of them."""
    return sorted(values)[(len(values) * hundredths - 1) // 100]
