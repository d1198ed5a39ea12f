"""The test that decided, as a figure shows it: the suspect among the LoRAs that the p-value counts.

For NO_MATCH that is the test of membership, which asks whether the suspect scores too low for an artist of the set or
for those asked about; for all else the open-set test, which asks whether anybody stands out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from auditor.report.numbers import count, number, person, probability
from auditor.report.view import MOST_DOTS, NullView
from auditor.texts import say, told

MOST_NULL = 5000
"""Values of the null that a document lists; the JSON has them all."""

Fields = Mapping[str, Any]


def null_view(audit: Fields, whom: str, tested: str) -> NullView | None:
    """The figure's data and words; None where there is nothing to show.  whom, tested: as in `View`."""
    opened = audit["open_set"]
    if not opened:
        return None
    if audit["verdict"]["label"] == "NO_MATCH" and opened.get("membership"):
        return _membership(audit, whom)
    return _resemblance(audit, tested)


def _resemblance(audit: Fields, tested: str) -> NullView:
    """The open-set test: how far somebody stands out, above what p ≤ α asks for."""
    opened = audit["open_set"]
    values, limit = tuple(sorted(opened["null"])), threshold(opened)
    beyond = sum(v >= opened["statistic"] for v in values)
    key = "null.threshold" if opened.get("threshold") is not None else "null.threshold.about"
    figures = {"threshold": number(limit), "alpha": f"{opened['alpha']:g}"}
    limited = "" if limit is None else told(key, tested, **figures)
    form = "null.lead" if len(values) <= MOST_DOTS else "null.lead.bars"
    counted = say("null.counts", p=probability(opened["p"], opened["alpha"]))
    lead = told(form, tested, beyond=count(beyond), total=count(len(values)))
    owners = opened.get("null_owner") or ()
    return NullView(
        values=values,
        statistic=opened["statistic"],
        threshold=limit,
        flag="" if limit is None else say("null.alpha", **figures),
        beyond=beyond,
        below=False,
        heading=told("h.null", tested),
        lead=" ".join(text for text in (lead, counted, limited, _which(audit, tested)) if text),
        title=told("null.title", tested),
        axis=told("null.axis", tested),
        bins=say("null.col.from"),
        column=told("col.scores", tested),
        how=say("null.all.lead"),
        artists=_names(opened, owners),
        cut=max(0, len(values) - MOST_NULL),
        listing=_listing(opened, opened["null"], owners),
    )


def _membership(audit: Fields, whom: str) -> NullView:
    """The test of membership: how low the suspect scores, below what p ≤ α asks for."""
    opened = audit["open_set"]
    found = opened["membership"]
    asked = audit["options"].get("artists") or ()
    score = max(a["score"] for a in audit["artists"] if not asked or a["artist"] in asked)
    values, limit = tuple(sorted(found["null"])), found["threshold"]
    beyond = sum(v <= score for v in values)
    figures = {"threshold": number(limit), "alpha": f"{opened['alpha']:g}"}
    limited = "" if limit is None else say("null.threshold.member", **figures)
    form = "null.lead.member" if len(values) <= MOST_DOTS else "null.lead.bars.member"
    lead = told(form, whom, "asked", beyond=count(beyond), total=count(len(values)))
    counted = say("null.counts", p=probability(opened["p_member"], opened["alpha"]))
    return NullView(
        values=values,
        statistic=score,
        threshold=limit,
        flag="" if limit is None else say("null.alpha", **figures),
        beyond=beyond,
        below=True,
        heading=told("h.null.member", whom, "asked"),
        lead=" ".join(text for text in (lead, counted, limited, _which(audit, "")) if text),
        title=told("null.title.member", whom, "asked"),
        axis=told("null.axis.member", whom, "asked"),
        bins=say("null.col.from.member"),
        column=told("null.axis.member", whom, "asked"),
        how=say("null.all.lead.member"),
        artists=_names(opened, found["owner"]),
        cut=max(0, len(values) - MOST_NULL),
        listing=_listing(opened, found["null"], found["owner"]),
    )


def _which(audit: Fields, tested: str) -> str:
    """Which references the null is of, where it is not of all."""
    opened, references = audit["open_set"], audit["reference_set"]["references"]
    used = len(opened["membership"]["null"]) if opened.get("membership") else len(opened["null"])
    if used >= references or (tested and not opened.get("membership")):
        return ""
    return told("null.which", tested, used=count(used), references=count(references))


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


def _names(opened: Fields, owners: Sequence[int]) -> tuple[str, ...]:
    """The artists behind the null; one who is tested for alone is none of them."""
    names, found = opened.get("null_names") or (), frozenset(owners)
    return tuple(person(name, 120) for number, name in enumerate(names) if not found or number in found)


def _listing(opened: Fields, values: Sequence[float], owners: Sequence[int]) -> tuple[tuple[str, str], ...]:
    """The full null in figures, an artist a row where the audit says whose each value is."""
    people = [person(name, 120) for name in opened.get("null_names") or ()]
    groups: dict[str, list[float]] = {}
    for i, value in enumerate(values[:MOST_NULL]):
        owner = people[owners[i]] if i < len(owners) and 0 <= owners[i] < len(people) else ""
        groups.setdefault(owner, []).append(float(value))
    return tuple((who, " ".join(number(v) for v in sorted(found, reverse=True))) for who, found in groups.items())
