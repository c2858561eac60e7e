"""A gateway that is killed at any moment answers for every request_id, and sends none of them a second time.

The number of kills of a longer run comes from the environment: `REQUEST_KILLS=200`.
"""

from __future__ import annotations

import functools
import os
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_status import rpc_status
from kora.compliance.v1.compliance_service_pb2 import (
    GetRequestRequest,
    GetScreeningRequest,
    GetSubjectRequest,
    ScreenRequest,
)
from kora.compliance.v1.compliance_service_pb2_grpc import ComplianceServiceStub
from kora.compliance.v1.request_record_pb2 import REQUEST_STATE_SUCCEEDED, REQUEST_STATE_UNKNOWN

import messages
from gateway import FREE_PORT, Emulator, StartGateway
from program import PATIENCE, Program, addresses
from restarts import Phoenix
from typed_errors import decoded

KILLS = int(os.environ.get("REQUEST_KILLS", "10"))

# How many callers screen at a time, and after how many answers in a life the kill comes at most.
CALLERS = 8
ANSWERS = 24

# A kill comes up to so many seconds after the answer that it waits for.
SPREAD = 0.02

# How long Kora takes to answer after it has done the work, in milliseconds: another in each life.
DELAYS = (0, 5, 30)

# More requests than one life can send.
ALWAYS = 1_000_000

TENANT = "5f0c9a52-7c1e-4c8b-9d57-3a1e6b2f4d80"
CREDENTIALS = {"KORA_API_KEY": "emulator-api-key", "KORA_WEBHOOK_SECRET": "secret", "RUST_LOG": "info"}

# The name space of the Idempotency-Keys: never to be changed, for Kora may remember them.
KEYS = uuid.UUID("6f0c2d5e-0a52-4d0c-9c5b-4a3f7f7f3b1d")

METHOD = "kora.compliance.v1.ComplianceService/Screen"
REPLAY = ("x-idempotent-replay", "true")


def key(request_id: str) -> str:
    """What Kora knows the request by."""
    return str(uuid.uuid5(KEYS, "\0".join([TENANT, "anonymous", "Screen", request_id])))


def screen(request_id: str) -> ScreenRequest:
    """The request with this id, always with the same content. The customer can be recognized by the id."""
    return messages.screen(subject=messages.profile(external_id=request_id), request_id=request_id)


class Callers:
    """Callers who screen one customer after the other until the gateway is gone."""

    def __init__(self, stub: ComplianceServiceStub) -> None:
        self._stub = stub
        self._changed = threading.Condition()
        self.started: list[str] = []
        # The screening that a caller was told of, by request_id.
        self.told: dict[str, str] = {}
        self._threads = ThreadPoolExecutor(CALLERS)
        self._running: list[Future[None]] = [self._threads.submit(self._screen_on) for _ in range(CALLERS)]

    def wait_for(self, answers: int) -> None:
        with self._changed:
            there = self._changed.wait_for(lambda: len(self.told) >= answers, PATIENCE)
        assert there, f"only {len(self.told)} of {answers} answers came"

    def join(self) -> None:
        """Waits until all of them have noticed."""
        for running in self._running:
            running.result(PATIENCE)
        self._threads.shutdown()

    def _screen_on(self) -> None:
        while True:
            request_id = str(uuid.uuid4())
            self.started.append(request_id)
            try:
                answer = self._stub.Screen(screen(request_id), timeout=PATIENCE)
            except grpc.RpcError as error:
                # A process that is killed says nothing any more.
                assert error.code() == grpc.StatusCode.UNAVAILABLE, error
                assert rpc_status.from_call(error) is None
                return
            with self._changed:
                self.told[request_id] = answer.screening.screening_id
                self._changed.notify_all()


@contextmanager
def kora(stderr: Path) -> Iterator[str]:
    """The address of an emulator that outlives every gateway."""
    program = Program("emulator", "--emulator-addr", FREE_PORT, env={}, stderr=stderr)
    try:
        yield addresses(program.lines_until("ready"))["emulator"]
    finally:
        program.kill()


def keys_at(emulator: Emulator) -> Counter[str]:
    """How often each key came to Kora, with whole requests and with broken ones."""
    arrived = [request for request in emulator.requests() if request["method"] == "POST"]
    return Counter(request["headers"]["idempotency-key"] for request in arrived)


def is_for(stub: ComplianceServiceStub, screening_id: str, request_id: str) -> bool:
    """Whether Kora made this screening for this request."""
    screening = stub.GetScreening(GetScreeningRequest(screening_id=screening_id), timeout=PATIENCE).screening
    subject = stub.GetSubject(GetSubjectRequest(subject_id=screening.subject_id), timeout=PATIENCE).subject
    return subject.profile.external_id == request_id


def account_for(stub: ComplianceServiceStub, request_id: str, told: str | None, *, is_at_kora: bool) -> str:
    """Sees that a request of an earlier life is answered as it ended; in one word, how it ended."""
    try:
        record = stub.GetRequest(GetRequestRequest(request_id=request_id), timeout=PATIENCE).record
    except grpc.RpcError as error:
        assert decoded(error, paid=False).info.reason == "REQUEST_NOT_FOUND"
        assert not told and not is_at_kora, "a request that was sent is forgotten"
        screening = stub.Screen(screen(request_id), timeout=PATIENCE).screening
        assert is_for(stub, screening.screening_id, request_id)
        return "never begun"
    assert (record.request_id, record.method) == (request_id, METHOD)
    if record.state == REQUEST_STATE_SUCCEEDED:
        assert is_at_kora
        assert told in (None, record.screening.screening_id)
        assert is_for(stub, record.screening.screening_id, request_id)
        answer, call = stub.Screen.with_call(screen(request_id), timeout=PATIENCE)
        assert answer.screening == record.screening
        assert REPLAY in [tuple(pair) for pair in call.initial_metadata()]
        return "succeeded"
    assert record.state == REQUEST_STATE_UNKNOWN, record.state
    assert not told, "an answer that was given is not known any more"
    with pytest.raises(grpc.RpcError) as raised:
        stub.Screen(screen(request_id), timeout=PATIENCE)
    assert decoded(raised.value, paid=True).info.metadata["outcome"] == "UNKNOWN"
    return "unknown"


def live_and_die(phoenix: Phoenix, emulator: Emulator) -> Callers:
    """One life of the gateway, ended at any moment, and the next one begun."""
    emulator.next({"kind": "delay", "milliseconds": random.choice(DELAYS)}, times=ALWAYS)
    callers = Callers(phoenix.gateway.stub)
    callers.wait_for(random.randrange(1, ANSWERS))
    time.sleep(random.uniform(0, SPREAD))
    phoenix.kill()
    callers.join()
    emulator.next({"kind": "delay", "milliseconds": 0}, times=0)
    phoenix.rise()
    return callers


def test_every_request_of_a_killed_gateway_is_answered_truly_and_none_is_sent_twice(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    with kora(tmp_path / "stderr-kora") as address:
        emulator = Emulator(address)
        flags = ("--kora-base-url", f"http://{address}/api/v1", "--kora-tenant-id", TENANT)
        start = functools.partial(start_gateway, *flags, emulator=False)
        phoenix = Phoenix(start, f"file:{tmp_path / 'data'}", env=CREDENTIALS)
        ends: Counter[str] = Counter()
        told = unanswered = 0
        before: set[str] = set()
        for _ in range(KILLS):
            callers = live_and_die(phoenix, emulator)
            at_kora = keys_at(emulator)
            for request_id in callers.started:
                answer, is_at_kora = callers.told.get(request_id), key(request_id) in at_kora
                ends[account_for(phoenix.gateway.stub, request_id, answer, is_at_kora=is_at_kora)] += 1
                unanswered += is_at_kora and not answer
            # Nothing above, and nothing from an earlier life, was sent again.
            at_kora = keys_at(emulator)
            assert set(at_kora.values()) == {1}
            assert at_kora.keys() <= {key(request_id) for request_id in callers.started}
            assert not at_kora.keys() & before
            before |= at_kora.keys()
            told += len(callers.told)
            emulator.forget_requests()
        assert phoenix.lives == KILLS + 1
        # The kills came in the middle of things.
        assert told and unanswered
        print(f"{KILLS} kills, {told} answered before, {unanswered} sent and not answered; {dict(ends)}")
