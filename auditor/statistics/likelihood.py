"""Strength of evidence: likelihood ratios from scores, bounded by what the data can support.

H1: the suspect was trained on works of the artist in question.  H2: on works of another artist of the population.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

VERBAL = (  # ENFSI guideline 2015: lower edge of each step in log10, and its words
    (0.0, "no support for either proposition"),
    (0.30103, "weak support"),
    (1.0, "moderate support"),
    (2.0, "moderately strong support"),
    (3.0, "strong support"),
    (4.0, "very strong support"),
)


@dataclass(frozen=True)
class LogisticCalibration:
    """log10 LR = intercept + slope · score, clipped to ± bound."""

    intercept: float
    slope: float
    bound: float

    def log10_lr(self, score: ArrayLike) -> Floats:
        """Bounded log10 likelihood ratio of each score."""
        raw = self.intercept + self.slope * np.asarray(score, float)
        return np.asarray(np.clip(raw, -self.bound, self.bound))


def fit_logistic(
    same: ArrayLike, different: ArrayLike, sources: int, weight_same: ArrayLike = 1.0, weight_different: ArrayLike = 1.0
) -> LogisticCalibration:
    """Prior-free logistic calibration of scores (Brümmer & du Preez 2006), slope ≥ 0, bounded by log10(sources).

    same, different: scores under H1 and H2; the weights let every artist count once.  `sources`: number of artists
    behind the scores; no LR beyond it can be supported by so few.
    """
    from scipy.optimize import minimize  # slow to import, and an audit only reads calibrations

    high, low = np.asarray(same, float), np.asarray(different, float)
    w_high = np.broadcast_to(np.asarray(weight_same, float), high.shape)
    w_low = np.broadcast_to(np.asarray(weight_different, float), low.shape)
    w_high, w_low = w_high / w_high.sum(), w_low / w_low.sum()
    centre, spread = float(low.mean()), float(low.std() + 1e-12)

    def cost(theta: Floats) -> float:
        a, b = theta
        slope = np.exp(b)
        miss = np.logaddexp(0, -(a + slope * (high - centre) / spread))
        alarm = np.logaddexp(0, a + slope * (low - centre) / spread)
        return float(w_high @ miss + w_low @ alarm + 1e-3 * slope**2 / high.size)

    best = minimize(cost, np.array([-1.0, 0.0]), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9})
    slope = float(np.exp(best.x[1]) / spread)
    natural = np.log(10)
    return LogisticCalibration(float(best.x[0] - slope * centre) / natural, slope / natural, float(np.log10(sources)))


def cllr(same: ArrayLike, different: ArrayLike) -> float:
    """Log-likelihood-ratio cost of log10 LRs in bits (Brümmer & du Preez 2006): 0 perfect, 1 uninformative."""
    natural = np.log(10)
    miss = np.logaddexp(0, -natural * np.asarray(same, float)).mean()
    alarm = np.logaddexp(0, natural * np.asarray(different, float)).mean()
    return float((miss + alarm) / 2 / np.log(2))


def verbal(log10_lr: float) -> str:
    """The ENFSI verbal equivalent of a log10 likelihood ratio, naming the supported proposition."""
    step = max(i for i, (edge, _) in enumerate(VERBAL) if edge <= abs(log10_lr))
    phrase = VERBAL[step][1]
    if step == 0:
        return phrase
    return f"{phrase} for {'this artist' if log10_lr > 0 else 'another artist'}"
