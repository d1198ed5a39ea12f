"""Strength of evidence: likelihood ratios from scores, bounded by what the data can support.

H1: the suspect was trained on works of the artist in question.  H2: on works of another artist of the population.
Every function takes optional weights of the trials, so that artists, not files, count; each side is scaled to sum 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auditor.texts import SUPPORTED, VERBAL

Floats = NDArray[np.float64]

STEPS = (0.0, 0.30103, 1.0, 2.0, 3.0, 4.0)
"""ENFSI guideline 2015: lower edges of the verbal scale in log10; its words are `auditor.texts.VERBAL`."""


@dataclass(frozen=True)
class LogisticCalibration:
    """log10 LR = intercept + slope · score, clipped to ± bound, and to [lowest, highest] where these are known."""

    intercept: float
    slope: float
    bound: float
    """log10 of the number of sources."""
    lowest: float | None = None
    """log10 LR, ≤ 0, beyond which the validation data do not bear out stronger ratios (ELUB)."""
    highest: float | None = None
    """The same for ratios above 1, ≥ 0."""

    @property
    def limits(self) -> tuple[float, float]:
        """(least, largest) log10 LR that this calibration gives."""
        low = -self.bound if self.lowest is None else max(-self.bound, self.lowest)
        high = self.bound if self.highest is None else min(self.bound, self.highest)
        return low, high

    def log10_lr(self, score: ArrayLike) -> Floats:
        """Bounded log10 likelihood ratio of each score."""
        raw = self.intercept + self.slope * np.asarray(score, float)
        return np.asarray(np.clip(raw, *self.limits))

    def limit_of(self, log10_lr: float) -> float:
        """The bound on the side of a ratio, as a positive number; of a ratio of 0, how far one could speak for."""
        low, high = self.limits
        return high if log10_lr >= 0 else -low


def fit_logistic(
    same: ArrayLike, different: ArrayLike, sources: int, weight_same: ArrayLike = 1.0, weight_different: ArrayLike = 1.0
) -> LogisticCalibration:
    """Prior-free logistic calibration of scores (Brümmer & du Preez 2006), slope ≥ 0, bounded by log10(sources).

    same, different: scores under H1 and H2; the weights let every artist count once.  `sources`: number of artists
    behind the scores; no LR beyond it can be supported by so few.
    """
    from scipy.optimize import minimize  # slow to import, and an audit only reads calibrations
    from scipy.special import expit

    high, low = np.asarray(same, float), np.asarray(different, float)
    w_high = np.broadcast_to(np.asarray(weight_same, float), high.shape)
    w_low = np.broadcast_to(np.asarray(weight_different, float), low.shape)
    w_high, w_low = w_high / w_high.sum(), w_low / w_low.sum()
    centre, spread = float(low.mean()), float(np.std(np.concatenate([high, low]))) or 1.0

    def cost(theta: Floats) -> tuple[float, Floats]:
        level, slope = theta
        z_high, z_low = (level + slope * (x - centre) / spread for x in (high, low))
        value = w_high @ np.logaddexp(0, -z_high) + w_low @ np.logaddexp(0, z_low) + 1e-3 * slope**2 / high.size
        pull, push = w_high * expit(-z_high), w_low * expit(z_low)
        tilt = push @ (low - centre) / spread - pull @ (high - centre) / spread + 2e-3 * slope / high.size
        return float(value), np.array([push.sum() - pull.sum(), tilt])

    # convex: whatever it starts from, there is one best pair
    best = minimize(cost, np.array([0.0, 1.0]), jac=True, method="L-BFGS-B", bounds=[(None, None), (0.0, None)])
    slope = float(best.x[1] / spread)
    natural = np.log(10)
    return LogisticCalibration(float(best.x[0] - slope * centre) / natural, slope / natural, float(np.log10(sources)))


def normalised(values: ArrayLike, weight: ArrayLike) -> tuple[Floats, Floats]:
    """(values, weights that sum to 1), both (n,).  Raises ValueError without values."""
    given = np.atleast_1d(np.asarray(values, float))
    if given.size == 0:
        raise ValueError("no trials on one side")
    share = np.broadcast_to(np.asarray(weight, float), given.shape)
    return given, np.asarray(share / share.sum())


def cllr(
    same: ArrayLike, different: ArrayLike, weight_same: ArrayLike = 1.0, weight_different: ArrayLike = 1.0
) -> float:
    """Log-likelihood-ratio cost of log10 LRs in bits (Brümmer & du Preez 2006): 0 perfect, 1 uninformative."""
    high, w_high = normalised(same, weight_same)
    low, w_low = normalised(different, weight_different)
    natural = np.log(10)
    miss = w_high @ np.logaddexp(0, -natural * high)
    alarm = w_low @ np.logaddexp(0, natural * low)
    return float((miss + alarm) / 2 / np.log(2))


def pav(
    same: ArrayLike, different: ArrayLike, weight_same: ArrayLike = 1.0, weight_different: ArrayLike = 1.0
) -> tuple[Floats, Floats]:
    """log10 LRs of both sides after the best monotone recalibration (pool adjacent violators); ± inf at the ends.

    What a calibration with the answers in hand would give: the ruler of `cllr_min`, never a result about a suspect.
    """
    from scipy.optimize import isotonic_regression

    high, w_high = normalised(same, weight_same)
    low, w_low = normalised(different, weight_different)
    levels, where = np.unique(np.concatenate([high, low]), return_inverse=True)
    weight = np.bincount(where, np.concatenate([w_high, w_low]))
    truth = np.bincount(where[: high.size], w_high, levels.size)
    seen = weight > 0
    posterior = np.zeros(levels.size)
    posterior[seen] = np.clip(isotonic_regression(truth[seen] / weight[seen], weights=weight[seen]).x, 0.0, 1.0)
    with np.errstate(divide="ignore"):
        ratio = np.log10(posterior) - np.log10(1 - posterior)
    return ratio[where[: high.size]], ratio[where[high.size :]]


def cllr_min(
    same: ArrayLike, different: ArrayLike, weight_same: ArrayLike = 1.0, weight_different: ArrayLike = 1.0
) -> float:
    """The part of Cllr that no recalibration can remove: discrimination alone.  cllr - cllr_min is calibration loss."""
    return cllr(*pav(same, different, weight_same, weight_different), weight_same, weight_different)


def elub(
    same: ArrayLike,
    different: ArrayLike,
    sources: int,
    weight_same: ArrayLike = 1.0,
    weight_different: ArrayLike = 1.0,
    step: float = 1e-3,
) -> tuple[float, float]:
    """Empirical lower and upper bound of log10 LRs (Vergeer et al. 2016), ≤ 0 and ≥ 0.

    For a prior whose decision threshold is t, deciding by the LRs must cost no more than deciding by the prior alone:
    miss(t) + t · alarm(t) ≤ min(1, t).  Both error rates carry one misleading trial more than was seen, and count in
    sources (artists), not in files: rate = (rate · sources + 1) / (sources + 1).  The bounds are the last thresholds
    on either side of 1 up to which this holds throughout.
    """
    high, w_high = normalised(same, weight_same)
    low, w_low = normalised(different, weight_different)
    furthest = np.log10(sources + 1.0)
    grid = np.arange(0, np.floor(furthest / step) + 1) * step

    def excess(thresholds: Floats) -> Floats:
        miss = cumulative(high, w_high, thresholds)
        alarm = 1 - cumulative(low, w_low, thresholds)
        misses, alarms = ((rate * sources + 1) / (sources + 1) for rate in (miss, alarm))
        return np.asarray(misses + 10**thresholds * alarms - np.minimum(1.0, 10**thresholds))

    up, down = excess(grid) > 1e-12, excess(-grid) > 1e-12
    upper = grid[np.argmax(up) - 1] if up.any() and not up[0] else (0.0 if up.any() else grid[-1])
    lower = grid[np.argmax(down) - 1] if down.any() and not down[0] else (0.0 if down.any() else grid[-1])
    return -float(lower), float(upper)


def cumulative(values: Floats, weight: Floats, at: Floats) -> Floats:
    """Weighted share of values ≤ each of `at`."""
    order = np.argsort(values)
    total = np.round(np.append(0.0, np.cumsum(weight[order])), 12)
    return np.asarray(total[np.searchsorted(values[order], at, side="right")])


def tippett(values: ArrayLike, at: ArrayLike, weight: ArrayLike = 1.0) -> Floats:
    """Share of log10 LRs that are larger than each of `at`: one line of a Tippett plot."""
    ratios, share = normalised(values, weight)
    return np.asarray(1 - cumulative(ratios, share, np.atleast_1d(np.asarray(at, float))))


def cross_entropy(
    same: ArrayLike,
    different: ArrayLike,
    prior_log10_odds: ArrayLike,
    weight_same: ArrayLike = 1.0,
    weight_different: ArrayLike = 1.0,
) -> Floats:
    """Empirical cross-entropy in bits at each prior (Ramos & Gonzalez-Rodriguez 2013); at prior odds 1 it is Cllr."""
    high, w_high = normalised(same, weight_same)
    low, w_low = normalised(different, weight_different)
    natural = np.log(10)
    odds = natural * np.atleast_1d(np.asarray(prior_log10_odds, float))
    chance = 1 / (1 + np.exp(-odds))
    miss = np.logaddexp(0, -natural * high[None] - odds[:, None]) @ w_high
    alarm = np.logaddexp(0, natural * low[None] + odds[:, None]) @ w_low
    return np.asarray((chance * miss + (1 - chance) * alarm) / np.log(2))


def even(sources: ArrayLike) -> Floats:
    """Weights (n,) that let every source count once and sum to 1."""
    _, member, size = np.unique(np.asarray(sources), return_inverse=True, return_counts=True)
    return np.asarray(1.0 / size[member] / size.size)


def verbal(log10_lr: float, against: str = "outside") -> str:
    """The ENFSI verbal equivalent of a log10 likelihood ratio, naming the supported proposition.

    against: key of `SUPPORTED`, who the alternative to this artist is.
    """
    step = max(i for i, edge in enumerate(STEPS) if edge <= abs(log10_lr))
    if step == 0:
        return VERBAL[step]
    return VERBAL[step].format(artist=SUPPORTED["this" if log10_lr > 0 else against])
