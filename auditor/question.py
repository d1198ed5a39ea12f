"""What an audit is asked: all that changes its answer besides the file and the reference set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from auditor.errors import UsageError
from auditor.known import KnownFiles
from auditor.policy import ALPHA, DEFAULTS, Thresholds
from auditor.reference.set import ReferenceSet

RESAMPLES = 1000
MOST_RESAMPLES = 10_000_000
"""Some seconds and 160 MB; the range that they give has long settled."""


@dataclass(frozen=True)
class Question:
    """A question about a file; the default one is about everybody in the set."""

    seed: int = 0
    """Of all that is drawn, ≥ 0."""
    alpha: float = ALPHA
    """Level of significance, 0…1."""
    resamples: int = RESAMPLES
    """Draws of artists behind the range of a p-value."""
    features_name: str | None = None
    """What the set must have been made with; None: whatever it was."""
    artists: Sequence[str] = ()
    """Who is asked about; none: everybody in the set."""
    independent: bool = False
    """Whether they were chosen independently of how the file or its pictures look, so that nobody else's likeness has
    to be reckoned with (`evidence.significance`)."""
    thresholds: Thresholds = DEFAULTS
    """What a verdict needs besides."""
    known: KnownFiles | None = None
    """Files that the suspect may be a copy of."""

    def require_sense(self, reference: ReferenceSet) -> None:
        """Refuse what cannot be asked, or not of this set.  Raises UsageError."""
        if not 0 < self.alpha < 1 or not 1 <= self.resamples <= MOST_RESAMPLES or self.seed < 0:
            raise UsageError(
                f"alpha = {self.alpha:g}, resamples = {self.resamples}, seed = {self.seed}.",
                advice=f"Give 0 < alpha < 1, resamples from 1 to {MOST_RESAMPLES:,} and a seed of 0 or more.",
            )
        reference.require_features(self.features_name)
        reference.asked(self.artists, self.independent)

    def options(self, reference: ReferenceSet) -> dict[str, Any]:
        """As every audit records it, so that it can be asked again; the seed has a place of its own there."""
        asked = [reference.artists[a] for a in reference.asked(self.artists, self.independent)]
        found: dict[str, Any] = {"refs": reference.manifest["name"], "alpha": self.alpha, "resamples": self.resamples}
        found |= {"features": self.features_name} | ({"artists": asked} if asked else {})
        found |= {"independent": True} if self.independent else {}
        found |= {"thresholds": asdict(self.thresholds)} if self.thresholds != DEFAULTS else {}
        return found | ({"known": self.known.note()} if self.known else {})
