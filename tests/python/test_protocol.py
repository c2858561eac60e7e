"""Clients that speak something other than gRPC, or too much of it, are told so, and nothing is sent to Kora for them."""

from __future__ import annotations

import base64
import socket

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

import messages
from gateway import Gateway, connect
from http2_client import HEALTH_CHECK, SCREEN, dial
from program import PATIENCE
from wire_call import WireAnswer, wire_call

REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"

NOT_GRPC = [
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/grpc-web-text",
    "application/grpc+json",
    "application/grpcx",
    "application/json",
    None,
]

KIB = 1 << 10


def reason(answer: WireAnswer) -> str:
    """The reason of an error, by its details."""
    encoded = answer.headers["grpc-status-details-bin"]
    status = Status.FromString(base64.b64decode(encoded + "=" * (-len(encoded) % 4)))
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason


def filler(size: int) -> list[tuple[str, str]]:
    """Headers of so many bytes together, as HTTP/2 counts them."""
    each = 4 * KIB
    return [(f"x-filler-{number:03}", "f" * (each - 32 - 12)) for number in range(size // each)]


@pytest.mark.parametrize("path", [SCREEN, HEALTH_CHECK, REFLECTION])
def test_another_content_type_is_told_so(gateway: Gateway, path: str) -> None:
    message = messages.screen().SerializeToString() if path == SCREEN else b""
    for content_type in NOT_GRPC:
        answer = wire_call(gateway.addresses["grpc"], path, message, content_type=content_type)
        assert answer.headers[":status"] == "415", content_type
        assert answer.headers["content-type"] == "text/plain"
        assert b"application/grpc" in answer.body
    assert gateway.emulator.requests() == []


@pytest.mark.parametrize(
    "content_type", ["application/grpc", "application/grpc+proto", "Application/gRPC ; a=b", "application/grpc;a=b"]
)
def test_grpc_is_served_however_it_is_spelt(gateway: Gateway, content_type: str) -> None:
    message = messages.screen().SerializeToString()
    answer = wire_call(gateway.addresses["grpc"], SCREEN, message, content_type=content_type)
    assert (answer.headers[":status"], answer.headers["grpc-status"]) == ("200", "0")
    assert len(gateway.emulator.requests()) == 1


@pytest.mark.parametrize("begin", ["GET / HTTP/1.1\r\nhost: g\r\n\r\n", "POST /x HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc"])
def test_http1_on_the_grpc_port_gets_an_answer(gateway: Gateway, begin: str) -> None:
    with dial(gateway.addresses["grpc"]) as connection:
        connection.sendall(begin.encode())
        answer = b""
        while data := connection.recv(KIB):
            answer += data
    head, _, text = answer.decode().partition("\r\n\r\n")
    assert head.splitlines()[0] == "HTTP/1.1 400 Bad Request"
    assert f"content-length: {len(text)}" in head.splitlines()
    assert "gRPC" in text and "HTTP/2" in text


def test_what_is_no_http_at_all_gets_none(gateway: Gateway) -> None:
    with dial(gateway.addresses["grpc"]) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(KIB) == b""


@pytest.mark.parametrize("path", [SCREEN, HEALTH_CHECK, "/no.such.Service/Method"])
def test_large_headers_get_a_grpc_status(gateway: Gateway, path: str) -> None:
    message = messages.screen().SerializeToString() if path == SCREEN else b""
    for size in (20, 32, 60):
        answer = wire_call(gateway.addresses["grpc"], path, message, *filler(size * KIB))
        assert answer.headers[":status"] == "200", size
        assert answer.headers["grpc-status"] == str(grpc.StatusCode.INVALID_ARGUMENT.value[0])
        assert reason(answer) == "MALFORMED_REQUEST"
    assert gateway.emulator.requests() == []


def test_a_long_path_counts_as_headers(gateway: Gateway) -> None:
    message = messages.screen().SerializeToString()
    answer = wire_call(gateway.addresses["grpc"], f"{SCREEN}?{'q' * 17 * KIB}", message)
    assert reason(answer) == "MALFORMED_REQUEST"
    assert gateway.emulator.requests() == []


def test_headers_of_12_kib_are_taken(gateway: Gateway) -> None:
    message = messages.screen().SerializeToString()
    answer = wire_call(gateway.addresses["grpc"], SCREEN, message, *filler(12 * KIB))
    assert answer.headers["grpc-status"] == "0"


@pytest.mark.parametrize("port", ["grpc", "admin"])
def test_the_health_of_an_unknown_service_is_a_message_of_an_open_stream(gateway: Gateway, port: str) -> None:
    with connect(gateway.addresses[port]) as channel:
        request = HealthCheckRequest(service="no.such.Service")
        watch = health_pb2_grpc.HealthStub(channel).Watch(request, timeout=PATIENCE)
        assert next(watch).status == HealthCheckResponse.SERVICE_UNKNOWN
        assert watch.is_active()
        watch.cancel()
