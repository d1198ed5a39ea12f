"""An audit → the one view model that every document shows.

Enters: the dict of `Audit.to_dict()`, fresh or read back from JSON.  Leaves: `View`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from auditor.policy import of_hundred
from auditor.report.numbers import DASH, between, count, date, number, part, percent, person, probability, ratio
from auditor.report.provenance import (
    command,
    declared_rows,
    given_name,
    identity_rows,
    known_text,
    known_unread,
    reproduce_rows,
    set_rows,
    suspect_rows,
)
from auditor.report.untrusted import isolated, runs_left, show
from auditor.report.view import (
    ArtistRow,
    Brief,
    ControlRow,
    CoverageView,
    Dot,
    MapView,
    NullView,
    Part,
    PartsView,
    Row,
    Share,
    SkippedView,
    Sure,
    ValidityRow,
    View,
    mapped,
)
from auditor.texts import FIGURES, RELATIONS, lines, say, told

MOST_ROWS = 120
"""Artists a document lists; the JSON has them all."""
MOST_NULL = 5000
"""Values of the null that a document lists; the JSON has them all."""
MOST_WARNINGS = 30
COPIED = ("file", "command", "command_parts", "identity", "suspect", "declared")
"""Fields that stand alone and may be copied from a page: nothing is put into them."""
LEAST_REST = 0.005
"""Least unexplained share of a mixture that gets a row."""
LOW_COVERAGE = 0.5
"""Coverage below which the reader is warned."""

TELLING = math.log10(2)
"""log10 likelihood ratio below which the words for it are "no support for either proposition"."""
USELESS = 1.0
"""Cllr from which likelihood ratios carry no information."""

Fields = Mapping[str, Any]


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
    found = Brief(label, _name(label, skipped, _whom(opened)), file, show(verdict["sentence"]), sure, skipped)
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
    declared, declared_cut = declared_rows(suspect["declared"])
    skipped = _skipped(audit)
    whom, tested = _whom(opened), _tested(opened)
    name = _name(label, skipped, whom)
    text, alarm = _controls_text(controls, verdict, opened)
    return View(
        label=label,
        label_text=name,
        whom=whom,
        meaning=told(f"meaning.{label}", whom if label == "NO_MATCH" else tested),
        page_title=say("title.page", label=name, file=_basename(file)),
        file=file,
        sentence=show(verdict["sentence"]),
        artist=None if verdict["artist"] is None else person(verdict["artist"]),
        sure=_sure(opened, label) if opened else None,
        copied=_copied(audit["derivative"]) if label == "DERIVATIVE" else (),
        tested=tested,
        asked=_asked(audit, skipped is None),
        facts=_facts(audit),
        does_not_say=_does_not_say(label, whom, tested),
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
        known=known_text(audit),
        known_unread=known_unread(audit["options"].get("known")),
        validity=tuple(_validity(k, v) for k, v in audit["reference_set"]["validity"].items()),
        identity=identity_rows(suspect, audit["reference_set"]),
        suspect=suspect_rows(suspect),
        reference_set=set_rows(audit["reference_set"]),
        declared=declared,
        declared_cut=declared_cut,
        warnings=tuple(show(w, 500) for w in suspect["warnings"][:MOST_WARNINGS]),
        warnings_cut=max(0, len(suspect["warnings"]) - MOST_WARNINGS),
        limits=lines("limits"),
        would_change=tuple(show(w) for w in verdict["would_change"]),
        command=" ".join(command(audit)),
        command_parts=command(audit),
        reproduce=reproduce_rows(audit),
        skipped=skipped,
        tool=say("masthead.tool", name=show(audit["tool"]["name"]), version=show(audit["tool"]["version"])),
        created=show(audit["created_at"], 80),
        date=date(audit["created_at"]),
        schema=show(audit["schema_version"]),
    )


def _whom(opened: Fields | None) -> str:
    """Who was asked about, in words; empty where it was everybody in the set."""
    asked = (opened or {}).get("asked") or ()
    return "" if not asked else person(asked[0], 120) if len(asked) == 1 else say("whom.several", n=len(asked))


def _tested(opened: Fields | None) -> str:
    """Who was tested for alone, in words: `_whom`, where that was chosen independently of how the file looks."""
    return _whom(opened) if (opened or {}).get("independent") else ""


def _does_not_say(label: str, whom: str, tested: str) -> tuple[str, ...]:
    """What the conclusion must not be read as."""
    own = bool(whom if label == "NO_MATCH" else tested)
    return lines("not", f"{label}.asked" if own else label, label, whom=whom)


def _name(label: str, skipped: SkippedView | None, whom: str) -> str:
    """The label in words; a file that could not be read is told from one of another base."""
    unread = {"malformed": "label.malformed", "not-a-lora": "label.not-a-lora"}
    return told(unread.get(skipped.code if skipped else "", f"label.{label}"), whom)


def _asked(audit: Fields, audited: bool) -> str:
    """The question, with the size and name of the set."""
    info, opened = audit["reference_set"], audit["open_set"]
    known = {"artists": count(info["artists"]), "set": given_name(info["name"])}
    if not audited or audit["verdict"]["label"] == "DERIVATIVE":
        return say("asked.copy" if audited else "asked.not", **known)
    if (whom := _whom(opened)) and not _tested(opened):
        return say("asked.some", whom=whom, **known)
    return told("asked", whom, others=count(info["background_artists"]), **known)


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
    at_floor, tested = p <= p_min * (1 + 1e-9), _tested(opened)
    compared = say("sure.alpha.unreachable" if p_min > alpha else "sure.below" if p <= alpha else "sure.above", **names)
    return Sure(
        words=(told("sure.of100", tested, n=n) if n else told("sure.of100.few", tested)) + _same_genre(opened),
        compared=compared,
        floor=say("sure.floor.reached" if at_floor else "sure.floor", **names),
        p=names["p"],
        p_min=names["p_min"],
        alpha=names["alpha"],
        of100=min(100, n),
        pips=told("h.pips", tested),
        range=between(*opened["p_interval"]),
    )


def _same_genre(opened: Fields) -> str:
    """What the share of LoRAs is among artists of the genre of a single artist asked about, where that is known."""
    alike = opened.get("same_genre")
    if not alike:
        return ""
    n, names = of_hundred(alike["share"]), {"artists": count(alike["artists"]), "genre": show(alike["genre"], 80)}
    return " " + (say("sure.genre", n=n, **names) if n else say("sure.genre.few", **names))


def _sure_of_none(opened: Fields) -> Sure:
    """How seldom a LoRA by one of the set's own artists is as far from everyone in it."""
    p, n = opened["p_member"], of_hundred(opened["p_member"])
    found, whom = round(100 * opened.get("outsiders_no_match", 0.0)), _whom(opened)
    names = {"p": probability(p), "p_min": probability(opened["p_min"]), "alpha": f"{opened['alpha']:g}"}
    return Sure(
        words=told("sure.member", whom, n=n) if n else told("sure.member.few", whom),
        compared=say("sure.below" if p <= opened["alpha"] else "sure.above", **names),
        floor=told("sure.member.found" if found < 100 else "sure.member.found.all", whom, n=found),
        **(names | {"p": probability(opened["p"])}),
        of100=min(100, n),
        pips=say("h.pips.member"),
        range=between(*opened["p_interval"]),
    )


def _facts(audit: Fields) -> tuple[Row, ...]:
    """The three or four figures under the verdict."""
    opened, coverage = audit["open_set"], audit["coverage"]
    if audit["verdict"]["label"] == "DERIVATIVE":
        return (*_copy_facts(audit["derivative"]), *_coverage_fact(coverage))
    facts, whom = [], _whom(opened)
    if opened:
        low, high = opened["p_interval"]
        note = told("fact.p.note" if low < high else "fact.p.note.point", _tested(opened), range=between(low, high))
        facts.append(Row(say("fact.p"), probability(opened["p"]), note=note))
        alone = opened.get("p_if_independent")
        if alone is not None and audit["verdict"]["label"] != "NO_MATCH":
            note = say("fact.independent.note")
            facts.append(Row(say("fact.independent", whom=whom), probability(alone), note=note))
        note = say("fact.floor.note", artists=opened["null_artists"])
        facts.append(Row(say("fact.floor"), probability(opened["p_min"]), note=note))
        if audit["verdict"]["label"] == "NO_MATCH" and opened.get("p_member") is not None:
            note = told("fact.member.note", whom, range=between(*opened.get("p_member_interval", (0.0, 1.0))))
            facts.insert(0, Row(told("fact.member", whom), probability(opened["p_member"]), note=note))
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
    if audit["open_set"] and not audit["open_set"].get("works_split", True):
        note += say("fact.lr.unknown")
    note += say("fact.lr.independent") if _tested(audit["open_set"]) else _cost_of_lr(audit)
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
    opened = audit["open_set"] or {}
    alpha, asked = opened.get("alpha", 0.0), frozenset(opened.get("asked") or ())
    return tuple(_artist(a, alpha, asked) for a in sorted(audit["artists"], key=lambda a: int(a["rank"])))


def _artist(a: Fields, alpha: float, asked: Set[str]) -> ArtistRow:
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
        asked=a["artist"] in asked,
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
        tested=_tested(opened),
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


def _skipped(audit: Fields) -> SkippedView | None:
    """Why there is no audit, from `skipped` or, failing that, from the verdict."""
    skipped = audit["skipped"]
    if skipped:
        return SkippedView(show(skipped["code"], 60), show(skipped["reason"]), show(skipped["advice"]))
    if audit["verdict"]["label"] == "OUT_OF_SCOPE":
        return SkippedView("out-of-scope", say("skipped.default"), say("skipped.advice"))
    return None
