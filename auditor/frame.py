"""What every audit of a run shares: tool, time, seed, set, and the clock of its steps."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import Any

from auditor._version import __version__
from auditor.errors import UsageError
from auditor.lora.text import shown
from auditor.question import Question
from auditor.reference.set import ReferenceSet
from auditor.result import Audit
from auditor.scope import reference_info


class Frame:
    """What every audit of a run shares: tool, time, seed, set, and the clock of its steps."""

    def __init__(self, reference: ReferenceSet, question: Question) -> None:
        """Start with no time spent.  Raises UsageError where the question cannot be asked of this set."""
        question.require_sense(reference)
        self.reference, self.seed, self.options = reference, question.seed, question.options(reference)
        self.timing = {"read": 0.0, "embed": 0.0, "score": 0.0, "render": 0.0}

    def timed(self, step: str) -> Clock:
        """A context that adds its seconds to `step`."""
        return Clock(self.timing, step)

    def audit(self, parts: dict[str, Any]) -> Audit:
        """Put the parts together; parts that were not computed are None or empty."""
        tested = len(self.options["artists"]) if "independent" in self.options else 0
        nothing: dict[str, Any] = {"coverage": None, "open_set": None, "artists": [], "mixture": [], "derivative": None}
        nothing |= {"controls": {}, "map": None, "skipped": None}
        return Audit(
            tool={"name": "audit", "version": __version__},
            created_at=now(),
            seed=self.seed,
            options=self.options,
            reference_set=reference_info(self.reference, tested),
            timing_s={key: round(value, 4) for key, value in self.timing.items()},
            **(nothing | parts),
        )


class Clock:
    """Adds the seconds spent inside a with-block to one entry of a dict."""

    def __init__(self, timing: dict[str, float], step: str) -> None:
        """Remember where to add."""
        self.timing, self.step = timing, step

    def __enter__(self) -> None:
        """Start."""
        self.started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        """Stop and add."""
        self.timing[self.step] += time.perf_counter() - self.started


def now() -> str:
    """RFC 3339 time in UTC; SOURCE_DATE_EPOCH, when set, makes it reproducible.  Raises UsageError where it is none."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"SOURCE_DATE_EPOCH is '{shown(epoch)}', which is no time.",
            advice="Give whole seconds since 1970, as `date +%s` prints them, or unset it.",
        ) from error
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
