"""Likelihood ratios: known answers for Gaussians, bounds, costs and words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.statistics.likelihood import VERBAL, LogisticCalibration, cllr, fit_logistic, verbal

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
        (-0.302, "weak support for another artist"),
        (1.0, "moderate support for this artist"),
        (1.99, "moderate support for this artist"),
        (-2.0, "moderately strong support for another artist"),
        (3.5, "strong support for this artist"),
        (9.0, "very strong support for this artist"),
    ],
)
def test_words_of_the_scale(ratio: float, words: str) -> None:
    assert verbal(ratio) == words


def test_the_scale_rises() -> None:
    edges = [edge for edge, _ in VERBAL]
    assert edges == sorted(edges)
    assert edges[0] == 0
    assert len({words for _, words in VERBAL}) == len(VERBAL)
