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
    """The exit code for all suspects together."""
    return code_of_labels(("OUT_OF_SCOPE" if audit.skipped else audit.verdict.label for audit in audits), fail_on)


def code_of_labels(labels: Iterable[str], fail_on: FailOn) -> int:
    """The exit code for verdicts of these labels together."""
    found = {_of_one(label, fail_on) for label in labels}
    return next((code for code in GRAVITY if code in found), NOTHING_FOUND)


def _of_one(label: str, fail_on: FailOn) -> int:
    if label == "OUT_OF_SCOPE":
        return NOT_AUDITABLE
    if label in ("CONSISTENT", "DERIVATIVE") and fail_on is not FailOn.NEVER:
        return MATCH
    if label == "INCONCLUSIVE" and fail_on is FailOn.INCONCLUSIVE:
        return INCONCLUSIVE
    return NOTHING_FOUND
