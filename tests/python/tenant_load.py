"""Calls and webhooks of one tenant at a steady rate, from a process of their own: a busy one must not slow others down."""

from __future__ import annotations

import http.client
import itertools
import multiprocessing
import statistics
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
from grpc_status import rpc_status
from kora.compliance.v1.compliance_service_pb2_grpc import ComplianceServiceStub

import messages
from gateway import connect
from program import PATIENCE
from typed_errors import TypedError
from webhooks import event_body, signed

# How many of each kind may be under way at a time.
AT_A_TIME = 16

# When an idle connection is not used again: the gateway closes it a little later.
MAX_IDLE = 5.0

CALL, WEBHOOK = "call", "webhook"

SPAWNED = multiprocessing.get_context("spawn")


@dataclass
class Outcome:
    """What came of one kind in one phase."""

    seconds: list[float] = field(default_factory=list)
    # By reason or status, each with its count.
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.seconds, n=100, method="inclusive")[98]


@dataclass
class Outcomes:
    """What came of the load, by phase and kind."""

    of: dict[tuple[int, str], Outcome]
    # The events that were answered 200.
    acknowledged: set[str]


class TenantLoad:
    """The load of one tenant, from its start to its stop."""

    def __init__(self, addresses: dict[str, str], tenant: str, rate: float, timeout: float = PATIENCE) -> None:
        self._phase = SPAWNED.Value("i", 0)
        self._stop = SPAWNED.Event()
        self._outcomes, sending = SPAWNED.Pipe(duplex=False)
        arguments = (addresses, tenant, rate, timeout, self._phase, self._stop, sending)
        self._process = SPAWNED.Process(target=_run, args=arguments)
        self._process.start()
        sending.close()

    def enter(self, phase: int) -> None:
        """From now on what is begun is of this phase."""
        self._phase.value = phase

    def stop(self) -> Outcomes:
        """Ends it, and waits for what is under way."""
        self._stop.set()
        try:
            assert self._outcomes.poll(2 * PATIENCE), "the load does not end"
            return self._outcomes.recv()
        finally:
            self.kill()

    def kill(self) -> None:
        """Ends it, if it has not ended by itself."""
        self._process.join(1)
        self._process.kill()
        self._process.join()


class _Load:
    def __init__(self, addresses: dict[str, str], tenant: str, timeout: float) -> None:
        self._tenant = tenant
        self._timeout = timeout
        self._channel = connect(addresses["grpc"])
        self._stub = ComplianceServiceStub(self._channel)
        self._webhook = addresses["webhook"]
        self._connections = threading.local()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self.outcomes: defaultdict[tuple[int, str], Outcome] = defaultdict(Outcome)
        self.acknowledged: set[str] = set()

    def call(self) -> str | None:
        request = messages.screen()
        request.request_id = str(uuid.uuid4())
        try:
            self._stub.Screen(request, metadata=[("x-kora-tenant", self._tenant)], timeout=self._timeout)
        except grpc.RpcError as error:
            status = rpc_status.from_call(error)
            return TypedError(status).info.reason if status else str(error.code())
        return None

    def deliver(self) -> str | None:
        event_id = f"evt_{self._tenant}_{next(self._numbers)}"
        body = event_body(event_id)
        try:
            status = self._post(body)
        except (OSError, http.client.HTTPException) as error:
            self._connections.open.close()
            return repr(error)
        if status != 200:
            return str(status)
        with self._lock:
            self.acknowledged.add(event_id)
        return None

    def _post(self, body: bytes) -> int:
        now = time.monotonic()
        if not hasattr(self._connections, "open"):
            self._connections.open = http.client.HTTPConnection(self._webhook, timeout=PATIENCE)
        elif now - self._connections.used > MAX_IDLE:
            self._connections.open.close()
        self._connections.used = now
        connection = self._connections.open
        signature = {"X-Webhook-Signature": signed(f"secret-of-{self._tenant}", body)}
        connection.request("POST", f"/webhooks/compliance/{self._tenant}", body, signature)
        answer = connection.getresponse()
        answer.read()
        return int(answer.status)

    def timed(self, phase: int, kind: str, once: Callable[[], str | None]) -> None:
        began = time.monotonic()
        failure = once()
        took = time.monotonic() - began
        with self._lock:
            outcome = self.outcomes[(phase, kind)]
            outcome.seconds.append(took)
            if failure:
                outcome.failures[failure] += 1


def _run(addresses, tenant, rate, timeout, phase, stop, sending) -> None:  # type: ignore[no-untyped-def]
    load = _Load(addresses, tenant, timeout)
    turn = time.monotonic()
    with ThreadPoolExecutor(AT_A_TIME) as calls, ThreadPoolExecutor(AT_A_TIME) as webhooks:
        # A turn that comes late is made up for.
        while not stop.wait(max(0.0, turn - time.monotonic())):
            calls.submit(load.timed, phase.value, CALL, load.call)
            webhooks.submit(load.timed, phase.value, WEBHOOK, load.deliver)
            turn += 1 / rate
    sending.send(Outcomes(dict(load.outcomes), load.acknowledged))
