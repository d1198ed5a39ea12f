"""Coordinates of a suspect → scores, p-values, likelihood ratios, controls, mixture, map: the evidence of an audit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.embedding.backend import Floats, artist_weights, cosines, mixture_shares, unit
from auditor.embedding.features import Factored, features
from auditor.embedding.sketches import controls, fingerprint
from auditor.lora import Artifact
from auditor.reference.set import ReferenceSet, View
from auditor.result import ArtistScore, OpenSet, StyleMap
from auditor.statistics.conformal import conformal_p, holm, p_floor
from auditor.statistics.likelihood import verbal

COPY = 0.5  # fingerprint cosine: 8 standard errors above unrelated files, below neighbouring checkpoints of one run
SUBNETWORKS = ("ff", "self_attention", "cross_attention")
LEAST_SHARE = 0.1  # smaller shares of a mixture are within the noise of the coordinates


def scores_of(view: View, point: Floats) -> Floats:
    """Normalised score (C,) of one point with each artist."""
    return np.asarray(view.normaliser(cosines(point, view.centres))[0])


def open_set(view: View, point: Floats, alpha: float) -> OpenSet:
    """Is the suspect of the set at all?

    H0: the suspect comes from an artist outside the set, and is exchangeable with the references of an artist who is
    left out of the whole fit.  Statistic: the best normalised score over artists.
    """
    observed = float(np.max(scores_of(view, point)))
    p = float(conformal_p(observed, view.null_statistic, view.artist)[0])
    groups = len(np.unique(view.artist))
    null = [round(float(v), 5) for v in view.null_statistic]
    return OpenSet(p, p_floor(groups), groups, observed, null, alpha)


def per_artist_p(view: View, scores: Floats) -> Floats:
    """p-value (C,) of each artist.  H0: the suspect is of another artist, exchangeable with the impostors' files."""
    raw = np.ones(len(scores))
    for a, score in enumerate(scores):
        others = view.artist != a
        raw[a] = conformal_p(score, view.null_scores[others, a], view.artist[others])[0]
    return raw


def exclusion_p(view: View, scores: Floats) -> Floats:
    """p-value (C,) of excluding each artist.

    H0: the suspect is of this artist, exchangeable with references whose own half of the works was left out; pooled
    over artists, since one artist alone has too few references to exclude anybody at α.
    """
    return conformal_p(-scores, -view.genuine_scores, view.artist)


def score_intervals(view: View, point: Floats, resamples: int, seed: int) -> NDArray[np.float64]:
    """(C, 2) 5th and 95th percentile of each score when the artist's references are resampled."""
    rng = np.random.default_rng(seed)
    directions, x = unit(view.points), unit(point)[0]
    base = cosines(point, view.centres)
    centre, spread = np.nanmean(base), np.nanstd(base)
    bounds = np.zeros((len(view.centres), 2))
    for a in range(len(view.centres)):
        mine = directions[view.artist == a]
        weight = rng.multinomial(len(mine), np.full(len(mine), 1 / len(mine)), resamples) / len(mine)
        cosine = (weight @ (mine @ x)) / np.linalg.norm(weight @ mine, axis=1)
        score = ((cosine - centre) / spread - view.normaliser.centre[a]) / view.normaliser.spread[a]
        bounds[a] = np.percentile(score, (5, 95))
    return bounds


def artist_scores(
    reference: ReferenceSet, view: View, point: Floats, factored: dict[str, Factored], resamples: int, seed: int
) -> list[ArtistScore]:
    """Every artist of the set, closest first; p-values Holm-adjusted over artists."""
    scores = scores_of(view, point)
    bounds = score_intervals(view, point, resamples, seed)
    against, excluded = per_artist_p(view, scores), exclusion_p(view, scores)
    adjusted = stepwise(against, scores, float(conformal_p(scores.max(), view.null_statistic, view.artist)[0]))
    ratio = view.calibration.log10_lr(scores)
    nearest = nearest_references(reference, view, point)
    parts = subnetwork_scores(reference, factored)
    order = np.argsort(-scores, kind="stable")
    return [
        ArtistScore(
            artist=reference.artists[a],
            genre=reference.genres[a],
            score=float(scores[a]),
            interval=(float(bounds[a, 0]), float(bounds[a, 1])),
            rank=rank,
            p=float(adjusted[a]),
            p_exclusion=float(excluded[a]),
            log10_lr=float(ratio[a]),
            lr_bound=view.calibration.bound,
            verbal=verbal(float(ratio[a])),
            nearest_reference=nearest[a],
            subnetworks={name: float(values[a]) for name, values in parts.items()},
        )
        for rank, a in enumerate(order, start=1)
    ]


def stepwise(raw: Floats, scores: Floats, p_open: float) -> Floats:
    """Adjusted p-value (C,) of each artist, named only after the open-set test.

    The maximum over artists already carries the multiplicity (Westfall & Young 1993): an artist's adjusted p-value is
    the larger of its own p and the open-set p for the best, and Holm's for the rest, kept monotone in the score.
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
    files = [reference.manifest["references"][r]["file"] for r in view.rows]
    best = [np.flatnonzero(view.artist == a)[np.argmax(closeness[view.artist == a])] for a in range(len(view.centres))]
    return [files[i] for i in best]


def subnetwork_scores(reference: ReferenceSet, factored: dict[str, Factored]) -> dict[str, Floats]:
    """Normalised scores (C,) from one sub-network alone, where the file adapts all of it."""
    found = {}
    for name in SUBNETWORKS:
        view = reference.views.get(name)
        if view is not None and all(p in factored for p in view.bases.paths):
            vector, _ = features({p: factored[p] for p in view.bases.paths}, view.bases)
            found[name] = scores_of(view, view.projection(vector))
    return found


def control_scores(reference: ReferenceSet, factored: dict[str, Factored], view: View) -> dict[str, dict[str, Any]]:
    """The same open-set test on rank, norm and spectrum alone: what would the recipe by itself accuse?"""
    columns = [reference.modules.index(p) for p in view.bases.paths]
    seen = controls(factored, reference.modules)
    result = {}
    for name, known in reference.controls.items():
        observed, null = nearest_by_recipe(known[view.rows][:, columns], seen[name][columns], view)
        p = float(conformal_p(observed.max(), np.nanmax(null, 1), view.artist)[0])
        result[name] = {"top_artist": reference.artists[int(np.argmax(observed))], "p": p}
    return result


def nearest_by_recipe(known: Floats, seen: Floats, view: View) -> tuple[Floats, Floats]:
    """Minus the distance to each artist's mean: of the suspect (C,), and of each reference (n, C), own column NaN."""
    weight = artist_weights(view.artist, np.ones(len(known), bool))
    mean = weight @ known
    spread = np.sqrt(weight @ (known - mean) ** 2) + 1e-9
    z, x = (known - mean) / spread, (seen - mean) / spread
    centres = np.stack([z[view.artist == a].mean(0) for a in range(len(view.centres))])
    null = -np.linalg.norm(z[:, None, :] - centres[None], axis=2) / np.sqrt(z.shape[1])
    null[np.arange(len(z)), view.artist] = np.nan
    return -np.linalg.norm(centres - x, axis=1) / np.sqrt(z.shape[1]), null


def copy_of(reference: ReferenceSet, factored: dict[str, Factored], artifact: Artifact) -> dict[str, Any] | None:
    """The reference whose weights this file carries, or None."""
    print_of = fingerprint(factored)
    known = unit(reference.fingerprints.astype(np.float64))
    closeness = known @ print_of
    for i, entry in enumerate(reference.manifest["references"]):
        if entry["tensor_sha256"] == artifact.tensor_sha256:
            return derivative(entry, "same_tensors", closeness[i])
    best = int(np.argmax(closeness))
    if closeness[best] < COPY:
        return None
    relation = "same_update" if closeness[best] > 0.97 else "same_run"
    return derivative(reference.manifest["references"][best], relation, closeness[best])


def derivative(entry: dict[str, Any], relation: str, cosine: float) -> dict[str, Any]:
    """One row of the contract's `derivative`."""
    return {"of": entry["file"], "artist": entry["artist"], "relation": relation, "figures": {"cos_delta_w": float(cosine)}}


def mixture(reference: ReferenceSet, view: View, point: Floats) -> list[dict[str, Any]]:
    """Shares of artists whose directions together explain the suspect: non-negative least squares, least share 10 %.

    p of each: H0, the suspect is of none of the set; the artist's share against the largest share that left-out
    references get from anybody.
    """
    shares = mixture_shares(view.centres, unit(point)[0])
    null = view.mixture_null
    found = [(a, s) for a, s in enumerate(shares) if s >= LEAST_SHARE]
    return [
        {"artist": reference.artists[a], "share": float(s), "p": float(conformal_p(s, null, view.artist)[0])}
        for a, s in sorted(found, key=lambda pair: -pair[1])
    ]


def style_map(reference: ReferenceSet, view: View, point: Floats) -> StyleMap:
    """First two principal axes of the artists' directions, with the suspect placed by the same projection."""
    mean = view.centres.mean(0)
    _, s, vt = np.linalg.svd(view.centres - mean, full_matrices=False)
    placed = (view.centres - mean) @ vt[:2].T
    own = (unit(point)[0] - mean) @ vt[:2].T
    artists = [
        {"artist": n, "genre": g, "x": float(x), "y": float(y)}
        for n, g, (x, y) in zip(reference.artists, reference.genres, placed, strict=True)
    ]
    return StyleMap(artists, (float(own[0]), float(own[1])), float((s[:2] ** 2).sum() / (s**2).sum()))
