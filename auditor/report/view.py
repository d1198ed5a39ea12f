"""An audit → the one view model that every document shows.

Enters: the dict of `Audit.to_dict()`, fresh or read back from JSON.  Leaves: `View`, whose strings are ready to be
escaped and set: every number is formatted here, every untrusted value is made visible here.  The few raw numbers
that figures need are kept beside their strings.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from auditor.policy import pretty
from auditor.report.untrusted import isolated, runs_left, show
from auditor.texts import FIGURES, MONTHS, PARTS, RELATIONS, lines, say

MINUS, DASH, NARROW = "\u2212", "–", "\u202f"
TOP = 10
"""Artists shown before the fold."""
MOST_ROWS = 120
"""Artists a document lists; the JSON has them all."""
MOST_NULL = 5000
"""Values of the null that a document lists; the JSON has them all."""
MOST_WARNINGS = 30
MOST_UNREAD = 10
DECLARED_BUDGET = 40_000
"""Characters of declared metadata that a document shows, all values together."""
SIZES = {"artists": "artists", "references": "references"}
"""What the size of a set is told by: place in the sentence → field."""
COPIED = ("file", "command", "command_parts", "identity", "suspect", "declared")
"""Fields that stand alone and may be copied from a page: nothing is put into them."""
LEAST_REST = 0.005
"""Least unexplained share of a mixture that gets a row."""
LOW_COVERAGE = 0.5
"""Coverage below which the reader is warned."""

_SLUG = re.compile(r"[a-z0-9]+([-_][a-z0-9]+)*")
"""A folder's name for an artist."""
TELLING = math.log10(2)
"""log10 likelihood ratio below which the words for it are "no support for either proposition"."""
USELESS = 1.0
"""Cllr from which likelihood ratios carry no information."""

Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A name, its value and whether the value is set in a fixed-width face."""

    name: str
    value: str
    code: bool = False
    note: str = ""


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


@dataclass(frozen=True)
class NullView:
    """The suspect's statistic among those of artists outside the set."""

    values: tuple[float, ...]
    statistic: float
    threshold: float | None
    """Null score that a suspect must exceed for p ≤ α; None where the set cannot reach α."""
    threshold_text: str
    """The same in words; empty where there is none."""
    beyond: int
    alpha: str
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


@dataclass(frozen=True)
class MapView:
    """The set in two dimensions."""

    dots: tuple[Dot, ...]
    suspect: tuple[float, float]
    explained: str


@dataclass(frozen=True)
class Part:
    """One part of the network: the score of the first artist and of all others from this part alone."""

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
    """All parts, for the artist at the top."""

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
    facts: tuple[Row, ...]
    does_not_say: tuple[str, ...]
    reasons: tuple[str, ...]
    artists: tuple[ArtistRow, ...]
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


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """A view, or a part of one, with every string changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, tuple):
        return tuple(mapped(v, change) for v in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: mapped(getattr(value, f.name), change) for f in fields(value)})
    return value


# ---------------------------------------------------------------------------------------------- numbers


def number(value: float | None, digits: int = 2) -> str:
    """A plain decimal with a true minus sign; a dash for what is missing or not finite."""
    if value is None or not math.isfinite(value):
        return DASH
    text = f"{abs(value):.{digits}f}"
    return MINUS + text if value < 0 and float(text) != 0 else text


def probability(value: float | None) -> str:
    """A p-value with two significant digits, never shown as 0 or rounded up to 1."""
    if value is None or not math.isfinite(value):
        return DASH
    if value >= 0.995:
        return "1.00" if value >= 1 else "> 0.99"
    if value < 0.0001:
        return "< 0.0001"
    return f"{value:.{2 if value >= 0.1 else 3 if value >= 0.01 else 4}f}"


def between(low: float, high: float) -> str:
    """A range of p-values; its ends, unlike a p-value, may be 0."""
    return say("range", low=probability(low) if low > 0 else "0", high=probability(high))


def percent(value: float | None) -> str:
    """A share in whole per cent, never rounded up to 100 % or down to 0 %."""
    if value is None or not math.isfinite(value):
        return DASH
    if 0 < value < 0.01:
        return f"< 1{NARROW}%"
    return f"{99 if 0.99 < value < 1 else round(100 * value)}{NARROW}%"


def count(value: float | None) -> str:
    """A whole number in groups of three."""
    return DASH if value is None else f"{int(value):,}".replace(",", NARROW)


def size(value: int | None) -> str:
    """A file's size, rounded and exact."""
    if value is None:
        return say("unknown")
    step = min(int(math.log(value, 1024)), 3) if value > 0 else 0
    exact = say("size.bytes", n=count(value))
    unit = ("B", "KiB", "MiB", "GiB")[step]
    return say("size", n=f"{value / 1024**step:.1f}", unit=unit, exact=exact) if step else exact


def ratio(log10_lr: float | None) -> str:
    """A likelihood ratio written as people say it: 12, or 1/12 when it speaks against."""
    if log10_lr is None or not math.isfinite(log10_lr):
        return DASH
    value = 10 ** min(abs(log10_lr), 300.0)
    text = f"{value:.1f}" if value < 9.95 else count(round(value, 1 - int(math.log10(value))))
    return text if log10_lr >= 0 or text == "1.0" else f"1/{text}"


def date(stamp: str) -> str:
    """An RFC 3339 time as people write it, in UTC; anything else as it is."""
    try:
        at = datetime.fromisoformat(stamp).astimezone(UTC)
    except (ValueError, OverflowError):
        return show(stamp, 80)
    return say("date", day=at.day, month=MONTHS[at.month - 1], year=at.year, time=f"{at:%H:%M}")


# ---------------------------------------------------------------------------------------------- the view


def build(audit: Fields) -> View:
    """The view of one audit."""
    found = _build(audit)
    if not runs_left(repr(audit)):
        return found
    view: View = mapped(found, isolated)
    return replace(view, **{name: getattr(found, name) for name in COPIED})


def brief(audit: Fields) -> Brief:
    """A few fields of the view of one audit, without making the others."""
    verdict, skipped, opened = audit["verdict"], _skipped(audit), audit["open_set"]
    label, file = str(verdict["label"]), show(audit["suspect"]["path"], 400)
    sure = _sure(opened, label) if opened else None
    found = Brief(label, _name(label, skipped), file, show(verdict["sentence"]), sure, skipped)
    if not runs_left(repr(found)):
        return found
    changed: Brief = mapped(found, isolated)
    return replace(changed, file=file)


def _build(audit: Fields) -> View:
    """The same, names in scripts that run from right to left not yet set apart."""
    verdict, suspect, opened = audit["verdict"], audit["suspect"], audit["open_set"]
    label, file = str(verdict["label"]), show(suspect["path"], 400)
    rows = _artists(audit)
    controls = _controls(audit)
    declared, declared_cut = _declared(suspect["declared"])
    skipped = _skipped(audit)
    name = _name(label, skipped)
    text, alarm = _controls_text(controls, verdict, opened)
    return View(
        label=label,
        label_text=name,
        meaning=say(f"meaning.{label}"),
        page_title=say("title.page", label=name, file=_basename(file)),
        file=file,
        sentence=show(verdict["sentence"]),
        artist=None if verdict["artist"] is None else person(verdict["artist"]),
        sure=_sure(opened, label) if opened else None,
        copied=_copied(audit["derivative"]) if label == "DERIVATIVE" else (),
        asked=_asked(audit, skipped is None),
        facts=_facts(audit),
        does_not_say=lines("not", label),
        reasons=tuple(show(r) for r in verdict["reasons"]),
        artists=rows[:MOST_ROWS],
        artists_cut=max(0, len(rows) - MOST_ROWS),
        null=_null(opened) if opened else None,
        map=_map(audit["map"], audit["artists"]) if audit["map"] else None,
        parts=_parts(audit["artists"]),
        mixture=_mixture(audit["mixture"]),
        derivative=_derivative(audit["derivative"]),
        controls=controls,
        controls_text=text,
        controls_alarm=alarm,
        coverage=_coverage(audit["coverage"]),
        known=_known_text(audit),
        known_unread=_known_unread(audit["options"].get("known")),
        validity=tuple(_validity(k, v) for k, v in audit["reference_set"]["validity"].items()),
        identity=_identity(suspect, audit["reference_set"]),
        suspect=_suspect(suspect),
        reference_set=_reference_set(audit["reference_set"]),
        declared=declared,
        declared_cut=declared_cut,
        warnings=tuple(show(w, 500) for w in suspect["warnings"][:MOST_WARNINGS]),
        warnings_cut=max(0, len(suspect["warnings"]) - MOST_WARNINGS),
        limits=lines("limits"),
        would_change=tuple(show(w) for w in verdict["would_change"]),
        command=" ".join(command(audit)),
        command_parts=command(audit),
        reproduce=_reproduce(audit),
        skipped=skipped,
        tool=say("masthead.tool", name=show(audit["tool"]["name"]), version=show(audit["tool"]["version"])),
        created=show(audit["created_at"], 80),
        date=date(audit["created_at"]),
        schema=show(audit["schema_version"]),
    )


def _name(label: str, skipped: SkippedView | None) -> str:
    """The label in words; a file that could not be read is told from one of another base."""
    unread = {"malformed": "label.malformed", "not-a-lora": "label.not-a-lora"}
    return say(unread.get(skipped.code if skipped else "", f"label.{label}"))


def _asked(audit: Fields, audited: bool) -> str:
    """The question, with the size and name of the set."""
    info = audit["reference_set"]
    key = "asked.not" if not audited else "asked.copy" if audit["verdict"]["label"] == "DERIVATIVE" else "asked"
    return say(key, artists=count(info["artists"]), set=_known(info["name"]))


def _basename(path: str) -> str:
    """The last part of a path of either kind."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2] or path


def _copied(found: Fields | None) -> tuple[str, ...]:
    """How sure it is that the weights go back to another file's: how far they agree, and what that means."""
    cosine = _agreement(found)
    return () if cosine is None else (say("copied", cosine=number(cosine, 3)), say("copied.style"))


def _agreement(found: Fields | None) -> float | None:
    """The cosine of the two updates over the layers that both adapt; None where it was not computed."""
    figures = (found or {}).get("figures") or {}
    value = figures.get("cos_delta_w_common", figures.get("cos_delta_w"))
    return float(value) if isinstance(value, int | float) else None


def _sure(opened: Fields, label: str) -> Sure:
    """The p-value of the conclusion as words: of the open-set test, or for NO_MATCH of the test of membership."""
    if label == "NO_MATCH" and opened.get("p_member") is not None:
        return _sure_of_none(opened)
    p, p_min, alpha = opened["p"], opened["p_min"], opened["alpha"]
    n = of_hundred(p)
    names = {"p": probability(p), "p_min": probability(p_min), "alpha": f"{alpha:g}", "artists": opened["null_artists"]}
    at_floor = p <= p_min * (1 + 1e-9)
    compared = say("sure.alpha.unreachable" if p_min > alpha else "sure.below" if p <= alpha else "sure.above", **names)
    return Sure(
        words=say("sure.of100", n=n) if n else say("sure.of100.few"),
        compared=compared,
        floor=say("sure.floor.reached" if at_floor else "sure.floor", **names),
        p=names["p"],
        p_min=names["p_min"],
        alpha=names["alpha"],
        of100=min(100, n),
        pips=say("h.pips"),
        range=between(*opened["p_interval"]),
    )


def _sure_of_none(opened: Fields) -> Sure:
    """How seldom a LoRA by one of the set's own artists is as far from everyone in it."""
    p, n = opened["p_member"], of_hundred(opened["p_member"])
    found = round(100 * opened.get("outsiders_no_match", 0.0))
    names = {"p": probability(p), "p_min": probability(opened["p_min"]), "alpha": f"{opened['alpha']:g}"}
    return Sure(
        words=say("sure.member", n=n) if n else say("sure.member.few"),
        compared=say("sure.below" if p <= opened["alpha"] else "sure.above", **names),
        floor=say("sure.member.found" if found < 100 else "sure.member.found.all", n=found),
        **(names | {"p": probability(opened["p"])}),
        of100=min(100, n),
        pips=say("h.pips.member"),
        range=between(*opened["p_interval"]),
    )


def of_hundred(p: float) -> int:
    """How many of a hundred, rounded up as a verdict's sentence does; 0 where it is clearly fewer than one."""
    return math.ceil(100 * p - 1e-9) if p >= 0.005 else 0


def _facts(audit: Fields) -> tuple[Row, ...]:
    """The three or four figures under the verdict."""
    opened, coverage = audit["open_set"], audit["coverage"]
    if audit["verdict"]["label"] == "DERIVATIVE":
        return (*_copy_facts(audit["derivative"]), *_coverage_fact(coverage))
    facts = []
    if opened:
        low, high = opened["p_interval"]
        note = say("fact.p.note" if low < high else "fact.p.note.point", range=between(low, high))
        facts.append(Row(say("fact.p"), probability(opened["p"]), note=note))
        note = say("fact.floor.note", artists=opened["null_artists"])
        facts.append(Row(say("fact.floor"), probability(opened["p_min"]), note=note))
        if audit["verdict"]["label"] == "NO_MATCH" and opened.get("p_member") is not None:
            facts.insert(0, Row(say("fact.member"), probability(opened["p_member"]), note=say("fact.member.note")))
    named = next((a for a in audit["artists"] if a["artist"] == audit["verdict"]["artist"]), None)
    if named and named["verbal"]:
        facts.append(_strength(named, audit))
    return (*facts, *_coverage_fact(coverage))


def _strength(named: Fields, audit: Fields) -> Row:
    """The likelihood ratio of the artist named; where the set cannot give a telling one to any file, that is said."""
    lr, bound = named["log10_lr"], named["lr_bound"]
    against = lr is not None and lr < 0
    names = {"lr": ratio(lr), "bound": ratio(-bound if bound is not None and against else bound)}
    if bound is not None and abs(bound) < TELLING:
        return Row(say("fact.lr"), say("fact.lr.mute"), note=say("fact.lr.mute.note", **names))
    note = say("fact.lr.nobound" if bound is None else "fact.lr.note", **names)
    if (other := named.get("log10_lr_other_works")) is not None:
        note += say("fact.lr.other", lr=ratio(other))
    note += _cost_of_lr(audit)
    return Row(say("fact.lr"), show(named["verbal"], 60), note=note)


def _copy_facts(found: Fields | None) -> tuple[Row, ...]:
    """How a file is related to the known one, and how far the two agree."""
    if not found:
        return ()
    cosine = _agreement(found)
    relation = Row(say("derivative.relation"), _relation(found), note=say("fact.of", of=show(found["of"], 120)))
    agreement = Row(say("fact.cosine"), DASH if cosine is None else number(cosine, 3), note=say("fact.cosine.note"))
    return relation, agreement


def _relation(found: Fields) -> str:
    """A relation in words."""
    name = str(found["relation"])
    return RELATIONS.get(name, show(name.replace("_", " "), 80))


def _coverage_fact(coverage: Fields | None) -> tuple[Row, ...]:
    """The share of the set's modules that the suspect adapts."""
    if not coverage:
        return ()
    counts = {"matched": coverage["matched_modules"], "reference": coverage["reference_modules"]}
    return (Row(say("fact.coverage"), percent(coverage["fraction"]), note=say("fact.coverage.note", **counts)),)


def _cost_of_lr(audit: Fields) -> str:
    """A caution where the set's own card says that its likelihood ratios inform nobody."""
    entry = audit["reference_set"]["validity"].get("cllr")
    value = entry.get("value") if isinstance(entry, Mapping) else entry
    return say("fact.lr.useless", cllr=number(value)) if isinstance(value, float) and value >= USELESS else ""


def _artists(audit: Fields) -> tuple[ArtistRow, ...]:
    """The ranked artists."""
    alpha = audit["open_set"]["alpha"] if audit["open_set"] else 0.0
    return tuple(_artist(a, alpha) for a in sorted(audit["artists"], key=lambda a: int(a["rank"])))


def _artist(a: Fields, alpha: float) -> ArtistRow:
    """One artist's row."""
    low, high = a["interval"]
    return ArtistRow(
        rank=int(a["rank"]),
        artist=person(a["artist"]),
        genre=show(a["genre"], 80),
        score=number(a["score"]),
        interval=f"{number(low)} … {number(high)}",
        p=probability(a["p"]),
        p_exclusion=probability(a["p_exclusion"]),
        evidence=say("evidence.none") if a["log10_lr"] is None else say("evidence.lr", lr=ratio(a["log10_lr"])),
        verbal=show(a["verbal"] or "", 60),
        nearest=show(a["nearest_reference"], 120),
        significant=a["p"] <= alpha,
        p_value=a["p"],
        exclusion_value=a["p_exclusion"],
        lr_value=a["log10_lr"],
        value=a["score"],
        low=low,
        high=high,
    )


def _null(opened: Fields) -> NullView:
    """The null, the suspect in it, and what p ≤ α asks for."""
    values = tuple(sorted(opened["null"]))
    limit, alpha = threshold(opened), f"{opened['alpha']:g}"
    key = "null.threshold" if opened.get("threshold") is not None else "null.threshold.about"
    return NullView(
        values=values,
        statistic=opened["statistic"],
        threshold=limit,
        threshold_text="" if limit is None else say(key, threshold=number(limit), alpha=alpha),
        beyond=sum(v >= opened["statistic"] for v in values),
        alpha=alpha,
        artists=tuple(person(name, 120) for name in opened.get("null_names") or ()),
        cut=max(0, len(values) - MOST_NULL),
        listing=_listing(opened),
    )


def _listing(opened: Fields) -> tuple[tuple[str, str], ...]:
    """The full null in figures, an artist a row where the audit says whose each value is."""
    names, owners = opened.get("null_names") or (), opened.get("null_owner") or ()
    people = [person(name, 120) for name in names]
    groups: dict[str, list[float]] = {}
    for i, value in enumerate(opened["null"][:MOST_NULL]):
        owner = people[owners[i]] if i < len(owners) and 0 <= owners[i] < len(people) else ""
        groups.setdefault(owner, []).append(float(value))
    return tuple((who, " ".join(number(v) for v in sorted(found, reverse=True))) for who, found in groups.items())


def threshold(opened: Fields) -> float | None:
    """The null score that a suspect must exceed for p ≤ α; None when out of reach.

    As the audit states it; an audit that does not is read as if every artist had the same number of files.
    """
    if opened.get("threshold") is not None:
        return float(opened["threshold"])
    values, artists = sorted(opened["null"], reverse=True), opened["null_artists"]
    if not values or artists < 1 or opened["p_min"] > opened["alpha"]:
        return None
    share = (opened["alpha"] * (artists + 1) - 1) / artists
    return float(values[min(len(values) - 1, max(0, math.floor(share * len(values) + 1e-9)))])


def _map(style_map: Fields, artists: Sequence[Fields]) -> MapView:
    """The map with every artist's rank."""
    ranks = {a["artist"]: int(a["rank"]) for a in artists}
    dots = tuple(
        Dot(person(d["artist"], 120), show(d.get("genre") or "", 60), d["x"], d["y"], ranks.get(d["artist"], 0))
        for d in style_map["artists"]
    )
    x, y = style_map["suspect"]
    return MapView(dots, (x, y), percent(style_map["explained"]))


def _parts(artists: Sequence[Fields]) -> PartsView | None:
    """Each part of the network: the first artist beside all others."""
    if not artists or not artists[0]["subnetworks"]:
        return None
    first = min(artists, key=lambda a: int(a["rank"]))
    parts = []
    for name, value in first["subnetworks"].items():
        scored = [(a["subnetworks"][name], a["artist"]) for a in artists if name in a["subnetworks"]]
        others = tuple(s for s, artist in scored if artist != first["artist"])
        names = tuple(person(artist, 120) for _, artist in scored if artist != first["artist"])
        best = max(scored, key=lambda pair: float(pair[0]))[1]
        rank = 1 + sum(s > value for s in others)
        parts.append(Part(part(name), value, others, names, rank, person(best, 120), number(value)))
    return PartsView(person(first["artist"], 120), tuple(parts))


def person(artist: object, limit: int = 200) -> str:
    """An artist as people write the name: a set's folder name `anders-zorn` becomes Anders Zorn, all else stays."""
    return _person(str(artist), limit)


@lru_cache(maxsize=4096)
def _person(artist: str, limit: int) -> str:
    """The same, remembered: a report writes the same names again and again."""
    name = show(artist, limit)
    if not _SLUG.fullmatch(name):
        return name
    return pretty(name)


def part(name: str) -> str:
    """The reader's name of a part of the network."""
    return PARTS.get(name, show(name.replace("_", " ").capitalize(), 60))


def _mixture(shares: Sequence[Fields]) -> tuple[Share, ...]:
    """The shares, and what they leave unexplained."""
    rows = [Share(person(m["artist"]), percent(m["share"]), probability(m["p"]), _within(m["share"])) for m in shares]
    rest = 1.0 - sum(float(m["share"]) for m in shares)
    if rows and rest >= LEAST_REST:
        rows.append(Share(say("mixture.rest"), percent(rest), DASH, _within(rest), rest=True))
    return tuple(rows)


def _within(share: float) -> float:
    """A share cut to what a bar can show."""
    return min(1.0, max(0.0, float(share)))


def _derivative(found: Fields | None) -> tuple[Row, ...]:
    """The known file behind the suspect, with the figures that say so."""
    if not found:
        return ()
    figures = tuple(
        Row(show(k.replace("_", " "), 80), number(v, 4) if isinstance(v, float) else show(v, 200))
        for k, v in (found.get("figures") or {}).items()
    )
    known = [Row(say("derivative.of"), show(found["of"], 400), code=True)]
    if found.get("sha256"):
        known.append(Row(say("derivative.sha256"), show(found["sha256"], 80), code=True))
    return (*known, Row(say("derivative.relation"), _relation(found)), *figures)


def _controls(audit: Fields) -> tuple[ControlRow, ...]:
    """The controls, in the set's order."""
    alpha = audit["open_set"]["alpha"] if audit["open_set"] else 0.0
    return tuple(_control(k, c, alpha) for k, c in audit["controls"].items() if c)


def _control(key: str, control: Fields, alpha: float) -> ControlRow:
    """One control's row; `loud` when it attributes."""
    known = key in ("rank_only", "norm_only", "spectrum_only")
    p, artist = control.get("p"), control.get("top_artist")
    return ControlRow(
        name=say(f"control.{key}") if known else show(key, 60),
        sees=say(f"control.{key}.note") if known else "",
        artist=DASH if artist is None else person(artist),
        p=DASH if p == 1 else probability(p),  # no artist is singled out: no test was made
        loud=p is not None and p <= alpha,
    )


def _controls_text(controls: Sequence[ControlRow], verdict: Fields, opened: Fields | None) -> tuple[str, bool]:
    """What the controls mean together, and whether the page must say it loudly."""
    loud = [c for c in controls if c.loud]
    if not loud:
        quiet = bool(controls and opened)
        return (say("controls.ok", alpha=f"{opened['alpha']:g}") if quiet and opened else say("controls.none")), False
    named = None if verdict["artist"] is None else person(verdict["artist"])
    same = [c for c in loud if c.artist == named]
    key = "controls.alarm.same" if same else "controls.alarm.other"
    one = "controls.alarm.one" if same else "controls.alarm.one.other"
    if verdict["label"] == "DERIVATIVE":  # an alarm about style would cast doubt on what does not rest on style
        return say("controls.copy"), False
    listed = "; ".join(say(one, control=c.name.lower(), artist=c.artist, p=c.p) for c in same or loud)
    return say(key, artist=named, controls=listed), True


def _coverage(coverage: Fields | None) -> CoverageView | None:
    """Coverage as a sentence."""
    if not coverage:
        return None
    names = {
        "matched": count(coverage["matched_modules"]),
        "reference": count(coverage["reference_modules"]),
        "suspect": count(coverage["suspect_modules"]),
        "fraction": percent(coverage["fraction"]),
    }
    low = coverage["fraction"] < LOW_COVERAGE
    return CoverageView(coverage["fraction"], say("coverage.lead", **names), names["fraction"], low)


def _known_text(audit: Fields) -> str:
    """With which known files the suspect was compared, and whether it goes back to one of them."""
    known, derivative = audit["options"].get("known"), audit["derivative"]
    if not known:
        return say("known.none")
    lead = say("known.lead", folder=show(known.get("folder") or say("known.unnamed"), 120), n=count(known["count"]))
    own = bool(derivative and derivative.get("sha256"))
    return f"{lead} {say('known.origin' if own else 'known.no.origin')}"


def _known_unread(known: Fields | None) -> str:
    """Which known files could not be read; '' where all could."""
    unread = (known or {}).get("unread_count", 0)
    if not known or not unread:
        return ""
    names = [show(name, 80) for name in known["unread"][:MOST_UNREAD]]
    more = [say("known.more", n=count(unread - len(names)))] if unread > len(names) else []
    return say("known.unread", n=count(unread), names=", ".join([*names, *more]))


def _validity(key: str, figure: Any) -> ValidityRow:
    """One figure of the validity card; a bare number is read as a figure without interval."""
    entry: Fields = figure if isinstance(figure, Mapping) else {"value": figure}
    value, low, high, of = (entry.get(k) for k in ("value", "low", "high", "of"))
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    numbers = [float(v) for v in (value, low, high) if isinstance(v, int | float)]
    whole = len(numbers) == 3 and not (low == value == high and not 0 <= numbers[0] <= 1)
    span = (numbers[0], numbers[1], numbers[2]) if whole and all(0 <= v <= 1 for v in numbers) else None
    return ValidityRow(
        name=FIGURES.get(key, show(key.replace("_", " ").capitalize(), 80)),
        value=number(value, 3) if plain else DASH if value is None else show(value, 80),
        interval=f"{number(low, 3)} … {number(high, 3)}" if whole else DASH,
        of=_of(of, entry.get("unit")),
        span=span,
    )


def _of(of: Any, unit: Any) -> str:
    """What a figure was measured on; a bare number counts artists, as the schema says."""
    if isinstance(of, int) and not isinstance(of, bool):
        return say("validity.artists", n=count(of)) if unit is None else f"{count(of)} {show(unit, 60)}"
    return DASH if of is None else show(of, 120)


def _suspect(suspect: Fields) -> tuple[Row, ...]:
    """What the suspect file is."""
    rows = [Row(say(f"row.{k}"), _known(suspect[k]), code=True) for k in ("path", "sha256", "tensor_sha256")]
    rows += _config_rows(suspect)
    rows.append(Row(say("row.bytes"), size(suspect["bytes"])))
    if suspect["dialect"] is None:  # not audited: how the file is made was not looked at
        return tuple(rows)
    rows.append(Row(say("row.dialect"), _known(suspect["dialect"])))
    rows.append(Row(say("row.algorithm"), _known(", ".join(map(str, suspect["algorithm"])) or None)))
    rows.append(Row(say("row.base_family"), _known(suspect["base_family"])))
    rows.append(Row(say("row.modules"), count(suspect["modules"])))
    rows.append(Row(say("row.rank"), _rank(suspect["rank"])))
    return tuple(rows)


def _identity(suspect: Fields, info: Fields) -> tuple[Row, ...]:
    """File and set, with the digests that fix them."""
    rows = [Row(say(f"row.{k}"), _known(suspect[k]), code=True) for k in ("path", "sha256", "tensor_sha256")]
    sizes = say("set.size", **{k: count(info[v]) for k, v in SIZES.items()})
    rows.append(Row(say("row.set"), _known(info["name"]), note=f"{_known(info['base'])}; {sizes}"))
    return (*rows, Row(say("row.set.digest"), _known(info["digest"]), code=True))


def _config_rows(suspect: Fields) -> list[Row]:
    """The configuration that was read beside the file, and its digest."""
    if not suspect.get("config_sha256"):
        return []
    name = Row(say("row.config"), _known(suspect.get("config_name")), code=True)
    return [name, Row(say("row.config.digest"), _known(suspect["config_sha256"]), code=True)]


def _known(value: object | None) -> str:
    """`value` made visible, or the word for what is not known."""
    return say("unknown") if value in (None, "") else show(value, 600)


def _rank(rank: Fields | None) -> str:
    """The ranks in words."""
    if not rank:
        return say("unknown")
    names = {k: f"{rank[k]:g}" for k in ("min", "max", "median")}
    return say("rank.one" if rank["min"] == rank["max"] else "rank.range", **names)


def _reference_set(info: Fields) -> tuple[Row, ...]:
    """Which set was used."""
    return (
        Row(say("row.set.name"), _known(info["name"])),
        Row(say("row.set.digest"), _known(info["digest"]), code=True),
        Row(say("row.set.base"), _known(info["base"]), code=True),
        Row(say("row.set.features"), _known(info["features"]), code=True),
        Row(say("row.set.size"), say("set.size", **{k: count(info[v]) for k, v in SIZES.items()})),
    )


def _declared(declared: Mapping[str, str]) -> tuple[tuple[Row, ...], int]:
    """Declared metadata until the budget is spent, and how many values were left out."""
    rows: list[Row] = []
    left = DECLARED_BUDGET
    for key, value in declared.items():
        row = Row(show(key, 200), show(value), code=True)
        left -= len(row.name) + len(row.value) + 4 * sum(row.value.count(c) for c in "<>&'\"") + 80
        if left < 0:
            break
        rows.append(row)
    return tuple(rows), len(declared) - len(rows)


def _reproduce(audit: Fields) -> tuple[Row, ...]:
    """What a reader needs to get the same figures."""
    suspect, info = audit["suspect"], audit["reference_set"]
    return (
        Row(say("row.seed"), str(audit["seed"]), code=True),
        *(
            Row(say(f"row.{k}"), _known(audit["options"][k]), code=True)
            for k in ("alpha", "resamples")
            if audit["options"].get(k) is not None
        ),
        Row(say("row.sha256"), _known(suspect["sha256"]), code=True),
        *_config_rows(suspect),
        Row(say("row.set.digest"), _known(info["digest"]), code=True),
        Row(say("row.set.features"), _known(info["features"]), code=True),
        *_known_rows(audit["options"].get("known")),
        *_policy_rows(audit["options"].get("policy")),
        Row(say("row.tool"), say("masthead.tool", name=audit["tool"]["name"], version=audit["tool"]["version"])),
        Row(say("row.made"), show(audit["created_at"], 80)),
    )


def _known_rows(known: Fields | None) -> tuple[Row, ...]:
    """How many known files were compared, and the digest over them."""
    if not known:
        return ()
    digest = Row(say("row.known.digest"), _known(known["digest"]), code=True)
    return (Row(say("row.known"), count(known["count"])), digest)


def _policy_rows(policy: Fields | None) -> tuple[Row, ...]:
    """The digests of the policy that was in force, and what it made of the audit."""
    if not policy:
        return ()
    found = (("row.policy", policy.get("sha256")), ("row.baseline", policy.get("baseline_sha256")))
    made = say("policy.blocks" if policy["blocks"] else "policy.passes", reason=show(policy.get("reason") or "", 600))
    digests = (Row(say(key), _known(value), code=True) for key, value in found if value)
    return (*digests, Row(say("row.policy.outcome"), made))


def command(audit: Fields) -> tuple[str, ...]:
    """The command line that gives this audit again, in pieces: command and file, then an option each."""
    options = {k: audit["options"].get(k) for k in ("refs", "features", "alpha", "resamples")} | {"seed": audit["seed"]}
    pieces = [["audit", "check", str(audit["suspect"]["path"])]]
    policy = audit["options"].get("policy")
    options["policy"] = (policy.get("file") or say("policy.unnamed")) if policy else None
    known = audit["options"].get("known")
    options["known"] = (known.get("folder") or say("known.unnamed")) if known else None
    pieces += [[f"--{key}", str(value)] for key, value in options.items() if value is not None]
    return tuple(show(shlex.join(piece), 1200) for piece in pieces)


def _skipped(audit: Fields) -> SkippedView | None:
    """Why there is no audit, from `skipped` or, failing that, from the verdict."""
    skipped = audit["skipped"]
    if skipped:
        return SkippedView(show(skipped["code"], 60), show(skipped["reason"]), show(skipped["advice"]))
    if audit["verdict"]["label"] == "OUT_OF_SCOPE":
        return SkippedView("out-of-scope", say("skipped.default"), say("skipped.advice"))
    return None
