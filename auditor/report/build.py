"""An audit → the one view model that every document shows.

Enters: the dict of `Audit.to_dict()`, fresh or read back from JSON.  Leaves: `View`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from auditor.limits import UNRELATED
from auditor.policy import related_from
from auditor.report.null import null_view
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
from auditor.texts import FIGURES, RELATIONS, RELATIONS_REFERENCE, lines, say, told
from auditor.words import MOST_NAMED, at_least, listed, of_hundred, share

MOST_ROWS = 120
"""Artists a document lists; the JSON has them all."""
MOST_WARNINGS = 30
MOST_REASONS = 5
COPIED = ("file", "command", "command_parts", "identity", "suspect", "declared")
"""Fields that stand alone and may be copied from a page: nothing is put into them."""
NAMED = {
    "cos_delta_w": "derivative.cosine",
    "cos_delta_w_common": "derivative.cosine.common",
    "cos_output": "derivative.cosine.output",
    "coverage": "derivative.coverage",
    "common_modules": "derivative.common",
    "union_modules": "derivative.union",
    "norm_a": "derivative.norm.a",
    "norm_b": "derivative.norm.b",
    "norm_ratio": "derivative.norm.ratio",
    "copied_modules": "derivative.copied",
    "a_inside_b": "derivative.inside.a",
    "b_inside_a": "derivative.inside.b",
}
"""Figures of a derivative that have a name in words; a: the known file, b: the suspect."""
COUNTS = frozenset({"common_modules", "union_modules"})
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
    sure = _sure(audit) if opened else None
    name, question = _name(label, skipped, _whom(audit)), _question(audit)
    found = Brief(label, name, file, _sentence(verdict, skipped), sure, skipped, question)
    if not runs_left(repr(found)):
        return found
    changed: Brief = mapped(found, isolated)
    return replace(changed, file=file)


def _build(audit: Fields) -> View:
    """The same, names in scripts that run from right to left not yet set apart."""
    verdict, suspect, opened = audit["verdict"], audit["suspect"], audit["open_set"]
    label, file = str(verdict["label"]), show(suspect["path"], 400)
    rows = _artists(audit)
    kept = *rows[:MOST_ROWS], *(row for row in rows[MOST_ROWS:] if row.asked)
    controls = _controls(audit)
    declared, declared_cut = declared_rows(suspect["declared"])
    skipped = _skipped(audit)
    whom, tested = _whom(audit), _tested(audit)
    asked = frozenset(audit["options"].get("artists") or ())
    name = _name(label, skipped, whom)
    text, alarm = _controls_text(controls, verdict, opened)
    return View(
        label=label,
        label_text=name,
        whom=whom,
        meaning=_meaning(audit, whom, tested),
        page_title=say("title.page", label=name, file=_basename(file)),
        file=file,
        sentence=_sentence(verdict, skipped),
        artist=None if verdict["artist"] is None else person(verdict["artist"]),
        sure=_sure(audit) if opened else None,
        copied=_copied(audit["derivative"]) if label == "DERIVATIVE" else (),
        tested=tested,
        question=_question(audit),
        asked=_asked(audit, skipped is None),
        caution=_caution(audit),
        facts=_facts(audit),
        does_not_say=_does_not_say(audit, whom, tested),
        reasons=tuple(show(r) for r in verdict["reasons"]),
        artists=kept,
        notes=_notes(rows, audit, whom, tested) if rows else (),
        artists_cut=len(rows) - len(kept),
        null=null_view(audit, whom, tested),
        map=_map(audit["map"], audit["artists"], asked) if audit["map"] else None,
        parts=_parts(audit["artists"], asked),
        mixture=_mixture(audit["mixture"]),
        derivative=_derivative(audit["derivative"]),
        controls=controls,
        controls_text=text,
        controls_alarm=alarm,
        coverage=_coverage(audit["coverage"]),
        known=known_text(audit),
        known_unread=known_unread(audit["options"].get("known")),
        validity=_validity_rows(audit["reference_set"]["validity"], tested),
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


def _sentence(verdict: Fields, skipped: SkippedView | None) -> str:
    """The conclusion; without the reason of a file that was not audited, which documents give beside it."""
    whole = show(verdict["sentence"])
    return (quoted(whole).removesuffix(skipped.reason).rstrip() or whole) if skipped else whole


def _whom(audit: Fields) -> str:
    """Who was asked about, in words; empty where it was everybody in the set."""
    asked = audit["options"].get("artists") or ()
    named = [person(name, 120) for name in asked[:MOST_NAMED]]
    return say("whom.or").join(named) if len(asked) <= MOST_NAMED else say("whom.several", n=len(asked))


def _tested(audit: Fields) -> str:
    """Who was tested for alone, in words: `_whom`, where that was declared to be chosen independently of the file."""
    return _whom(audit) if audit["options"].get("independent") else ""


def _meaning(audit: Fields, whom: str, tested: str) -> str:
    """What the conclusion means; of somebody tested for alone, who would be taken for them."""
    label = str(audit["verdict"]["label"])
    if label == "NO_MATCH":
        return told(f"meaning.{label}", whom, "asked")
    alike = (audit["open_set"] or {}).get("lookalikes")
    values = {"artist": person(audit["verdict"]["artist"]), "listed": listed(alike or ())}
    said = say("meaning.alike" if alike else "meaning.alike.none", **values)
    return told(f"meaning.{label}", tested, alike=said)


def _does_not_say(audit: Fields, whom: str, tested: str) -> tuple[str, ...]:
    """What the conclusion must not be read as."""
    label, opened = str(audit["verdict"]["label"]), audit["open_set"]
    if label == "INCONCLUSIVE" and opened and not _reachable(audit):
        return lines("not", "INCONCLUSIVE.unreachable")
    if label == "DERIVATIVE" and audit["derivative"].get("artist") is not None:
        return lines("not", "DERIVATIVE.reference")
    forms = (f"{label}.asked",) if whom and label == "NO_MATCH" else (f"{label}.declared",) if tested else ()
    return lines("not", *forms, label, whom=whom)


def _name(label: str, skipped: SkippedView | None, whom: str) -> str:
    """The label in words; a file that could not be read is told from one of another base."""
    unread = {"malformed": "label.malformed", "not-a-lora": "label.not-a-lora"}
    return told(unread.get(skipped.code if skipped else "", f"label.{label}"), whom, "asked")


def _asked(audit: Fields, audited: bool) -> str:
    """The question, with the size and name of the set."""
    info = audit["reference_set"]
    known = {"artists": count(info["artists"]), "set": given_name(info["name"])}
    if not audited or audit["verdict"]["label"] == "DERIVATIVE":
        return f"{say('asked.copy' if audited else 'asked.not', **known)} {_question(audit)}".strip()
    if (whom := _whom(audit)) and not _tested(audit):
        return say("asked.some", whom=whom, **known)
    return told("asked", whom, **known)


def _question(audit: Fields) -> str:
    """Who was asked about, and on what declaration, as a sentence; empty where it was everybody in the set."""
    whom = _whom(audit)
    return say("question.declared" if _tested(audit) else "question", whom=whom) if whom else ""


def _basename(path: str) -> str:
    """The last part of a path of either kind."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2] or path


def _copied(found: Fields | None) -> tuple[str, ...]:
    """How sure it is that the weights go back to another file's: how far they agree, and what that means."""
    cosine = _agreement(found)
    if found is None or cosine is None:
        return ()
    limits = {"unrelated": f"{UNRELATED:g}", "related": f"{related_from(found):g}"}
    key = "copied" if found.get("artist") is None else "copied.estimate"
    return say(key, cosine=number(cosine, 3), **limits), say("copied.style")


def _agreement(found: Fields | None) -> float | None:
    """The cosine of the two updates over the layers that both adapt; None where it was not computed."""
    figures = (found or {}).get("figures") or {}
    value = figures.get("cos_delta_w_common", figures.get("cos_delta_w"))
    return float(value) if isinstance(value, int | float) else None


def _sure(audit: Fields) -> Sure:
    """The p-value of the conclusion as words: of the open-set test, or for NO_MATCH of the test of membership."""
    opened = audit["open_set"]
    if audit["verdict"]["label"] == "NO_MATCH" and opened.get("p_member") is not None:
        return _sure_of_none(opened, _whom(audit))
    p, p_min, alpha = opened["p"], opened["p_min"], opened["alpha"]
    n = of_hundred(p)
    names = {"p": probability(p, alpha), "p_min": probability(p_min), "alpha": f"{alpha:g}"}
    names |= {"artists": opened["null_artists"], "least": at_least(audit["reference_set"]["alpha_floor"])}
    at_floor, tested, reachable = p <= p_min * (1 + 1e-9), _tested(audit), _reachable(audit)
    whose = _whose(audit)
    compared = ("" if whose else _compared(p, alpha)) if reachable else say("sure.alpha.unreachable", **names)
    low, high = (of_hundred(end) for end in opened["p_interval"])
    floor = say("sure.floor", **names) if reachable else ""  # out of reach, the other sentence says it
    if at_floor:
        smallest = {"smallest": share(p_min), "tested": round(1 / p_min), "low": low, "high": high}
        floor = say("sure.floor.reached", **names, **smallest)
    return Sure(
        words=(told("sure.of100", tested, n=n) if n else told("sure.of100.few", tested)) + _same_genre(opened) + whose,
        compared=compared,
        floor=floor,
        p=names["p"],
        p_min=names["p_min"],
        alpha=names["alpha"],
        of100=min(100, n),
        pips=told("h.pips", tested),
        range=between(*opened["p_interval"]),
        brief=say("console.floor", range=between(*opened["p_interval"]), **names),
        reachable=reachable,
    )


def _reachable(audit: Fields) -> bool:
    """Whether the set can name anybody at the level asked for."""
    return bool(audit["open_set"]["alpha"] >= audit["reference_set"]["alpha_floor"])


def _compared(p: float, alpha: float) -> str:
    """Whether a p-value is within the level, both of a hundred, with as many digits as show it."""
    within = p <= alpha
    shown = (f"{100 * p:.{digits}f}" for digits in range(12))
    limit = round(100 * alpha, 9)
    n = next((text for text in shown if float(text) > 0 and (float(text) <= limit) == within), f"{100 * p}")
    return say("sure.below" if within else "sure.above", limit=f"{limit:g}", alpha=f"{alpha:g}", n=n)


def _whose(audit: Fields) -> str:
    """Whose figure the p-value is, where somebody who was not asked about stands nearest."""
    asked, first = audit["options"].get("artists") or (), min(audit["artists"], key=lambda a: int(a["rank"]))
    if not asked or _tested(audit) or first["artist"] in asked:
        return ""
    return " " + say("sure.whose", artist=person(first["artist"], 120), whom=_whom(audit))


def _same_genre(opened: Fields) -> str:
    """How many LoRAs by others of the genre of a single artist tested for do so, where that is known."""
    alike = opened.get("same_genre")
    if not alike:
        return ""
    counts = {name: count(alike[name]) for name in ("files", "reached")}
    return " " + say("sure.genre", genre=show(alike["genre"], 80), **counts)


def _sure_of_none(opened: Fields, whom: str) -> Sure:
    """How seldom a LoRA by one of the set's own artists is as far from everyone in it."""
    p, n = opened["p_member"], of_hundred(opened["p_member"])
    found = round(100 * opened.get("outsiders_no_match", 0.0))
    alpha = opened["alpha"]
    span = between(*opened.get("p_member_interval", (0.0, 1.0)))
    name = say("col.exclusion") if whom else told("fact.member", whom, "asked")
    return Sure(
        words=told("sure.member" if n else "sure.member.few", whom, "asked", n=n),
        compared=_compared(p, alpha),
        floor=told("sure.member.found" if found < 100 else "sure.member.found.all", whom, "asked", n=found),
        p=probability(opened["p"], alpha),
        p_min=probability(opened["p_min"]),
        alpha=f"{alpha:g}",
        of100=min(100, n),
        pips=say("h.pips.member"),
        range=between(*opened["p_interval"]),
        brief=say("console.member", name=name, range=span, p=probability(p, alpha), alpha=f"{alpha:g}"),
    )


def _caution(audit: Fields) -> str:
    """What page one says of a set that is not shown to work; empty for one that is, and where style decides nothing."""
    info, label = audit["reference_set"], audit["verdict"]["label"]
    if label in ("DERIVATIVE", "OUT_OF_SCOPE"):
        return ""
    if not info["validity"]:
        return say("caution.unmeasured")
    if info.get("certified") is not False:
        return ""
    reasons = [quoted(show(reason, 300)) for reason in info.get("not_certified", ())[:MOST_REASONS]]
    return say("caution.refused", reasons=" ".join(reasons))


def _facts(audit: Fields) -> tuple[Row, ...]:
    """The three or four figures under the verdict."""
    opened, coverage, label = audit["open_set"], audit["coverage"], audit["verdict"]["label"]
    if label == "DERIVATIVE":
        return (*_copy_facts(audit["derivative"]), *_coverage_fact(coverage))
    facts: list[Row] = []
    if opened and label == "NO_MATCH" and opened.get("p_member") is not None:
        facts.append(_member_fact(audit))
    if opened and not (label == "NO_MATCH" and _whom(audit)):  # what was asked is another question then
        facts += _resemblance_facts(audit)
    named = next((a for a in audit["artists"] if a["artist"] == audit["verdict"]["artist"]), None)
    if named and named["verbal"]:
        return (*facts, *_coverage_fact(coverage), _strength(named, audit))
    return (*facts, *_coverage_fact(coverage))


def _member_fact(audit: Fields) -> Row:
    """The p-value by which artists are ruled out."""
    opened, whom = audit["open_set"], _whom(audit)
    note = told("fact.member.note", whom, "asked", range=between(*opened.get("p_member_interval", (0.0, 1.0))))
    return Row(told("fact.member", whom, "asked"), probability(opened["p_member"], opened["alpha"]), note=note)


def _resemblance_facts(audit: Fields) -> list[Row]:
    """The open-set p-value, what it would be by the other way of choosing whom to ask about, and the least possible."""
    opened, whom, tested = audit["open_set"], _whom(audit), _tested(audit)
    low, high = opened["p_interval"]
    note = told("fact.p.note" if low < high else "fact.p.note.point", tested, range=between(low, high))
    name = say("fact.p.member" if audit["verdict"]["label"] == "NO_MATCH" else "fact.p")
    facts = [Row(name, probability(opened["p"], opened["alpha"]), note=note)]
    if (other := opened.get("p_otherwise")) is not None:
        name = say("fact.likeness") if tested else say("fact.independent", whom=whom)
        note = say("fact.likeness.note") if tested else say("fact.independent.note")
        facts.append(Row(name, probability(other), note=note))
    if not tested:  # beside two p-values it is told in a sentence only
        note = say("fact.floor.note", artists=opened["null_artists"])
        facts.append(Row(say("fact.floor"), probability(opened["p_min"]), note=note))
    return facts


def _strength(named: Fields, audit: Fields) -> Row:
    """The likelihood ratio of the artist named; where the set cannot give a telling one to any file, that is said."""
    lr, bound = named["log10_lr"], named["lr_bound"]
    against = lr is not None and lr < 0
    names = {"lr": ratio(lr), "bound": ratio(-bound if bound is not None and against else bound)}
    if bound is not None and not against and bound < TELLING:  # of a ratio below 1 the bound is the one against
        return Row(say("fact.lr"), say("fact.lr.mute"), note=say("fact.lr.mute.note", **names), wide=True)
    tested = _tested(audit)
    note = say("fact.lr.nobound" if bound is None else "fact.lr.note", **names)
    if lr is not None:
        times = {"times": ratio(abs(lr)), "artist": person(named["artist"])}
        note += told("fact.lr.against" if against else "fact.lr.for", tested, **times)
    if (other := named.get("log10_lr_other_works")) is not None:
        note += say("fact.lr.other", lr=ratio(other))
    if audit["open_set"] and not audit["open_set"].get("works_split", True):
        note += say("fact.lr.unknown")
    note += (say("fact.lr.independent") if tested else "") + _cost_of_lr(audit, "asked_cllr" if tested else "cllr")
    return Row(say("fact.lr"), show(named["verbal"], 60), note=f"{note}.", wide=True)


def _copy_facts(found: Fields | None) -> tuple[Row, ...]:
    """How a file is related to the known one, and how far the two agree."""
    if not found:
        return ()
    cosine = _agreement(found)
    relation = Row(say("fact.relation"), _relation(found), note=say("fact.of", of=show(found["of"], 120)))
    agreement = Row(say("fact.cosine"), DASH if cosine is None else number(cosine, 3), note=say("fact.cosine.note"))
    return relation, agreement


def _relation(found: Fields) -> str:
    """A relation in words."""
    name = str(found["relation"])
    if found.get("artist") is not None and name in RELATIONS_REFERENCE:
        return RELATIONS_REFERENCE[name]
    return RELATIONS.get(name, show(name.replace("_", " "), 80))


def _coverage_fact(coverage: Fields | None) -> tuple[Row, ...]:
    """The share of the set's modules that the suspect adapts."""
    if not coverage:
        return ()
    counts = {"matched": coverage["matched_modules"], "reference": coverage["reference_modules"]}
    return (Row(say("fact.coverage"), percent(coverage["fraction"]), note=say("fact.coverage.note", **counts)),)


def _cost_of_lr(audit: Fields, figure: str) -> str:
    """A caution where the set's own card says that its likelihood ratios inform nobody."""
    entry = audit["reference_set"]["validity"].get(figure)
    value = entry.get("value") if isinstance(entry, Mapping) else entry
    return say("fact.lr.useless", cllr=number(value)) if isinstance(value, float) and value >= USELESS else ""


def _artists(audit: Fields) -> tuple[ArtistRow, ...]:
    """The ranked artists."""
    alpha = audit["open_set"]["alpha"] if audit["open_set"] else 0.0
    asked = frozenset(audit["options"].get("artists") or ())
    shown = [_without_evidence(a) if audit["verdict"]["label"] == "NO_MATCH" else a for a in audit["artists"]]
    return tuple(_artist(a, alpha, asked) for a in sorted(shown, key=lambda a: int(a["rank"])))


def _without_evidence(a: Fields) -> Fields:
    """An artist without the likelihood ratio, which asks how far the first stands out, not how far everybody is."""
    return {**a, "log10_lr": None, "verbal": None}


def _artist(a: Fields, alpha: float, asked: Set[str]) -> ArtistRow:
    """One artist's row."""
    low, high = a["interval"]
    if asked and a["artist"] not in asked:
        a = _without_evidence(a)
    return ArtistRow(
        rank=int(a["rank"]),
        artist=person(a["artist"]),
        genre=show(a["genre"], 80),
        score=number(a["score"]),
        interval=f"{number(low)} … {number(high)}",
        p=DASH if asked and a["artist"] not in asked else probability(a["p"]),
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


def _map(style_map: Fields, artists: Sequence[Fields], asked: Set[str]) -> MapView:
    """The map with every artist's rank; the nearest of those asked about are labelled whatever their rank."""
    ranks = {a["artist"]: int(a["rank"]) for a in artists}
    named = sorted((name for name in asked if name in ranks), key=lambda name: ranks[name])[:MOST_NAMED]
    dots = tuple(
        Dot(
            person(d["artist"], 120),
            show(d.get("genre") or "", 60),
            d["x"],
            d["y"],
            ranks.get(d["artist"], 0),
            asked=d["artist"] in named,
        )
        for d in style_map["artists"]
    )
    x, y = style_map["suspect"]
    return MapView(dots, (x, y), percent(style_map["explained"]))


def _notes(rows: Sequence[ArtistRow], audit: Fields, whom: str, tested: str) -> tuple[str, ...]:
    """What the columns of the table of artists mean, and which single reference is nearest."""
    if audit["verdict"]["label"] == "NO_MATCH":
        evidence = say("artists.evidence.none")
    else:
        evidence = told("artists.evidence", tested) if tested else told("artists.evidence", whom, "asked")
    return (
        say("artists.nearest", reference=rows[0].nearest, artist=rows[0].artist),
        f"{told('col.p.long', tested)}.",
        f"{say('col.exclusion.long')}.",
        evidence,
    )


def _parts(artists: Sequence[Fields], asked: Set[str]) -> PartsView | None:
    """Each part of the network: the first artist, of those asked about if some were, beside all others."""
    if not artists or not artists[0]["subnetworks"]:
        return None
    first = min((a for a in artists if not asked or a["artist"] in asked), key=lambda a: int(a["rank"]))
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
        Row(
            say(NAMED[k]) if k in NAMED else show(k.replace("_", " "), 80),
            (f"{v:.0f}" if k in COUNTS else number(v, 4)) if isinstance(v, float) else show(v, 200),
        )
        for k, v in (found.get("figures") or {}).items()
    )
    name = "derivative.of" if found.get("artist") is None else "derivative.of.reference"
    known = [Row(say(name), show(found["of"], 400), code=True)]
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


def _validity_rows(card: Fields, tested: str) -> tuple[ValidityRow, ...]:
    """The card's figures; those of artists tested for alone only where somebody was."""
    return tuple(_validity(key, figure) for key, figure in card.items() if tested or not key.startswith("asked_"))


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
        same=number((entry.get("same_works") or {}).get("value"), 3),
    )


def _of(of: Any, unit: Any) -> str:
    """What a figure was measured on; a bare number counts artists, as the schema says."""
    if isinstance(of, int) and not isinstance(of, bool):
        return say("validity.artists", n=count(of)) if unit is None else f"{count(of)} {show(unit, 60)}"
    return DASH if of is None else show(of, 120)


def quoted(text: str) -> str:
    """A message with its commands in quotation marks: the marks of a terminal's manual are no letters of a page."""
    return re.sub("`([^`]*)`", r"“\1”", text)


def _skipped(audit: Fields) -> SkippedView | None:
    """Why there is no audit, from `skipped` or, failing that, from the verdict."""
    skipped = audit["skipped"]
    if skipped:
        reason, advice = (quoted(show(skipped[key])) for key in ("reason", "advice"))
        return SkippedView(show(skipped["code"], 60), reason, advice)
    if audit["verdict"]["label"] == "OUT_OF_SCOPE":
        return SkippedView("out-of-scope", say("skipped.default"), say("skipped.advice"))
    return None
