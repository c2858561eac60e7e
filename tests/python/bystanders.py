"""What a stop owes those who do as they should, whatever another client does: each is here once."""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import grpc
from grpc_status import rpc_status
from kora.compliance.v1.compliance_service_pb2 import GetRequestRequest, ScreenRequest
from kora.compliance.v1.compliance_service_pb2_grpc import ComplianceServiceStub
from kora.compliance.v1.request_record_pb2 import RequestRecord, RequestState
from kora.compliance.v1.screening_pb2 import OUTCOME_APPROVE
from kora.compliance.v1.watch_events_pb2 import WatchEventsRequest

import messages
from certificates import Certificate
from gateway import Gateway, connect
from held_kora import HeldKora
from program import PATIENCE
from typed_errors import decoded
from webhooks import Kora, event_body, read_past

# The bound on a stop, in seconds. Calls that are left have 2 s less.
DRAIN_TIMEOUT = 6

# What a machine with other work may take to end and reap a process.
MARGIN = 1.0


def request(subject_id: str) -> ScreenRequest:
    """A screening with a `request_id` that follows from its subject."""
    request_id = str(uuid.uuid5(uuid.NAMESPACE_OID, subject_id))
    return messages.screen(subject_id=subject_id, request_id=request_id)


def record(stub: ComplianceServiceStub, subject_id: str) -> RequestRecord:
    """What the gateway knows of that screening."""
    asked = GetRequestRequest(request_id=request(subject_id).request_id)
    return stub.GetRequest(asked, timeout=PATIENCE).record


def state(stub: ComplianceServiceStub, subject_id: str) -> str:
    """How it ended, in one word."""
    return RequestState.Name(record(stub, subject_id).state).removeprefix("REQUEST_STATE_")


@dataclass
class Seen:
    """What the bystanders know after a stop."""

    token: str
    seconds: float


class Bystanders:
    """A subscriber, a caller whose screening Kora has, and Kora itself."""

    def __init__(self, gateway: Gateway, kora: HeldKora, certificate: Certificate | None = None) -> None:
        self._gateway, self._kora, self._certificate = gateway, kora, certificate
        self._channel = self.connect()
        self.stub = ComplianceServiceStub(self._channel)
        self._stream = self.stub.WatchEvents(WatchEventsRequest())
        assert [next(self._stream).WhichOneof("signal") for _ in range(2)] == ["opened", "caught_up"]
        self._call = self.screen("in-flight")

    def connect(self) -> grpc.Channel:
        address = self._gateway.addresses["grpc"]
        return self._certificate.connect(address) if self._certificate else connect(address)

    def screen(self, subject_id: str) -> grpc.Future:
        """A call that Kora has and does not answer yet."""
        call = self.stub.Screen.future(request(subject_id), timeout=PATIENCE)
        self._kora.wait_for(subject_id)
        return call

    def stop(
        self, number: signal.Signals = signal.SIGTERM, meanwhile: Callable[[], None] = lambda: None
    ) -> Seen:
        """Stops the gateway, which must keep what it owes and end in time. `meanwhile` is while it waits for Kora."""
        start = time.monotonic()
        self._gateway.program.send(number)
        token = self._stream_ends()
        self._webhook_is_taken()
        self._calls_are_refused()
        assert self._gateway.admin("/readyz")[0] == 503
        meanwhile()
        assert not self._call.done()
        self._kora.answer("in-flight")
        screening = self._call.result(PATIENCE).screening
        assert (screening.screening_id, screening.decision.outcome) == ("scr_in-flight", OUTCOME_APPROVE)
        assert self._gateway.program.exit_code(within=DRAIN_TIMEOUT + MARGIN) == 0
        seconds = time.monotonic() - start
        self._channel.close()
        # The bound itself is for what nobody has thought of: a gateway that needed it was held up.
        assert "the bound on a stop has passed" not in self._gateway.program.log()
        assert seconds < DRAIN_TIMEOUT
        return Seen(token, seconds)

    def _stream_ends(self) -> str:
        last = next(self._stream)
        assert last.WhichOneof("signal") == "draining" and last.resume_token
        try:
            next(self._stream)
        except grpc.RpcError as error:
            drained = decoded(error, paid=False)
        assert drained.info.reason == "STREAM_DRAINED"
        asked = last.draining.reconnect_after.ToTimedelta().total_seconds()
        assert drained.retry_seconds == asked and 0.2 <= asked <= 5
        return last.resume_token

    def _webhook_is_taken(self) -> None:
        tls = self._certificate.context() if self._certificate else None
        kora = Kora(self._gateway.addresses["webhook"], tls)
        try:
            assert kora.deliver(event_body("meanwhile")).status == 200
        finally:
            kora.close()

    def _calls_are_refused(self) -> None:
        """Over the connection that there is, and over one that is made now."""
        with self.connect() as late:
            for stub in (self.stub, ComplianceServiceStub(late)):
                refused = stub.Screen.future(request("late"), timeout=PATIENCE).exception(PATIENCE)
                assert isinstance(refused, grpc.RpcError)
                if rpc_status.from_call(refused):
                    assert decoded(refused, paid=True).info.reason == "GATEWAY_DRAINING"
                else:
                    # No connection.
                    assert refused.code() == grpc.StatusCode.UNAVAILABLE
        assert "late" not in self._kora.arrived


def nothing_is_lost(successor: Gateway, seen: Seen, certificate: Certificate | None = None) -> None:
    """Looks at what the next gateway on the same log knows."""
    address = successor.addresses["grpc"]
    with certificate.connect(address) if certificate else connect(address) as channel:
        stub = ComplianceServiceStub(channel)
        assert read_past(stub, resume_token=seen.token).ids == ["meanwhile"]
        assert record(stub, "in-flight").screening.screening_id == "scr_in-flight"
        assert state(stub, "in-flight") == "SUCCEEDED"
