"""What every document shows of an audit: strings ready to be escaped and set.

Every number is formatted and every untrusted value made visible by `auditor.report.build`; documents lay out what
stands here.  The few raw numbers that figures need are kept beside their strings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from auditor.report.numbers import DASH

TOP = 10
"""Artists shown before the fold."""
LABELLED = 5
"""Nearest artists whom the map names."""
MOST_DOTS = 400
"""Values of a null drawn one by one; more become bars."""


@dataclass(frozen=True)
class Row:
    """A name, its value and whether the value is set in a fixed-width face."""

    name: str
    value: str
    code: bool = False
    note: str = ""
    wide: bool = False
    """Whether its note needs a line of its own, where rows stand side by side."""


@dataclass(frozen=True)
class Sure:
    """How sure: the p-value in words and figures."""

    words: str
    compared: str
    floor: str
    p: str
    p_min: str
    alpha: str
    of100: int
    """Dots to fill of one hundred."""
    pips: str
    """What the hundred are."""
    range: str
    """Of the chance that p estimates, 95 %."""
    brief: str
    """The p-value of the conclusion in one line, for a terminal."""
    reachable: bool = True
    """Whether the set names anybody at this level; where it does not, `compared` says so."""


@dataclass(frozen=True)
class ArtistRow:
    """One artist against the suspect."""

    rank: int
    artist: str
    genre: str
    score: str
    interval: str
    p: str
    p_exclusion: str
    evidence: str
    verbal: str
    nearest: str
    significant: bool
    p_value: float
    exclusion_value: float
    lr_value: float | None
    value: float
    low: float
    high: float
    asked: bool = False
    """Whether the audit was asked about this artist, and not about everybody."""


@dataclass(frozen=True)
class NullView:
    """The suspect among the LoRAs that the p-value of the conclusion counts, and what the figure says of them."""

    values: tuple[float, ...]
    """Ascending."""
    statistic: float
    """The suspect's."""
    threshold: float | None
    """Value that a suspect must exceed, or stay below, for p ≤ α; None where the set cannot reach α."""
    flag: str
    """The threshold as the figure marks it; empty where there is none."""
    beyond: int
    """Values that reach the suspect's."""
    below: bool
    """Whether low values speak for the conclusion, so that those at or below the suspect's count."""
    heading: str
    lead: str
    title: str
    axis: str
    bins: str
    """Head of the column where the bins begin."""
    column: str
    """Head of the column of all values."""
    how: str
    """How p is computed from them."""
    artists: tuple[str, ...]
    """Names of the artists behind the null; empty where the audit does not tell them."""
    cut: int
    """Values that `listing` leaves out."""
    listing: tuple[tuple[str, str], ...]
    """Every value: artist, and the values in falling order; one row without a name where owners are unknown."""


@dataclass(frozen=True)
class Dot:
    """One artist on the map."""

    artist: str
    genre: str
    x: float
    y: float
    rank: int
    """By score, 1 = closest; 0 = not scored."""
    asked: bool = False
    """Asked about, and labelled for that."""

    @property
    def named(self) -> bool:
        """Whether the map says who it is."""
        return self.asked or 1 <= self.rank <= LABELLED


@dataclass(frozen=True)
class MapView:
    """The set in two dimensions."""

    dots: tuple[Dot, ...]
    suspect: tuple[float, float]
    explained: str


@dataclass(frozen=True)
class Part:
    """One part of the network: the score of one artist and of all others from this part alone."""

    name: str
    value: float
    others: tuple[float, ...]
    names: tuple[str, ...]
    """Of the other artists, in the order of `others`."""
    rank: int
    first: str
    value_text: str


@dataclass(frozen=True)
class PartsView:
    """All parts, for the artist at the top, or the first of those asked about."""

    artist: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Share:
    """One artist's share of a mixture, or what no artist explains."""

    artist: str
    share: str
    p: str
    value: float
    """0…1, for the bar."""
    rest: bool = False


@dataclass(frozen=True)
class ControlRow:
    """One control."""

    name: str
    sees: str
    artist: str
    p: str
    loud: bool


@dataclass(frozen=True)
class CoverageView:
    """How much of the set's modules the suspect has."""

    fraction: float
    text: str
    percent: str
    low: bool


@dataclass(frozen=True)
class ValidityRow:
    """One figure of the set's validity card."""

    name: str
    value: str
    interval: str
    of: str
    span: tuple[float, float, float] | None
    """Value, low, high when all lie in 0…1."""
    same: str = ""
    """The value of LoRAs made from the references' very works, where the card tells the two apart; a dash elsewhere."""


@dataclass(frozen=True)
class SkippedView:
    """Why the file was not audited."""

    code: str
    reason: str
    advice: str


@dataclass(frozen=True)
class View:
    """Everything a document shows, in the order of the page."""

    label: str
    label_text: str
    whom: str
    """Who was asked about, in words; empty where it was everybody in the set."""
    tested: str
    """Who was tested for alone, likewise."""
    question: str
    """Both as a sentence, for documents that do not tell the question at length."""
    meaning: str
    page_title: str
    file: str
    sentence: str
    artist: str | None
    sure: Sure | None
    copied: tuple[str, ...]
    """How sure a DERIVATIVE is, instead of `sure`: it rests on the weights and not on style; empty otherwise."""
    asked: str
    """The question that was asked and what a LoRA is, for a reader who sees such a page for the first time."""
    caution: str
    """That the set was not evaluated, or is not certified; empty where it is."""
    facts: tuple[Row, ...]
    does_not_say: tuple[str, ...]
    reasons: tuple[str, ...]
    artists: tuple[ArtistRow, ...]
    notes: tuple[str, ...]
    """On the columns of the table of artists."""
    artists_cut: int
    null: NullView | None
    map: MapView | None
    parts: PartsView | None
    mixture: tuple[Share, ...]
    derivative: tuple[Row, ...]
    controls: tuple[ControlRow, ...]
    controls_text: str
    controls_alarm: bool
    coverage: CoverageView | None
    known: str
    """With which known files the suspect was compared."""
    known_unread: str
    validity: tuple[ValidityRow, ...]
    identity: tuple[Row, ...]
    """What was audited against what, for page one of a paged document."""
    suspect: tuple[Row, ...]
    reference_set: tuple[Row, ...]
    declared: tuple[Row, ...]
    declared_cut: int
    warnings: tuple[str, ...]
    warnings_cut: int
    limits: tuple[str, ...]
    would_change: tuple[str, ...]
    command: str
    command_parts: tuple[str, ...]
    """The same in pieces that a line break must not divide."""
    reproduce: tuple[Row, ...]
    skipped: SkippedView | None
    tool: str
    created: str
    date: str
    schema: str

    @property
    def shown(self) -> tuple[ArtistRow, ...]:
        """The first artists, and whoever else was asked about."""
        return *self.artists[:TOP], *(a for a in self.artists[TOP:] if a.asked)

    @property
    def rest(self) -> tuple[ArtistRow, ...]:
        """All other artists."""
        return tuple(a for a in self.artists[TOP:] if not a.asked)

    @property
    def works_apart(self) -> bool:
        """Whether the set's card tells LoRAs on other works from those on the references' very works."""
        return any(row.same not in ("", DASH) for row in self.validity)

    @property
    def audited(self) -> bool:
        """Whether there is anything to compare; the short form of a document is for the rest."""
        return self.label != "OUT_OF_SCOPE" and self.skipped is None


@dataclass(frozen=True)
class Brief:
    """What a list of many audits shows of each: fields of its `View`."""

    label: str
    label_text: str
    file: str
    sentence: str
    sure: Sure | None
    skipped: SkippedView | None
    question: str


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """A view, or a part of one, with every string changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, tuple):
        return tuple(mapped(v, change) for v in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: mapped(getattr(value, f.name), change) for f in fields(value)})
    return value
