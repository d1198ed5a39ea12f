"""Verdicts → the exit code of the process."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

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
    found = {_of_one(_label(audit), fail_on, audit.options.get("policy")) for audit in audits}
    return _gravest(found)


def code_of_labels(labels: Iterable[str], fail_on: FailOn) -> int:
    """The exit code for verdicts of these labels together."""
    return _gravest({_of_one(label, fail_on) for label in labels})


def _label(audit: Audit) -> str:
    return "OUT_OF_SCOPE" if audit.skipped else audit.verdict.label


def _gravest(found: set[int]) -> int:
    return next((code for code in GRAVITY if code in found), NOTHING_FOUND)


def _of_one(label: str, fail_on: FailOn, note: dict[str, Any] | None = None) -> int:
    if label == "OUT_OF_SCOPE":
        return NOT_AUDITABLE
    if note:
        blocked = MATCH if label in ("CONSISTENT", "DERIVATIVE") else INCONCLUSIVE
        return blocked if note["blocks"] and fail_on is not FailOn.NEVER else NOTHING_FOUND
    if label in ("CONSISTENT", "DERIVATIVE") and fail_on is not FailOn.NEVER:
        return MATCH
    if label == "INCONCLUSIVE" and fail_on is FailOn.INCONCLUSIVE:
        return INCONCLUSIVE
    return NOTHING_FOUND
