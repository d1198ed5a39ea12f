"""Likelihood ratios for artists that an audit has put in order: one who came first, and those behind.

The artist that comes first was looked for among all, so its lead over the next is compared with the lead that
*somebody* has over the next for files of outside artists; and a file of its own may fail to put it first at all.
With t the open-set statistic (the lead) and s the score,

    LR(first, t)  = P(own artist comes first) · f(t | own artist first) / f(t | file of an outside artist)
    LR(behind, s) = P(own artist does not)    · f(s | own artist behind) / f(s | any other artist behind the first)

and LR(behind) is cut at 1: nothing is said for an artist while another lies closer.  One curve for all, fitted to own
scores against best scores, would not rise: an own artist who is not found scores less than any stranger's best.
Both quotients of densities are logistic; with outside artists alone, LR(first) is 1 or less on average.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auditor.statistics.likelihood import Floats, LogisticCalibration, elub, even, fit_logistic

LEAST_TRIALS = 5
"""Own artists that did not come first: with fewer there is no curve for those behind, and one ratio for all of them."""


@dataclass(frozen=True)
class RankedTrials:
    """Files of m sources (artists), each tried with its artist in the set and with it left out."""

    own: Floats
    """(m,) score with the own artist, in the set."""
    first: NDArray[np.bool_]
    """(m,) did the own artist come first?"""
    inside: Floats
    """(m,) open-set statistic with the own artist in the set."""
    outside: Floats
    """(m,) the same with the own artist left out."""
    behind: Floats
    """(m, C) scores of all others then; NaN for the best one and the own artist."""
    source: NDArray[Any]
    """(m,) the file's artist."""

    def rows(self, kept: NDArray[np.bool_]) -> RankedTrials:
        """Some of the trials."""
        return RankedTrials(*(getattr(self, name)[kept] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class RankedCalibration:
    """Scores of one audit → log10 LRs, by rank."""

    first: LogisticCalibration
    behind: LogisticCalibration

    def of_first(self, statistic: ArrayLike) -> Floats:
        """log10 LR of an artist that came first, from the open-set statistic."""
        return self.first.log10_lr(statistic)

    def of_behind(self, score: ArrayLike) -> Floats:
        """log10 LR of an artist that did not, from its score: never above 0."""
        return np.minimum(self.behind.log10_lr(score), 0.0)

    def log10_lr(self, scores: ArrayLike, statistic: float) -> Floats:
        """log10 LR (C,) of every artist of one audit, from its scores (C,) and its open-set statistic."""
        given = np.asarray(scores, float)
        ahead = np.arange(given.size) == int(np.argmax(given))
        return np.where(ahead, self.of_first(statistic), self.of_behind(given))

    def limit_of(self, log10_lr: float) -> float:
        """The bound on the side of a ratio, as a positive number; one for all ranks."""
        return self.first.limit_of(log10_lr)

    def stored(self) -> dict[str, list[float]]:
        """As JSON; `of_stored` reads it."""
        return {name: list(astuple(getattr(self, name))) for name in ("first", "behind")}

    @classmethod
    def of_stored(cls, stored: dict[str, list[float]]) -> RankedCalibration:
        """From what `stored` gave."""
        return cls(LogisticCalibration(*stored["first"]), LogisticCalibration(*stored["behind"]))


SILENT = RankedCalibration(LogisticCalibration(0.0, 0.0, 0.0), LogisticCalibration(0.0, 0.0, 0.0))
"""Says nothing about anybody."""


def fit_ranked(trials: RankedTrials, sources: int) -> RankedCalibration:
    """Calibration on all trials, sources weighing equally, bounded by log10(sources) and by ELUB on these trials.

    With no trial where the own artist came first, or none of another artist, nothing can be said: every LR is 1.
    """
    weight = even(trials.source)
    share = float(weight @ trials.first)
    if share == 0 or trials.outside.size == 0:
        return SILENT
    mine = trials.first
    first = shifted(fit_logistic(trials.inside[mine], trials.outside, sources, weight[mine], weight), share)
    calibration = RankedCalibration(first, fit_behind(trials, weight, share, sources))
    low, high = elub(*ratios(calibration, trials), sources, weight, weight)
    bounded = (replace(c, lowest=low, highest=high) for c in (calibration.first, calibration.behind))
    return RankedCalibration(*bounded)


def fit_behind(trials: RankedTrials, weight: Floats, share: float, sources: int) -> LogisticCalibration:
    """The curve for artists behind the first; share: of own artists that came first."""
    missed, seen = ~trials.first, ~np.isnan(trials.behind)
    per_file = np.maximum(seen.sum(1), 1)[:, None]
    if missed.sum() < LEAST_TRIALS or not seen.any():
        return LogisticCalibration(np.log10(max(1 - share, 1 / (sources + 1))), 0.0, float(np.log10(sources)))
    others = np.broadcast_to(weight[:, None] / per_file, seen.shape)[seen]
    fitted = fit_logistic(trials.own[missed], trials.behind[seen], sources, weight[missed], others)
    return shifted(fitted, 1 - share)


def shifted(calibration: LogisticCalibration, share: float) -> LogisticCalibration:
    """The calibration with all ratios multiplied by `share`."""
    return replace(calibration, intercept=calibration.intercept + float(np.log10(share)))


def ratios(calibration: RankedCalibration, trials: RankedTrials) -> tuple[Floats, Floats]:
    """log10 LRs of the own artists (m,), and of the first when the own artist is left out (m,)."""
    same = np.where(trials.first, calibration.of_first(trials.inside), calibration.of_behind(trials.own))
    return same, calibration.of_first(trials.outside)


def disjoint_ratios(trials: RankedTrials, folds: int = 5) -> tuple[Floats, Floats]:
    """log10 LRs of trials, as `ratios`, by calibrations that never saw the trial's source (artist).

    Artists are dealt to folds in sorted order; each fold is judged by a calibration of all others, with the bounds
    that these others support.  NaN where nobody else is left to calibrate on.
    """
    names = np.unique(trials.source)
    same, different = np.full(trials.own.size, np.nan), np.full(trials.outside.size, np.nan)
    for k in range(min(folds, names.size)):
        judged = np.isin(trials.source, names[k::folds])
        if judged.all():
            continue
        known = trials.rows(~judged)
        model = fit_ranked(known, int(np.unique(known.source).size))
        same[judged], different[judged] = ratios(model, trials.rows(judged))
    return same, different


def without_best(scores: Floats) -> Floats:
    """Scores (m, C) with the largest of each row blanked too; rows of NaN stay."""
    left = scores.copy()
    some = ~np.isnan(scores).all(1)
    left[np.flatnonzero(some), np.nanargmax(scores[some], 1)] = np.nan
    return left
