"""Likelihood ratios by rank: known answers, order, silence, honesty about strangers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.statistics.likelihood import cllr
from auditor.statistics.ranked import (
    SILENT,
    RankedCalibration,
    RankedTrials,
    disjoint_ratios,
    fit_ranked,
    ratios,
    without_best,
)

ARTISTS = 40


def world(strength: float, seed: int, artists: int = ARTISTS, files: int = 4) -> RankedTrials:
    """Files whose score with their own artist is N(strength, 1), and N(0, 1) with every other."""
    rng = np.random.default_rng(seed)
    source = np.repeat(np.arange(artists), files)
    scores = rng.standard_normal((source.size, artists))
    own = np.arange(source.size), source
    scores[own] = np.nan
    mine = rng.standard_normal(source.size) + strength
    best = np.nanmax(scores, 1)
    return RankedTrials(mine, mine > best, np.maximum(mine, best), best, without_best(scores), source)


def test_the_first_artist_gets_the_ratio_of_its_chance_to_come_first_at_that_score() -> None:
    """Against counting: own files that come first within a band of scores, over strangers' bests in it."""
    trials = world(3.0, 0, artists=60, files=400)
    fitted = fit_ranked(trials, 10**9)
    for low in (2.2, 2.6, 3.0):
        both = np.where(trials.first, trials.own, -9), trials.outside
        inside = [np.mean((x >= low) & (x < low + 0.2)) for x in both]
        unbounded = fitted.first.intercept + fitted.first.slope * (low + 0.1)
        assert unbounded == pytest.approx(np.log10(inside[0] / inside[1]), abs=0.12)


def test_a_high_score_is_evidence_although_many_own_files_are_not_found() -> None:
    """What one curve over own scores and strangers' bests cannot say: most own scores lie below the bests."""
    trials = world(2.0, 1, files=20)
    assert np.median(trials.own) < np.median(trials.outside)
    fitted = fit_ranked(trials, 10**6)
    assert fitted.of_first(4.5) > 0.3
    assert fitted.of_behind(-2.0) < -0.5
    assert cllr(*ratios(fitted, trials)) < 0.95


@given(st.integers(0, 30), st.lists(st.floats(-6, 8), min_size=3, max_size=12))
def test_nothing_is_said_for_artists_behind_the_first_and_scores_keep_their_order(
    seed: int, scores: list[float]
) -> None:
    fitted = fit_ranked(world(2.5, seed), ARTISTS)
    found = fitted.log10_lr(scores, max(scores))
    order = np.argsort(scores, kind="stable")
    behind = [i for i in order if i != int(np.argmax(scores))]
    assert (np.diff(found[behind]) >= 0).all()
    assert (found[behind] <= 0).all()
    assert found[np.argmax(scores)] == fitted.of_first(max(scores))
    low, high = fitted.first.limits
    assert ((found >= low) & (found <= high)).all()
    assert np.abs(found).max() <= np.log10(ARTISTS)


@pytest.mark.parametrize("strength", [0.0, 1.0, 3.0])
def test_strangers_are_not_accused_by_ratios_on_average(strength: float) -> None:
    """Under H2 the mean of a valid likelihood ratio is at most 1; measured on strangers the fit has not seen."""
    fitted = fit_ranked(world(strength, 2, files=30), ARTISTS)
    strangers = world(strength, 3, files=30).outside
    assert np.mean(10 ** fitted.of_first(strangers)) < 1.1


def test_useless_scores_say_nothing() -> None:
    fitted = fit_ranked(world(0.0, 4, files=40), ARTISTS)
    assert np.abs(fitted.of_first(np.linspace(-2, 5, 20))).max() < 0.35
    nobody_first = world(-50.0, 5)
    assert fit_ranked(nobody_first, ARTISTS) == SILENT
    assert not fit_ranked(nobody_first, ARTISTS).log10_lr([1.0, 9.0], 9.0).any()


def test_with_hardly_any_artist_missed_those_behind_are_spoken_against() -> None:
    fitted = fit_ranked(world(12.0, 6), ARTISTS)
    assert fitted.of_first(12.0) > 1
    assert fitted.of_behind(2.0) < -1


def test_an_artists_own_trials_do_not_change_its_ratios() -> None:
    plain = world(1.5, 7, artists=10)
    mine = plain.source == 3
    own, inside = (np.where(mine, x + 9, x) for x in (plain.own, plain.inside))
    moved = replace(plain, own=own, first=plain.first | mine, inside=inside)
    peers = np.isin(plain.source % 5, [3])  # artists 3 and 8 are dealt to one fold
    for one, other in zip(disjoint_ratios(plain), disjoint_ratios(moved), strict=True):
        assert np.isfinite(one).all()
        assert (one[~peers] != other[~peers]).any()
        np.testing.assert_array_equal(one[plain.source == 8], other[plain.source == 8])


def test_disjoint_ratios_of_useless_scores_cost_no_less_than_silence() -> None:
    """Calibrated on the answers themselves they would; the honest ones cost about 1 bit."""
    costs = [cllr(*disjoint_ratios(world(0.0, seed, artists=30))) for seed in range(10)]
    assert 0.97 < np.mean(costs) < 1.15


def test_what_is_stored_comes_back() -> None:
    fitted = fit_ranked(world(2.0, 8), ARTISTS)
    assert RankedCalibration.of_stored(fitted.stored()) == fitted
    for sign in (-1.0, 1.0):
        assert fitted.limit_of(sign) == max(0.0, sign * fitted.first.limits[int(sign > 0)])


def test_blanking_the_best_leaves_the_rest() -> None:
    scores = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(without_best(scores), [[1.0, np.nan, np.nan], [np.nan, np.nan, np.nan]])
    assert scores[0, 2] == 3.0
