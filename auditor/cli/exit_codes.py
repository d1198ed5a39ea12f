"""Verdicts → the exit code of the process."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from auditor.result import Audit

NOTHING_FOUND = 0
NOT_AUDITABLE = 3
INCONCLUSIVE = 10
MATCH = 11
GRAVITY = (MATCH, NOT_AUDITABLE, INCONCLUSIVE, NOTHING_FOUND)
"""The first of these that applies to any suspect is the exit code."""


class FailOn(StrEnum):
    """From which verdict on the exit code tells of it; what could not be audited always does."""

    MATCH = "match"
    INCONCLUSIVE = "inconclusive"
    NEVER = "never"


def exit_code(audits: Iterable[Audit], fail_on: FailOn) -> int:
    """The exit code for all suspects together; where a policy judged a suspect, by what it blocks."""
    found = {_of_one(audit, fail_on) for audit in audits}
    return next((code for code in GRAVITY if code in found), NOTHING_FOUND)


def _of_one(audit: Audit, fail_on: FailOn) -> int:
    label = audit.verdict.label
    if audit.skipped or label == "OUT_OF_SCOPE":
        return NOT_AUDITABLE
    if note := audit.options.get("policy"):
        blocked = MATCH if label in ("CONSISTENT", "DERIVATIVE") else INCONCLUSIVE
        return blocked if note["blocks"] and fail_on is not FailOn.NEVER else NOTHING_FOUND
    if label in ("CONSISTENT", "DERIVATIVE") and fail_on is not FailOn.NEVER:
        return MATCH
    if label == "INCONCLUSIVE" and fail_on is FailOn.INCONCLUSIVE:
        return INCONCLUSIVE
    return NOTHING_FOUND
