"""A caller that stops waiting is told what may have happened, and nothing is sent twice.

Longer deadlines come from the environment: `DEADLINES=35,120,1001`.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest
from kora.compliance.v1.compliance_service_pb2 import TIMEOUT_POLICY_CONTINUE_ASYNC, GetScreeningRequest
from kora.compliance.v1.screening_pb2 import SCREENING_STATUS_PENDING
from kora.compliance.v1.watch_events_pb2 import WatchEventsRequest

import messages
from gateway import CALLS, KORA_REQUESTS, Gateway, StartGateway
from program import PATIENCE
from typed_errors import decoded, fails

HANG = {"kind": "hang"}

# How long callers wait, in seconds, and how many calls of each kind there are at a time.
DEADLINES = [float(seconds) for seconds in os.environ.get("DEADLINES", "5,12.3").split(",")]
CALLS_AT_ONCE = 6

# Long enough to pass no deadline of these tests, short enough to end what hangs before a test is over.
KORA_TIMEOUT = ("--kora-timeout", "2s")


@pytest.fixture
def patient_gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway that itself waits longer for Kora than these callers do."""
    return start_gateway(*KORA_TIMEOUT)


def test_a_deadline_ends_with_the_gateways_answer(patient_gateway: Gateway) -> None:
    patient_gateway.emulator.next(HANG)
    # Without its ErrorInfo this would be the client's own timer.
    fails(patient_gateway.stub.Screen, messages.screen(), "DEADLINE_EXCEEDED", paid=True, timeout=1.0)
    assert len(patient_gateway.emulator.requests()) == 1


def test_a_deadline_on_creating_a_subject_does_too(patient_gateway: Gateway) -> None:
    patient_gateway.emulator.next(HANG)
    fails(patient_gateway.stub.CreateSubject, messages.create_subject(), "DEADLINE_EXCEEDED", paid=True, timeout=1.0)
    assert len(patient_gateway.emulator.requests()) == 1


def test_a_deadline_on_reading_does_too(patient_gateway: Gateway) -> None:
    patient_gateway.emulator.next(HANG, times=100)
    request = GetScreeningRequest(screening_id="scr_1")
    fails(patient_gateway.stub.GetScreening, request, "DEADLINE_EXCEEDED", paid=False, timeout=1.0)


def test_the_gateways_own_limit_is_no_different(start_gateway: StartGateway) -> None:
    gateway = start_gateway("--kora-timeout", "300ms")
    gateway.emulator.next(HANG)
    fails(gateway.stub.Screen, messages.screen(), "DEADLINE_EXCEEDED", paid=True)
    assert len(gateway.emulator.requests()) == 1


def test_a_caller_that_leaves_cuts_nothing_and_repeats_nothing(patient_gateway: Gateway) -> None:
    patient_gateway.emulator.next({"kind": "delay", "milliseconds": 1000})
    call = patient_gateway.stub.Screen.future(messages.screen(), timeout=PATIENCE)
    patient_gateway.emulator.wait_for_requests(1)
    assert call.cancel()
    patient_gateway.wait_for_count(1, CALLS, method="Screen", code="CANCELLED")

    # Served on, on the same connection.
    patient_gateway.stub.Screen(messages.screen(messages.CLEAN), timeout=PATIENCE)
    # The answer to the first one was still waited for.
    patient_gateway.wait_for_count(2, KORA_REQUESTS, endpoint="POST /screenings", status="200")
    left, served = patient_gateway.emulator.requests()
    assert left["body"]["subject"]["name"] == messages.ORDINARY
    assert served["body"]["subject"]["name"] == messages.CLEAN


class GivingUpKora:
    """Kora, played here: it takes no SYNC screening in time, and never ends an ASYNC one."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/api/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:  # noqa: N802
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if request["mode"] == "ASYNC":
                    self._answer(202, {"screening_id": "scr_1", "subject_id": "subj_1", "status": "PENDING"})
                else:
                    self._answer(503, {"code": "SCREENING_TIMEOUT"})

            def do_GET(self) -> None:  # noqa: N802
                self._answer(200, {"screening_id": "scr_1", "subject_id": "subj_1", "status": "PENDING"})

            def _answer(self, status: int, fields: dict[str, str]) -> None:
                body = json.dumps(fields).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Says nothing: what tests print is theirs."""

        return Handler


@pytest.fixture
def giving_up_gateway(start_gateway: StartGateway) -> Iterator[Gateway]:
    kora = GivingUpKora()
    env = {"KORA_API_KEY": "key", "KORA_TENANT_ID": "tenant", "KORA_WEBHOOK_SECRET": "0123456789abcdef"}
    try:
        yield start_gateway("--kora-base-url", kora.base_url, env=env, emulator=False)
    finally:
        kora.close()


def test_grpcs_c_core_rounds_deadlines_up_and_still_gets_every_answer(
    start_gateway: StartGateway, giving_up_gateway: Gateway
) -> None:
    """grpcio states a deadline of 12.3 s as 12.4 s, and stops waiting after 12.3 s."""
    # Attempts that hang end after the calls, and before the test is over.
    attempts = f"{int(min(max(DEADLINES), 600)) + 3}s"
    hanging = start_gateway("--kora-timeout", attempts, "--drain-timeout", "10s", env={"RUST_LOG": "info"})
    calls = CALLS_AT_ONCE * len(DEADLINES)
    hanging.emulator.next(HANG, times=100)
    goes_on = messages.screen(subject_id="subj_1", on_timeout=TIMEOUT_POLICY_CONTINUE_ASYNC)
    read = GetScreeningRequest(screening_id="scr_1")

    def screen(deadline: float) -> None:
        fails(hanging.stub.Screen, messages.screen(), "DEADLINE_EXCEEDED", paid=True, timeout=deadline)

    def get(deadline: float) -> None:
        fails(hanging.stub.GetScreening, read, "DEADLINE_EXCEEDED", paid=False, timeout=deadline)

    def watch(deadline: float) -> None:
        messages = hanging.stub.WatchEvents(WatchEventsRequest(), timeout=deadline)
        with pytest.raises(grpc.RpcError) as raised:
            list(messages)
        assert decoded(raised.value, paid=False).info.reason == "DEADLINE_EXCEEDED"

    def go_on(deadline: float) -> None:
        screening = giving_up_gateway.stub.Screen(goes_on, timeout=deadline).screening
        assert (screening.screening_id, screening.status) == ("scr_1", SCREENING_STATUS_PENDING)

    with ThreadPoolExecutor(4 * calls) as pool:
        running = [
            pool.submit(call, deadline)
            for call in (screen, get, watch, go_on)
            for deadline in DEADLINES
            for _ in range(CALLS_AT_ONCE)
        ]
        for call in running:
            call.result()
