"""Likelihood ratios: known answers for Gaussians, bounds, costs and words."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.statistics.likelihood import (
    STEPS,
    LogisticCalibration,
    cllr,
    cllr_min,
    cross_entropy,
    elub,
    even,
    fit_logistic,
    pav,
    tippett,
    verbal,
)
from auditor.texts import VERBAL

GRID = np.linspace(-4, 6, 50)


def gaussians(distance: float, many: int = 6000, fewer: int = 6000) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of two unit-variance Gaussians, `distance` apart: same, different."""
    from scipy import stats

    return tuple(stats.norm.ppf((np.arange(n) + 0.5) / n) + m for n, m in ((many, distance), (fewer, 0.0)))  # type: ignore[return-value]


@pytest.mark.parametrize("distance", [0.5, 1.0, 2.5])
def test_two_gaussians_give_their_likelihood_ratio(distance: float) -> None:
    """log LR = d · x - d² / 2 for means d and 0 and unit variance."""
    fitted = fit_logistic(*gaussians(distance), sources=10**9)
    assert fitted.slope * np.log(10) == pytest.approx(distance, rel=0.02)
    assert fitted.intercept * np.log(10) == pytest.approx(-(distance**2) / 2, rel=0.03, abs=0.01)


def test_how_many_trials_there_were_is_no_evidence() -> None:
    even, uneven = fit_logistic(*gaussians(1.5), 10**9), fit_logistic(*gaussians(1.5, 6000, 600), 10**9)
    np.testing.assert_allclose(uneven.log10_lr(GRID), even.log10_lr(GRID), atol=0.05)


def test_weights_are_repetitions() -> None:
    rng = np.random.default_rng(2)
    same, different = rng.standard_normal(40) + 1, rng.standard_normal(60)
    times = rng.integers(1, 4, 40)
    weighted = fit_logistic(same, different, 1000, weight_same=times)
    repeated = fit_logistic(np.repeat(same, times), different, 1000)
    np.testing.assert_allclose(weighted.log10_lr(GRID), repeated.log10_lr(GRID), atol=0.01)
    plain = fit_logistic(same, different, 1000)
    assert np.abs(weighted.log10_lr(GRID) - plain.log10_lr(GRID)).max() > 0.02


@pytest.mark.parametrize(("factor", "shift"), [(10.0, 0.0), (1.0, 100.0), (0.01, -3.0)])
def test_units_of_the_score_do_not_matter(factor: float, shift: float) -> None:
    same, different = gaussians(1.0, 500, 500)
    plain, moved = (
        fit_logistic(same, different, 1000),
        fit_logistic(same * factor + shift, different * factor + shift, 1000),
    )
    np.testing.assert_allclose(moved.log10_lr(GRID * factor + shift), plain.log10_lr(GRID), atol=1e-3)


@pytest.mark.parametrize("sources", [2, 6, 60])
def test_no_ratio_beyond_the_number_of_sources(sources: int) -> None:
    """Perfect separation: the likelihood alone would say infinity."""
    fitted = fit_logistic([10.0, 11, 12], [-10.0, -11, -12], sources)
    assert np.isfinite([fitted.slope, fitted.intercept]).all()
    assert fitted.bound == pytest.approx(np.log10(sources))
    ratios = fitted.log10_lr([-1e9, 0, 1e9])
    assert (ratios[0], ratios[2]) == (-fitted.bound, fitted.bound)


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=12), st.lists(st.floats(-50, 50), min_size=2, max_size=12))
def test_a_higher_score_never_lowers_the_ratio(same: list[float], different: list[float]) -> None:
    fitted = fit_logistic(same, different, 40)
    ratios = fitted.log10_lr(np.linspace(-100, 100, 41))
    assert (np.diff(ratios) >= 0).all()
    assert np.abs(ratios).max() <= np.log10(40)


def test_scores_that_say_nothing_give_a_ratio_of_one() -> None:
    """Also where H1 scores lie *below* those of H2: the slope stays at zero or above."""
    for distance in (0.0, -2.0):
        assert np.abs(fit_logistic(*gaussians(distance, 2000, 2000), 1000).log10_lr([-1, 0, 1])).max() < 0.05


def test_calibrated_ratios_cost_less_than_saying_nothing() -> None:
    same, different = gaussians(2.0)
    fitted = fit_logistic(same, different, 10**9)
    cost = cllr(fitted.log10_lr(same), fitted.log10_lr(different))
    assert 0 < cost < 0.75
    for bent in (LogisticCalibration(fitted.intercept + 1, fitted.slope, 9), LogisticCalibration(0, 3, 9)):
        assert cllr(bent.log10_lr(same), bent.log10_lr(different)) > cost


def test_cost_of_known_ratios() -> None:
    assert cllr([0.0, 0.0], [0.0]) == pytest.approx(1.0)
    assert cllr([50.0], [-50.0]) == pytest.approx(0.0, abs=1e-12)
    assert cllr([1.0], [-1.0]) == pytest.approx(np.log2(1.1))
    assert cllr([1.0], [0.0]) == pytest.approx((np.log2(1.1) + 1) / 2)
    assert cllr([-3.0], [3.0]) == pytest.approx(np.log2(1001))
    assert np.isfinite(cllr([-1e4], [1e4]))


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (0.0, "no support for either proposition"),
        (0.3, "no support for either proposition"),
        (-0.3, "no support for either proposition"),
        (0.302, "weak support for this artist"),
        (-0.302, "weak support for an artist outside the set"),
        (1.0, "moderate support for this artist"),
        (1.99, "moderate support for this artist"),
        (-2.0, "moderately strong support for an artist outside the set"),
        (3.5, "strong support for this artist"),
        (9.0, "very strong support for this artist"),
    ],
)
def test_words_of_the_scale(ratio: float, words: str) -> None:
    assert verbal(ratio) == words


def test_the_scale_rises() -> None:
    edges = list(STEPS)
    assert edges == sorted(edges)
    assert edges[0] == 0
    assert len(set(VERBAL)) == len(VERBAL) == len(STEPS)


# --- discrimination and calibration apart ---------------------------------------------------------------------------


def noisy(seed: int, many: int = 40, digits: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """log10 LRs of a poor system, ties included."""
    rng = np.random.default_rng(seed)
    distance = rng.uniform(0, 2)
    return rng.normal(distance, 1, many).round(digits), rng.normal(-0.5, 1, many).round(digits)


@given(st.integers(0, 10**6))
def test_the_least_cost_does_not_depend_on_the_scale(seed: int) -> None:
    same, different = noisy(seed)
    least = cllr_min(same, different)
    assert 0 <= least <= min(1, cllr(same, different)) + 1e-12
    assert cllr_min(np.exp(same), np.exp(different)) == pytest.approx(least)
    assert cllr_min(3 * same + 7, 3 * different + 7) == pytest.approx(least)


def test_the_least_cost_of_cases_done_by_hand() -> None:
    assert cllr_min([1.0, 2], [-1.0, 0]) == 0  # separated
    assert cllr_min([0.0, 0], [0.0]) == 1  # tied
    assert cllr_min([-1.0], [1.0]) == 1  # the wrong way round: pooled
    # lowest: one stranger, LR 0; above it one of each, LR 1/2 : 1/3 over classes → 2 · (1/2)/(1) …
    ratio_same, ratio_different = pav([1.0, 3.0], [0.0, 2.0])
    np.testing.assert_allclose(ratio_same, [0, np.inf])
    np.testing.assert_allclose(ratio_different, [-np.inf, 0])


@given(st.integers(0, 10**6))
def test_recalibrated_ratios_rise_with_the_score(seed: int) -> None:
    same, different = noisy(seed)
    values, ratios = np.concatenate([same, different]), np.concatenate(pav(same, different))
    order = np.argsort(values, kind="stable")
    finite = np.nan_to_num(ratios[order], posinf=99, neginf=-99)
    assert (np.diff(finite) >= -1e-9).all()


def test_weights_are_repetitions_in_every_cost() -> None:
    same, different = noisy(3, 12)
    times = np.random.default_rng(0).integers(1, 4, 12)
    repeated = np.repeat(same, times)
    for cost in (cllr, cllr_min):
        assert cost(same, different, times) == pytest.approx(cost(repeated, different))
    assert elub(same, different, 30, times) == pytest.approx(elub(repeated, different, 30))
    np.testing.assert_allclose(tippett(same, [0, 1], times), tippett(repeated, [0, 1]))
    np.testing.assert_allclose(cross_entropy(same, different, [0.5], times), cross_entropy(repeated, different, [0.5]))


@pytest.mark.parametrize("sources", [5, 56, 1000])
def test_experience_without_an_error_bounds_at_the_number_of_sources(sources: int) -> None:
    """No misleading trial in N sources: one more than seen is assumed, and ratios up to N are borne out."""
    low, high = elub(np.full(40, 9.0), np.full(40, -9.0), sources)
    assert (low, high) == pytest.approx((-np.log10(sources), np.log10(sources)), abs=2e-3)


def test_misleading_ratios_tighten_the_bounds() -> None:
    same, different = np.full(100, 3.0), np.full(100, -3.0)
    highs = []
    for wrong in (0, 1, 5, 20):
        misled = np.where(np.arange(100) < wrong, 3.0, different)
        highs.append(elub(same, misled, 100)[1])
    assert all(a > b for a, b in pairwise(highs))
    assert elub(different, same, 100) == (0.0, 0.0)  # worse than useless: nothing may be said
    rng = np.random.default_rng(0)
    useless = elub(rng.standard_normal(500), rng.standard_normal(500), 500)
    assert max(map(abs, useless)) < 0.2


def test_a_calibration_is_bounded_by_what_its_own_trials_bear_out() -> None:
    same, different = gaussians(1.0, 300, 300)
    plain = fit_logistic(same, different, 300)
    lowest, highest = elub(plain.log10_lr(same), plain.log10_lr(different), 300)
    bounded = replace(plain, lowest=lowest, highest=highest)
    low, high = bounded.limits
    assert -plain.bound <= low <= 0 <= high < plain.bound
    assert bounded.log10_lr([-99, 99]).tolist() == [low, high]
    assert (bounded.limit_of(1.0), bounded.limit_of(-1.0)) == (high, -low)
    assert plain.limits == (-plain.bound, plain.bound)


def test_a_ratio_of_none_either_way_is_bounded_by_what_could_speak_for() -> None:
    bounded = LogisticCalibration(0.0, 1.0, 1.5, lowest=-1.2, highest=0.0)
    ratio = float(bounded.log10_lr(9.0))
    assert (ratio, bounded.limit_of(ratio), bounded.limit_of(-0.1)) == (0.0, 0.0, 1.2)


@pytest.mark.parametrize(
    ("seed", "expected"),
    [  # by lir 1.3.1 on `noisy(seed)`: cllr, cllr_min, ELUB at step 0.001, ECE at prior log10 odds -1
        (1, (0.570662, 0.40764, -0.753, 1.23, 0.236439)),
        (2, (1.017931, 0.784944, -0.455, 0.301, 0.501648)),
        (5, (0.530339, 0.356143, -1.079, 0.829, 0.279913)),
    ],
)
def test_figures_of_another_implementation(seed: int, expected: tuple[float, ...]) -> None:
    same, different = noisy(seed)
    low, high = elub(same, different, 40)
    entropy = cross_entropy(same, different, -1.0)[0]
    found = cllr(same, different), cllr_min(same, different), low, high, entropy
    assert found == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("seed", range(6))
def test_against_lir_itself(seed: int) -> None:
    metrics = pytest.importorskip("lir.metrics")
    from lir.algorithms.bayeserror import elub as their_elub
    from lir.data.models import LLRData

    same, different = noisy(seed)
    data = LLRData(features=np.concatenate([same, different]), labels=np.repeat([1, 0], 40))
    assert cllr(same, different) == pytest.approx(metrics.cllr(data))
    assert cllr_min(same, different) == pytest.approx(metrics.cllr_min(data))
    theirs = their_elub(np.concatenate([same, different]), np.repeat([1.0, 0.0], 40), step_size=1e-3)
    assert elub(same, different, 40) == pytest.approx(theirs, abs=2e-3)


def test_tippett_lines_and_cross_entropy_at_their_ends() -> None:
    same, different = noisy(4)
    line = tippett(same, np.linspace(-9, 9, 50))
    assert (line[0], line[-1]) == (1, 0)
    assert (np.diff(line) <= 0).all()
    assert cross_entropy(same, different, 0.0)[0] == pytest.approx(cllr(same, different))
    silent = cross_entropy([0.0], [0.0], [-1.0, 0.0, 1.0])
    chance = np.array([1, 10, 10]) / np.array([11, 20, 11])
    np.testing.assert_allclose(silent, -(chance * np.log2(chance) + (1 - chance) * np.log2(1 - chance)))


def test_even_weights_let_every_source_count_once() -> None:
    weights = even(["b", "a", "b", "b"])
    np.testing.assert_allclose(weights, [1 / 6, 1 / 2, 1 / 6, 1 / 6])
