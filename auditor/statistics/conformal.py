"""Conformal (permutation) p-values whose resolution is set by artists, not by files.

Under the null hypothesis the suspect and an impostor are exchangeable, so the rank of the suspect's statistic among
the impostors' is uniform.  Files of one artist are not independent; each artist therefore counts once, as the share
of its files that reach the observed value (Phipson & Smyth 2010 for the +1; METHOD.md §4).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def conformal_p(observed: ArrayLike, null: ArrayLike, group: ArrayLike) -> Floats:
    """p-value of each observed statistic; large values speak against the null.

    H0: the suspect is exchangeable with the files of a further, unseen group (artist) of the null.

    observed: (m,) or scalar; null: (n,) finite; group: (n,) labels of the null's files.  Returns (m,) in
    [1/(C+1), 1] with C groups; ties count as extreme; a NaN observation gives 1 (nothing was seen against H0).
    Raises ValueError on an empty null or a NaN in it.
    """
    return ConformalNull.of(null, group)(observed)


@dataclass(frozen=True)
class ConformalNull:
    """A null made ready for many observations: its values in order, and what reaches each of them."""

    values: Floats
    """(n,) ascending."""
    tail: Floats
    """(n + 1,) weight of the values ≥ the k-th smallest; a group weighs 1."""
    groups: int

    @classmethod
    def of(cls, null: ArrayLike, group: ArrayLike) -> ConformalNull:
        """From values (n,) and labels (n,), as for `conformal_p`.  Raises ValueError as it does."""
        values, labels = np.asarray(null, float), np.asarray(group)
        _refuse_empty(values, labels)
        _, member, size = np.unique(labels, return_inverse=True, return_counts=True)
        order = np.argsort(values)
        weight = (1.0 / size[member])[order]
        return cls(values[order], np.append(np.cumsum(weight[::-1])[::-1], 0.0), len(size))

    def __call__(self, observed: ArrayLike) -> Floats:
        """p-value (m,) of each observation, H0 and ties as for `conformal_p`."""
        seen = np.atleast_1d(np.asarray(observed, float))
        first = np.searchsorted(self.values, np.where(np.isnan(seen), -np.inf, seen), side="left")
        # rounded: sums of shares such as 1/3 must not push a p-value of exactly α over it
        reached = np.round(np.minimum(self.tail[first], self.groups), 12)
        return np.asarray((1.0 + reached) / (self.groups + 1.0))


def _refuse_empty(values: Floats, labels: NDArray[Any]) -> None:
    """A null needs values, and a label for each."""
    if values.size == 0 or values.shape != labels.shape or not np.isfinite(values).all():
        raise ValueError("the null needs at least one finite value and one group label for each")


def p_floor(groups: int) -> float:
    """The least p-value that a null of `groups` artists can give: 1 / (groups + 1)."""
    return 1.0 / (groups + 1.0)


def rate_limits(hits: float, groups: int, level: float = 0.95) -> tuple[float, float]:
    """Exact limits of the rate behind `hits` of `groups` independent artists (Clopper & Pearson 1934), 0…1.

    hits may be a sum of shares: the lower limit is that of the whole number below, the upper that of the one above, so
    that neither is too narrow.  (As `scipy.stats.binomtest` gives them, without its half second of imports.)
    """
    tail, below, above = (1 - level) / 2, math.floor(hits + 1e-9), math.ceil(hits - 1e-9)
    low = 0.0 if below <= 0 else _rate_at(lambda rate: 1 - _at_most(below - 1, groups, rate), tail)
    high = 1.0 if above >= groups else _rate_at(lambda rate: 1 - _at_most(above, groups, rate), 1 - tail)
    return low, high


def _at_most(hits: int, of: int, rate: float) -> float:
    """Chance of at most `hits` in `of` trials."""
    k = range(hits + 1)
    ways = np.array([math.lgamma(of + 1) - math.lgamma(i + 1) - math.lgamma(of - i + 1) for i in k])
    return float(np.exp(ways + np.array(k) * math.log(rate) + (of - np.array(k)) * math.log1p(-rate)).sum())


def _rate_at(rising: Callable[[float], float], value: float) -> float:
    """Where a function that rises from 0 to 1 on (0, 1) takes a value, by halving."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < value else (low, middle)
    return (low + high) / 2


def left_out_p(null: ArrayLike, group: ArrayLike) -> Floats:
    """p-value (n,) of each value of a null by the null without its own group; 1 where no other group is left."""
    values, groups = np.asarray(null, float), np.asarray(group)
    p = np.ones(values.size)
    for g in np.flatnonzero(np.bincount(groups)):
        mine = groups == g
        if not mine.all():
            p[mine] = conformal_p(values[mine], values[~mine], groups[~mine])
    return p


def holm(p: ArrayLike) -> Floats:
    """Holm's step-down adjustment of p-values (m,): controls the chance of any false rejection (Holm 1979)."""
    raw = np.asarray(p, float)
    order = np.argsort(raw)
    stepped = np.maximum.accumulate(raw[order] * (raw.size - np.arange(raw.size)))
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Benjamini–Hochberg adjusted p-values (m,): a batch rejected at q has an expected false share of at most q."""
    raw = np.asarray(p, float)
    order = np.argsort(raw)[::-1]
    scaled = raw[order] * raw.size / (raw.size - np.arange(raw.size))
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled), 1.0)
    return adjusted


def separation_p(
    score: ArrayLike, artist: ArrayLike, stratum: ArrayLike, rng: np.random.Generator, resamples: int = 9999
) -> tuple[float, float]:
    """(statistic, p) of whether a set separates its artists at all: a label permutation within strata.

    H0: within a stratum (genre) artists' labels are exchangeable, so a held-out file is no closer to its own artist
    than to the others of its genre.  Statistic: mean score with the own artist minus the mean with the stratum's
    others.  This is a statement about the set, never about a suspect (a suspect from outside is nearest to somebody).

    score (n, C): held-out; artist (n,): index of each file; stratum (C,): of each artist.  Artists alone in their
    stratum say nothing; where all are, p = 1.
    """
    values, owner, kind = np.asarray(score, float), np.asarray(artist), np.asarray(stratum)
    mean = np.stack([np.nanmean(values[owner == a], 0) for a in range(len(kind))])
    groups = [np.flatnonzero(kind == k) for k in np.unique(kind)]
    groups = [g for g in groups if g.size > 1]
    if not groups:
        return 0.0, 1.0

    def total(assigned: list[NDArray[np.intp]]) -> float:
        return float(sum(mean[g, a].sum() for g, a in zip(groups, assigned, strict=True)))

    observed, count = total(groups), sum(g.size for g in groups)
    others = sum((mean[np.ix_(g, g)].sum() - np.trace(mean[np.ix_(g, g)])) / (g.size - 1) for g in groups)
    drawn = np.array([total([rng.permutation(g) for g in groups]) for _ in range(resamples)])
    return (observed - float(others)) / count, float((1 + np.sum(drawn >= observed - 1e-12)) / (resamples + 1))
