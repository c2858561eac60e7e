"""A double of Kora: it handles POSTs as their tickets say, and records all of them for the verdict."""

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

# How Kora handled a POST.
GOOD = "good"  # Done, and answered in full.
FAILED = "failed"  # Accepted, and answered with a final failure.
REFUSED = "refused"  # Not done, and answered so; may be sent again with the same id.
REFUSED_FOR_GOOD = "refused for good"  # Not done, and a final answer.
TIMED_OUT = "timed out"  # Kora's own time limit passed; it may have been done.
UNCLEAR = "unclear"  # The answer does not say; it may have been done.
OPEN = "open"  # Not answered yet.

# Faults that do not apply to CreateSubject, and those that apply only to a screening by subject id.
ONLY_FOR_SCREENINGS = {"pending", "failed_500", "failed_200", "timeout_503", "outcome_twin", "other_subject"}
ONLY_BY_ID = {"other_subject"}

# Longer than every deadline and than the gateway's limit of one attempt, in seconds.
HANG = 40.0

# The chance that a connection is reset after the head of a POST was read and before its body.
HEAD_RESETS = 0.01


@dataclass
class Post:
    """One POST that arrived."""

    key: str | None
    # Unset if the connection was reset before the body was read.
    ticket: Ticket | None
    asynchronous: bool
    arrived: float
    fault: str
    verdict: str = OPEN
    answered: float | None = None
    screening_id: str = ""


@dataclass
class Screening:
    """A screening that Kora has created."""

    screening_id: str
    ticket: Ticket
    subject_id: str
    # When it completes.
    end: float

    def body(self, now: float) -> dict[str, Any]:
        common = {"screening_id": self.screening_id, "subject_id": self.subject_id}
        if now < self.end:
            return {**common, "status": "PENDING"}
        decision = {"outcome": self.ticket.outcome, "triggered_rules": [], "explanation": "as the list says"}
        return {**common, "status": "COMPLETED", "risk_score": 150, "decision": decision, "matches": []}


@dataclass
class Record:
    """Everything that Kora received and did."""

    posts: list[Post] = field(default_factory=list)
    screenings: dict[str, Screening] = field(default_factory=dict)
    # Requests with the wrong key or tenant id.
    strangers: list[str] = field(default_factory=list)
    # When idle connections were closed: a request sent at that moment never arrives here.
    cuts: list[float] = field(default_factory=list)


class ChaosKora:
    """One server for all tenants, on a thread of its own."""

    def __init__(self, seed: int, tickets: list[Ticket], created: Callable[[Screening], None]) -> None:
        """`created` is called with every screening that completes later, so that webhooks are sent."""
        self._seed = seed
        self._tickets: Mapping[str, Ticket] = {ticket.customer: ticket for ticket in tickets}
        self._created = created
        self._counts: defaultdict[tuple[str, bool], int] = defaultdict(int)
        self._heads: defaultdict[str, int] = defaultdict(int)
        self.record = Record()
        # While `locked_out` is set every POST is answered 401; once `well` is set there are no more faults.
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
            pass  # The gateway closed the connection.
        except asyncio.CancelledError:
            pass  # The run is over.
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Handles one request. Returns whether the connection stays open."""
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
        """Handles a POST that was read in full. Returns whether the connection stays open."""
        party = request if kind == "subjects" else request.get("subject", {})
        customer = party.get("external_id") or request.get("subject_id", "").removeprefix("subj_")
        ticket = self._tickets[customer]
        asynchronous = request.get("mode") == "ASYNC"
        count = self._counts[customer, asynchronous]
        self._counts[customer, asynchronous] += 1
        faults = ticket.faults
        if ticket.continue_async and asynchronous:
            # The first fault was the SYNC submission's.
            faults = faults[1:]
        fault = "none" if self.well.is_set() else faults[min(count, len(faults) - 1)]
        if fault in (ONLY_FOR_SCREENINGS if kind == "subjects" else set() if ticket.by_id else ONLY_BY_ID):
            fault = "none"
        if self.locked_out.is_set():
            fault = "unauthorized_401"
        post = Post(key, ticket, asynchronous, time.monotonic(), fault)
        self.record.posts.append(post)
        await asyncio.sleep({"slow": 0.2 + ticket.work / 2, "late": 13.0 + ticket.work, "hang": HANG}.get(fault, 0.0))
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
        # Before the answer is written, since the gateway may act on it before this thread goes on.
        post.verdict = UNCLEAR if post.fault in (*TWISTED, "hang") else FAILED if post.fault == "failed_200" else GOOD
        await send(writer, status, TWISTED.get(post.fault, lambda it: it)(content))
        if post.fault == "close_after":
            self.record.cuts.append(time.monotonic())
            return False
        return True

    def _make(self, post: Post, kind: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Creates the subject or the screening. Returns status and body."""
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
            self._created(screening)
        return 202 if later else 200, screening.body(now)


def envelope(code: str) -> dict[str, Any]:
    return {"code": code, "message": "no", "request_id": "req_1"}


# Answers without a resource: what they mean, the status, and the body.
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

# Changes to a good answer that make it invalid.
TWISTED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "outcome_twin": lambda body: {
        **body, "status": "COMPLETED", "decision": {"Outcome": "BLOCK", "outcome": "APPROVE"}
    },
    "subject_twin": lambda body: {**body, "subjectId": "subj_somebody-else"},
    "other_subject": lambda body: {**body, "subject_id": "subj_somebody-else"},
}  # fmt: skip


def reset(writer: asyncio.StreamWriter) -> None:
    """Resets the connection and discards unsent data."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


async def send(writer: asyncio.StreamWriter, status: int, content: Any, *, cut: bool = False) -> None:
    """Sends an answer; only half of its body if `cut`."""
    body = content if isinstance(content, bytes) else b"" if content is None else json.dumps(content).encode()
    head = f"HTTP/1.1 {status} \r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + (body[: len(body) // 2] if cut else body))
    await writer.drain()
