"""Likelihood ratio for the artist that an audit has put first; nothing is said for or against those behind.

The first artist was looked for among all, so how far it stands out is compared with how far *somebody* stands out in
files of outside artists; and a file of its own may fail to put it first at all.  With t the open-set statistic,

    LR(t) = P(own artist comes first) · f(t | own artist first) / f(t | file of an outside artist)

One curve fitted to own scores, first or not, against strangers' bests would not rise: an own artist who is not found
scores less than any stranger's best.  The quotient of densities is logistic in t; with outside artists alone, LR is 1
or less on average.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.statistics.likelihood import Floats, LogisticCalibration, elub, even, fit_logistic


@dataclass(frozen=True)
class RankedTrials:
    """Files of m sources (artists), each tried with its artist in the set and with it left out."""

    first: NDArray[np.bool_]
    """(m,) did the own artist come first?"""
    inside: Floats
    """(m,) open-set statistic with the own artist in the set."""
    outside: Floats
    """(m,) the same with the own artist left out."""
    source: NDArray[Any]
    """(m,) the file's artist."""

    def rows(self, kept: NDArray[np.bool_]) -> RankedTrials:
        """Some of the trials."""
        return RankedTrials(*(getattr(self, name)[kept] for name in self.__dataclass_fields__))


SILENT = LogisticCalibration(0.0, 0.0, 0.0)
"""Says nothing about anybody."""


FOLDS = 5


def fit_ranked(trials: RankedTrials, sources: int) -> LogisticCalibration:
    """Calibration on all trials, sources weighing equally, bounded by log10(sources) and by ELUB.

    What bounds it are ratios of the trials' sources (artists) by calibrations that never saw them: a curve fitted to
    the very trials that bound it would promise more than a new artist's files bear out.  Where the own artist never
    came first, or where there is one source only, nothing can be said: every LR is 1.
    """
    fitted = unbounded(trials, sources)
    same, different = apart(trials, unbounded)
    if fitted == SILENT or not np.isfinite(same).all():
        return SILENT
    weight = even(trials.source)
    low, high = elub(same, different, sources, weight, weight)
    return replace(fitted, lowest=low, highest=high)


def unbounded(trials: RankedTrials, sources: int) -> LogisticCalibration:
    """`fit_ranked` without the empirical bound."""
    weight = even(trials.source)
    share = float(weight @ trials.first)
    if share == 0:
        return SILENT
    mine = trials.first
    fitted = fit_logistic(trials.inside[mine], trials.outside, sources, weight[mine], weight)
    return replace(fitted, intercept=fitted.intercept + float(np.log10(share)))


def ratios(calibration: LogisticCalibration, trials: RankedTrials) -> tuple[Floats, Floats]:
    """log10 LRs said of the own artists (m,), 0 where another came first; and of the first without them (m,)."""
    same = np.where(trials.first, calibration.log10_lr(trials.inside), 0.0)
    return same, calibration.log10_lr(trials.outside)


def disjoint_ratios(trials: RankedTrials) -> tuple[Floats, Floats]:
    """log10 LRs of trials, as `ratios`, by calibrations that never saw the trial's source (artist), bounds included."""
    return apart(trials, fit_ranked)


def apart(
    trials: RankedTrials, calibrated: Callable[[RankedTrials, int], LogisticCalibration]
) -> tuple[Floats, Floats]:
    """log10 LRs of trials (m,), each by what `calibrated` makes of other sources' trials and their number.

    Sources are dealt to folds in sorted order; each fold is judged by a calibration of all others.  NaN where nobody
    else is left to calibrate on.
    """
    names = np.unique(trials.source)
    same, different = np.full(trials.first.size, np.nan), np.full(trials.first.size, np.nan)
    for k in range(min(FOLDS, names.size)):
        judged = np.isin(trials.source, names[k::FOLDS])
        if judged.all():
            continue
        known = trials.rows(~judged)
        model = calibrated(known, int(np.unique(known.source).size))
        same[judged], different[judged] = ratios(model, trials.rows(judged))
    return same, different
