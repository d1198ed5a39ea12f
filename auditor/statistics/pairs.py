"""Likelihood ratio for an artist chosen independently of the file: files with their own artist against all others.

H1: the suspect was trained on works of the artist asked about.  H2: on works of another artist of the population.
Nobody was looked for, so the statistic of a file with its own artist is compared with that of files with an artist not
theirs, all such pairs alike; the artist asked about need not come first (for one found by looking see `ranked`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from auditor.statistics.likelihood import Floats, LogisticCalibration, elub, even, fit_logistic
from auditor.statistics.ranked import FOLDS

Labels = NDArray[np.intp]


@dataclass(frozen=True)
class PairTrials:
    """Files, each with its own artist (m pairs), and with artists who are not its own (k pairs)."""

    same: Floats
    """(m,) statistic of a file with its own artist."""
    same_artist: Labels
    """(m,) who that is."""
    different: Floats
    """(k,) statistic of a file with another artist, its own left out of the set."""
    different_artist: Labels
    """(k,) the file's own artist."""
    asked: Labels
    """(k,) the artist asked about."""

    def without(self, artists: NDArray[np.intp]) -> PairTrials:
        """The pairs in which none of these artists has a part."""
        same = ~np.isin(self.same_artist, artists)
        other = ~np.isin(self.different_artist, artists) & ~np.isin(self.asked, artists)
        return PairTrials(
            self.same[same], self.same_artist[same],
            self.different[other], self.different_artist[other], self.asked[other],
        )  # fmt: skip


def fit_pairs(trials: PairTrials, sources: int) -> LogisticCalibration:
    """Calibration on all pairs, the files' artists weighing equally, bounded by log10(sources) and by ELUB.

    As in `ranked.fit_ranked`, what bounds it are ratios by calibrations in which the file's artist has no part.
    """
    fitted = unbounded(trials, sources)
    same, different = disjoint_pair_ratios(trials)
    if not (np.isfinite(same).all() and np.isfinite(different).all()):
        return replace(fitted, lowest=0.0, highest=0.0)
    low, high = elub(same, different, sources, even(trials.same_artist), even(trials.different_artist))
    return replace(fitted, lowest=low, highest=high)


def unbounded(trials: PairTrials, sources: int) -> LogisticCalibration:
    """`fit_pairs` without the empirical bound."""
    return fit_logistic(trials.same, trials.different, sources, even(trials.same_artist), even(trials.different_artist))


def disjoint_pair_ratios(trials: PairTrials) -> tuple[Floats, Floats]:
    """log10 LRs of the pairs (m,) and (k,), each by a calibration in which the file's artist has no part.

    Artists are dealt to folds in sorted order.  NaN where nobody else is left to calibrate on.
    """
    names = np.unique(np.concatenate([trials.same_artist, trials.different_artist]))
    same, different = np.full(trials.same.size, np.nan), np.full(trials.different.size, np.nan)
    for k in range(min(FOLDS, names.size)):
        judged = names[k::FOLDS]
        known = trials.without(judged)
        if not (known.same.size and known.different.size):
            continue
        model = unbounded(known, int(np.unique(known.different_artist).size))
        own, other = np.isin(trials.same_artist, judged), np.isin(trials.different_artist, judged)
        same[own], different[other] = model.log10_lr(trials.same[own]), model.log10_lr(trials.different[other])
    return same, different
