"""An error as a careful caller reads it: by its reason and its details, never by its text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from kora.compliance.v1 import error_reason_pb2
from kora.compliance.v1.error_reason_pb2 import CallOutcome, ErrorReason, ErrorReasonSpec

import messages
from program import PATIENCE

Detail = TypeVar("Detail", bound=Message)


def specification(reason: str) -> ErrorReasonSpec:
    """What the API's descriptors promise of every error with this reason."""
    value = ErrorReason.DESCRIPTOR.values_by_name[f"ERROR_REASON_{reason}"]
    return value.GetOptions().Extensions[error_reason_pb2.reason]


def outcome_name(specified: ErrorReasonSpec) -> str:
    return CallOutcome.Name(specified.outcome).removeprefix("CALL_OUTCOME_")


@dataclass(frozen=True)
class TypedError:
    """An error of the gateway's, decoded."""

    status: Status

    def detail(self, kind: type[Detail]) -> Detail | None:
        """The detail of this kind, where there is one; never more."""
        found = [detail for detail in self.status.details if detail.Is(kind.DESCRIPTOR)]
        assert len(found) <= 1
        if not found:
            return None
        message = kind()
        found[0].Unpack(message)
        return message

    @property
    def info(self) -> ErrorInfo:
        return self._required(ErrorInfo)

    @property
    def request_info(self) -> RequestInfo:
        return self._required(RequestInfo)

    @property
    def bad_fields(self) -> list[str]:
        bad = self.detail(BadRequest)
        return [violation.field for violation in bad.field_violations] if bad else []

    @property
    def retry_seconds(self) -> float | None:
        retry = self.detail(RetryInfo)
        return retry.retry_delay.ToTimedelta().total_seconds() if retry else None

    @property
    def resource(self) -> tuple[str, str] | None:
        resource = self.detail(ResourceInfo)
        return (resource.resource_type, resource.resource_name) if resource else None

    def _required(self, kind: type[Detail]) -> Detail:
        detail = self.detail(kind)
        assert detail is not None, f"no {kind.DESCRIPTOR.full_name} in {self.status}"
        return detail


def fails(
    call: Callable[..., Any], request: Any, reason: str, *, paid: bool, timeout: float = PATIENCE, **options: Any
) -> TypedError:
    """Makes a call that must fail for this reason. Only paid calls (Screen, CreateSubject) have an outcome."""
    with pytest.raises(grpc.RpcError) as raised:
        call(request, timeout=timeout, **options)
    error = decoded(raised.value, paid=paid)
    assert error.info.reason == reason
    return error


def decoded(error: Any, *, paid: bool) -> TypedError:
    """Decodes an error, which must be all that the catalogue says of its reason."""
    status = rpc_status.from_call(error)
    assert status is not None, f"not an error of the gateway's: {error.code()} {error.details()}"
    decoded = TypedError(status)
    assert decoded.info.domain == "kora-gateway"
    specified = specification(decoded.info.reason)
    assert code_pb2.Code.Name(status.code) == code_pb2.Code.Name(specified.code)
    assert status.message == specified.message
    assert dict(decoded.info.metadata) == ({"outcome": outcome_name(specified)} if paid else {})
    assert decoded.request_info.request_id
    for private in messages.PRIVATE:
        assert private.encode() not in status.SerializeToString()
    return decoded
