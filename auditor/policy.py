"""Thresholds → verdict.  Small rules, asked in order; the first that applies decides.

CONSISTENT needs two rejections: "comes from an artist outside the set" (open-set p ≤ α) and "is not of this artist"
(Holm-adjusted p ≤ α), and no control that singles out the same artist from the recipe alone.  NO_MATCH needs that
"comes from an artist of the set" is rejected (p_member ≤ α), by a set with which that says something (`LEAST_GAIN`).
All else is INCONCLUSIVE.  A policy file may ask for more (`Thresholds`); which verdicts stop an upload is not decided
here but in `auditor.gate`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auditor.result import ArtistScore, Coverage, OpenSet, Verdict

LEAST_COVERAGE = 0.5
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


PARTICLES = frozenset(
    ("van", "von", "der", "den", "de", "da", "di", "du", "del", "della", "dei", "degli", "dos", "das", "af", "ter", "y")
)
"""Parts of names that people write small; French Le and La are not."""


def pretty(artist: str) -> str:
    """'anders-zorn' → 'Anders Zorn', 'anthony-van-dyck' → 'Anthony van Dyck'."""
    first, *others = artist.replace("_", "-").split("-")
    return " ".join([first.capitalize(), *(o if o in PARTICLES else o.capitalize() for o in others)])


def decide(
    open_set: OpenSet,
    artists: Sequence[ArtistScore],
    coverage: Coverage,
    controls: Mapping[str, Any],
    derivative: Mapping[str, Any] | None,
    thresholds: Thresholds = DEFAULTS,
) -> Verdict:
    """The verdict for an audited file."""
    best = artists[0]
    if derivative is not None:
        return derived(derivative)
    if coverage.fraction < thresholds.min_coverage:
        return inconclusive(
            f"Only {coverage.fraction:.0%} of the layers that the reference set looks at are present in this file.",
            ["A file that adapts more layers, or a set whose references adapt the same few layers."],
        )
    alarm = [name for name, c in controls.items() if c and c["top_artist"] == best.artist and c["p"] <= open_set.alpha]
    if open_set.p > open_set.alpha:
        return outside(open_set, artists)
    if best.p > open_set.alpha:
        return inconclusive(
            "The file stands out from LoRAs of artists outside the set, but no single artist of the set explains it: "
            f"the adjusted p-value of the nearest, {pretty(best.artist)}, is {best.p:.3f}.",
            ["More references of the nearest artists, or knowing that the file mixes several styles."],
        )
    if alarm:
        return inconclusive(
            f"The recipe alone ({', '.join(alarm)}) singles out {pretty(best.artist)} as well: the resemblance may be "
            "one of training settings, not of style.",
            ["References of this artist trained with other settings."],
        )
    if too_weak(best, thresholds):
        return weak(best, thresholds)
    return consistent(open_set, best)


def consistent(open_set: OpenSet, best: ArtistScore) -> Verdict:
    """Both tests reject."""
    name = pretty(best.artist)
    return Verdict(
        "CONSISTENT",
        best.artist,
        f"This LoRA resembles LoRAs trained on works by {name}: at most {share(open_set.p)} LoRAs by artists outside "
        "the set point as clearly to anyone in it.",
        [
            f"Open-set test: p = {open_set.p:.3f} (least possible {open_set.p_min:.3f}), claimed error rate "
            f"{open_set.alpha:g}.",
            f"{name} against all other artists: Holm-adjusted p = {best.p:.3f}.",
            "Rank, strength and spectrum alone do not lead to this artist.",
        ],
        [
            "A LoRA by an artist outside the set, of a similar style, that stands out for anyone by over "
            f"{open_set.statistic:.2f}.",
            "A reference set with more artists of the same school.",
            "Evidence that the file was merged or altered after training.",
        ],
    )


def outside(open_set: OpenSet, artists: Sequence[ArtistScore]) -> Verdict:
    """The open-set test does not reject: no match if "from an artist of the set" is rejected, else inconclusive."""
    if open_set.p_member <= open_set.alpha and tells(open_set):
        return no_match(open_set, artists)
    best = artists[0]
    return Verdict(
        "INCONCLUSIVE",
        None,
        f"The evidence does not decide. The nearest artist is {pretty(best.artist)}, but {share(open_set.p)} LoRAs by "
        "artists outside the set point as clearly to someone in it.",
        [
            f"Open-set test: p = {open_set.p:.3f} > {open_set.alpha:g} (least possible {open_set.p_min:.3f}).",
            *still_possible(artists, open_set.alpha),
            why_not_no_match(open_set),
        ],
        ["More references of the nearest artists, covering more of their works.", "A longer or stronger training."],
    )


def still_possible(artists: Sequence[ArtistScore], alpha: float) -> list[str]:
    """Who cannot be excluded, as a reason; nothing where everybody can."""
    possible = [a for a in artists if a.p_exclusion > alpha]
    more = f" and {len(possible) - 3} more" if len(possible) > 3 else ""
    names = ", ".join(pretty(a.artist) for a in possible[:3]) + more
    return [f"{len(possible)} of {len(artists)} artists cannot be excluded: {names}."] if possible else []


def tells(open_set: OpenSet) -> bool:
    """Whether outsiders would get NO_MATCH clearly more often than the set's own artists do."""
    return open_set.outsiders_no_match >= LEAST_GAIN * open_set.alpha


def no_match(open_set: OpenSet, artists: Sequence[ArtistScore]) -> Verdict:
    """Too far from everybody for an artist of the set."""
    return Verdict(
        "NO_MATCH",
        None,
        f"This LoRA resembles no artist of the set: at most {share(open_set.p_member)} LoRAs by the set’s own artists "
        "stay as far from everyone in it.",
        [
            f"Test of “by an artist of the set”: p = {open_set.p_member:.3f}, claimed error rate {open_set.alpha:g}.",
            f"Of LoRAs by artists outside the set, about {about(open_set.outsiders_no_match)} come out like this.",
            f"Open-set test: p = {open_set.p:.3f} > {open_set.alpha:g}; the nearest of the {len(artists)} artists is "
            f"{pretty(artists[0].artist)}.",
        ],
        [
            "References of further artists.",
            "References that cover other periods or techniques of an artist.",
            "Evidence that the file was altered after training so as to look like nobody’s.",
        ],
    )


def why_not_no_match(open_set: OpenSet) -> str:
    """What keeps an undecided file from being called nobody's."""
    if open_set.p_member > open_set.alpha:
        return (
            f"Nor is it shown to be by nobody of the set: {share(open_set.p_member)} LoRAs by the set’s own artists "
            f"come no closer to anyone (p = {open_set.p_member:.3f})."
        )
    return (
        f"It scores lower than LoRAs by the set’s own artists mostly do (p = {open_set.p_member:.3f}), but with this "
        f"set only {about(open_set.outsiders_no_match)} of LoRAs by outside artists score as low, too few to conclude."
    )


def too_weak(best: ArtistScore, thresholds: Thresholds) -> bool:
    """Whether the policy asks for more evidence than the best artist has; evidence not computed is none."""
    least = thresholds.min_log10_lr
    return least is not None and (best.log10_lr is None or best.log10_lr < least)


def weak(best: ArtistScore, thresholds: Thresholds) -> Verdict:
    """Both tests reject, but the likelihood ratio stays below what the policy asks for."""
    found = "not computed" if best.log10_lr is None else f"{best.log10_lr:.2f}"
    bound = best.lr_bound
    unreachable = bound is not None and thresholds.min_log10_lr is not None and bound < thresholds.min_log10_lr
    ceiling = f" No file can reach it with this set, whose bound is {bound:.2f}." if unreachable else ""
    return inconclusive(
        f"The file resembles {pretty(best.artist)} at the stated error rate, but the log10 likelihood ratio is {found} "
        f"and the policy asks for {thresholds.min_log10_lr:g}.{ceiling}",
        ["A set with more artists, which can carry a larger likelihood ratio.", "A policy that asks for less."],
    )


def inconclusive(sentence: str, would_change: list[str]) -> Verdict:
    """No decision, said plainly."""
    return Verdict("INCONCLUSIVE", None, sentence, [sentence], would_change)


DERIVED = {
    "same_update": "The weights of this file are those of a known file,",
    "resized": "The weights of this file are those of a known file at another rank,",
    "same_run": "The weights of this file and those of a known file are of one training run or one start,",
    "merge": "The weights of this file and those of a known file contain one another, as a merge does,",
}


def derived(derivative: Mapping[str, Any]) -> Verdict:
    """A copy or descendant of a known file; style is then beside the point."""
    return Verdict(
        "DERIVATIVE",
        derivative.get("artist"),
        f"{DERIVED.get(derivative['relation'], DERIVED['same_update'])} {derivative['of']}.",
        [f"Cosine of the two updates: {derivative['figures']['cos_delta_w']:.3f}; unrelated files stay below 0.3."],
        ["Evidence that the known file was made from this one."],
    )


def share(p: float) -> str:
    """'2 in 100': p rounded up, so that no sentence claims more than the test."""
    return f"{max(1, math.ceil(100 * p - 1e-9))} in 100"


def about(part: float) -> str:
    """'7 in 100': a share that is a description, not a bound."""
    return f"{round(100 * part)} in 100"
