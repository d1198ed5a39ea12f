"""Likelihood ratio of the first artist: known answers, silence, honesty about strangers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from auditor.statistics.likelihood import cllr, elub, even
from auditor.statistics.ranked import SILENT, RankedTrials, disjoint_ratios, fit_ranked, ratios, unbounded

ARTISTS = 40


def world(strength: float, seed: int, artists: int = ARTISTS, files: int = 4) -> RankedTrials:
    """Files whose score with their own artist is N(strength, 1), and N(0, 1) with every other; the best counts."""
    rng = np.random.default_rng(seed)
    source = np.repeat(np.arange(artists), files)
    best = rng.standard_normal((source.size, artists - 1)).max(axis=1)
    mine = rng.standard_normal(source.size) + strength
    return RankedTrials(mine > best, np.maximum(mine, best), best, source)


def test_the_first_artist_gets_the_ratio_of_its_chance_to_come_first_at_that_score() -> None:
    """Against counting: own files that come first within a band of scores, over strangers' bests in it."""
    trials = world(3.0, 0, artists=60, files=400)
    fitted = fit_ranked(trials, 10**9)
    for low in (2.2, 2.6, 3.0):
        both = np.where(trials.first, trials.inside, -9), trials.outside
        inside = [np.mean((x >= low) & (x < low + 0.2)) for x in both]
        unbounded = fitted.intercept + fitted.slope * (low + 0.1)
        assert unbounded == pytest.approx(np.log10(inside[0] / inside[1]), abs=0.12)


def test_a_clear_lead_is_evidence_although_many_own_files_are_not_found() -> None:
    """What one curve over own scores and strangers' bests cannot say: most own scores lie below the bests."""
    trials = world(2.0, 1, files=20)
    assert trials.first.mean() < 0.5
    fitted = fit_ranked(trials, 10**6)
    assert fitted.log10_lr(4.5) > 0.3
    assert cllr(*ratios(fitted, trials)) < 0.97


@pytest.mark.parametrize("strength", [0.0, 1.0, 3.0])
def test_strangers_are_not_accused_by_ratios_on_average(strength: float) -> None:
    """Under H2 the mean of a valid likelihood ratio is at most 1; measured on strangers the fit has not seen."""
    fitted = fit_ranked(world(strength, 2, files=30), ARTISTS)
    strangers = world(strength, 3, files=30).outside
    assert np.mean(10 ** fitted.log10_lr(strangers)) < 1.1


def test_useless_scores_say_nothing() -> None:
    fitted = fit_ranked(world(0.0, 4, files=40), ARTISTS)
    assert np.abs(fitted.log10_lr(np.linspace(-2, 5, 20))).max() < 0.35
    nobody_first = world(-50.0, 5)
    assert fit_ranked(nobody_first, ARTISTS) == SILENT
    assert not SILENT.log10_lr([1.0, 9.0]).any()


@pytest.mark.parametrize("sources", [5, ARTISTS])
def test_no_ratio_beyond_the_number_of_sources(sources: int) -> None:
    fitted = fit_ranked(world(12.0, 6), sources)
    ratio = fitted.log10_lr(np.linspace(-50, 50, 21))
    assert (np.diff(ratio) >= 0).all()
    assert ratio[-1] > 0.3
    assert np.abs(ratio).max() <= np.log10(sources)


def test_what_bounds_ratios_has_not_seen_the_artists_it_bounds_them_by() -> None:
    """By artists judged apart the bound is lower, on average, than by the trials that the curve was fitted on."""
    higher = []
    for seed in range(20):
        trials = world(2.5, seed, artists=15, files=8)
        line = unbounded(trials, 10**6)
        weight = even(trials.source)
        seen = elub(*ratios(line, trials), 15, weight, weight)
        fitted = fit_ranked(trials, 15)
        higher.append(fitted.highest - min(seen[1], np.log10(15)))
        assert fitted.lowest <= 0 <= fitted.highest
        assert fitted.log10_lr([-99.0, 99.0]).tolist() == [fitted.lowest, fitted.highest]
    assert np.mean(higher) < 0
    assert max(higher) < 0.2
    alone = world(3.0, 0, files=9)
    assert fit_ranked(alone.rows(alone.source == 0), 1) == SILENT


def test_an_artist_behind_another_is_passed_over_in_silence() -> None:
    trials = world(2.0, 8)
    same, different = ratios(fit_ranked(trials, ARTISTS), trials)
    assert not same[~trials.first].any()
    assert same[trials.first].any()
    assert different.shape == trials.outside.shape


def test_an_artists_own_trials_do_not_change_its_ratios() -> None:
    plain = world(1.5, 7, artists=10)
    mine = plain.source == 3
    moved = replace(plain, first=plain.first | mine, inside=np.where(mine, plain.inside + 9, plain.inside))
    peers = np.isin(plain.source % 5, [3])  # artists 3 and 8 are dealt to one fold
    for one, other in zip(disjoint_ratios(plain), disjoint_ratios(moved), strict=True):
        assert np.isfinite(one).all()
        assert (one[~peers] != other[~peers]).any()
        np.testing.assert_array_equal(one[plain.source == 8], other[plain.source == 8])


def test_disjoint_ratios_of_useless_scores_cost_no_less_than_silence() -> None:
    """Calibrated on the answers themselves they would; the honest ones cost about 1 bit."""
    costs = [cllr(*disjoint_ratios(world(0.0, seed, artists=30))) for seed in range(10)]
    assert 0.99 < np.mean(costs) < 1.1
