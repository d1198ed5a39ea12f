"""Likelihood ratio of an artist named beforehand: known answers, silence, honesty about strangers, bounds."""

from __future__ import annotations

import numpy as np
import pytest

from auditor.statistics.likelihood import cllr, even
from auditor.statistics.pairs import PairTrials, disjoint_pair_ratios, fit_pairs

ARTISTS = 40


def world(strength: float, seed: int, artists: int = ARTISTS, files: int = 4) -> PairTrials:
    """Files whose statistic with their own artist is N(strength, 1), and N(0, 1) with every other."""
    rng = np.random.default_rng(seed)
    own = np.repeat(np.arange(artists), files)
    file, asked = (grid.ravel() for grid in np.meshgrid(own, np.arange(artists), indexing="ij"))
    other = file != asked
    return PairTrials(
        strength + rng.standard_normal(own.size), own, rng.standard_normal(other.sum()), file[other], asked[other]
    )


def test_the_ratio_is_that_of_the_two_densities() -> None:
    """Two normal densities of one spread: log LR = strength · x - strength² / 2."""
    fitted = fit_pairs(world(2.0, 0, files=60), 10**9)
    for x in (0.0, 1.0, 2.0):
        assert fitted.intercept + fitted.slope * x == pytest.approx((2 * x - 2) / np.log(10), abs=0.06)


@pytest.mark.parametrize("strength", [0.0, 1.0, 3.0])
def test_strangers_are_not_accused_by_ratios_on_average(strength: float) -> None:
    """Under H2 the mean of a valid likelihood ratio is 1 at most; measured on pairs the fit has not seen."""
    fitted = fit_pairs(world(strength, 2, files=20), ARTISTS)
    assert np.mean(10 ** fitted.log10_lr(world(strength, 3, files=20).different)) < 1.1


def test_useless_statistics_say_nothing() -> None:
    fitted = fit_pairs(world(0.0, 4, files=40), ARTISTS)
    assert np.abs(fitted.log10_lr(np.linspace(-2, 2, 20))).max() < 0.1


@pytest.mark.parametrize("sources", [5, ARTISTS])
def test_no_ratio_beyond_the_number_of_sources(sources: int) -> None:
    ratio = fit_pairs(world(12.0, 6), sources).log10_lr(np.linspace(-50, 50, 21))
    assert (np.diff(ratio) >= 0).all()
    assert ratio[-1] > 0.3
    assert np.abs(ratio).max() <= np.log10(sources)


def test_ratios_of_pairs_come_from_calibrations_without_the_files_artist() -> None:
    """One artist's files lie elsewhere: what is said of them does not change with how far, but through their place."""
    plain = world(2.0, 7)
    moved = PairTrials(np.where(plain.same_artist == 3, plain.same + 100, plain.same), *list(vars(plain).values())[1:])
    before, after = (disjoint_pair_ratios(trials)[0] for trials in (plain, moved))
    fold = np.isin(plain.same_artist, np.arange(ARTISTS)[3::5]) & (plain.same_artist != 3)
    assert before[fold] == pytest.approx(after[fold])
    assert not np.allclose(before[~fold], after[~fold])


def test_they_inform_and_without_further_artists_nothing_is_said() -> None:
    trials = world(3.0, 8)
    same, different = disjoint_pair_ratios(trials)
    assert cllr(same, different, even(trials.same_artist), even(trials.different_artist)) < 0.45
    alone = PairTrials(np.ones(3), np.zeros(3, np.intp), np.zeros(3), np.ones(3, np.intp), np.zeros(3, np.intp))
    assert not fit_pairs(alone, 2).log10_lr([-5.0, 0.0, 5.0]).any()
