"""Requests as callers send them. All personal data that the tests send starts here."""

from __future__ import annotations

from typing import Any

from kora.compliance.v1.compliance_service_pb2 import CreateSubjectRequest, ScreenRequest
from kora.compliance.v1.screening_pb2 import (
    CHECK_TYPE_PEP,
    CHECK_TYPE_SANCTIONS,
    SCREENING_PURPOSE_ONBOARDING,
)
from kora.compliance.v1.subject_pb2 import SUBJECT_TYPE_INDIVIDUAL, Identifier, SubjectProfile

ORDINARY = "Quentin Ordinary"
CLEAN = "Test Clean User"
MONITORED = "Test Monitored User"
PEP = "Test PEP Person"
SANCTIONED = "Test Sanctioned Entity"
UNDOCUMENTED = "Test Unknown Decision"
FAILED = "Test Failed Screening"
BROKEN = "Test Screening Error"
SLOW = "Test Slow Screening"
TIMEOUT = "Test Screening Timeout"
RATE_LIMITED = "Test Rate Limited"

NAMES = (
    ORDINARY, CLEAN, MONITORED, PEP, SANCTIONED, UNDOCUMENTED, FAILED, BROKEN, SLOW, TIMEOUT, RATE_LIMITED,
)  # fmt: skip
BIRTH_DATE = "1971-04-23"
DOCUMENT = "QX7719304"

# What no log, metric or error may hold: personal data, and the emulator's key.
PRIVATE = (*NAMES, BIRTH_DATE, DOCUMENT, "emulator-api-key")


def profile(name: str = ORDINARY, **fields: Any) -> SubjectProfile:
    return SubjectProfile(
        type=SUBJECT_TYPE_INDIVIDUAL,
        name=name,
        date_of_birth=BIRTH_DATE,
        nationality="GB",
        identifiers=[Identifier(type="PASSPORT", value=DOCUMENT, country="GB")],
        **fields,
    )


def screen(name: str = ORDINARY, **fields: Any) -> ScreenRequest:
    """A valid request. A `subject` or `subject_id` in `fields` takes the place of the name."""
    if "subject" not in fields and "subject_id" not in fields:
        fields["subject"] = profile(name)
    fields.setdefault("purpose", SCREENING_PURPOSE_ONBOARDING)
    fields.setdefault("checks", [CHECK_TYPE_SANCTIONS, CHECK_TYPE_PEP])
    return ScreenRequest(**fields)


def create_subject(name: str = ORDINARY, **fields: Any) -> CreateSubjectRequest:
    return CreateSubjectRequest(subject=profile(name, **fields))
