"""Figures of merit of scores, with intervals over artists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auditor.statistics.conformal import rate_limits

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """A measured figure: value, 95 % interval, and how many units (artists) it rests on."""

    value: float
    low: float
    high: float
    of: int


def auc(positive: ArrayLike, negative: ArrayLike) -> float:
    """Area under the ROC curve: chance that a positive scores above a negative, ties half (Mann–Whitney U / n m)."""
    from scipy import stats  # half a second of imports that no audit needs

    high, low = np.asarray(positive, float), np.asarray(negative, float)
    ranks = stats.rankdata(np.concatenate([high, low]))
    return float((ranks[: high.size].sum() - high.size * (high.size + 1) / 2) / (high.size * low.size))


def equal_error_rate(positive: ArrayLike, negative: ArrayLike) -> float:
    """Error rate at the threshold where misses and false alarms are (nearest to) equal; mean of the two there."""
    high, low = np.sort(np.asarray(positive, float)), np.sort(np.asarray(negative, float))
    thresholds = np.concatenate([high, low])
    miss = np.searchsorted(high, thresholds, "left") / high.size
    false_alarm = 1 - np.searchsorted(low, thresholds, "left") / low.size
    best = np.argmin(np.abs(miss - false_alarm))
    return float((miss[best] + false_alarm[best]) / 2)


def detection_at(positive: ArrayLike, negative: ArrayLike, false_alarms: float = 0.01) -> float:
    """Share of positives above the threshold that at most `false_alarms` of the negatives exceed."""
    high, low = np.asarray(positive, float), np.sort(np.asarray(negative, float))
    threshold = low[low.size - 1 - int(np.floor(false_alarms * low.size + 1e-9))]
    return float(np.mean(high > threshold))


def error_curve(positive: ArrayLike, negative: ArrayLike, points: int = 101) -> tuple[Floats, Floats]:
    """(false alarms, detections), each falling from 1 to 0 over thresholds: an ROC curve; 1 - detections for DET.

    At most `points` thresholds, spread evenly over the ranks of all scores.
    """
    high, low = np.sort(np.asarray(positive, float)), np.sort(np.asarray(negative, float))
    every = np.unique(np.concatenate([high, low]))
    chosen = every[np.unique(np.linspace(0, every.size - 1, min(points, every.size)).round().astype(int))]
    thresholds = np.append(chosen, np.inf)
    alarms = 1 - np.searchsorted(low, thresholds, "left") / low.size
    return np.asarray(alarms), np.asarray(1 - np.searchsorted(high, thresholds, "left") / high.size)


def silhouette(closeness: ArrayLike, label: ArrayLike) -> float:
    """Mean silhouette (Rousseeuw 1987), -1…1, from pairwise closeness (n, n) in -1…1; labels of one file count 0.

    0 where there is one label only.
    """
    distance, labels = 1 - np.asarray(closeness, float), np.asarray(label)
    hot = (labels[:, None] == np.unique(labels)).astype(float)
    size = hot.sum(0)
    if len(size) < 2:
        return 0.0
    own = hot.astype(bool)
    totals = distance @ hot
    inside = totals[own] / np.maximum(size[own.argmax(1)] - 1, 1)
    nearest = np.where(own, np.inf, totals / size).min(1)
    values = np.where(size[own.argmax(1)] > 1, (nearest - inside) / np.maximum(np.maximum(nearest, inside), 1e-12), 0.0)
    return float(values.mean())


def contingency(one: ArrayLike, other: ArrayLike) -> Floats:
    """Counts (clusters of one, clusters of other)."""
    _, first = np.unique(np.asarray(one), return_inverse=True)
    _, second = np.unique(np.asarray(other), return_inverse=True)
    table = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(table, (first, second), 1)
    return table


def adjusted_rand(one: ArrayLike, other: ArrayLike) -> float:
    """Adjusted Rand index of two groupings (Hubert & Arabie 1985): 0 by chance, 1 the same."""
    table = contingency(one, other)

    def pairs(counts: Floats) -> float:
        return float(np.sum(counts * (counts - 1) / 2))

    both, rows, columns, every = pairs(table), pairs(table.sum(1)), pairs(table.sum(0)), pairs(table.sum(keepdims=True))
    expected = rows * columns / max(every, 1e-300)
    most = (rows + columns) / 2
    return 1.0 if most == expected else float((both - expected) / (most - expected))


def mutual_information(one: ArrayLike, other: ArrayLike) -> float:
    """Mutual information of two groupings over the mean of their entropies, 0…1; 1 where both have one cluster."""
    joint = contingency(one, other) / np.asarray(one).size

    def entropy(chances: Floats) -> float:
        held = chances[chances > 0]
        return float(-np.sum(held * np.log(held)))

    rows, columns = entropy(joint.sum(1)), entropy(joint.sum(0))
    return 1.0 if rows + columns == 0 else 2 * (rows + columns - entropy(joint.ravel())) / (rows + columns)


def rate_over_groups(
    rate: Callable[[NDArray[np.intp]], float],
    group: ArrayLike,
    rng: np.random.Generator,
    resamples: int = 1000,
) -> Figure:
    """As `over_groups` for a share of trials; a share of 0 or 1 gets the exact binomial interval over groups.

    Resampling what never varies would call a rate certain that a few artists happened to show.
    """
    figure = over_groups(rate, group, rng, resamples)
    if figure.value not in (0.0, 1.0):
        return figure
    low, high = rate_limits(figure.value * figure.of, figure.of)
    return replace(figure, low=low, high=high)


def over_groups(
    statistic: Callable[[NDArray[np.intp]], float],
    group: ArrayLike,
    rng: np.random.Generator,
    resamples: int = 1000,
) -> Figure:
    """`statistic(rows)` on all rows, with a 95 % percentile interval from resampling whole groups (artists)."""
    labels = np.asarray(group)
    members = [np.flatnonzero(labels == g) for g in np.unique(labels)]
    draws = [
        statistic(np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))]))
        for _ in range(resamples)
    ]
    low, high = np.nanpercentile(draws, (2.5, 97.5))
    return Figure(statistic(np.arange(labels.size)), float(low), float(high), len(members))
