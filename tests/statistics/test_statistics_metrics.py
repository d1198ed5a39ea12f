"""Figures of merit against brute force, scipy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from auditor.statistics.metrics import (
    adjusted_rand,
    auc,
    detection_at,
    equal_error_rate,
    error_curve,
    mutual_information,
    over_groups,
    rate_over_groups,
    silhouette,
)

SCORES = st.lists(st.integers(-5, 5), min_size=1, max_size=25)


@given(SCORES, SCORES)
def test_auc_is_the_share_of_won_pairs(positive: list[int], negative: list[int]) -> None:
    won = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    assert auc(positive, negative) == pytest.approx(won / len(positive) / len(negative), abs=1e-12)
    assert auc(positive, negative) + auc(negative, positive) == pytest.approx(1)


@given(SCORES, SCORES)
def test_figures_depend_on_ranks_only(positive: list[int], negative: list[int]) -> None:
    curved = [[np.exp(v / 3.0) for v in side] for side in (positive, negative)]
    assert auc(*curved) == pytest.approx(auc(positive, negative))
    assert equal_error_rate(*curved) == pytest.approx(equal_error_rate(positive, negative))


@pytest.mark.parametrize(
    ("positive", "negative", "expected"),
    [
        ([2, 3], [0, 1], 0.0),
        ([0, 1], [2, 3], 1.0),
        ([1, 2, 3, 4], [1, 2, 3, 4], 0.5),
        ([2, 4, 5, 6], [0, 1, 2.5, 3], 0.25),
        ([5], [1] * 99, 0.0),
    ],
)
def test_equal_error_rate_of_known_cases(positive: list[float], negative: list[float], expected: float) -> None:
    assert equal_error_rate(positive, negative) == pytest.approx(expected)


@pytest.mark.parametrize("distance", [0.5, 2.0])
def test_figures_of_two_gaussians(distance: float) -> None:
    rng = np.random.default_rng(1)
    positive, negative = rng.standard_normal(30_000) + distance, rng.standard_normal(20_000)
    assert equal_error_rate(positive, negative) == pytest.approx(stats.norm.cdf(-distance / 2), abs=0.01)
    assert auc(positive, negative) == pytest.approx(stats.norm.cdf(distance / np.sqrt(2)), abs=0.01)


def test_interval_over_groups_covers_what_it_claims() -> None:
    """Mean of correlated files: resampling artists covers the truth, resampling files would not."""
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(30), 5)
    covered = blind = 0
    for _ in range(200):
        values = rng.standard_normal(30)[group] + 0.2 * rng.standard_normal(group.size)
        figure = over_groups(lambda rows, v=values: float(v[rows].mean()), group, rng, resamples=200)
        assert figure.value == pytest.approx(values.mean())
        assert (figure.of, figure.low <= figure.high) == (30, True)
        covered += figure.low <= 0 <= figure.high
        alone = over_groups(lambda rows, v=values: float(v[rows].mean()), np.arange(150), rng, resamples=100)
        blind += alone.low <= 0 <= alone.high
    assert covered >= stats.binom.ppf(0.0005, 200, 0.92)  # a percentile interval of 30 units is slightly short
    assert blind < stats.binom.ppf(0.0005, 200, 0.92)


def test_interval_over_groups_is_reproducible_and_skips_undefined_resamples() -> None:
    group, values = np.repeat(np.arange(6), 2), np.arange(12.0)

    def undefined_without_first_group(rows: np.ndarray) -> float:
        return float(values[rows].mean()) if 0 in rows else float("nan")

    first, second = (over_groups(undefined_without_first_group, group, np.random.default_rng(0), 100) for _ in range(2))
    assert first == second
    assert np.isfinite([first.low, first.high]).all()


# --- curves and clusters --------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6))
def test_the_area_under_the_curve_is_the_auc(seed: int) -> None:
    rng = np.random.default_rng(seed)
    high, low = rng.normal(1, 1, 30).round(1), rng.normal(0, 1, 25).round(1)
    alarms, detections = error_curve(high, low, points=10**6)
    assert (alarms[0], detections[0], alarms[-1], detections[-1]) == (1, 1, 0, 0)
    assert (np.diff(alarms) <= 0).all()
    assert (np.diff(detections) <= 0).all()
    assert -np.trapezoid(detections, alarms) == pytest.approx(auc(high, low))


def test_a_thinned_curve_lies_on_the_whole_one() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(1, 1, 400), rng.normal(0, 1, 400)
    whole = set(zip(*error_curve(*scores, points=10**6), strict=True))
    thin = list(zip(*error_curve(*scores, points=20), strict=True))
    assert len(thin) == 21
    assert set(thin) <= whole


def test_detection_at_a_share_of_false_alarms() -> None:
    low = np.arange(100.0)
    assert detection_at([98.5, 99.5, 97], low, 0.01) == pytest.approx(2 / 3)  # one of the hundred may lie above
    assert detection_at([98.5, 99.5, 97], low, 0.0) == pytest.approx(1 / 3)
    assert detection_at([5.0], [1.0], 0.01) == 1
    assert detection_at(low, low, 0.05) == pytest.approx(0.05)


def test_groupings_of_cases_done_by_hand() -> None:
    same = [0, 0, 1, 1]
    assert adjusted_rand(same, ["b", "b", "a", "a"]) == mutual_information(same, [5, 5, 2, 2]) == pytest.approx(1)
    assert mutual_information(same, [0, 1, 0, 1]) == pytest.approx(0)
    assert adjusted_rand(same, [0, 1, 0, 1]) == pytest.approx(-0.5)
    assert adjusted_rand([0, 0, 0], [1, 1, 1]) == mutual_information([0, 0, 0], [1, 1, 1]) == 1


def test_unrelated_groupings_agree_by_chance_only() -> None:
    rng = np.random.default_rng(0)
    found = [adjusted_rand(rng.integers(0, 5, 60), rng.integers(0, 4, 60)) for _ in range(300)]
    assert abs(np.mean(found)) < 0.01


@pytest.mark.parametrize("seed", range(4))
def test_clusters_against_scikit_learn(seed: int) -> None:
    known = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 4, 40), rng.integers(0, 3, 40)
    points = rng.standard_normal((40, 6)) + one[:, None]
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    closeness = points @ points.T
    assert adjusted_rand(one, other) == pytest.approx(known.adjusted_rand_score(one, other))
    assert mutual_information(one, other) == pytest.approx(known.normalized_mutual_info_score(one, other))
    distance = 1 - closeness
    np.fill_diagonal(distance, 0)
    assert silhouette(1 - distance, one) == pytest.approx(known.silhouette_score(distance, one, metric="precomputed"))


@given(st.lists(st.integers(0, 4), min_size=2, max_size=40), st.permutations(range(5)))
def test_agreement_does_not_see_names(truth: list[int], names: list[int]) -> None:
    renamed = [names[t] for t in truth]
    assert adjusted_rand(truth, renamed) == pytest.approx(1)
    assert mutual_information(truth, renamed) == pytest.approx(1)


def test_published_example_of_the_adjusted_rand_index() -> None:
    """Yeung & Ruzzo 2001, details of the adjusted Rand index, table 2: .313."""
    counts = [[1, 1, 0], [1, 2, 1], [0, 0, 4]]
    pairs = [(i, j) for i, row in enumerate(counts) for j, n in enumerate(row) for _ in range(n)]
    assert adjusted_rand(*zip(*pairs, strict=True)) == pytest.approx(0.313, abs=5e-4)


def test_a_silhouette_needs_two_labels_and_two_files() -> None:
    assert silhouette(np.eye(3), ["a", "a", "a"]) == 0
    assert silhouette(np.eye(3), ["a", "b", "c"]) == 0
    assert silhouette(np.kron(np.eye(2), np.ones((3, 3))), [0, 0, 0, 1, 1, 1]) == pytest.approx(1)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_rate_that_never_varied_is_not_certain(value: float) -> None:
    """56 artists without one false attribution still leave room for 1 in 20 (exact binomial), whatever the files."""
    artists = np.repeat(np.arange(56), 3)
    figure = rate_over_groups(lambda rows: value, artists, np.random.default_rng(0), 20)
    assert (figure.value, figure.of) == (value, 56)
    assert figure.high - figure.low == pytest.approx(0.0638, abs=1e-3)
    assert figure.low <= value <= figure.high
    some = np.random.default_rng(1).random(168) < 0.3
    varied = rate_over_groups(lambda rows: float(some[rows].mean()), artists, np.random.default_rng(0), 200)
    assert varied == over_groups(lambda rows: float(some[rows].mean()), artists, np.random.default_rng(0), 200)
