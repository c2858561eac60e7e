"""What an operator and an orchestrator see: health, metrics, reflection, and how a gateway stops."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from kora.compliance.v1 import error_reason_pb2
from kora.compliance.v1.compliance_service_pb2 import GetScreeningRequest
from kora.compliance.v1.error_reason_pb2 import ErrorReason
from kora.compliance.v1.screening_pb2 import OUTCOME_APPROVE

import messages
from gateway import CALLS, FREE_PORT, KORA_REQUESTS, Gateway, StartGateway, connect, http_call
from program import PATIENCE, Program, addresses
from reflected import Reflection
from typed_errors import decoded, fails

SERVICE = "kora.compliance.v1.ComplianceService"

SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING


def hang(gateway: Gateway) -> grpc.Future:
    """A call that Kora has and does not answer."""
    gateway.emulator.next({"kind": "hang"})
    call = gateway.stub.Screen.future(messages.screen(), timeout=PATIENCE)
    gateway.emulator.wait_for_requests(1)
    return call


def test_the_admin_port_says_alive_and_ready(gateway: Gateway) -> None:
    assert gateway.admin("/livez") == (200, "alive\n")
    assert gateway.admin("/readyz") == (200, "ready\n")


def test_a_probe_of_a_path_that_does_not_exist_fails(gateway: Gateway) -> None:
    # An orchestrator takes any 2xx for "well": a mistyped path must not be one.
    assert gateway.admin("/healthz")[0] == 404


def test_metrics_count_calls_and_requests_and_name_nobody(gateway: Gateway) -> None:
    gateway.stub.Screen(messages.screen(), timeout=PATIENCE)
    gateway.stub.Screen(messages.screen(messages.CLEAN), timeout=PATIENCE)
    request = GetScreeningRequest(screening_id="scr_none")
    fails(gateway.stub.GetScreening, request, "SCREENING_NOT_FOUND", paid=False)
    fails(gateway.stub.Screen, messages.screen(""), "INVALID_REQUEST", paid=True)

    status, text = gateway.admin("/metrics")
    assert status == 200
    assert text.endswith("# EOF\n")
    assert gateway.count(CALLS, method="Screen", code="OK") == 2
    assert gateway.count(CALLS, method="Screen", code="INVALID_ARGUMENT") == 1
    assert gateway.count(CALLS, method="GetScreening", code="NOT_FOUND") == 1
    assert gateway.count(KORA_REQUESTS, endpoint="POST /screenings", status="200") == 2
    assert gateway.count(KORA_REQUESTS, endpoint="GET /screenings/{id}", status="404") == 1
    assert [private for private in (*messages.PRIVATE, "scr_none") if private in text] == []


@pytest.mark.parametrize("port", ["grpc", "admin"])
def test_both_ports_speak_the_health_protocol(gateway: Gateway, port: str) -> None:
    with connect(gateway.addresses[port]) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", SERVICE):
            assert health.Check(HealthCheckRequest(service=name), timeout=PATIENCE).status == SERVING
        with pytest.raises(grpc.RpcError) as raised:
            health.Check(HealthCheckRequest(service="no.such.Service"), timeout=PATIENCE)
        assert raised.value.code() == grpc.StatusCode.NOT_FOUND


def test_health_says_whether_kora_answers(gateway: Gateway) -> None:
    watch = health_pb2_grpc.HealthStub(gateway.channel).Watch(HealthCheckRequest(service="kora"), timeout=PATIENCE)
    assert next(watch).status == HealthCheckResponse.UNKNOWN
    gateway.stub.Screen(messages.screen(), timeout=PATIENCE)
    assert next(watch).status == SERVING
    gateway.emulator.next({"kind": "cut_before_reading"}, times=100)
    fails(gateway.stub.Screen, messages.screen(), "KORA_OUTCOME_UNKNOWN", paid=True)
    assert next(watch).status == NOT_SERVING
    watch.cancel()
    # Kora being down makes no gateway unready.
    assert gateway.admin("/readyz")[0] == 200


def test_reflection_hands_out_the_api_with_its_error_catalogue(gateway: Gateway) -> None:
    reflection = Reflection(gateway.channel)
    assert {SERVICE, "grpc.health.v1.Health"} <= reflection.services()

    file = reflection.file_of("kora.compliance.v1.ErrorReason")
    [reasons] = [enum for enum in file.enum_type if enum.name == "ErrorReason"]
    assert [value.name for value in reasons.value] == list(ErrorReason.keys())
    for value in reasons.value:
        specified = ErrorReason.DESCRIPTOR.values_by_name[value.name].GetOptions()
        assert value.options.HasExtension(error_reason_pb2.reason) == (value.number != 0)
        assert value.options == specified, value.name


def test_a_stop_lets_calls_finish_and_says_so(gateway: Gateway) -> None:
    with connect(gateway.addresses["admin"]) as admin:
        watch = health_pb2_grpc.HealthStub(admin).Watch(HealthCheckRequest(service=SERVICE), timeout=PATIENCE)
        assert next(watch).status == SERVING
        gateway.emulator.next({"kind": "delay", "milliseconds": 1500})
        call = gateway.stub.Screen.future(messages.screen(), timeout=PATIENCE)
        gateway.emulator.wait_for_requests(1)

        gateway.program.send(signal.SIGTERM)
        assert next(watch).status == NOT_SERVING
        assert gateway.admin("/readyz") == (503, "not ready\n")
        assert gateway.admin("/livez")[0] == 200
        assert not call.done()
        assert call.result(timeout=PATIENCE).screening.decision.outcome == OUTCOME_APPROVE
        assert gateway.program.exit_code() == 0


def test_a_stop_is_bounded_whatever_kora_does(start_gateway: StartGateway) -> None:
    gateway = start_gateway("--drain-timeout", "3s")
    call = hang(gateway)
    gateway.program.send(signal.SIGTERM)
    assert gateway.program.exit_code(within=3.0) == 0
    assert isinstance(call.exception(timeout=PATIENCE), grpc.RpcError)


def test_a_call_that_a_stop_gives_up_does_not_read_as_one_to_resend(start_gateway: StartGateway) -> None:
    gateway = start_gateway("--drain-timeout", "3s")
    call = hang(gateway)
    gateway.program.send(signal.SIGTERM)
    assert gateway.program.exit_code() == 0
    # Kora has the request. A bare UNAVAILABLE would have meshes send it a second time.
    error = decoded(call.exception(timeout=PATIENCE), paid=True)
    assert error.info.metadata["outcome"] == "UNKNOWN"


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_second_signal_stops_at_once(gateway: Gateway, second: signal.Signals) -> None:
    call = hang(gateway)
    gateway.program.send(signal.SIGTERM)
    with connect(gateway.addresses["admin"]) as admin:
        watch = health_pb2_grpc.HealthStub(admin).Watch(HealthCheckRequest(service=SERVICE), timeout=PATIENCE)
        while next(watch).status == SERVING:
            pass
    gateway.program.send(second)
    assert gateway.program.exit_code(within=2) == 1
    assert isinstance(call.exception(timeout=PATIENCE), grpc.RpcError)


@pytest.mark.parametrize("is_silent", [False, True])
def test_a_gateway_that_still_waits_for_nats_stops_at_once(tmp_path: Path, is_silent: bool) -> None:
    # What holds the port and accepts nothing either refuses or, once it listens, says nothing.
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        if is_silent:
            nobody.listen()
        url = f"nats://127.0.0.1:{nobody.getsockname()[1]}"
        ports = [text for name in ("grpc", "webhook", "admin") for text in (f"--{name}-addr", FREE_PORT)]
        flags = ("--emulator", "--emulator-addr", FREE_PORT, *ports, "--event-log", url)
        waiting = Program("serve", *flags, env={}, stderr=tmp_path / "stderr")
        try:
            lines = [waiting.next_line() for _ in range(4)]
            admin = addresses(lines)["admin"]
            assert http_call(admin, "GET", "/readyz")[0] == 503
            waiting.send(signal.SIGTERM)
            assert waiting.exit_code() == 0
        finally:
            waiting.kill()
