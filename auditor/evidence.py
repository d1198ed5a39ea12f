"""Coordinates of a suspect → scores, p-values, likelihood ratios, controls, mixture, map: the evidence of an audit."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auditor.embedding.backend import (
    Axes,
    Floats,
    Labels,
    Normaliser,
    artist_weights,
    centroids,
    cosines,
    distinct,
    fit_normaliser,
    impostor_scores,
    lead,
    principal,
    t_norm,
    unit,
)
from auditor.embedding.features import Factored
from auditor.embedding.sketches import ROUGH, controls, fingerprint, rough_fingerprint
from auditor.lora import Artifact
from auditor.lora.relation import DERIVED, Known
from auditor.reference.set import ReferenceSet, View, sub_modules
from auditor.result import ArtistScore, OpenSet, StyleMap
from auditor.statistics.conformal import ConformalNull, conformal_p, holm, p_floor, rate_limits
from auditor.statistics.likelihood import verbal
from auditor.statistics.mixture import shares, taken_out

Made = TypeVar("Made")
COPY = 0.5  # fingerprint cosine: 8 standard errors above unrelated files, below neighbouring checkpoints of one run
CHUNK = 10_000  # resamples drawn at a time: memory stays small however many are asked for
ROWS = 16  # references compared with all artists at a time: the differences stay in the processor's cache
MISSING = object()  # None is an answer: no statistic of a small set may reach a threshold
KEPT = 500  # things that are kept of a view: some 10 kB each, but for the sub-networks' matrices
MOST_PARTS = 5  # artists that are looked for in one file


def kept(view: View, key: Hashable, make: Callable[[], Made]) -> Made:
    """What `make` gives for this view, made once: no suspect changes it, and a scan asks for it with every file.

    Only the last `KEPT` are kept, since what is left without some artists is a thing of its own for each choice.
    """
    had: dict[Hashable, Any] = view.__dict__.setdefault("_kept", {})
    found: Any = had.pop(key, MISSING)
    if found is MISSING:
        found = make()
    had[key] = found  # at the end: the oldest stand first
    if len(had) > KEPT:
        had.pop(next(iter(had)), None)
    made: Made = found
    return made


def make_ready(reference: ReferenceSet, alpha: float) -> None:
    """Work out now what every audit against the set at level alpha needs and no suspect changes (see `kept`).

    A reference of each view is scored for that, as if all its modules gave alike.
    """
    _ = reference.directions, reference.numbers
    for view in reference.views.values():
        point = view.points[:1]
        open_set(view, point, alpha, 1, 0)
        artist_scores(reference, view, np.repeat(point, len(view.bases.paths), 0))
        style_map(reference, view, point)
        for name in reference.controls:
            recipe_model(reference, view, name)


def scores_of(view: View, point: Floats) -> Floats:
    """Normalised score (C,) of one point with each artist."""
    return np.asarray(view.normaliser(cosines(point, view.centres))[0])


def null_of(view: View) -> ConformalNull:
    """The null of the open-set test, made ready once."""
    return kept(view, "null", lambda: ConformalNull.of(view.null_statistic, view.artist))


def open_set(
    view: View,
    point: Floats,
    alpha: float,
    resamples: int,
    seed: int,
    names: Sequence[str] = (),
    *,
    works_split: bool = True,
) -> OpenSet:
    """Is the suspect of the set at all?

    H0: the suspect comes from an artist outside the set, and is exchangeable with the references of an artist who is
    left out of the whole fit.  Statistic: how far the first artist's score leads (`lead`).  `names` of the
    artists, if given, go into the result, so that readers can compute p again from it.  works_split: see `OpenSet`.
    """
    scores = scores_of(view, point)
    observed = float(lead(scores[None])[0])
    p = float(null_of(view)(observed)[0])
    groups = null_of(view).groups
    null = [round(float(v), 5) for v in view.null_statistic]
    interval = p_interval(view, observed, resamples, seed)
    limit = kept(view, ("limit", alpha), partial(threshold, view, alpha))
    owners = [int(a) for a in view.artist] if names else []
    member, unmatched = 1.0, 0.0
    if works_split:
        member = float(member_p(view, scores.max())[0])
        unmatched = kept(view, ("unmatched", alpha), partial(outsiders_no_match, view, alpha))
    figures = p, p_floor(groups), groups, observed, null, alpha, interval, member, unmatched
    alike = lookalikes(view, int(np.argmax(scores)), limit) if names else {}
    taken = [{"artist": names[a], "share": share} for a, share in alike.items()]
    return OpenSet(*figures, limit, list(names), owners, works_split, taken)


def member_p(view: View, best: ArrayLike) -> Floats:
    """p-value (m,) of best scores (m,); small means too low for any artist of the set.

    H0: the suspect comes from an artist of the set, and is exchangeable with references whose own half of the works
    was left out, whoever of the artists it is.  Statistic: the best normalised score over artists, so that one test
    answers for all of them: where a member's own score is low, a neighbour's is usually the best.
    """
    null = kept(view, "members", lambda: ConformalNull.of(-view.member_best, view.artist))
    return null(-np.asarray(best, float))


def outsiders_no_match(view: View, alpha: float) -> float:
    """Share of LoRAs by outside artists that `member_p` tells from the set's own at α; artists weigh equally."""
    told = member_p(view, view.null_best) <= alpha
    return float(artist_weights(view.artist, np.ones(len(told), bool)) @ told)


def lookalikes(view: View, artist: int, limit: float | None) -> dict[int, float]:
    """Whose references, their own artist left out of the set, are taken for `artist`: index → share of them, 0…1.

    Taken for: `artist` comes first and the statistic is above `limit` (see `threshold`).  No test: it tells readers
    for whom the average error rate is far too low.  Most first; artists with none are left out.
    """
    taken = (view.null_statistic > (np.inf if limit is None else limit)) & (view.null_first == artist)
    shares = np.bincount(view.artist, taken, len(view.centres)) / np.maximum(np.bincount(view.artist), 1)
    return {int(a): float(shares[a]) for a in np.argsort(-shares, kind="stable") if shares[a] > 0}


def threshold(view: View, alpha: float) -> float | None:
    """The null value that a statistic must exceed for p ≤ alpha; None when no statistic can."""
    values = np.sort(view.null_statistic)
    beyond = values[conformal_p(np.nextafter(values, np.inf), view.null_statistic, view.artist) <= alpha]
    return float(beyond[0]) if len(beyond) else None


def p_interval(view: View, observed: float, resamples: int, seed: int) -> tuple[float, float]:
    """95 % range of the chance that p estimates: how often outsiders' files stand out as far as `observed`, 0…1.

    The wider, on either side, of two: the null's artists drawn again (seeded), which sees how unlike they are, and the
    exact limits for so many of so many artists, which still say something where none or all of them reach `observed`.
    """
    names, member = np.unique(view.artist, return_inverse=True)
    reached = np.bincount(member, view.null_statistic >= observed) / np.bincount(member)
    rng, sums = np.random.default_rng(seed), np.empty(resamples)
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        sums[start : start + size] = reached[rng.integers(0, len(names), (size, len(names)))].sum(1)
    low, high = np.percentile((1 + sums) / (len(names) + 1), (2.5, 97.5))
    hits = float(reached.sum())
    least, most = kept(view, ("limits", hits), partial(rate_limits, hits, len(names)))
    return min(float(low), least), max(float(high), most)


def per_artist_p(view: View, scores: Floats) -> Floats:
    """p-value (C,) of each artist.  H0: the suspect is of another artist, exchangeable with the impostors' files."""
    nulls = kept(view, "impostors of each artist", lambda: [impostors_of(view, a) for a in range(len(scores))])
    return np.array([null(score)[0] for null, score in zip(nulls, scores, strict=True)])


def impostors_of(view: View, a: int) -> ConformalNull:
    """The scores with artist `a` of all files that are not by `a`."""
    others = view.artist != a
    return ConformalNull.of(view.null_scores[others, a], view.artist[others])


def exclusion_p(view: View, scores: Floats) -> Floats:
    """p-value (C,) of excluding each artist.

    H0: the suspect is of this artist, exchangeable with references whose own half of the works was left out; pooled
    over artists, since one artist alone has too few references to exclude anybody at α.
    """
    return kept(view, "genuine", lambda: ConformalNull.of(-view.genuine_scores, view.artist))(-scores)


def score_spread(view: View) -> tuple[float, float]:
    """5th and 95th percentile of how a score moves when a LoRA of the same artist is trained again.

    From the held-out references: the differences between the scores of two files of an artist with that artist, in
    either order; artists weigh equally.  Other pictures, seeds and recipes are in it; a stranger's may move more.
    """
    own = [view.genuine_scores[view.artist == a] for a in distinct(view.artist)]
    moves = [(scores[:, None] - scores)[~np.eye(len(scores), dtype=bool)] for scores in own if len(scores) > 1]
    size, order = np.concatenate(moves), np.argsort(np.concatenate(moves), kind="stable")
    weight = np.concatenate([np.full(len(some), 1 / len(some) / len(moves)) for some in moves])[order]
    high = float(size[order][np.searchsorted(np.cumsum(weight), 0.95)])
    return -high, high


def artist_scores(reference: ReferenceSet, view: View, given: Floats) -> list[ArtistScore]:
    """Every artist of the set, closest first; p-values adjusted as in `stepwise`.  given: `View.shares`."""
    point = given.sum(0, keepdims=True)
    scores = scores_of(view, point)
    low, high = kept(view, "score spread", lambda: score_spread(view))
    against = per_artist_p(view, scores)
    excluded = exclusion_p(view, scores) if reference.works_split else np.ones(len(scores))
    statistic = float(lead(scores[None])[0])
    adjusted = stepwise(against, scores, float(null_of(view)(statistic)[0]))
    ratio = float(view.calibration.log10_lr(statistic))
    other = float(view.other_works.log10_lr(statistic)) if view.other_works and reference.works_split else None
    nearest = nearest_references(reference, view, point)
    parts = subnetwork_scores(view, given)
    order = np.argsort(-scores, kind="stable")
    return [
        ArtistScore(
            artist=reference.artists[a],
            genre=reference.genres[a],
            score=float(scores[a]),
            interval=(float(scores[a]) + low, float(scores[a]) + high),
            rank=rank,
            p=float(adjusted[a]),
            p_exclusion=float(excluded[a]),
            log10_lr=ratio if rank == 1 else None,
            lr_bound=view.calibration.limit_of(ratio) if rank == 1 else None,
            verbal=verbal(ratio) if rank == 1 else None,
            nearest_reference=nearest[a],
            subnetworks={name: float(values[a]) for name, values in parts.items()},
            log10_lr_other_works=other if rank == 1 else None,
        )
        for rank, a in enumerate(order, start=1)
    ]


def stepwise(raw: Floats, scores: Floats, p_open: float) -> Floats:
    """Adjusted p-value (C,) of each artist, named only after the open-set test.

    The first artist gets the larger of its own p and the open-set p, which is asked of whoever comes first: an outsider
    is named no more often than the open-set test rejects, and looking through all artists costs nothing more.  The
    others get Holm's, kept monotone in the score.
    """
    adjusted = holm(raw)
    best = int(np.argmax(scores))
    adjusted[best] = max(float(raw[best]), p_open)
    order = np.argsort(-scores, kind="stable")
    adjusted[order] = np.maximum.accumulate(adjusted[order])
    return adjusted


def nearest_references(reference: ReferenceSet, view: View, point: Floats) -> list[str]:
    """File name of each artist's closest reference."""
    closeness = unit(view.points) @ unit(point)[0]
    own = kept(view, "rows", lambda: [np.flatnonzero(view.artist == a) for a in range(len(view.centres))])
    best = (view.rows[rows[np.argmax(closeness[rows])]] for rows in own)
    return [reference.manifest["references"][r]["file"] for r in best]


def subnetwork_scores(view: View, given: Floats) -> dict[str, Floats]:
    """t-normalised scores (C,) from one sub-network's modules alone; given (modules, d): `View.shares`."""
    found = {}
    for name in view.parts:
        mine, centres = kept(view, ("sub-network", name), partial(_subnetwork, view, name))
        found[name] = t_norm(cosines(given[mine].sum(0, keepdims=True), centres))[0]
    return found


def _subnetwork(view: View, name: str) -> tuple[NDArray[np.bool_], Floats]:
    """Which modules are a sub-network's, and the artists' directions in them."""
    mine = sub_modules(view.bases, name)
    everyone = np.ones(len(view.artist), bool)
    return mine, centroids(view.parts[name], view.artist, len(view.centres), everyone)


def control_scores(reference: ReferenceSet, factored: dict[str, Factored], view: View) -> dict[str, dict[str, Any]]:
    """The open-set test on rank, norm and spectrum alone: whom would the recipe by itself accuse?

    H0: the suspect comes from an artist outside the set, and its recipe is exchangeable with those of references whose
    own artist was left out.  Statistic: how much better it fits the first artist's recipes than the next one's.  p = 1
    where that is hardly better (`SINGLED_OUT`), or the recipe lies outside of what any artist's are: such a recipe
    points to nobody.
    """
    columns = [reference.modules.index(p) for p in view.bases.paths]
    seen = controls(factored, reference.modules)
    result = {}
    for name in reference.controls:
        first, p = recipe_model(reference, view, name).test(seen[name][columns])
        result[name] = {"top_artist": reference.artists[first], "p": p}
    return result


SINGLED_OUT = 1.25
"""How many times better, a layer on geometric average, a recipe must fit one artist than the next one to point to
anybody: recipes that all artists have reach less (benchmarks/controls.py)."""
LEAST_VARIANCE = 0.01
"""Of one artist's recipes, in z-scores squared: artists whose files are all alike have a width as well."""


@dataclass(frozen=True)
class RecipeModel:
    """One control: where artists' references lie by recipe alone, in z-scores of `mean` and `spread`."""

    mean: Floats
    spread: Floats
    centres: Floats
    """(C, D) mean of each artist's references."""
    variances: Floats
    """(C, D) their variance."""

    def apart(self, seen: Floats) -> Floats:
        """How far (n, C) figures (n, D) lie from each artist's recipes: mean square in their standard deviations.

        A mean over layers and not their sum, for the layers of a file go together.
        """
        found = np.empty((len(seen), len(self.centres)))
        for begin in range(0, len(seen), ROWS):
            z = (seen[begin : begin + ROWS] - self.mean) / self.spread
            found[begin : begin + ROWS] = ((z[:, None, :] - self.centres) ** 2 / self.variances).mean(2)
        return found

    def fits(self, apart: Floats) -> Floats:
        """Log-likelihood (n, C), a layer on average and but for a constant, of figures that lie so far apart (n, C)."""
        return np.asarray(-0.5 * (apart + np.log(self.variances).mean(1)))


@dataclass(frozen=True)
class RecipeTest:
    """A control made ready: the model, how far recipes of left-out artists lead, and how far apart recipes are."""

    model: RecipeModel
    null: ConformalNull
    furthest: float
    """The largest distance of a reference from its own artist's recipes."""

    def test(self, seen: Floats) -> tuple[int, float]:
        """The artist whose recipes fit figures (D,) best, and p."""
        apart = self.model.apart(seen[None])
        fits = self.model.fits(apart)
        first, ahead = int(np.argmax(fits[0])), float(lead_over_next(fits)[0])
        if ahead < np.log(SINGLED_OUT) or apart[0, first] > self.furthest:
            return first, 1.0
        return first, float(self.null(ahead)[0])


def lead_over_next(fits: Floats) -> Floats:
    """How far the best of each row (n, C) is above the second, (n,); NaN columns are left out."""
    first = np.sort(np.where(np.isnan(fits), -np.inf, fits), axis=1)
    return np.asarray(first[:, -1] - first[:, -2])


def recipe_model(reference: ReferenceSet, view: View, name: str) -> RecipeTest:
    """The control `name` of a view; made once for a set, since no suspect changes it."""
    columns = [reference.modules.index(p) for p in view.bases.paths]
    return kept(view, ("recipe", name), lambda: fit_recipe(reference.controls[name][view.rows][:, columns], view))


def fit_recipe(known: Floats, view: View) -> RecipeTest:
    """From the references' figures (n, D)."""
    weight = artist_weights(view.artist, np.ones(len(known), bool))
    mean = weight @ known
    spread = np.sqrt(weight @ (known - mean) ** 2) + 1e-9
    z = (known - mean) / spread
    own = [z[view.artist == a] for a in range(len(view.centres))]
    centres, variances = np.stack([rows.mean(0) for rows in own]), np.stack([rows.var(0) for rows in own])
    count = np.array([len(rows) for rows in own])[:, None]
    variances = (count * variances + variances.mean(0) + LEAST_VARIANCE) / (count + 1)  # few files: part of everybody's
    model = RecipeModel(mean, spread, centres, variances)
    apart, own_column = model.apart(known), (np.arange(len(known)), view.artist)
    fits = model.fits(apart)
    fits[own_column] = np.nan
    return RecipeTest(model, ConformalNull.of(lead_over_next(fits), view.artist), float(apart[own_column].max()))


def copy_of(reference: ReferenceSet, factored: dict[str, Factored], artifact: Artifact) -> dict[str, Any] | None:
    """The reference whose weights this file carries, or None."""
    same, known = reference.numbers.get(artifact.tensor_sha256), reference.directions
    if same is None and (rough := rough_fingerprint(factored)) is not None and (known @ rough).max() < COPY - ROUGH:
        return None
    closeness = known @ fingerprint(factored)
    best = int(np.argmax(closeness)) if same is None else same
    if same is None and closeness[best] < COPY:
        return None
    relation = "same_tensors" if same is not None else "same_update" if closeness[best] > 0.97 else "same_run"
    return derivative(reference.manifest["references"][best], relation, closeness[best])


def copy_of_known(suspect: Known, known: Mapping[str, Known]) -> dict[str, Any] | None:
    """The closest relative of the suspect among known files, by their weights themselves; None where none is one."""
    found: list[tuple[float, dict[str, Any]]] = []
    for name, other in sorted(same_digest(suspect, known).items()):
        relation = other.against(suspect)
        if relation.relation in DERIVED:
            row = {"of": name, "artist": None, "relation": relation.relation, "figures": relation.figures}
            row |= {"sha256": other.artifact.sha256}
            found.append((abs(relation.figures["cos_delta_w_common"]), row))
    return max(found, key=lambda pair: pair[0])[1] if found else None


def same_digest(suspect: Known, known: Mapping[str, Known]) -> Mapping[str, Known]:
    """The known files of the suspect's bytes, else those of its tensors, else all: digests come before algebra."""
    own = suspect.artifact
    same_bytes = {name: other for name, other in known.items() if other.artifact.sha256 == own.sha256}
    tensors = {name: other for name, other in known.items() if other.artifact.tensor_sha256 == own.tensor_sha256}
    return same_bytes or tensors or known


def derivative(entry: dict[str, Any], relation: str, cosine: float) -> dict[str, Any]:
    """One row of the contract's `derivative`."""
    figures = {"cos_delta_w": float(cosine)}
    return {"of": entry["file"], "artist": entry["artist"], "relation": relation, "figures": figures}


def mixture(reference: ReferenceSet, view: View, point: Floats, alpha: float) -> list[dict[str, Any]]:
    """Artists of the set that the suspect carries, strongest first: {artist, share, p} each; empty if none is found.

    Found one after another (see `strongest_left`), each at α, so that the chance of naming any artist who is not in a
    file stays at α: the first wrong name needs a first wrong rejection.  p: H0, what the artists before it leave of
    the suspect comes from artists outside the set.
    """
    cosine, gram = cosines(point, view.centres), view.centres @ view.centres.T
    found: list[int] = []
    p = [0.0]
    while len(found) < min(MOST_PARTS, len(gram) - 3):
        artist, value = strongest_left(view, cosine, gram, found)
        if value > alpha:
            break
        found.append(artist)
        p.append(max(p[-1], value))
    rows = zip(found, strengths(view, point, found), p[1:], strict=True)
    return [{"artist": reference.artists[a], "share": float(s), "p": v} for a, s, v in rows]


def strongest_left(view: View, cosine: Floats, gram: Floats, found: list[int]) -> tuple[int, float]:
    """The artist nearest to what is left of a suspect without the directions of the artists `found`, and its p-value.

    H0: what is left comes from artists outside the set, and is exchangeable with references whose own artist was left
    out, treated alike.  cosine (1, C): of the suspect; gram (C, C): of the artists' directions.  With nothing found
    yet this is the open-set test.
    """
    if not found:
        best = np.argmax(view.normaliser(cosine)[0])
        return int(best), float(null_of(view)(view.statistic(cosine))[0])
    left = np.setdiff1d(np.arange(len(gram)), found)
    without = sorted(found)  # what is left does not depend on who was found first
    normaliser, null = kept(view, ("left", *without), lambda: null_left(view, gram, without, left))
    scores = normaliser(taken_out(cosine, gram, without)[:, left])
    return int(left[np.argmax(scores[0])]), float(null(lead(scores))[0])


def null_left(view: View, gram: Floats, found: list[int], left: Labels) -> tuple[Normaliser, ConformalNull]:
    """How references of the artists `left` score without the directions `found`: the null of `strongest_left`."""
    rows = np.isin(view.artist, left)
    null, artist = taken_out(view.null[rows], gram, found)[:, left], np.searchsorted(left, view.artist[rows])
    return fit_normaliser(null, artist), ConformalNull.of(lead(impostor_scores(null, artist)), artist)


def strengths(view: View, point: Floats, found: list[int]) -> Floats:
    """Share (len(found),) of each artist, 0…1, sum ≤ 1: non-negative least squares on their directions.

    1 is how far a held-out LoRA of one artist alone goes in its artist's direction (median over references).  What is
    missing to a sum of 1 is unexplained: training noise, or artists outside the set.
    """
    directions = unit(view.centres)
    own = np.arange(len(view.artist)), view.artist
    alone = float(np.nanmedian(view.genuine[own] / np.linalg.norm(view.centres, axis=1)[view.artist]))
    part = shares(directions[found], unit(point)[0]) / max(alone, 1e-12)
    return part / max(1.0, float(part.sum()))


def style_map(reference: ReferenceSet, view: View, point: Floats) -> StyleMap:
    """First two principal axes of the artists' directions, with the suspect placed by the same projection."""
    axes, placed = kept(view, "map", lambda: placed_artists(view))
    own = axes(unit(point)[0])
    artists = [
        {"artist": n, "genre": g, "x": float(x), "y": float(y)}
        for n, g, (x, y) in zip(reference.artists, reference.genres, placed, strict=True)
    ]
    return StyleMap(artists, (float(own[0]), float(own[1])), axes.explained)


def placed_artists(view: View) -> tuple[Axes, Floats]:
    """The map's axes, and where the artists of a view lie on them (C, 2)."""
    directions = unit(view.centres)
    axes = principal(directions)
    return axes, axes(directions)
