"""Figures of merit of scores, with intervals over artists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

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


def binomial_interval(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Exact (Clopper–Pearson) interval of a proportion; (0, 1) without trials."""
    from scipy import stats

    if trials == 0:
        return 0.0, 1.0
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(stats.beta.ppf(tail, successes, trials - successes + 1))
    high = 1.0 if successes == trials else float(stats.beta.ppf(1 - tail, successes + 1, trials - successes))
    return low, high


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
