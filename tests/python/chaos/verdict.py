"""Compares the gateway's answers, records and events with what Kora received, and lists every broken promise."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kora.compliance.v1.event_pb2 import EVENT_SOURCE_WEBHOOK, Event
from kora.compliance.v1.request_record_pb2 import (
    REQUEST_STATE_SUCCEEDED,
    REQUEST_STATE_UNKNOWN,
    REQUEST_STATE_UNSPECIFIED,
    RequestRecord,
    RequestState,
)
from kora.compliance.v1.screening_pb2 import SCREENING_STATUS_COMPLETED

from chaos.callers import Call
from chaos.kora import FAILED, GOOD, REFUSED, REFUSED_FOR_GOOD, TIMED_OUT, Post, Record
from chaos.machine import DRAIN_TIMEOUT, Outage
from chaos.tickets import SCREEN, TENANTS, Ticket

# The name space of the Idempotency-Keys: never to be changed, for Kora may remember them.
KEYS = uuid.UUID("6f0c2d5e-0a52-4d0c-9c5b-4a3f7f7f3b1d")

# Tolerance for what is on the network at a moment, in seconds.
MARGIN = 1.0

# How long after the start of a drain open calls may be answered UNKNOWN, in seconds.
GIVEN_UP = DRAIN_TIMEOUT - 2.0 - MARGIN

# How long after NATS is back a record may still not be written, in seconds: what was published as it went away is
# published again after 5 s without an acknowledgement.
LANDING = 6.0

# NOT_SENT with these reasons is about this call alone, not about earlier ones with the same id.
OF_THIS_CALL = {"STORE_UNAVAILABLE"}


def key(ticket: Ticket) -> str:
    """The Idempotency-Key of the first submission; a rename of the caller does not change it."""
    name = "\0".join([TENANTS[ticket.tenant], ticket.caller, ticket.method, ticket.request_id])
    return str(uuid.uuid5(KEYS, name))


@dataclass(frozen=True)
class Violation:
    """A broken promise."""

    promise: str
    ticket: Ticket | None
    what: str


@dataclass
class Case:
    """Everything known about one ticket."""

    ticket: Ticket
    posts: list[Post]
    calls: list[Call]
    record: RequestRecord | None

    def unrefused(self, until: float = float("inf")) -> list[Post]:
        """The POSTs that may have been carried out."""
        return [post for post in self.posts if post.arrived <= until and not is_refused(post)]

    @property
    def begin(self) -> float:
        return min(call.begin for call in self.calls)


def is_refused(post: Post) -> bool:
    return post.verdict in (REFUSED, REFUSED_FOR_GOOD)


class Verdict:
    """The comparison of one run."""

    def __init__(
        self,
        kora: Record,
        calls: list[Call],
        records: dict[Ticket, RequestRecord | None],
        recorded: float,
        outages: list[Outage],
    ) -> None:
        """The `records` were read at `recorded`, when nothing was in flight."""
        self._kora, self._recorded, self._outages = kora, recorded, outages
        by_key = {key(ticket): ticket for ticket in records}
        posts: defaultdict[Ticket, list[Post]] = defaultdict(list)
        for post in kora.posts:
            ticket = post.ticket or by_key.get(post.key or "")
            # Without a body only the key identifies it, and the ASYNC submission's key is not known here.
            if ticket:
                posts[ticket].append(post)
        of_ticket: defaultdict[Ticket, list[Call]] = defaultdict(list)
        for call in calls:
            of_ticket[call.ticket].append(call)
        self._cases = [
            Case(ticket, sorted(posts[ticket], key=lambda post: post.arrived), of_ticket[ticket], record)
            for ticket, record in records.items()
        ]

    def violations(self) -> list[Violation]:
        return [
            *(Violation("another tenant's key or id", None, path) for path in self._kora.strangers),
            *(
                Violation(promise, case.ticket, f"{what}\n{timeline(case, self._outages)}")
                for case in self._cases
                for promise, what in dict(self._of(case)).items()
            ),
        ]

    def _of(self, case: Case) -> Iterator[tuple[str, str]]:
        yield from self._posts(case)
        for call in case.calls:
            yield from self._call(case, call)
        then = Case(
            case.ticket,
            [post for post in case.posts if post.arrived < self._recorded],
            [call for call in case.calls if call.begin < self._recorded],
            case.record,
        )
        if case.record is not None:
            yield from self._record(then, case.record)
        elif then.unrefused() or any(call.answer is not None for call in then.calls):
            yield "a request that was sent is forgotten", ""
        for last in case.calls[len(then.calls) :]:
            yield from self._repeat(case, last)

    def _posts(self, case: Case) -> Iterator[tuple[str, str]]:
        """No POST is sent again unless it certainly did not happen."""
        main = [post for post in case.posts if post.ticket is None or post.asynchronous == case.ticket.asynchronous]
        second = [post for post in case.posts if post not in main]
        for posts in (main, second):
            keys = {post.key for post in posts}
            if len(keys) > 1 or (posts is main and keys - {key(case.ticket)}):
                yield "another key", str(keys)
            for earlier, later in zip(posts, posts[1:], strict=False):
                if earlier.verdict == REFUSED_FOR_GOOD:
                    yield "a final refusal was sent again", later.fault
                elif not is_refused(earlier) or (earlier.answered or later.arrived) > later.arrived:
                    yield "paid twice", f"{earlier.fault}, then {later.fault}"
        if second:
            timed_out = [post for post in main if post.verdict == TIMED_OUT and post.arrived < second[0].arrived]
            if not case.ticket.continue_async or not timed_out:
                yield "paid twice", "submitted as ASYNC without being asked to"
            if {post.key for post in main} & {post.key for post in second}:
                yield "another key", "the second submission has the first one's"

    def _call(self, case: Case, call: Call) -> Iterator[tuple[str, str]]:
        if call.cancelled:
            return
        name = f"{call.kind}: {call.code} {call.reason} {call.outcome} {call.text}"
        if call.problem:
            yield "an error against the catalogue", f"{name}: {call.problem}"
        elif call.answer is not None:
            yield from self._answer(case, call.answer)
        elif not call.is_typed:
            if not self._may_be_cut(call) and not call.met_a_stall:
                yield "no ErrorInfo", f"{name} after {call.end - call.begin:.3f} of {call.ticket.deadline} s"
        elif not self._is_true(case, call):
            yield f"untrue: {call.outcome}", name

    def _answer(self, case: Case, answer: Any) -> Iterator[tuple[str, str]]:
        """A result, fresh or stored, equals Kora's."""
        good = [post for post in case.posts if post.verdict == GOOD]
        if case.ticket.method != SCREEN:
            if not good or answer.subject_id != case.ticket.subject_id:
                yield "an answer that Kora did not give", answer.subject_id
            return
        screening = self._kora.screenings.get(answer.screening_id)
        decided = answer.decision.outcome_code if answer.HasField("decision") else None
        if screening is None or answer.screening_id not in [post.screening_id for post in good]:
            approves = (decided or "").startswith("APPROVE")
            yield "wrong approval" if approves else "an answer that Kora did not give", f"{answer.screening_id} {decided}"
        elif decided is not None and decided != case.ticket.outcome:
            promise = "wrong approval" if decided.startswith("APPROVE") else "another decision"
            yield promise, f"{decided}, not {case.ticket.outcome}"
        elif decided is not None and answer.status != SCREENING_STATUS_COMPLETED:
            yield "a decision before the end", str(answer.status)
        elif answer.subject_id not in ("", screening.subject_id):
            yield "another subject", answer.subject_id

    def _is_true(self, case: Case, call: Call) -> bool:
        """Whether an error's outcome agrees with Kora's record."""
        seen = [post for post in case.posts if post.arrived <= call.end]
        match call.outcome:
            case "NOT_SENT":
                if call.reason not in OF_THIS_CALL and case.unrefused(until=call.begin):
                    return False
                others = [it for it in case.calls if it is not call and it.begin <= call.end and call.begin <= it.end]
                return bool(others) or not [post for post in seen if post.arrived >= call.begin]
            case "REJECTED":
                return bool(seen) and all(map(is_refused, seen))
            case "ACCEPTED":
                return FAILED in [post.verdict for post in seen] and TIMED_OUT not in [post.verdict for post in seen]
            case "UNKNOWN":
                # A repeat that waits for a record that the store does not deliver cannot know better.
                waited = any(it.kind == "nats" and it.overlaps(case.begin, call.end) for it in self._outages)
                return bool(case.unrefused(until=call.end + MARGIN)) or waited or self._is_excused(case, call.end)
        return False

    def _record(self, case: Case, record: RequestRecord) -> Iterator[tuple[str, str]]:
        state = RequestState.Name(record.state).removeprefix("REQUEST_STATE_")
        verdicts = [post.verdict for post in case.posts]
        if state == "SUCCEEDED":
            yield from self._answer(case, record.screening if case.ticket.method == SCREEN else record.subject)
        elif answered := [call for call in case.calls if call.answer is not None and not self._may_be_forgotten(call)]:
            yield "an answer is forgotten", f"{len(answered)} calls had one, now {state}"
        elif state == "FAILED":
            if FAILED not in verdicts:
                yield "untrue record", state
        elif state == "REJECTED":
            if case.unrefused():
                yield "untrue record", state
        elif state == "UNKNOWN":
            yield from self._unknown(case)
        else:
            yield "untrue record", state

    def _repeat(self, case: Case, last: Call) -> Iterator[tuple[str, str]]:
        """A repeat agrees with the record."""
        state = case.record.state if case.record else REQUEST_STATE_UNSPECIFIED
        if state == REQUEST_STATE_SUCCEEDED:
            stored = case.record.screening if case.ticket.method == SCREEN else case.record.subject
            if not last.replayed or last.answer != stored:
                yield "a stored answer is not replayed", f"{last.code} {last.reason}"
        elif state == REQUEST_STATE_UNKNOWN and last.outcome != "UNKNOWN":
            yield "UNKNOWN does not stay", f"{last.code} {last.reason}"

    def _unknown(self, case: Case) -> Iterator[tuple[str, str]]:
        paid = case.unrefused()
        if not paid and not self._is_excused(case, float("inf")):
            yield "an id was burned", "UNKNOWN, though nothing was sent"
        for post in paid:
            if post.verdict == GOOD and post.answered is not None and not self._may_be_unrecorded(case, post):
                yield "a paid answer was lost", post.fault

    def _may_be_unrecorded(self, case: Case, post: Post) -> bool:
        """Whether the process may have ended before it could record an answer."""
        assert post.answered is not None
        done = post.answered
        if post.asynchronous and not case.ticket.asynchronous:
            # CONTINUE_ASYNC is recorded when the event arrives, or at the deadline.
            done = max(done, post.arrived + case.ticket.deadline)
        return self._may_end(post.arrived - MARGIN, self._landed(done))

    def _may_be_forgotten(self, call: Call) -> bool:
        """Whether an answer was given while NATS was away, and the process ended before it could be recorded."""
        landed = self._landed(call.end)
        return landed > call.end and self._may_end(call.begin, landed)

    def _landed(self, done: float) -> float:
        """When what had to be recorded at this time is in the store at the latest."""
        away = [it.end for it in self._outages if it.kind == "nats" and it.overlaps(done - MARGIN, done + MARGIN)]
        return max([done, *(end + LANDING for end in away)])

    def _may_end(self, begin: float, end: float) -> bool:
        """Whether a process that was there at `begin` may not have been there any more at `end`."""
        killed = any(it.kind == "kill" and it.overlaps(begin, end + MARGIN) for it in self._outages)
        given_up = [it.begin + GIVEN_UP for it in self._outages if it.kind == "drain"]
        return killed or any(begin <= at <= end for at in given_up)

    def _is_excused(self, case: Case, until: float) -> bool:
        """Whether UNKNOWN is right although Kora saw no POST: the process was killed, or an idle connection was closed
        when a request was about to be sent on it."""
        died = any(it.kind == "kill" and it.overlaps(case.begin, until) for it in self._outages)
        return died or any(case.begin - MARGIN <= cut <= until for cut in self._kora.cuts)

    def _may_be_cut(self, call: Call) -> bool:
        """Whether an error without ErrorInfo is allowed: the process was killed, or the call began in a drain."""
        met = [it for it in self._outages if it.kind != "nats" and it.overlaps(call.begin, call.end)]
        return any(it.kind == "kill" or call.begin > it.begin - MARGIN for it in met)


def log_faults(events: list[Event], delivered: set[str]) -> list[str]:
    """The faults of a log to which the `delivered` events were acknowledged."""
    ids = [event.event_id for event in events if event.source == EVENT_SOURCE_WEBHOOK]
    times = [event.receive_time.ToNanoseconds() for event in events]
    return [
        *(f"lost: {event_id}" for event_id in sorted(delivered - set(ids))),
        *(f"twice: {event_id}" for event_id in sorted({it for it in ids if ids.count(it) > 1})),
        *["a receive_time goes back"] * (times != sorted(times)),
    ]


def timeline(case: Case, outages: list[Outage]) -> str:
    """The calls and POSTs of one ticket in order, the outages that they met, and its record."""
    lines = [(post.arrived, f"POST {'ASYNC ' * post.asynchronous}{post.fault}: {post.verdict}") for post in case.posts]
    lines += [(post.answered, f"{post.fault} is answered") for post in case.posts if post.answered is not None]
    for call in case.calls:
        result = "cancelled" if call.cancelled else "OK" if call.answer is not None else call.code
        took = f"{call.end - call.begin:.2f} s"
        lines.append((call.begin, " ".join([call.kind, took, result, call.reason, call.outcome])))
    first = [call for call in case.calls if call.kind != "last"]
    lines += [
        (outage.begin, f"{outage.kind} for {outage.end - outage.begin:.2f} s")
        for outage in outages
        if first and outage.overlaps(case.begin - MARGIN, max(call.end for call in first) + 4 * MARGIN)
    ]
    state = RequestState.Name(case.record.state) if case.record else "no record"
    ordered = [f"    {at - case.begin:8.3f} {line}" for at, line in sorted(lines)]
    return "\n".join([*ordered, f"    {state}", f"    {case.ticket}"])
