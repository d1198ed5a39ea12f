"""Laws of p-values: they equal a plain count, cannot be cheated by more files, and keep the error rate they claim."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from auditor.statistics.conformal import benjamini_hochberg, conformal_p, holm, p_floor, rate_limits, separation_p

NULLS = st.lists(st.tuples(st.integers(-6, 6), st.integers(0, 5)), min_size=1, max_size=40)
"""(value, group) of each file; few values, so that ties are common."""
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def by_counting(observed: float, null: list[float], group: list[int]) -> Fraction:
    """The definition, in exact arithmetic: each group counts as the share of its files that reach `observed`."""
    files = defaultdict(list)
    for value, label in zip(null, group, strict=True):
        files[label].append(value)
    reach = sum((Fraction(sum(v >= observed for v in mine), len(mine)) for mine in files.values()), Fraction())
    return (1 + reach) / (len(files) + 1)


@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_limits_of_a_rate_are_scipys(hits: int, others: int, level: float) -> None:
    groups = hits + others
    if groups == 0:
        assert rate_limits(0, 0, level) == (0.0, 1.0)
        return
    oracle = stats.binomtest(hits, groups).proportion_ci(level, method="exact")
    assert rate_limits(hits, groups, level) == pytest.approx((oracle.low, oracle.high), abs=1e-9)


@given(st.floats(0, 56))
def test_limits_of_a_sum_of_shares_are_no_narrower_than_those_of_its_neighbours(hits: float) -> None:
    low, high = rate_limits(hits, 56)
    assert low == rate_limits(int(hits + 1e-9), 56)[0]
    assert high == rate_limits(min(56, int(np.ceil(hits - 1e-9))), 56)[1]
    assert low <= hits / 56 <= high


@given(NULLS, st.lists(st.integers(-7, 7), min_size=1, max_size=8))
def test_p_is_the_count_it_is_defined_as(null: list[tuple[int, int]], observed: list[int]) -> None:
    values, groups = map(list, zip(*null, strict=True))
    expected = [float(by_counting(o, values, groups)) for o in observed]
    np.testing.assert_allclose(conformal_p(observed, values, groups), expected, rtol=1e-9)


@given(st.lists(st.integers(-6, 6), min_size=1, max_size=30), st.integers(-7, 7))
def test_with_one_file_a_group_p_is_the_usual_monte_carlo_p(null: list[int], observed: int) -> None:
    p = conformal_p(observed, null, np.arange(len(null)))[0]
    assert p == pytest.approx((1 + sum(v >= observed for v in null)) / (len(null) + 1), rel=1e-12)
    oracle = stats.monte_carlo_test(
        np.array([observed, observed], float),
        lambda size: np.repeat(np.array(null, float)[:, None], 2, axis=1).reshape(size),
        lambda x, axis: np.mean(x, axis=axis),
        n_resamples=len(null),
        alternative="greater",
        vectorized=True,
    )
    assert p == pytest.approx(oracle.pvalue, rel=1e-12)


@given(NULLS, st.floats(allow_nan=False))
def test_p_lies_between_the_floor_and_one(null: list[tuple[int, int]], observed: float) -> None:
    values, groups = zip(*null, strict=True)
    p = conformal_p(observed, values, groups)[0]
    assert p_floor(len(set(groups))) <= p <= 1
    assert conformal_p(max(values) + 1, values, groups)[0] == p_floor(len(set(groups)))
    assert conformal_p(min(values), values, groups)[0] == pytest.approx(1)


@given(NULLS, st.floats(-10, 10), st.floats(-10, 10))
def test_p_falls_as_the_statistic_rises(null: list[tuple[int, int]], a: float, b: float) -> None:
    values, groups = zip(*null, strict=True)
    low, high = conformal_p([min(a, b), max(a, b)], values, groups)
    assert high <= low


@given(NULLS, st.integers(-7, 7), st.integers(2, 4), st.data())
def test_copies_of_an_artists_files_buy_nothing(
    null: list[tuple[int, int]], observed: int, times: int, data: st.DataObject
) -> None:
    copied = data.draw(st.sampled_from([g for _, g in null]))
    more = null + [pair for pair in null if pair[1] == copied] * (times - 1)
    before, after = (conformal_p(observed, *zip(*rows, strict=True))[0] for rows in (null, more))
    assert after == pytest.approx(before, rel=1e-9)


@given(NULLS, st.integers(-7, 7), st.randoms())
def test_p_depends_on_ranks_only_and_on_no_order(null: list[tuple[int, int]], observed: int, random: object) -> None:
    values, groups = map(np.array, zip(*null, strict=True))
    order = list(range(len(values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    before = conformal_p(observed, values, groups)
    after = conformal_p(observed**3 / 7.0, values[order] ** 3 / 7.0, np.array([f"artist {g}" for g in groups])[order])
    np.testing.assert_allclose(after, before, rtol=1e-9)


def test_ties_count_as_extreme() -> None:
    assert conformal_p(1.0, [1.0, 1.0, 0.0], [0, 1, 2])[0] == pytest.approx(3 / 4)
    assert conformal_p(np.nextafter(1.0, 2), [1.0, 1.0, 0.0], [0, 1, 2])[0] == pytest.approx(1 / 4)


@pytest.mark.parametrize("files", range(1, 14))
def test_p_at_the_level_itself_is_not_lost_to_rounding(files: int) -> None:
    """Four of 99 artists reach the observed value with all their files: p = 5/100, which α = 0.05 must reject."""
    group = np.repeat(np.arange(99), files)
    null = np.where(group < 4, 1.0, -1.0)
    assert conformal_p(0.0, null, group)[0] == 0.05


def test_nan_is_no_evidence() -> None:
    np.testing.assert_allclose(conformal_p([np.nan, np.inf, -np.inf], [1.0, 2.0], [0, 1]), [1, 1 / 3, 1])


@pytest.mark.parametrize(
    ("null", "group"),
    [([], []), ([1.0, np.nan], [0, 1]), ([1.0, np.inf], [0, 1]), ([1.0, 2.0], [0]), ([1.0], [0, 1])],
)
def test_a_null_that_is_none_is_refused(null: list[float], group: list[int]) -> None:
    with pytest.raises(ValueError, match="null"):
        conformal_p(0.0, null, group)


@pytest.mark.parametrize("alpha", [0.05, 0.1])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95], ids=lambda s: f"shared {s}")
def test_claimed_error_rate_is_kept(alpha: float, share: float) -> None:
    """Files of a group are correlated; the suspect is one file of a further group."""
    rng = np.random.default_rng([int(100 * alpha), int(100 * share)])
    trials, groups, files = 2000, 199, 4
    effect = rng.standard_normal((trials, groups + 1, 1)) * np.sqrt(share)
    values = effect + rng.standard_normal((trials, groups + 1, files)) * np.sqrt(1 - share)
    label = np.repeat(np.arange(groups), files)
    p = np.array([conformal_p(one[groups, 0], one[:groups].ravel(), label)[0] for one in values])
    low, high = stats.binom.ppf([0.0005, 0.9995], trials, alpha)
    assert low <= np.sum(p <= alpha) <= high


@pytest.mark.parametrize("groups", [19, 25, 39])
def test_few_artists_never_raise_the_error_rate(groups: int) -> None:
    """The usual size of a set, unequal numbers of files: at most α, whatever the rounding to 1/(C+1) does."""
    rng = np.random.default_rng(groups)
    trials, alpha = 2000, 0.1
    sizes = np.arange(groups) % 5 + 1
    label = np.repeat(np.arange(groups), sizes)
    hits = 0
    for _ in range(trials):
        effect = rng.standard_normal(groups + 1)
        null = effect[label] + 0.5 * rng.standard_normal(label.size)
        hits += conformal_p(effect[groups] + 0.5 * rng.standard_normal(), null, label)[0] <= alpha
    assert 0 < hits <= stats.binom.ppf(0.9995, trials, alpha)


@given(P_VALUES)
def test_benjamini_hochberg_is_scipys(p: list[float]) -> None:
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p, method="bh"), rtol=1e-12)


@given(P_VALUES)
def test_holm_is_the_step_down_loop(p: list[float]) -> None:
    expected, running = [0.0] * len(p), 0.0
    for step, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        running = max(running, (len(p) - step) * p[i])
        expected[i] = min(1.0, running)
    np.testing.assert_allclose(holm(p), expected, rtol=1e-12)


@given(P_VALUES)
def test_adjustments_never_help_and_keep_the_order(p: list[float]) -> None:
    raw = np.array(p)
    for adjusted in (holm(raw), benjamini_hochberg(raw)):
        assert (adjusted >= raw * (1 - 1e-12)).all()
        assert (np.diff(adjusted[np.argsort(raw, kind="stable")]) >= -1e-12).all()
        assert adjusted.max() <= 1
    assert (benjamini_hochberg(raw) <= holm(raw) + 1e-12).all()
    assert holm(raw).min() == pytest.approx(min(1.0, len(p) * raw.min()))


def test_holm_keeps_the_chance_of_any_false_rejection() -> None:
    rng = np.random.default_rng(3)
    hits = sum(holm(rng.uniform(size=12)).min() <= 0.05 for _ in range(2000))
    assert 0 < hits <= stats.binom.ppf(0.9995, 2000, 0.05)


# --- does a set separate its artists? -------------------------------------------------------------------------------


def test_a_set_that_separates_nobody_is_rarely_said_to() -> None:
    """H0 holds: held-out scores know the genre and nothing else."""
    artist, genre = np.repeat(np.arange(12), 3), np.arange(12) % 3
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        score = rng.standard_normal((36, 12)) + 2.0 * (genre[artist][:, None] == genre)
        found.append(separation_p(score, artist, genre, rng, 99)[1])
    assert np.mean(np.array(found) <= 0.1) < 0.17
    assert min(found) >= 0.01


def test_a_set_that_separates_says_so_and_by_how_much() -> None:
    artist, genre, rng = np.repeat(np.arange(12), 3), np.arange(12) % 3, np.random.default_rng(0)
    score = 0.1 * rng.standard_normal((36, 12)) + 1.5 * (artist[:, None] == np.arange(12))
    statistic, p = separation_p(score, artist, genre, rng, 999)
    assert statistic == pytest.approx(1.5, abs=0.1)
    assert p == pytest.approx(0.001, abs=0.001)
    assert separation_p(score, artist, np.arange(12), rng, 99) == (0.0, 1.0)  # alone in a genre: nothing to compare
