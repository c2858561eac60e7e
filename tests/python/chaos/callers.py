"""Stock gRPC clients that call, cancel, and repeat request_ids concurrently and later."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_status import rpc_status
from kora.compliance.v1.compliance_service_pb2 import GetRequestRequest
from kora.compliance.v1.compliance_service_pb2_grpc import ComplianceServiceStub
from kora.compliance.v1.event_pb2 import Event
from kora.compliance.v1.request_record_pb2 import REQUEST_STATE_IN_FLIGHT, RequestRecord
from kora.compliance.v1.watch_events_pb2 import START_POSITION_EARLIEST, WatchEventsRequest

from chaos.machine import Machine
from chaos.tickets import SCREEN, Ticket
from gateway import connect
from program import PATIENCE
from typed_errors import decoded

# How many tickets are worked on concurrently, and over how many connections.
WORKERS = 16
CONNECTIONS = 6

REPLAY = ("x-idempotent-replay", "true")

# How long before a deadline the gateway answers, and the longest scheduling delay that does not endanger that, in
# seconds.
ANSWERED_BEFORE = 0.2
STALL = 0.04

# How long a request of a dead process can read as IN_FLIGHT, in seconds.
LIVENESS = 30.0


@dataclass
class Call:
    """One call and its result."""

    ticket: Ticket
    kind: str
    begin: float
    end: float = float("inf")
    # The screening or the subject, where the answer was OK.
    answer: Any = None
    replayed: bool = False
    # Whether the client cancelled it.
    cancelled: bool = False
    # Of an error: code and text, and reason and outcome of its ErrorInfo, if any.
    code: str = ""
    text: str = ""
    reason: str = ""
    outcome: str = ""
    # Whether this machine stalled when the answer before the deadline was due.
    met_a_stall: bool = False
    # How an error differs from the catalogue.
    problem: str = ""

    @property
    def is_typed(self) -> bool:
        return bool(self.reason)


class Stalls:
    """Detects scheduling delays on this machine, which can make a typed answer miss its deadline."""

    def __init__(self) -> None:
        self._found: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def met(self, end: float) -> bool:
        """Whether a stall occurred right before `end`."""
        return any(end - ANSWERED_BEFORE <= stall <= end + STALL for stall in self._found)

    def close(self) -> None:
        self._ended.set()
        self._thread.join(PATIENCE)

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(STALL / 4):
            now = time.monotonic()
            if now - last > STALL:
                self._found.append(now)
            last = now


class Callers:
    """All callers of a run."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._lock = threading.Condition()
        self._channels: dict[tuple[int, int], grpc.Channel] = {}
        self._begun = 0
        self._is_over = False
        self.calls: list[Call] = []
        self._stalls = Stalls()

    def ask_for_all(self, tickets: list[Ticket]) -> None:
        """Makes the calls of all tickets."""
        try:
            self._each(tickets, self._use)
        finally:
            with self._lock:
                self._is_over = True
                self._lock.notify_all()

    def begun(self, count: int) -> bool:
        """Waits until `count` tickets have started. False if the load has ended."""
        with self._lock:
            self._lock.wait_for(lambda: self._begun >= count or self._is_over)
            return not self._is_over

    def repeat_all(self, tickets: list[Ticket]) -> None:
        """Repeats every ticket's request once."""
        self._each(tickets, lambda ticket: self._finish(*self._start(ticket, "last")))

    def records(self, tickets: list[Ticket]) -> dict[Ticket, RequestRecord | None]:
        """GetRequest of every ticket, once none is in flight."""
        return dict(zip(tickets, self._each(tickets, self._record), strict=True))

    def events(self, tenant: str) -> list[Event]:
        """All events of a tenant's log."""
        caller = next(iter(self._machine.tokens))
        request = WatchEventsRequest(position=START_POSITION_EARLIEST, until_caught_up=True)
        messages = self._stub().WatchEvents(request, timeout=4 * PATIENCE, metadata=self._identity(caller, tenant))
        return [event for message in messages for event in message.events]

    def close(self) -> None:
        self._stalls.close()
        for channel in self._channels.values():
            channel.close()

    def _each(self, tickets: Iterable[Ticket], act: Callable[[Ticket], Any]) -> list[Any]:
        with ThreadPoolExecutor(WORKERS) as threads:
            return list(threads.map(act, tickets))

    def _use(self, ticket: Ticket) -> None:
        with self._lock:
            self._begun += 1
            self._lock.notify_all()
        first, future = self._start(ticket, "first")
        open_calls = [(first, future)]
        cancels = [] if ticket.cancel_after is None else [(ticket.cancel_after, "cancel")]
        for after, act in sorted([*cancels, *((after, "join") for after in ticket.joins)]):
            time.sleep(max(0.0, first.begin + after - time.monotonic()))
            if act == "join":
                open_calls.append(self._start(ticket, "join"))
            else:
                first.cancelled = future.cancel()
        for call in open_calls:
            self._finish(*call)
        for _ in range(ticket.repeats):
            self._finish(*self._start(ticket, "repeat"))

    def _start(self, ticket: Ticket, kind: str) -> tuple[Call, Any]:
        stub = self._stub(ticket.number)
        call = Call(ticket, kind, time.monotonic())
        method = stub.Screen if ticket.method == SCREEN else stub.CreateSubject
        identity = self._identity(ticket.caller, ticket.tenant)
        future = method.future(ticket.message(), timeout=ticket.deadline, metadata=identity)

        def ended(_: Any) -> None:
            call.end = time.monotonic()

        future.add_done_callback(ended)
        self.calls.append(call)
        return call, future

    def _finish(self, call: Call, future: Any) -> None:
        """Waits for a call to end and reads its result."""
        if call.cancelled:
            return
        error = future.exception()
        call.end = min(call.end, time.monotonic())
        if error is None:
            response = future.result()
            call.answer = response.screening if call.ticket.method == SCREEN else response.subject
            call.replayed = REPLAY in [tuple(pair) for pair in future.initial_metadata()]
            return
        call.code, call.text = error.code().name, error.details()
        call.met_a_stall = call.code == "DEADLINE_EXCEEDED" and self._stalls.met(call.end)
        try:
            if rpc_status.from_call(error) is not None:
                info = decoded(error, paid=True).info
                call.reason, call.outcome = info.reason, info.metadata["outcome"]
        except (AssertionError, ValueError) as problem:
            call.problem = str(problem) or "against the catalogue"

    def _record(self, ticket: Ticket) -> RequestRecord | None:
        deadline = time.monotonic() + LIVENESS + PATIENCE
        while True:
            try:
                request = GetRequestRequest(request_id=ticket.request_id)
                identity = self._identity(ticket.caller, ticket.tenant)
                record = self._stub(ticket.number).GetRequest(request, timeout=PATIENCE, metadata=identity).record
            except grpc.RpcError as error:
                reason = decoded(error, paid=False).info.reason
                assert reason == "REQUEST_NOT_FOUND", reason
                return None
            if record.state != REQUEST_STATE_IN_FLIGHT or time.monotonic() > deadline:
                return record
            time.sleep(0.2)

    def _identity(self, caller: str, tenant: str) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {self._machine.tokens[caller]}"), ("x-kora-tenant", tenant)]

    def _stub(self, number: int = 0) -> ComplianceServiceStub:
        address = self._machine.place.wait_until_up()
        place = (self._machine.place.lives, number % CONNECTIONS)
        with self._lock:
            if place not in self._channels:
                self._channels[place] = connect(address)
            return ComplianceServiceStub(self._channels[place])
