"""Thresholds → verdict.  Small rules, asked in order; the first that applies decides.

CONSISTENT needs two rejections: "comes from an artist outside the set" (open-set p ≤ α) and "is not of this artist"
(the artist's p ≤ α), and no control that singles out the same artist from the recipe alone.  NO_MATCH needs that
"comes from an artist of the set" is rejected (p_member ≤ α), by a set with which that says something (`tells`), for a
file that has half of the layers (`WHOLE_ENOUGH`) and something of what all references share (`LEAST_IN_COMMON`).
Where some artists are asked about, only they can be named, and only if nobody else of the set stands nearer; NO_MATCH
then says that "comes from one of them" is rejected, for artists whose own files are seldom rejected (`own_no_match`).
DERIVATIVE does not depend on who was asked about.
All else is INCONCLUSIVE.  A policy file may ask for more (`Thresholds`); which verdicts stop an upload is not decided
here but in `auditor.gate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auditor.limits import COPY, SAME_SOURCE, UNRELATED
from auditor.result import ArtistScore, Coverage, OpenSet, Verdict
from auditor.texts import DERIVED, DERIVED_REFERENCE, lines, plain
from auditor.words import at_least, decimals, listed, pretty, share, whom

ALPHA = 0.05
"""Level of significance where nothing else is asked for."""
LEAST_COVERAGE = 0.25
"""Files cut down so far are accused wrongly within the claimed rate, as whole ones are (docs/decisions/0030)."""
WHOLE_ENOUGH = 0.5
"""Share of the layers below which a file is never called nobody's: what is cut down lies farther from everybody."""
LEAST_IN_COMMON = 5.0
"""Standard deviations above nothing: less have files of another base, and noise (docs/decisions/0034)."""
MOST_OWN = 2.0
"""Artists are ruled out only if at most so many times α of their own held-out LoRAs are: the rate is an average."""
LEAST_GAIN = 2.0
"""NO_MATCH is given only by sets that give it to outsiders at least so many times as often as to their own artists (α):
below, the verdict would be valid and tell nobody anything."""


@dataclass(frozen=True)
class Thresholds:
    """What a verdict needs besides the level of significance."""

    min_coverage: float = LEAST_COVERAGE
    """Share of the view's layers that the file must adapt, 0…1; below it nothing is concluded."""
    min_log10_lr: float | None = None
    """Least log10 likelihood ratio of a CONSISTENT verdict; None asks for none."""


DEFAULTS = Thresholds()
MOST_NEAREST = 0.5
"""p above which no sentence names the nearest artist: most outsiders point as clearly to somebody."""


def decide(
    open_set: OpenSet,
    artists: Sequence[ArtistScore],
    coverage: Coverage,
    controls: Mapping[str, Any],
    derivative: Mapping[str, Any] | None,
    thresholds: Thresholds = DEFAULTS,
    most_log10_lr: float | None = None,
) -> Verdict:
    """The verdict for an audited file; artists: closest first.

    most_log10_lr: largest log10 likelihood ratio that the set gives any file; None where it gives none.
    """
    best = next(a for a in artists if a.artist in (open_set.asked or (a.artist,)))
    if derivative is not None:
        return derived(derivative)
    if coverage.fraction < thresholds.min_coverage:
        return inconclusive("verdict.partial", **layers(coverage), least=f"{thresholds.min_coverage:.0%}")
    alarm = [name for name, c in controls.items() if c and c["top_artist"] == best.artist and c["p"] <= open_set.alpha]
    if open_set.p > open_set.alpha or best is not artists[0]:
        return outside(open_set, best, artists, coverage)
    if not open_set.reachable:
        return out_of_reach(open_set)
    if best.p > open_set.alpha:
        return inconclusive("verdict.nobody", artist=pretty(best.artist), p=f"{best.p:.3f}")
    if alarm:
        return inconclusive("verdict.recipe", controls=", ".join(alarm), artist=pretty(best.artist))
    if too_weak(best, thresholds):
        return weak(best, thresholds, most_log10_lr)
    return consistent(open_set, best)


def consistent(open_set: OpenSet, best: ArtistScore) -> Verdict:
    """Both tests reject."""
    name = pretty(best.artist)
    figures = figures_of(open_set)
    would_change = "change.consistent.declared" if open_set.independent else "change.consistent"
    return Verdict(
        "CONSISTENT",
        best.artist,
        said("verdict.consistent", open_set, artist=name, share=share(open_set.p)),
        [
            said("why.open_set.rejects", open_set, **figures),
            *rests_on(open_set),
            *(() if open_set.independent else (plain("why.artist", artist=name, p=f"{best.p:.3f}"),)),
            taken_for(name, open_set),
            plain("why.controls"),
        ],
        list(lines(would_change, whom=whom(open_set.asked), statistic=f"{open_set.statistic:.2f}")),
    )


def said(key: str, open_set: OpenSet, **values: object) -> str:
    """A sentence of the catalogue on the test of resemblance; where some artists were tested for alone, its variant."""
    if not open_set.independent:
        return plain(key, **values)
    return plain(f"{key}.declared", whom=whom(open_set.asked), **values)


def about(key: str, open_set: OpenSet, **values: object) -> str:
    """A sentence of the catalogue; where some artists were asked about, its variant that names them."""
    return plain(f"{key}.asked", whom=whom(open_set.asked), **values) if open_set.asked else plain(key, **values)


def rests_on(open_set: OpenSet) -> list[str]:
    """On what the test of resemblance rests where some artists were asked about, and how others of the genre do."""
    if open_set.p_otherwise is None:
        return []
    key = "why.chosen.declared" if open_set.independent else "why.chosen.asked"
    reasons = [plain(key, whom=whom(open_set.asked), p=f"{open_set.p_otherwise:.3f}")]
    if (alike := open_set.same_genre) is not None:
        figures = {"n": alike["artists"], "genre": alike["genre"], "files": alike["files"], "reached": alike["reached"]}
        reasons.append(said("why.genre", open_set, **figures))
    return reasons


def taken_for(name: str, open_set: OpenSet) -> str:
    """Whose files the set would take for the artist named, had it not their own artist to compare with."""
    if not open_set.lookalikes:
        return plain("why.lookalikes.none", artist=name)
    return plain("why.lookalikes", artist=name, listed=listed(open_set.lookalikes))


def figures_of(open_set: OpenSet) -> dict[str, str]:
    """The open-set test's figures as sentences give them."""
    return {"p": decimals(open_set.p, open_set.alpha), "p_min": f"{open_set.p_min:.3f}", "alpha": f"{open_set.alpha:g}"}


def outside(open_set: OpenSet, best: ArtistScore, artists: Sequence[ArtistScore], coverage: Coverage) -> Verdict:
    """The open-set test does not reject, or for somebody who was not asked about.

    No match if "from an artist of the set" (or "from one asked about") is rejected, else inconclusive.  best: the
    nearest of those asked about.
    """
    if rules_out(open_set) and coverage.fraction >= WHOLE_ENOUGH and kindred(coverage):
        return no_match(open_set, best, artists)
    if best is not artists[0] and open_set.p <= open_set.alpha:
        return not_first(open_set, best, artists[0], coverage)
    if not kindred(coverage):
        return unlike(open_set, coverage)
    values = {"artist": pretty(artists[0].artist), "share": share(open_set.p), "someone": whom(open_set.asked)}
    return Verdict(
        "INCONCLUSIVE",
        None,
        said(undecided(open_set, best is artists[0]), open_set, **values),
        [
            said("why.open_set.not", open_set, **figures_of(open_set)),
            *rests_on(open_set),
            *(() if best is artists[0] else (behind(best, artists[0]),)),
            *still_possible(artists, open_set),
            why_not_no_match(open_set, coverage),
        ],
        list(lines("change.undecided") if open_set.reachable else unreachable(open_set)),
    )


def undecided(open_set: OpenSet, first: bool) -> str:
    """The key of the sentence that decides nothing.  first: the nearest of all is one who was asked about."""
    near = open_set.p <= MOST_NEAREST
    if open_set.independent:
        return "verdict.undecided"
    if not open_set.asked:
        return "verdict.undecided" if near else "verdict.undecided.far"
    if first:
        return "verdict.undecided.some"
    return "verdict.undecided.behind" if near else "verdict.undecided.behind.far"


def unlike(open_set: OpenSet, coverage: Coverage) -> Verdict:
    """Nothing stands out, and nothing tells that the file is for the set's base at all."""
    found = {"found": f"{coverage.in_common or 0:.1f}", "least": f"{LEAST_IN_COMMON:g}"}
    reasons = [plain("why.unlike", **found), said("why.open_set.not", open_set, **figures_of(open_set))]
    return Verdict("INCONCLUSIVE", None, plain("verdict.unlike"), reasons, list(lines("change.unlike")))


def out_of_reach(open_set: OpenSet) -> Verdict:
    """The open-set test rejects at a level at which no single artist's own test can."""
    least = at_least(open_set.names_from)
    sentence = plain("verdict.unreachable", least=least, alpha=f"{open_set.alpha:g}")
    return Verdict("INCONCLUSIVE", None, sentence, [sentence], list(unreachable(open_set)))


def unreachable(open_set: OpenSet) -> tuple[str, ...]:
    """What would decide where the set cannot give so small a p-value."""
    return lines("change.unreachable", least=at_least(open_set.names_from))


def behind(best: ArtistScore, nearer: ArtistScore) -> str:
    """Who stands nearer than the nearest of those asked about."""
    return plain("why.nearer", artist=pretty(best.artist), nearer=pretty(nearer.artist), rank=best.rank)


def not_first(open_set: OpenSet, best: ArtistScore, nearer: ArtistScore, coverage: Coverage) -> Verdict:
    """The test of resemblance rejects, but somebody who was not asked about stands nearest."""
    sentence = plain("verdict.nearer", artist=pretty(best.artist), nearer=pretty(nearer.artist))
    tested = said("why.open_set.rejects", open_set, **figures_of(open_set))
    reasons = [behind(best, nearer), tested, *rests_on(open_set), why_not_no_match(open_set, coverage)]
    return Verdict("INCONCLUSIVE", None, sentence, reasons, list(lines("change.nearer")))


def still_possible(artists: Sequence[ArtistScore], open_set: OpenSet) -> list[str]:
    """Who cannot be excluded, as a reason; nothing where everybody can, or where this set can exclude nobody."""
    possible = [a for a in artists if a.p_exclusion > open_set.alpha]
    if open_set.asked or not possible or not open_set.works_split or not open_set.reachable:
        return []
    names = ", ".join(pretty(a.artist) for a in possible[:3])
    key = "why.possible.more" if len(possible) > 3 else "why.possible"
    return [plain(key, n=len(possible), of=len(artists), names=names, more=len(possible) - 3)]


def tells(open_set: OpenSet) -> bool:
    """Whether outsiders would get NO_MATCH clearly more often than the set's own artists do, on works old and new."""
    return open_set.works_split and open_set.outsiders_no_match >= LEAST_GAIN * open_set.alpha


def rules_out(open_set: OpenSet) -> bool:
    """Whether "from an artist of the set" (or "from one asked about") is rejected, and that means something."""
    far = open_set.p_member <= open_set.alpha
    return far and tells(open_set) and not stands_out(open_set) and spares_own(open_set)


def kindred(coverage: Coverage) -> bool:
    """Whether the file has something of what all references share, as far as the set can tell."""
    return coverage.in_common is None or coverage.in_common >= LEAST_IN_COMMON


def stands_out(open_set: OpenSet) -> bool:
    """Whether those asked about stand out, asked about alone: in a mixture they may, however low they score."""
    alone = open_set.p if open_set.independent else open_set.p_otherwise
    return alone is not None and alone <= open_set.alpha


def spares_own(open_set: OpenSet) -> bool:
    """Whether own LoRAs of the artists asked about are ruled out hardly more often than α, which is an average."""
    own = open_set.own_no_match
    return own is None or own["ruled_out"] <= MOST_OWN * open_set.alpha * own["files"]


def no_match(open_set: OpenSet, best: ArtistScore, artists: Sequence[ArtistScore]) -> Verdict:
    """Too far from everybody (who was asked about) for an artist of the set (for one of them)."""
    figures = figures_of(open_set) | {"p_member": decimals(open_set.p_member, open_set.alpha)}
    nearest = {"artists": len(artists), "artist": pretty(artists[0].artist), "rank": best.rank}
    return Verdict(
        "NO_MATCH",
        None,
        about("verdict.no_match", open_set, share=share(open_set.p_member)),
        [
            about("why.member.rejects", open_set, **figures),
            about("why.outsiders", open_set, share=share(open_set.outsiders_no_match)),
            *own_ruled_out(open_set),
            about("why.open_set.nearest", open_set, **nearest, **figures),
        ],
        list(lines("change.no_match.asked" if open_set.asked else "change.no_match")),
    )


def own_ruled_out(open_set: OpenSet) -> list[str]:
    """How many own LoRAs of those asked about are ruled out, of the one of whom the largest share is, as a reason."""
    own = open_set.own_no_match
    if not own:
        return []
    of = whom(open_set.asked) if len(open_set.asked) == 1 else plain("whom.one")
    return [plain("why.own" if own["ruled_out"] else "why.own.none", whom=of, **own)]


def why_not_no_match(open_set: OpenSet, coverage: Coverage) -> str:
    """What keeps an undecided file from being called nobody's."""
    p = decimals(open_set.p_member, open_set.alpha)
    if not open_set.works_split:
        return about("why.not.split", open_set)
    if open_set.p_member > open_set.alpha:
        return about("why.not.member", open_set, share=share(open_set.p_member), p=p)
    if stands_out(open_set):
        return about("why.not.mixed", open_set, p=p)
    if not spares_own(open_set):
        return plain("why.not.own", p=p, **(open_set.own_no_match or {}))
    if coverage.fraction < WHOLE_ENOUGH:
        return plain("why.not.whole", **layers(coverage), p=p, half=f"{WHOLE_ENOUGH:.0%}")
    if not kindred(coverage):
        return plain("why.not.kindred", p=p)
    return about("why.not.telling", open_set, share=share(open_set.outsiders_no_match), p=p)


def layers(coverage: Coverage) -> dict[str, str]:
    """How many of the set's layers a file has, as sentences give it."""
    matched, reference = coverage.matched_modules, coverage.reference_modules
    return {"matched": f"{matched}", "reference": f"{reference}", "share": f"{coverage.fraction:.0%}"}


def too_weak(best: ArtistScore, thresholds: Thresholds) -> bool:
    """Whether the policy asks for more evidence than the best artist has; evidence not computed is none."""
    least = thresholds.min_log10_lr
    return least is not None and (best.log10_lr is None or best.log10_lr < least)


def weak(best: ArtistScore, thresholds: Thresholds, most: float | None) -> Verdict:
    """Both tests reject, but the likelihood ratio stays below what the policy asks for.  most: the set's largest."""
    found = "not computed" if best.log10_lr is None else f"{best.log10_lr:.2f}"
    unreachable = most is not None and thresholds.min_log10_lr is not None and most < thresholds.min_log10_lr
    return inconclusive(
        "verdict.weak.unreachable" if unreachable else "verdict.weak",
        artist=pretty(best.artist),
        found=found,
        asked=f"{thresholds.min_log10_lr:g}",
        bound=f"{most or 0.0:.2f}",
    )


def inconclusive(key: str, **values: object) -> Verdict:
    """No decision, said plainly: the sentence `key`, and under "change." what would decide."""
    sentence = plain(key, **values)
    return Verdict("INCONCLUSIVE", None, sentence, [sentence], list(lines(f"change.{key.split('.')[1]}")))


def derived(derivative: Mapping[str, Any]) -> Verdict:
    """A copy or descendant of a known file; style is then beside the point."""
    artist, relation, known = derivative.get("artist"), derivative["relation"], derivative["of"]
    limits = {"unrelated": f"{UNRELATED:g}", "related": f"{related_from(derivative):g}"}
    forms = DERIVED if artist is None else DERIVED_REFERENCE
    sentence = forms.get(relation, forms["same_update"]).format(known=known, artist=pretty(artist or ""))
    cosine = f"{derivative['figures']['cos_delta_w']:.3f}"
    if artist is None:
        reasons = [plain("why.derived", cosine=cosine, **limits)]
    else:
        reasons = [plain("why.derived.estimate", cosine=cosine, **limits), plain("why.derived.reference", known=known)]
    return Verdict("DERIVATIVE", artist, sentence, reasons, list(lines("change.derived")))


def related_from(derivative: Mapping[str, Any]) -> float:
    """The agreement from which a file is called related: known files are compared whole, references by fingerprint."""
    return SAME_SOURCE if derivative.get("artist") is None else COPY
