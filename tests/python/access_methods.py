"""Every method of the API as a caller uses it, the right that it takes, and what its answer says of the tenant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
from grpc_status import rpc_status
from kora.compliance.v1.compliance_service_pb2 import (
    CreateSubjectRequest,
    GetRequestRequest,
    GetScreeningRequest,
    GetSubjectRequest,
)
from kora.compliance.v1.compliance_service_pb2_grpc import ComplianceServiceStub
from kora.compliance.v1.watch_events_pb2 import START_POSITION_EARLIEST, WatchEventsRequest

import messages
from program import PATIENCE
from typed_errors import TypedError

Metadata = list[tuple[str, str]]

# The requests that every caller has made for each of its tenants, one of each method that is recorded.
RECORDED = {"Screen": "6f9619ff-8b86-4011-b42d-00c04fc964ff", "CreateSubject": "6f9619ff-8b86-4011-b42d-00c04fc964fe"}


@dataclass(frozen=True)
class Method:
    """One way to call. `call` returns an id out of the answer, the last part of which is the tenant's name."""

    name: str
    rights: tuple[str, ...]
    call: Callable[[ComplianceServiceStub, dict[str, Any]], str]

    def outcome(self, stub: ComplianceServiceStub, metadata: Metadata) -> tuple[str, bytes]:
        """`let in for TENANT`, or the refusal; and all that a refusal says but the call's own id."""
        try:
            answer = self.call(stub, {"metadata": metadata, "timeout": PATIENCE})
        except grpc.RpcError as raised:
            return refusal(raised)
        return f"let in for {answer.rpartition('-')[2]}", b""


def refusal(raised: Any) -> tuple[str, bytes]:
    status = rpc_status.from_call(raised)
    if status is None:
        return raised.code().name, b""
    error = TypedError(status)
    said = b"".join(detail.value for detail in status.details if not detail.type_url.endswith("RequestInfo"))
    right = error.info.metadata["right"] if "right" in error.info.metadata else ""
    return f"{error.info.reason} {right}".strip(), status.message.encode() + said


def first_event(stub: ComplianceServiceStub, options: dict[str, Any], **more: Any) -> str:
    watch = WatchEventsRequest(position=START_POSITION_EARLIEST, until_caught_up=True, **more)
    events = [event.event_id for message in stub.WatchEvents(watch, **options) for event in message.events]
    [event_id] = events
    return event_id


def screen(stub: ComplianceServiceStub, options: dict[str, Any], **more: Any) -> str:
    return stub.Screen(messages.screen(**more), **options).screening.subject_id


def get_screening(stub: ComplianceServiceStub, options: dict[str, Any], **more: Any) -> str:
    request = GetScreeningRequest(screening_id="any", **more)
    return stub.GetScreening(request, **options).screening.subject_id


def create_subject(stub: ComplianceServiceStub, options: dict[str, Any]) -> str:
    return stub.CreateSubject(messages.create_subject(), **options).subject.profile.external_id


def get_subject(stub: ComplianceServiceStub, options: dict[str, Any]) -> str:
    return stub.GetSubject(GetSubjectRequest(subject_id="any"), **options).subject.profile.external_id


def get_request(stub: ComplianceServiceStub, options: dict[str, Any], method: str) -> str:
    record = stub.GetRequest(GetRequestRequest(request_id=RECORDED[method]), **options).record
    return record.screening.subject_id or record.subject.profile.external_id


METHODS = (
    Method("Screen", ("screen",), screen),
    Method("Screen raw", ("screen", "raw_json"), partial(screen, include_raw_json=True)),
    Method("GetScreening", ("screen",), get_screening),
    Method("GetScreening raw", ("screen", "raw_json"), partial(get_screening, include_raw_json=True)),
    Method("CreateSubject", ("subjects",), create_subject),
    Method("GetSubject", ("subjects",), get_subject),
    Method("GetRequest of Screen", ("screen",), partial(get_request, method="Screen")),
    Method("GetRequest of CreateSubject", ("subjects",), partial(get_request, method="CreateSubject")),
    Method("WatchEvents", ("watch",), first_event),
    Method("WatchEvents raw", ("watch", "raw_json"), partial(first_event, include_raw_json=True)),
)


def record(stub: ComplianceServiceStub, metadata: Metadata) -> None:
    """Makes the requests that GetRequest is asked for later."""
    options = {"metadata": metadata, "timeout": PATIENCE}
    stub.Screen(messages.screen(request_id=RECORDED["Screen"]), **options)
    subject = messages.profile()
    stub.CreateSubject(CreateSubjectRequest(subject=subject, request_id=RECORDED["CreateSubject"]), **options)
