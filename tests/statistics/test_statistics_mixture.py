"""Shares of known directions, and taking directions out: known answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls

from auditor.statistics.mixture import shares, taken_out

PARTS = st.lists(st.floats(0.01, 1), min_size=4, max_size=4)


def directions(seed: int, count: int = 5, width: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, width))


@given(PARTS, st.integers(0, 1000))
def test_shares_of_a_sum_are_found(parts: list[float], seed: int) -> None:
    given_, weights = directions(seed), np.insert(parts, 2, 0.0)
    point = weights @ given_
    given_[2] = np.nan  # a direction that is not there
    np.testing.assert_allclose(shares(given_, point), weights, atol=1e-6)


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_shares_are_those_of_the_general_solver(seed: int, count: int) -> None:
    """Whether or not plain least squares has negative coefficients; the answer is unique."""
    rng = np.random.default_rng(seed)
    given_, point = rng.standard_normal((count, 12)), rng.standard_normal(12)
    np.testing.assert_allclose(shares(given_, point), nnls(given_.T, point)[0], rtol=1e-9, atol=1e-12)


def test_a_direction_against_the_point_has_no_share() -> None:
    assert shares(np.eye(3), [-1.0, 0.5, 0]).tolist() == pytest.approx([0, 0.5, 0])
    assert shares(np.eye(3), [-1.0, -0.5, 0]).tolist() == [0, 0, 0]
    assert shares(np.full((2, 3), np.nan), [1.0, 2, 3]).tolist() == [0, 0]


@given(PARTS, st.integers(0, 1000), st.sets(st.integers(0, 4), max_size=3))
def test_what_is_taken_out_no_longer_matters(parts: list[float], seed: int, out: set[int]) -> None:
    """Cosines of the rest: the same whatever was there of the directions taken out, and as by projection."""
    given_ = directions(seed)
    rest = np.random.default_rng([seed, 1]).standard_normal((3, 12))
    mixed = rest + sum((w * given_[i] for w, i in zip(parts, out, strict=False)), np.zeros(12))
    gram, found, kept = given_ @ given_.T, sorted(out), [i for i in range(5) if i not in out]
    unit, unmixed = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (mixed, rest))
    seen = taken_out(unit @ given_.T, gram, found)
    np.testing.assert_allclose(seen, taken_out(unmixed @ given_.T, gram, found), atol=1e-6)
    basis = np.linalg.qr(given_[found].T)[0]
    left = rest - rest @ basis @ basis.T
    np.testing.assert_allclose(
        seen[:, kept], left / np.linalg.norm(left, axis=1, keepdims=True) @ given_[kept].T, atol=1e-6
    )
    assert np.isnan(seen[:, found]).all()


def test_a_point_of_nothing_but_what_is_taken_out_stays_finite() -> None:
    given_ = directions(0, 3, 5)
    unit = given_[:1] / np.linalg.norm(given_[0])
    seen = taken_out(unit @ given_.T, given_ @ given_.T, [0])
    np.testing.assert_allclose(seen[:, 1:], 0, atol=1e-9)


def test_nothing_taken_out_changes_nothing() -> None:
    cosine = directions(0, 3, 5)
    cosine[1, 2] = np.nan
    np.testing.assert_array_equal(taken_out(cosine, np.eye(5), []), cosine)
    assert np.isnan(taken_out(cosine, np.eye(5), [2])[1]).all()
