"""Calls and webhooks of one tenant at a steady rate, from a process of their own: a busy one must not slow others down."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import statistics
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import grpc
from grpc_status import rpc_status
from kora.compliance.v1.compliance_service_pb2_grpc import ComplianceServiceStub

import messages
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
        # A proxy variable in the environment must not send loopback calls elsewhere.
        self.channel = grpc.aio.insecure_channel(addresses["grpc"], options=[("grpc.enable_http_proxy", 0)])
        self._stub = ComplianceServiceStub(self.channel)
        self._host, self._port = addresses["webhook"].split(":")
        # Connections that wait for a webhook, each with when it was used last.
        self._idle: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._numbers = itertools.count()
        self.outcomes: defaultdict[tuple[int, str], Outcome] = defaultdict(Outcome)
        self.acknowledged: set[str] = set()

    async def call(self) -> str | None:
        request = messages.screen()
        request.request_id = str(uuid.uuid4())
        try:
            await self._stub.Screen(request, metadata=[("x-kora-tenant", self._tenant)], timeout=self._timeout)
        except grpc.aio.AioRpcError as error:
            status = rpc_status.from_call(error)
            return TypedError(status).info.reason if status else str(error.code())
        return None

    async def deliver(self) -> str | None:
        event_id = f"evt_{self._tenant}_{next(self._numbers)}"
        try:
            status = await asyncio.wait_for(self._post(event_body(event_id)), PATIENCE)
        except (OSError, EOFError, TimeoutError) as error:
            return repr(error)
        if status != 200:
            return str(status)
        self.acknowledged.add(event_id)
        return None

    async def _post(self, body: bytes) -> int:
        reader, writer = await self._connection()
        try:
            signature = signed(f"secret-of-{self._tenant}", body)
            head = f"POST /webhooks/compliance/{self._tenant} HTTP/1.1\r\nHost: gateway\r\n"
            head += f"X-Webhook-Signature: {signature}\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).decode()
            [length] = [line.split()[1] for line in answer.splitlines() if line.lower().startswith("content-length:")]
            await reader.readexactly(int(length))
        except BaseException:
            writer.close()
            raise
        self._idle.append((time.monotonic(), reader, writer))
        return int(answer.split()[1])

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            used, reader, writer = self._idle.pop()
            if time.monotonic() - used < MAX_IDLE and not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._host, int(self._port))

    async def timed(self, phase: int, kind: str, once: Callable[[], Awaitable[str | None]]) -> None:
        began = time.monotonic()
        failure = await once()
        outcome = self.outcomes[(phase, kind)]
        outcome.seconds.append(time.monotonic() - began)
        if failure:
            outcome.failures[failure] += 1


def _run(addresses, tenant, rate, timeout, phase, stop, sending) -> None:  # type: ignore[no-untyped-def]
    sending.send(asyncio.run(_load(addresses, tenant, rate, timeout, phase, stop)))


async def _load(addresses, tenant, rate, timeout, phase, stop) -> Outcomes:  # type: ignore[no-untyped-def]
    load = _Load(addresses, tenant, timeout)
    under_way: dict[str, set[asyncio.Task[None]]] = {CALL: set(), WEBHOOK: set()}
    turn = time.monotonic()
    # A turn that comes late is made up for.
    while not stop.is_set():
        for kind, once in ((CALL, load.call), (WEBHOOK, load.deliver)):
            if len(under_way[kind]) < AT_A_TIME:
                task = asyncio.create_task(load.timed(phase.value, kind, once))
                under_way[kind].add(task)
                task.add_done_callback(under_way[kind].discard)
        turn += 1 / rate
        await asyncio.sleep(max(0.0, turn - time.monotonic()))
    await asyncio.gather(*under_way[CALL], *under_way[WEBHOOK])
    await load.channel.close()
    return Outcomes(dict(load.outcomes), load.acknowledged)
