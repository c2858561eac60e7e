"""Kora, played here: it takes POSTs as their tickets say, and keeps the record that everything else is held against."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chaos.tickets import TENANTS, Ticket
from program import PATIENCE

# Closing resets the connection.
RESET = struct.pack("ii", 1, 0)

# What became of a POST, as far as Kora knows.
GOOD = "good"  # Answered whole, with what was asked for.
FAILED = "failed"  # Answered finally: taken, and failed.
REFUSED = "refused"  # Not done, and said so; may be sent again with the same id.
REFUSED_FOR_GOOD = "refused for good"
TIMED_OUT = "timed out"  # Kora's own limit passed.
UNCLEAR = "unclear"  # Done for all that the gateway can know.
OPEN = "open"  # Not answered yet.

# What means nothing where a subject is made, and where Kora itself says whom a screening is of.
ONLY_FOR_SCREENINGS = {"pending", "failed_500", "failed_200", "timeout_503", "outcome_twin", "other_subject"}
ONLY_BY_ID = {"other_subject"}

# The chance that a connection is reset when only the head of a POST was looked at.
HEAD_RESETS = 0.01


@dataclass
class Post:
    """One POST that arrived."""

    key: str | None
    # Unset where it was cut before the body was looked at.
    ticket: Ticket | None
    asynchronous: bool
    arrived: float
    fault: str
    verdict: str = OPEN
    answered: float | None = None
    screening_id: str = ""


@dataclass
class Screening:
    """A screening, or a subject, that Kora has made."""

    screening_id: str
    ticket: Ticket
    subject_id: str
    # When it is over.
    end: float

    def body(self, now: float) -> dict[str, Any]:
        common = {"screening_id": self.screening_id, "subject_id": self.subject_id}
        if now < self.end:
            return {**common, "status": "PENDING"}
        decision = {"outcome": self.ticket.outcome, "triggered_rules": [], "explanation": "as the list says"}
        return {**common, "status": "COMPLETED", "risk_score": 150, "decision": decision, "matches": []}


@dataclass
class Record:
    """All that Kora saw and did."""

    posts: list[Post] = field(default_factory=list)
    screenings: dict[str, Screening] = field(default_factory=dict)
    # Requests with another tenant's key or id.
    strangers: list[str] = field(default_factory=list)
    # When connections were cut between requests: a request that met this was never seen.
    cuts: list[float] = field(default_factory=list)


class ChaosKora:
    """One server for all tenants, on a thread of its own."""

    def __init__(self, seed: int, tickets: list[Ticket], finished: Callable[[Screening], None]) -> None:
        """`finished` is called when a screening is made that ends later, which webhooks tell of."""
        self._seed = seed
        self._tickets: Mapping[str, Ticket] = {ticket.customer: ticket for ticket in tickets}
        self._finished = finished
        self._counts: defaultdict[tuple[str, bool], int] = defaultdict(int)
        self._heads: defaultdict[str, int] = defaultdict(int)
        self.record = Record()
        # While set, every POST is refused with 401; and once it is well, it has no faults any more.
        self.locked_out = threading.Event()
        self.well = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        )
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def base_url(self, tenant: str) -> str:
        return f"http://127.0.0.1:{self.port}/{tenant}"

    def close(self) -> None:
        async def end() -> None:
            self._server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, OSError):
            pass  # The gateway has gone away.
        except asyncio.CancelledError:
            pass  # The run is over.
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer. Whether there may be another one."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        start, *lines = head.rstrip().split("\r\n")
        method, path, _ = start.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        _, tenant, kind, *rest = path.split("/")
        shown = (headers.get("authorization"), headers.get("x-tenant-id"))
        if shown != (f"Bearer key-of-{tenant}", TENANTS.get(tenant)):
            self.record.strangers.append(path)
        key = headers.get("idempotency-key")
        if method == "POST" and self._resets_at_head(key):
            self.record.posts.append(Post(key, None, False, time.monotonic(), "reset_head", UNCLEAR))
            reset(writer)
            return False
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if method == "GET":
            status, content = self._read(kind, rest[0])
            await send(writer, status, content)
            return True
        return await self._take(writer, kind, key, json.loads(body))

    def _resets_at_head(self, key: str | None) -> bool:
        if key is None or self.well.is_set():
            return False
        self._heads[key] += 1
        return random.Random(f"{self._seed} {key} {self._heads[key]}").random() < HEAD_RESETS

    def _read(self, kind: str, name: str) -> tuple[int, dict[str, Any]]:
        screening = self.record.screenings.get(name)
        if kind == "screenings" and screening:
            return 200, screening.body(time.monotonic())
        return 404, {"code": "NOT_FOUND", "message": "none", "request_id": "req_1"}

    async def _take(
        self, writer: asyncio.StreamWriter, kind: str, key: str | None, request: dict[str, Any]
    ) -> bool:
        """A whole POST."""
        party = request if kind == "subjects" else request.get("subject", {})
        customer = party.get("external_id") or request.get("subject_id", "").removeprefix("subj_")
        ticket = self._tickets[customer]
        asynchronous = request.get("mode") == "ASYNC"
        count = self._counts[customer, asynchronous]
        self._counts[customer, asynchronous] += 1
        faults = ticket.faults
        if ticket.continue_async and asynchronous:
            # What came of the first submission was told already.
            faults = faults[1:]
        fault = "none" if self.well.is_set() else faults[min(count, len(faults) - 1)]
        if fault in (ONLY_FOR_SCREENINGS if kind == "subjects" else set() if ticket.by_id else ONLY_BY_ID):
            fault = "none"
        if self.locked_out.is_set():
            fault = "unauthorized_401"
        post = Post(key, ticket, asynchronous, time.monotonic(), fault)
        self.record.posts.append(post)
        if fault in ("slow", "late"):
            await asyncio.sleep({"slow": 0.2 + ticket.work / 2, "late": 13.0 + ticket.work}[fault])
        goes_on = await self._meet(writer, post, kind, request)
        post.answered = time.monotonic()
        return goes_on

    async def _meet(
        self, writer: asyncio.StreamWriter, post: Post, kind: str, request: dict[str, Any]
    ) -> bool:
        if post.fault in REFUSALS:
            post.verdict, status, content = REFUSALS[post.fault]
            await send(writer, status, content)
            return True
        if post.fault == "reset":
            post.verdict = UNCLEAR
            reset(writer)
            return False
        status, content = self._make(post, kind, request)
        if post.fault == "truncated":
            post.verdict = UNCLEAR
            await send(writer, status, content, cut=True)
            return False
        # Before it is written: the gateway can be quicker than this thread.
        post.verdict = UNCLEAR if post.fault in TWISTED else FAILED if post.fault == "failed_200" else GOOD
        await send(writer, status, TWISTED.get(post.fault, lambda it: it)(content))
        if post.fault == "close_after":
            self.record.cuts.append(time.monotonic())
            return False
        return True

    def _make(self, post: Post, kind: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Does what was asked for."""
        ticket = post.ticket
        assert ticket is not None
        number = len(self.record.screenings)
        if kind == "subjects":
            post.screening_id = ticket.subject_id
            return 201, {**request, "subject_id": ticket.subject_id}
        now = time.monotonic()
        later = post.asynchronous or post.fault == "pending"
        post.screening_id = f"scr_{number}"
        screening = Screening(post.screening_id, ticket, ticket.subject_id, now + ticket.work if later else now)
        self.record.screenings[post.screening_id] = screening
        if post.fault == "failed_200":
            return 200, {"screening_id": post.screening_id, "subject_id": ticket.subject_id, "status": "FAILED"}
        if later:
            self._finished(screening)
        return 202 if later else 200, screening.body(now)


def envelope(code: str) -> dict[str, Any]:
    return {"code": code, "message": "no", "request_id": "req_1"}


# Answers instead of the work: what they mean, the status, and the body.
REFUSALS: dict[str, tuple[str, int, Any]] = {
    "invalid_400": (REFUSED_FOR_GOOD, 400, envelope("VALIDATION_ERROR")),
    "limited_429": (REFUSED, 429, envelope("RATE_LIMITED")),
    "bare_429": (REFUSED, 429, None),
    "unauthorized_401": (REFUSED, 401, envelope("UNAUTHORIZED")),
    "forbidden_403": (REFUSED, 403, envelope("FORBIDDEN")),
    "error_500": (UNCLEAR, 500, envelope("INTERNAL_ERROR")),
    "bare_500": (UNCLEAR, 500, None),
    "html_502": (UNCLEAR, 502, b"<html>Bad Gateway</html>"),
    "unavailable_503": (UNCLEAR, 503, envelope("SERVICE_UNAVAILABLE")),
    "bare_503": (UNCLEAR, 503, None),
    "timeout_503": (TIMED_OUT, 503, envelope("SCREENING_TIMEOUT")),
    "failed_500": (FAILED, 500, envelope("SCREENING_FAILED")),
    "limited_500": (UNCLEAR, 500, envelope("RATE_LIMITED")),
    "conflict_409": (UNCLEAR, 409, envelope("IDEMPOTENCY_CONFLICT")),
}

# Good answers, twisted so that nobody may believe them.
TWISTED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "outcome_twin": lambda body: {
        **body, "status": "COMPLETED", "decision": {"Outcome": "BLOCK", "outcome": "APPROVE"}
    },
    "subject_twin": lambda body: {**body, "subjectId": "subj_somebody-else"},
    "other_subject": lambda body: {**body, "subject_id": "subj_somebody-else"},
}  # fmt: skip


def reset(writer: asyncio.StreamWriter) -> None:
    """Cuts the connection, with nothing of what waits to be written."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


async def send(writer: asyncio.StreamWriter, status: int, content: Any, *, cut: bool = False) -> None:
    """An answer; half of its body, where it is to be cut."""
    body = content if isinstance(content, bytes) else b"" if content is None else json.dumps(content).encode()
    head = f"HTTP/1.1 {status} \r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + (body[: len(body) // 2] if cut else body))
    await writer.drain()
