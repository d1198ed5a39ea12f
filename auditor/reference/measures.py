"""Pooled trials → the figures and curves of the validity card.  Knows trials, not files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.embedding.points import Floats, unit
from auditor.reference.protocol import Pool
from auditor.reference.set import ReferenceSet, View
from auditor.statistics.conformal import conformal_p, rate_limits, separation_p
from auditor.statistics.likelihood import (
    cllr,
    cllr_min,
    cross_entropy,
    elub,
    even,
    pav,
    tippett,
)
from auditor.statistics.metrics import (
    Figure,
    adjusted_rand,
    auc,
    detection_at,
    equal_error_rate,
    error_curve,
    mutual_information,
    over_groups,
    rate_over_groups,
    silhouette,
)
from auditor.statistics.pairs import PairTrials, disjoint_pair_ratios
from auditor.statistics.ranked import RankedTrials, disjoint_ratios

ALPHA = 0.05
STRICT = 0.02
RATES = frozenset({"top1", "found_at_alpha", "false_attribution", "false_attribution_at_02", "tpr_at_fpr_1", "eer"})
"""Figures that are shares of trials."""
ERRORS = frozenset({"false_attribution", "false_attribution_at_02"})
"""Those of them that a set is judged by."""
RANKS = 5
"""Depth of the mean average precision over artists."""


def figures(pooled: Pool, rng: np.random.Generator, resamples: int = 500) -> dict[str, dict[str, Any]]:
    """The headline figures of a condition, each with a 95 % interval from resampling artists."""
    t = pooled.trials
    if len(t.artist) == 0:
        return {}
    measures: dict[str, Callable[[NDArray[np.intp]], float]] = {
        "false_attribution": lambda i: float(np.mean(t.p_impostor[i] <= ALPHA)),
        "false_attribution_at_02": lambda i: float(np.mean(t.p_impostor[i] <= STRICT)),
    }
    if not (t.artist < 0).all():
        found = t.named == t.artist
        names = t.other_scores.shape[1] * ALPHA >= 1  # else no artist's own test reaches α, see `OpenSet.names_from`
        measures = {
            "top1": lambda i: float(np.mean(found[i])),
            "map_at_5": lambda i: float(np.mean((t.own_rank[i] <= RANKS) / np.maximum(t.own_rank[i], 1))),
            "open_set_auc": lambda i: auc(t.genuine[i], t.impostor[i]),
            "found_at_alpha": lambda i: float(np.mean((t.p_genuine[i] <= ALPHA) & found[i] & names)),
            "tpr_at_fpr_1": lambda i: detection_at(t.genuine[i], t.impostor[i], 0.01),
            "eer": lambda i: equal_error_rate(t.genuine[i], t.impostor[i]),
        } | measures
    with_interval = {name: rate_over_groups if name in RATES else over_groups for name in measures}
    found_figures = {name: with_interval[name](m, pooled.name, rng, resamples) for name, m in measures.items()}
    return {name: asdict(no_narrower(f) if name in ERRORS else f) for name, f in found_figures.items()}


def no_narrower(figure: Figure) -> Figure:
    """An error rate whose interval is at least the exact one for so many artists: resampling few hits is too sure."""
    low, high = rate_limits(figure.value * figure.of, figure.of)
    return replace(figure, low=min(figure.low, low), high=max(figure.high, high))


def false_attribution_band(pooled: Pool, alpha: float = ALPHA) -> dict[str, Any]:
    """False attributions as counts with the exact binomial interval, artists as the independent units."""
    p = pooled.trials.p_impostor
    hits, artists = int(np.sum(p <= alpha)), len(np.unique(pooled.name))
    low, high = rate_limits(hits / max(1, len(p)) * artists, artists)
    return {"hits": hits, "of": len(p), "artists": artists, "low": low, "high": high, "alpha": alpha}


def hard_negatives(pooled: Pool, artists: list[str], genre: Mapping[str, str]) -> dict[str, Pool]:
    """Suspects whose artist was left out, by whether the set still holds others of the artist's genre.

    A third pool: all suspects whose nearest artist in the impostor trial is of their own genre.
    """
    own = np.array([genre.get(name, "") for name in pooled.name])
    pairs = zip(pooled.name, own, strict=True)
    left = np.array([sum(genre.get(a, "") == g for a in artists if a != name) for name, g in pairs])
    nearest = np.array([genre.get(artists[a], "") for a in pooled.trials.accused])
    known = own != ""
    return {
        "impostors with others of their genre in the set": pooled.rows(known & (left > 0)),
        "impostors without": pooled.rows(known & (left == 0)),
        "impostors nearest to an artist of their own genre": pooled.rows(known & (nearest == own)),
    }


def when_asked(
    pooled: Pool, artists: Sequence[str], genre: Mapping[str, str], rng: np.random.Generator, resamples: int = 500
) -> dict[str, dict[str, Any]]:
    """The figures of a condition for artists who are tested for alone, one at a time.

    Found: the own artist's p-value is at most α, and nobody stands nearer.  False p: p ≤ α for another artist, every
    one in turn, the own one left out of the set; `_genre`: for those of the suspect's own genre, the mean over genres.
    False attribution needs that nobody stand nearer as well, which is so for one artist only.  `false_of_nearest` is
    what comes of asking about that one, as whoever goes by its looks may do.  AUC and Cllr compare a file with its own
    artist and with all others (`cllr_genre`: with those of its genre), Cllr by calibrations that saw no file of its
    artist.
    """
    t = pooled.trials
    named = np.arange(len(artists)) == t.accused[:, None]
    kinds = np.array([genre.get(name, "") for name in artists])
    own = np.array([genre.get(name, "") for name in pooled.name])
    other, alike = ~np.isnan(t.other_p), (kinds == own[:, None]) & (own[:, None] != "")
    low = other & (t.other_p <= ALPHA)

    def share(hits: NDArray[np.bool_], of: NDArray[np.bool_]) -> Callable[[NDArray[np.intp]], float]:
        return lambda i: float(hits[i].sum() / max(1, of[i].sum()))

    measures = {
        "false_attribution": share(low & named, other),
        "false_p_at_alpha": share(low, other),
        "false_of_nearest": lambda i: float(np.mean((low & named)[i].any(axis=1))),
    }
    if (alike & other).any():
        measures["false_p_genre"] = over_genres(low & alike, other & alike, own)
    inside = bool((t.artist >= 0).all())
    if inside:
        first, reached = t.own_rank == 1, t.own_p <= ALPHA
        measures |= {
            "found_at_alpha": lambda i: float(np.mean(first[i] & reached[i])),
            "p_at_alpha": lambda i: float(np.mean(reached[i])),
            "auc": lambda i: auc(t.own_lead[i], t.other_leads[i][other[i]]),
        }
    with_interval = {name: over_groups if name == "auc" else rate_over_groups for name in measures}
    result = {name: asdict(with_interval[name](of, pooled.name, rng, resamples)) for name, of in measures.items()}
    return result | (pair_cost(pooled, alike, rng, resamples) if inside else {})


def over_genres(
    hits: NDArray[np.bool_], of: NDArray[np.bool_], genre: NDArray[np.str_]
) -> Callable[[NDArray[np.intp]], float]:
    """Mean over genres of the share of pairs (m, C) that are hits, from rows i of files of genres (m,)."""

    def mean(i: NDArray[np.intp]) -> float:
        _, member = np.unique(genre[i], return_inverse=True)
        seen, found = (np.bincount(member, some[i].sum(1)) for some in (of, hits))
        return float(np.mean(found[seen > 0] / seen[seen > 0])) if seen.any() else 0.0

    return mean


def pair_cost(
    pooled: Pool, alike: NDArray[np.bool_], rng: np.random.Generator, resamples: int
) -> dict[str, dict[str, Any]]:
    """Cllr, and its part that no calibration can remove, of likelihood ratios about artists tested for alone.

    alike (m, C): which artists are of the file's genre.
    """
    t = pooled.trials
    file, asked = np.nonzero(~np.isnan(t.other_leads))
    trials = PairTrials(t.own_lead, t.artist, t.other_leads[file, asked], t.artist[file], asked)
    same, found = disjoint_pair_ratios(trials)
    different = np.full_like(t.other_leads, np.nan)
    different[file, asked] = found
    if not (np.isfinite(same).all() and np.isfinite(found).all()):  # nobody else to calibrate on
        return {}

    def cost(of: Callable[..., float], pairs: NDArray[np.bool_]) -> dict[str, Any]:
        def on(i: NDArray[np.intp]) -> float:
            ratios, weight, there = different[i], even(pooled.name[i]), pairs[i]
            return of(same[i], ratios[there], weight, np.repeat(weight, there.sum(1))) if there.any() else np.nan

        return asdict(over_groups(on, pooled.name, rng, resamples))

    every = ~np.isnan(different)
    costs = {"cllr": cost(cllr, every), "cllr_min": cost(cllr_min, every)}
    return costs | ({"cllr_genre": cost(cllr, every & alike)} if (every & alike).any() else {})


def likelihood(pooled: Pool, artists: int, rng: np.random.Generator, resamples: int = 500) -> dict[str, Any]:
    """Cllr trio with intervals over artists, bounds, and the curves of forensic reports.

    H1: the suspect's own artist; H2: the artist that comes first for a suspect whose artist is not in the set.  Every
    ratio comes from a calibration that saw no trial of its artist.
    """
    t = pooled.trials
    trials = RankedTrials(t.own_rank == 1, t.genuine, t.impostor, pooled.name)
    same, different = disjoint_ratios(trials)

    def cost(of: Callable[..., float]) -> dict[str, Any]:
        def on(i: NDArray[np.intp]) -> float:
            weight = even(pooled.name[i])
            return of(same[i], different[i], weight, weight)

        return asdict(over_groups(on, pooled.name, rng, resamples))

    weight = even(pooled.name)
    low, high = elub(same, different, artists, weight, weight)
    best = pav(same, different, weight, weight)
    grid, priors = np.linspace(-2, 2, 41), np.linspace(-2, 2, 41)
    order = np.argsort(np.concatenate([same, different]))
    return {
        "figures": {
            "cllr": cost(cllr),
            "cllr_min": cost(cllr_min),
            "cllr_cal": cost(lambda *a: max(0.0, cllr(*a) - cllr_min(*a))),  # rounding may go below
        },
        "bounds": {"sources": artists, "log10_sources": float(np.log10(artists)), "elub": [low, high]},
        "misleading": {
            "same_below_0": float(weight @ (same < 0)),
            "different_above_0": float(weight @ (different > 0)),
        },
        "tippett": {
            "log10_lr": listed(grid),
            "same": listed(tippett(same, grid, weight)),
            "different": listed(tippett(different, grid, weight)),
        },
        "ece": {
            "prior_log10_odds": listed(priors),
            "ratios": listed(cross_entropy(same, different, priors, weight, weight)),
            "recalibrated": listed(cross_entropy(*best, priors, weight, weight)),
            "silent": listed(cross_entropy([0.0], [0.0], priors)),
        },
        "pav": {
            "log10_lr": listed(np.concatenate([same, different])[order]),
            "recalibrated": listed(np.clip(np.concatenate(best)[order], -4, 4)),
        },
    }


def curves(pooled: Pool) -> dict[str, Any]:
    """ROC (false alarms, detections) and the distribution of impostors' p-values, which H0 wants uniform."""
    t = pooled.trials
    alarms, detections = error_curve(t.genuine, t.impostor)
    grid = np.linspace(0, 1, 41)
    weight = even(pooled.name)
    return {
        "roc": {"false_alarms": listed(alarms), "detections": listed(detections)},
        "null_uniformity": {
            "p": listed(grid),
            "share": listed(1 - tippett(t.p_impostor, grid + 1e-9, weight)),
            "artists": len(np.unique(pooled.name)),
        },
    }


def listed(values: Floats, digits: int = 4) -> list[float]:
    """As JSON, rounded."""
    return [round(float(v), digits) for v in values]


def structure(reference: ReferenceSet, rng: np.random.Generator) -> dict[str, Any]:
    """Does the set separate its artists at all, and how do held-out files cluster?  On its largest view.

    Every file is described by its cosines with all artists in a fit that had not seen its half of the works.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    view = max(reference.views.values(), key=lambda v: len(v.bases.paths))
    genre = np.array(reference.genres)
    profile = unit(view.genuine - np.nanmean(view.genuine, 1, keepdims=True))
    closeness = np.clip(np.nan_to_num(profile) @ np.nan_to_num(profile).T, -1, 1)
    distance = squareform(1 - closeness, checks=False)
    groups = fcluster(linkage(np.maximum(distance, 0), "average"), len(reference.artists), "maxclust")
    statistic, p = separation_p(view.genuine, view.artist, genre, rng, 1999)
    return {
        "separation": {"statistic": statistic, "p": p, "h0": "labels of artists of one genre are exchangeable"},
        "clustering": {
            "adjusted_rand": adjusted_rand(groups, view.artist),
            "mutual_information": mutual_information(groups, view.artist),
            "silhouette_artist": silhouette(closeness, view.artist),
            "silhouette_genre": silhouette(closeness, genre[view.artist]),
        },
        "drift": drift(view),
    }


def drift(view: View) -> dict[str, Any]:
    """Projection drift: what a fit says of files that it has seen, and of the same files when it has not.

    `uncalibrated` is what an audit would do with a null from fitted references: the share of files of artists outside
    the set (each reference with its own artist left out) that it would attribute at α.
    """
    own = np.arange(len(view.artist)), view.artist
    fitted = unit(view.points) @ view.centres.T
    others = fitted.copy()
    others[own] = np.nan
    naive = np.nanmax((others - np.nanmean(others, 0)) / np.nanstd(others, 0), 1)
    outside = np.nanmax((view.null - np.nanmean(others, 0)) / np.nanstd(others, 0), 1)
    attributed = conformal_p(outside, naive, view.artist) <= ALPHA
    return {
        "own_cosine": {"fitted": float(fitted[own].mean()), "held_out": float(np.nanmean(view.genuine[own]))},
        "strangers_cosine_spread": {"fitted": float(np.nanstd(others)), "held_out": float(np.nanstd(view.null))},
        "false_attribution": {
            "uncalibrated": float(even(view.artist) @ attributed),
            "calibrated": float(even(view.artist) @ (view.left_out_p <= ALPHA)),
        },
    }
