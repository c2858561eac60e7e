"""The requests of a run and the faults that they meet, generated from one seed before the run starts."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass

from kora.compliance.v1.compliance_service_pb2 import (
    TIMEOUT_POLICY_CONTINUE_ASYNC,
    CreateSubjectRequest,
    ScreenRequest,
)
from kora.compliance.v1.screening_pb2 import SCREENING_MODE_ASYNC, SCREENING_MODE_SYNC

import messages

# By name, each with its id at Kora.
TENANTS = {
    "north": "5f0c9a52-7c1e-4c8b-9d57-3a1e6b2f4d80",
    "south": "0b6d1f7e-93a4-4d55-8a41-0c9b7e2d6f13",
}
CALLERS = ("onboarding", "periodic", "batch")

SCREEN = "Screen"
CREATE_SUBJECT = "CreateSubject"

OUTCOMES = ("APPROVE", "APPROVE_WITH_MONITORING", "REVIEW_REQUIRED", "BLOCK")

# What Kora does with a POST, with weights.
FAULTS = {
    "none": 60,
    "slow": 8,
    "late": 2,
    "pending": 8,
    "close_after": 4,
    "invalid_400": 3,
    "limited_429": 4,
    "bare_429": 1,
    "unauthorized_401": 2,
    "forbidden_403": 1,
    "error_500": 2,
    "bare_500": 1,
    "html_502": 1,
    "unavailable_503": 2,
    "bare_503": 1,
    "timeout_503": 4,
    "failed_500": 2,
    "failed_200": 2,
    "reset": 2,
    "truncated": 2,
    # The answer contradicts itself, its status, or the request.
    "limited_500": 1,
    "conflict_409": 1,
    "outcome_twin": 1,
    "subject_twin": 1,
    "other_subject": 1,
    # Longer than any deadline: only in a long run.
    "hang": 1,
}

# From how many tickets on a run is long.
LONG_RUN = 1_000

# Deadlines of calls, in seconds.
DEADLINES = (12.0, 35.0, 12.0, 35.0, 12.0, 35.0, 1.0, 3.0)

# How long Kora works on a screening that it answered with PENDING, in seconds.
WORK = (0.05, 2.0)


@dataclass(frozen=True)
class Ticket:
    """One request_id of one caller and tenant: the request, its concurrent and later repeats, and Kora's behaviour."""

    number: int
    tenant: str
    caller: str
    request_id: str
    method: str
    asynchronous: bool
    continue_async: bool
    by_id: bool
    deadline: float
    # When the first call is cancelled, and when concurrent repeats start, in seconds after its start.
    cancel_after: float | None
    joins: tuple[float, ...]
    repeats: int
    # The fault of the first POST, the second, and so on; the last one repeats.
    faults: tuple[str, ...]
    outcome: str
    work: float
    # Kora first sends a webhook for this screening that names another subject.
    misleading: bool

    @property
    def customer(self) -> str:
        """The external id of the subject, unique to this ticket."""
        return f"{self.tenant}.{self.caller}.{self.request_id}"

    @property
    def subject_id(self) -> str:
        """Kora's id of the subject."""
        return f"subj_{self.customer}"

    def message(self) -> ScreenRequest | CreateSubjectRequest:
        """The request; the content never changes."""
        profile = messages.profile(external_id=self.customer)
        if self.method == CREATE_SUBJECT:
            return CreateSubjectRequest(subject=profile, request_id=self.request_id)
        party = {"subject_id": self.subject_id} if self.by_id else {"subject": profile}
        request = messages.screen(request_id=self.request_id, **party)
        request.mode = SCREENING_MODE_ASYNC if self.asynchronous else SCREENING_MODE_SYNC
        if self.continue_async:
            request.on_timeout = TIMEOUT_POLICY_CONTINUE_ASYNC
        return request


def tickets(seed: int, count: int) -> list[Ticket]:
    """Generates the tickets of a run."""
    chance = random.Random(seed)
    weights = {fault: weight for fault, weight in FAULTS.items() if fault != "hang" or count >= LONG_RUN}
    made: list[Ticket] = []
    for number in range(count):
        faults = tuple(chance.choices(list(weights), list(weights.values()), k=4))
        made.append(_ticket(number, chance, made, faults))
    return made


def _ticket(number: int, chance: random.Random, earlier: list[Ticket], faults: tuple[str, ...]) -> Ticket:
    tenant, caller = chance.choice(list(TENANTS)), chance.choice(CALLERS)
    request_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    if earlier and chance.random() < 0.05:
        # The scope of an id is its tenant and caller.
        known = chance.choice(earlier)
        if all((it.tenant, it.caller) != (tenant, caller) for it in earlier if it.request_id == known.request_id):
            request_id = known.request_id
    method = CREATE_SUBJECT if chance.random() < 0.1 else SCREEN
    asynchronous = method == SCREEN and chance.random() < 0.15
    continue_async = method == SCREEN and not asynchronous and chance.random() < 0.3
    if continue_async and chance.random() < 0.5:
        faults = ("timeout_503", *faults[1:])
    return Ticket(
        number=number,
        tenant=tenant,
        caller=caller,
        request_id=request_id,
        method=method,
        asynchronous=asynchronous,
        continue_async=continue_async,
        by_id=method == SCREEN and chance.random() < 0.3,
        deadline=chance.choice(DEADLINES),
        cancel_after=chance.uniform(0, 0.3) if chance.random() < 0.1 else None,
        joins=tuple(chance.uniform(0, 0.3) for _ in range(chance.choice([0, 0, 0, 1, 2]))),
        repeats=chance.choice([0, 0, 1, 2]),
        faults=faults,
        outcome=chance.choice(OUTCOMES),
        work=chance.uniform(*WORK),
        misleading=chance.random() < 0.1,
    )
