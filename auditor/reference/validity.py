"""The validity card: how often this kind of set is right and wrong, measured on suspects whose artist is known.

The protocol is in `protocol.py`, the figures in `measures.py`; this file says which tables a card has, and when a set
cannot be certified.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from auditor.embedding.fit import Settings
from auditor.embedding.points import distinct
from auditor.embedding.scores import leads
from auditor.errors import ReferenceSetError
from auditor.reference.build import Read, read_genres
from auditor.reference.calibrate import SETTINGS
from auditor.reference.features_name import FeaturesName
from auditor.reference.measures import (
    ALPHA,
    STRICT,
    curves,
    false_attribution_band,
    figures,
    hard_negatives,
    likelihood,
    structure,
    when_asked,
)
from auditor.reference.protocol import (
    RANDOM,
    Matrix,
    Pool,
    control_matrix,
    features_of,
    few_references,
    half_out_pool,
    is_reference,
    never_trained,
    part_key,
    pool,
    read_corpus,
    whole_views,
)
from auditor.reference.set import SAME_WORKS, SUBNETWORKS, ReferenceSet, View, locate, read_manifest, read_table
from auditor.reference.trials import Trials, asked_p
from auditor.statistics.conformal import conformal_p, left_out_p, p_floor
from auditor.whole_file import write_whole

SCHEMA = "audit-validity-card/2"
IN_HEADLINE = ("found_at_alpha", "false_p_at_alpha", "false_p_genre", "false_of_nearest", "auc", "cllr", "cllr_genre")
"""Figures of artists named beforehand that reports tell."""
CHANCE = 0.5
"""The area under the ROC curve of a set that knows nothing."""
LEAST_ARTISTS = 10
"""Fewer artists give no figures worth a table."""


def evaluate(
    folder: str | Path,
    loras: str | Path | None = None,
    *,
    seed: int = 0,
    settings: Settings = SETTINGS,
    thorough: bool = False,
    baselines: dict[str, Matrix] | None = None,
) -> dict[str, Any]:
    """Run the protocol on the LoRA files that a set was made from and write card.json into the set's folder.

    loras: the folder that `refs train` wrote, with its plan.json (halves, recipes, suspects).  baselines: other
    features to put into the same table.  Raises ReferenceSetError where the files cannot give two halves of at least
    ten artists; a card of a set too small for its α is written, but does not certify it.  Without `loras` the set's
    own held-out references are the suspects: one condition only, which does not replace a card measured on files.
    """
    place = locate(folder)
    manifest = read_manifest(place)
    if loras is None:
        return evaluate_held_out(place, seed)
    FeaturesName.parse(manifest["features"]).require_fitted()
    corpus = read_corpus(Path(loras))
    artists = sorted({r.entry["artist"] for r in corpus if is_reference(r)})
    require_enough(artists)
    require_halves(corpus, artists)
    rng = np.random.default_rng(seed)
    corpus += never_trained(corpus, rng)
    matrix = features_of(manifest["features"])
    pooled = pool(corpus, matrix, settings, crossed=True)
    conditions = conditions_of(pooled, half_out_pool(corpus, matrix, settings))
    genre = {name: str(known.get("genre", "")) for name, known in read_genres(Path(loras)).items()}
    judged = Judged(manifest, asdict(settings), artists, genre, sum(map(is_reference, corpus)))
    card = card_of(judged, pooled, conditions, hardest(conditions), seed, rng)
    card |= structure(ReferenceSet.load(place), rng)
    write_card(place, card)
    card["ablations"] = ablations(corpus, manifest["features"], settings, rng, thorough, baselines or {})
    write_card(place, card)
    return card


HELD_OUT = "held-out half of the works, reference recipe"
HELD_OUT_FILES = "held-out files, on works unknown, reference recipe"
"""What the same is where nobody said which works the references were trained on."""
WORKS_UNKNOWN = (
    "Which works the references were made from is not known (no plan.json says so), and so not how far files on other "
    "works may lie: such a set is never certified."
)
NOT_MEASURED = (
    "False attribution was not measured: held-out references of one set keep to α among themselves whatever they are. "
    "`audit refs evaluate SET --loras DIR`, with the folder that `audit refs train` wrote, measures it."
)


def evaluate_held_out(place: Path, seed: int) -> dict[str, Any]:
    """The card that a calibrated set carries in itself: references as suspects, their half or their artist left out."""
    reference = ReferenceSet.load(place)
    artists, manifest = reference.artists, reference.manifest
    require_enough(artists)
    tried, against = (HELD_OUT, [NOT_MEASURED]) if reference.works_split else (HELD_OUT_FILES, [WORKS_UNKNOWN])
    rng = np.random.default_rng(seed)
    view = max(reference.views.values(), key=lambda v: len(v.bases.paths))
    pooled = held_out(reference, view)
    genre = dict(zip(artists, reference.genres, strict=True))
    judged = Judged(manifest, manifest.get("settings", {}), artists, genre, len(manifest["references"]))
    card = card_of(judged, pooled, {tried: pooled}, tried, seed, rng, against) | structure(reference, rng)
    known = place / "card.json"
    if not known.is_file() or "ablations" not in read_table(known):
        write_card(place, card)
    return card


def held_out(reference: ReferenceSet, view: View) -> Pool:
    """A view's references as suspects: genuine without their half of the works, impostor without their artist."""
    scores = view.normaliser(view.genuine)
    own = scores[np.arange(len(scores)), view.artist]
    statistic = view.statistic(view.genuine)
    strange, every = leads(view.null_scores), np.arange(len(scores))
    others_p = np.full_like(strange, np.nan)
    for a in distinct(view.artist):
        others = view.artist != a
        others_p[others, a] = left_out_p(strange[others, a], view.artist[others])
    ahead = leads(scores)
    trials = Trials(
        artist=view.artist,
        genuine=statistic,
        named=np.nanargmax(scores, 1),
        p_genuine=conformal_p(statistic, view.null_statistic, view.artist),
        impostor=view.null_statistic,
        p_impostor=view.left_out_p,
        own_score=own,
        other_scores=view.null_scores,
        own_rank=1 + (scores > own[:, None]).sum(1),
        accused=np.nanargmax(view.null_scores, 1),
        own_lead=ahead[every, view.artist],
        own_p=asked_p(ahead, strange, view.artist)[every, view.artist],
        other_leads=strange,
        other_p=others_p,
    )
    entries = [reference.manifest["references"][r] for r in view.rows]
    names, recipes = (np.array([e[key] for e in entries]) for key in ("artist", "recipe"))
    return Pool(trials, np.full(len(names), "other"), np.full(len(names), "reference"), names, recipes)


def reach(artists: int) -> str:
    """What a set of so many artists can reach at best, for people."""
    return f"no level below α = {p_floor(artists - 1):.3f} and no likelihood ratio above {max(1, artists)}"


def require_enough(artists: Sequence[str]) -> None:
    """Refuse what cannot be measured, and say what it could reach at best.  Raises ReferenceSetError."""
    if len(artists) < LEAST_ARTISTS:
        raise ReferenceSetError(
            f"{len(artists)} artists are too few to certify a set; at best it reaches {reach(len(artists))}.",
            advice="Train references for at least ten artists with `audit refs train`, which splits works in halves.",
        )


def require_halves(corpus: Sequence[Read], artists: Sequence[str]) -> None:
    """Refuse references that are not of two halves of every artist's works.  Raises ReferenceSetError.

    The protocol takes one half as references and the other as suspects, and an artist without references would be
    nobody whom a suspect could be found by.
    """
    held = {part_key(r) for r in corpus if is_reference(r)}
    halves = sorted({half for _, half in held})
    if not {"a", "b"} <= set(halves):
        raise ReferenceSetError(
            f"{WORKS_UNKNOWN} (The references are of {', '.join(halves)}, not of two halves a and b; at best "
            f"the set reaches {reach(len(artists))}.)",
            advice="Name each file's half in a plan.json beside the artists' folders, as `audit refs train` does. "
            "Without --loras the set's held-out references are tried.",
        )
    missing = [f"{artist} (half {half})" for artist in artists for half in "ab" if (artist, half) not in held]
    if missing or not whole_views(corpus):
        lacking = ", ".join(missing[:5]) + " …" * (len(missing) > 5) or "some artists"
        raise ReferenceSetError(
            f"There is no reference on a half of the works of {lacking} that could be compared with all others'.",
            advice="Train the missing ones (`audit refs train` resumes), or take these artists' folders away.",
        )


def write_card(place: Path, card: dict[str, Any]) -> None:
    """Write card.json.  Raises AuditorError."""
    write_whole(place / "card.json", json.dumps(card, indent=1, allow_nan=False))


@dataclass(frozen=True)
class Judged:
    """The set that a card is about."""

    manifest: Mapping[str, Any]
    settings: Mapping[str, Any]
    artists: list[str]
    genre: Mapping[str, str]
    """Of each artist, '' where unknown."""
    references: int


def card_of(
    judged: Judged,
    pooled: Pool,
    conditions: Mapping[str, Pool],
    of: str,
    seed: int,
    rng: np.random.Generator,
    against: Sequence[str] = (),
) -> dict[str, Any]:
    """All tables of conditions and counts; ablations come later.

    pooled: all suspects; of: the condition that the headline tells of; against: what forbids a certificate whatever
    the figures are.
    """
    count = len(judged.artists)
    measured = {name: figures(c, rng) for name, c in conditions.items()}
    tried = {name: c for name, c in conditions.items() if len(c.name)}
    ratios = {name: likelihood(c, count, rng) for name, c in tried.items() if name in (of, SAME_WORKS)}
    negatives = hard_negatives(conditions[of], judged.artists, judged.genre)
    about = {n: when_asked(c, judged.artists, judged.genre, np.random.default_rng(seed)) for n, c in tried.items()}
    counts = {name: false_attribution_band(c) for name, c in {**conditions, **negatives}.items()}
    return {
        "schema": SCHEMA,
        "set": judged.manifest["name"],
        "features": judged.manifest["features"],
        "settings": dict(judged.settings),
        "alpha": ALPHA,
        "artists": count,
        "references_per_artist_and_half": judged.references / count / 2,
        "suspects": {name: len(c.name) for name, c in conditions.items()},
        "headline_of": of,
        "headline": measured[of] | ratios[of]["figures"] | headline_when_asked(about[of]),
        "conditions": measured,
        "by_recipe": by_recipe(pooled, rng),
        "hard_negatives": {name: figures(c, rng, 200) for name, c in negatives.items()},
        "asked": about,
        "false_attribution_counts": counts,
        "false_attribution_counts_at_02": {n: false_attribution_band(c, STRICT) for n, c in conditions.items()},
        "likelihood": ratios,
        "curves": curves(conditions[of]),
        "p_floor": p_floor(count),
        "log10_lr_bound": float(np.log10(count)),
        "certificate": certificate(count, counts[of], measured[of], against),
    }


def headline_when_asked(about: Mapping[str, Any]) -> dict[str, Any]:
    """What reports tell of artists tested for alone."""
    return {f"asked_{name}": about[name] for name in IN_HEADLINE if name in about}


def hardest(conditions: dict[str, Pool]) -> str:
    """The condition that the headline is about: other works, by another recipe where there are such suspects."""
    wanted = "other works, other recipe", "other works, reference recipe"
    return next((name for name in wanted if len(conditions[name].name)), wanted[-1])


def conditions_of(pooled: Pool, half_out: Pool) -> dict[str, Pool]:
    """What kinds of suspect the card tells apart."""
    untrained, outside = np.char.startswith(pooled.name, RANDOM), half_out.where("outsider")
    trained = pooled.rows(~untrained)
    rare = {
        "other works, foreign trainer": pooled.where("other", "foreign"),
        "same works, foreign trainer": pooled.where("same", "foreign"),
        "other works, trained far too short": pooled.where("other", "far"),
    }
    return {
        "other works, other recipe": pooled.where("other", "other"),
        "other works, reference recipe": pooled.where("other", "reference"),
        SAME_WORKS: pooled.where("same", "other"),
        **{name: some for name, some in rare.items() if len(some.name)},
        "other works, other recipe, whole set for all others": half_out.where("half-out", "other"),
        "artists outside the set": outside.rows(~np.char.startswith(outside.name, RANDOM)),
        "artists outside the split-half sets": trained.where("outsider"),
        "random weights, no training": pooled.rows(untrained),
    }


def by_recipe(pooled: Pool, rng: np.random.Generator) -> dict[str, Any]:
    """Other works, one row for every recipe of the suspects: rank, targets, trainer and strength differ."""
    other = pooled.where("other")
    recipes = np.unique(other.recipe_name)
    return {str(name): figures(other.rows(other.recipe_name == name), rng, 200) for name in recipes}


def certificate(
    artists: int, counts: dict[str, Any], measured: Mapping[str, Any], reasons: Sequence[str] = ()
) -> dict[str, Any]:
    """May this set be used at its α?  Reasons against, beside those given, and the best that it can reach."""
    least = p_floor(artists - 1)  # of the test of one artist, whose null are the others
    reasons = list(reasons)
    if least > ALPHA:
        reasons.append(f"With {artists} artists nobody can be named below α = {least:.3f}: never at {ALPHA:g}.")
    if counts["low"] > ALPHA:
        reasons.append(f"{counts['hits']} of {counts['of']} suspects of left-out artists were attributed at {ALPHA:g}.")
    if measured["open_set_auc"]["low"] <= CHANCE:
        reasons.append("Artists of the set are not shown to be told from artists outside it better than by chance.")
    best = {"p": p_floor(artists), "log10_lr": float(np.log10(artists)), "lr": float(artists)}
    rate = {key: counts[key] for key in ("hits", "of", "low", "high")}
    return {"certified": not reasons, "alpha": ALPHA, "reasons": reasons, "rate": rate, "best_reachable": best}


def ablations(
    corpus: Sequence[Read],
    features: str,
    settings: Settings,
    rng: np.random.Generator,
    thorough: bool,
    baselines: dict[str, Matrix],
) -> dict[str, Any]:
    """One change at a time, on other works by other recipes; thorough: also sub-networks and fewer references."""
    plain, even = replace(settings, shrink=1.0), replace(settings, weigh=False)
    corpus = [r for r in corpus if not r.entry["artist"].startswith(RANDOM)]
    alone = all(map(is_reference, corpus))  # no validation suspects: the other half's references are tried
    recipe, tried = ("reference" if alone else "other"), partial(pool, crossed=alone)
    default, of_kind = features_of(features), partial(features_of, features)
    table = {
        "default": tried(corpus, default, settings),
        "output covariance only": tried(corpus, of_kind(("root-gram",)), settings),
        "update ΔW only": tried(corpus, of_kind(("delta",)), settings),
        "no within-artist calibration": tried(corpus, default, plain),
        "all blocks weighted alike": tried(corpus, default, even),
        "control: rank only": tried(corpus, control_matrix("rank_only"), plain),
        "control: norm only": tried(corpus, control_matrix("norm_only"), plain),
        "control: spectrum only": tried(corpus, control_matrix("spectrum_only"), plain),
    }
    for name, matrix in baselines.items():
        table[name] = tried(corpus, matrix, settings)
    if thorough:
        table["output covariance without the root"] = tried(corpus, of_kind(("gram",)), settings)
        for name in whole_views(corpus, SUBNETWORKS):
            table[f"{name} only"] = tried(corpus, default, settings, (name,))
        for count in (1, 2, 3):
            fewer = few_references(corpus, count)
            table[f"{count} references of each half"] = tried(fewer, default, settings)
    measured = {name: figures(pooled.where("other", recipe), rng, 200) for name, pooled in table.items()}
    return measured | equal_rank(corpus, features, settings, rng)


def equal_rank(
    corpus: Sequence[Read], features: str, settings: Settings, rng: np.random.Generator, rank: int = 16
) -> dict[str, Any]:
    """The paper's raw A and B need one rank: both kinds of features on references of that rank alone."""
    same_rank = [r for r in corpus if is_reference(r) and r.entry["rank"] == rank]
    measured: dict[str, Any] = {}
    for name, matrix in (
        ("the paper's raw A and B", features_of(features, ("paper",))),
        ("default", features_of(features)),
    ):
        if "all" in whole_views(same_rank):
            pooled = pool(same_rank, matrix, settings, ("all",), crossed=True).where("other", "reference")
            measured[f"rank {rank} files only: {name}"] = figures(pooled, rng, 200)
    return measured
