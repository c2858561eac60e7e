"""Both ends of the events: webhooks as Kora signs and sends them, and the feed as a subscriber reads it."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from kora.compliance.v1.compliance_service_pb2_grpc import ComplianceServiceStub
from kora.compliance.v1.event_pb2 import Event
from kora.compliance.v1.watch_events_pb2 import (
    START_POSITION_EARLIEST,
    WatchEventsRequest,
    WatchEventsResponse,
)

from program import PATIENCE

# What the emulator signs with, and a gateway with `--emulator` expects.
SECRET = b"emulator-webhook-secret"

# How many connections Kora delivers over.
CONNECTIONS = 8


def event_body(event_id: str, **more: str) -> bytes:
    """A webhook's body, of an event with this id."""
    screening = {"screening_id": f"scr_{event_id}", "decision": {"outcome": "APPROVE"}}
    return json.dumps({"id": event_id, "event": "screening.completed", "data": screening, **more}).encode()


def signed(secret: str, body: bytes) -> str:
    """The signature of a body by this secret."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class Kora:
    """One connection of Kora's to the webhook port, made when it is needed."""

    def __init__(
        self, address: str, tls: ssl.SSLContext | None = None, source: str | None = None, within: float = PATIENCE
    ) -> None:
        """`source` is the address that she comes from, instead of the system's choice."""
        coming_from = (source, 0) if source else None
        self._connection = (
            http.client.HTTPSConnection(address, timeout=within, context=tls, source_address=coming_from)
            if tls
            else http.client.HTTPConnection(address, timeout=within, source_address=coming_from)
        )

    def deliver(self, body: bytes) -> http.client.HTTPResponse:
        """Sends a signed body, and reads the whole answer. Raises what broke the connection."""
        signature = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
        try:
            self._connection.request("POST", "/webhooks/compliance", body, {"X-Webhook-Signature": signature})
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        return answer

    def close(self) -> None:
        self._connection.close()


def offer(address: str, path: str, secret: str, body: bytes) -> int:
    """Offers a body to this path, signed with this secret, on a connection of its own. Returns the status."""
    signature = signed(secret, body)
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    try:
        connection.request("POST", path, body, {"X-Webhook-Signature": signature})
        return connection.getresponse().status
    finally:
        connection.close()


def deliver_all(address: str, bodies: list[bytes], delivered: Callable[[], Any] = lambda: None) -> None:
    """Delivers events over several connections at a time; each must be answered 200 at once."""

    def deliver_share(first: int) -> None:
        kora = Kora(address)
        try:
            for body in bodies[first::CONNECTIONS]:
                assert kora.deliver(body).status == 200
                delivered()
        finally:
            kora.close()

    with ThreadPoolExecutor(CONNECTIONS) as connections:
        list(connections.map(deliver_share, range(CONNECTIONS)))


def deliver_in_order(address: str, ids: list[str]) -> None:
    """Delivers events one after the other, so that their order in the log is known."""
    kora = Kora(address)
    try:
        assert {kora.deliver(event_body(event_id)).status for event_id in ids} == {200}
    finally:
        kora.close()


@dataclass(frozen=True)
class Past:
    """All that a stream sent until it had caught up."""

    events: list[Event]
    messages: list[WatchEventsResponse]

    @property
    def ids(self) -> list[str]:
        return [event.event_id for event in self.events]

    @property
    def token(self) -> str:
        """The position after everything."""
        return self.messages[-1].resume_token

    def signals(self) -> list[str]:
        named = [message.WhichOneof("signal") for message in self.messages]
        return [name for name in named if name]


def read_past(stub: ComplianceServiceStub, **request: Any) -> Past:
    """Reads the feed until it has caught up; from the oldest event, unless the request says otherwise."""
    if "resume_token" not in request:
        request.setdefault("position", START_POSITION_EARLIEST)
    asked = WatchEventsRequest(until_caught_up=True, **request)
    messages = list(stub.WatchEvents(asked, timeout=PATIENCE))
    past = Past([event for message in messages for event in message.events], messages)
    signals = past.signals()
    assert (signals[0], signals[-1]) == ("opened", "caught_up")
    assert all(message.resume_token for message in messages)
    return past


def new_events(messages: Iterator[WatchEventsResponse], count: int) -> list[Event]:
    """The next events of an open stream, at least so many."""
    events: list[Event] = []
    while len(events) < count:
        events += next(messages).events
    return events
