"""Laws of the back end: the Gram matrix is enough, a left-out file is out of sample, and units do not matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.embedding.backend import (
    Projection,
    Settings,
    artist_weights,
    centroids,
    cosines,
    fit,
    fit_normaliser,
    leave_out,
    mixture_shares,
    t_norm,
    unit,
)

SETTINGS = [
    Settings(200, 0.3, None),
    Settings(6, 0.0, None),
    Settings(12, 0.7, None),
    Settings(200, 0.5, 4),
    Settings(10, 1.0, 3),
]


def world(seed: int = 0, sizes: tuple[int, ...] = (4, 3, 5, 2, 4, 4), width: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D) of artists with different numbers of files, and the artist of each file."""
    rng = np.random.default_rng(seed)
    artist = np.repeat(np.arange(len(sizes)), sizes)
    x = rng.standard_normal((len(sizes), width))[artist] + rng.standard_normal((len(artist), width)) + 5
    return x, artist


def kept_rows(artist: np.ndarray, seed: int = 1) -> np.ndarray:
    """Some files left out, among them all of one artist's."""
    kept = np.random.default_rng(seed).uniform(size=len(artist)) > 0.2
    kept[artist == 2] = False
    kept[np.flatnonzero(artist == 0)[:2]] = True
    return kept


def in_feature_space(x: np.ndarray, artist: np.ndarray, kept: np.ndarray, settings: Settings) -> np.ndarray:
    """The projection written down directly: weighted PCA by SVD, then the inverse root of the within covariance."""
    names = np.unique(artist[kept])
    weight = np.array([1 / len(names) / np.sum(artist[kept] == a) for a in artist[kept]])
    mean = weight @ x[kept]
    _, s, axes = np.linalg.svd((x[kept] - mean) * np.sqrt(weight)[:, None], full_matrices=False)
    axes = axes[: int(min(settings.components, np.sum(s**2 > 1e-9 * s[0] ** 2)))]
    y = (x - mean) @ axes.T
    within = np.zeros((len(axes), len(axes)))
    for a in names:
        mine = y[kept & (artist == a)]
        within += (mine - mine.mean(0)).T @ (mine - mine.mean(0)) / max(len(mine) - 1, 1) / len(names)
    within = (1 - settings.shrink) * within + settings.shrink * np.trace(within) / len(within) * np.eye(len(within))
    y = y @ np.linalg.inv(np.linalg.cholesky(within)).T
    if settings.between is not None:
        centre = np.stack([y[kept & (artist == a)].mean(0) for a in names])
        _, turn = np.linalg.eigh(np.cov(centre.T))
        y = y @ turn[:, ::-1][:, : settings.between]
    return y


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_gram_space_gives_what_feature_space_gives(settings: Settings) -> None:
    """Inner products of coordinates, of fitted and left-out files alike."""
    x, artist = world()
    kept = kept_rows(artist)
    points, direct = fit(x @ x.T, artist, kept, settings).points, in_feature_space(x, artist, kept, settings)
    assert points.shape == direct.shape
    np.testing.assert_allclose(points @ points.T, direct @ direct.T, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_projection_of_features_gives_the_fitted_coordinates(settings: Settings) -> None:
    x, artist = world()
    kept = kept_rows(artist)
    fitted = fit(x @ x.T, artist, kept, settings)
    projection = Projection(fitted.weight @ x, x.T @ fitted.coefficients)
    np.testing.assert_allclose(projection(x), fitted.points, atol=1e-7)
    np.testing.assert_allclose(projection(x[3]), fitted.points[3:4], atol=1e-7)
    assert not fitted.weight[~kept].any()
    assert not fitted.coefficients[~kept].any()


def test_artists_weigh_the_same_whatever_the_number_of_their_files() -> None:
    _, artist = world()
    kept = kept_rows(artist)
    weight = artist_weights(artist, kept)
    assert weight.sum() == pytest.approx(1)
    totals = [weight[artist == a].sum() for a in np.unique(artist[kept])]
    np.testing.assert_allclose(totals, 1 / len(totals))
    assert not weight[~kept].any()


def test_without_shrinkage_the_within_artist_covariance_is_the_identity() -> None:
    x, artist = world()
    everything = np.ones(len(x), bool)
    y = fit(x @ x.T, artist, everything, Settings(8, 0.0)).points
    within = sum(np.cov(y[artist == a].T) for a in range(6)) / 6
    np.testing.assert_allclose(within, np.eye(8), atol=1e-8)
    rounded = fit(x @ x.T, artist, everything, Settings(8, 1.0)).points  # shrunken to a sphere: PCA, but for one factor
    ratio = np.linalg.norm(rounded - rounded.mean(0), axis=0)
    plain = in_feature_space(x, artist, everything, Settings(8, 1.0))
    np.testing.assert_allclose(np.sort(ratio), np.sort(np.linalg.norm(plain - plain.mean(0), axis=0)), rtol=1e-6)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("change", ["shift", "rotation", "strength"])
def test_units_of_the_features_do_not_matter(settings: Settings, change: str) -> None:
    x, artist = world()
    rng = np.random.default_rng(8)
    turn = np.linalg.qr(rng.standard_normal((60, 60)))[0]
    changed = {"shift": x + 7 * rng.standard_normal(60), "rotation": x @ turn, "strength": 30 * x}[change]
    for before, after in zip(
        leave_out(x @ x.T, artist, artist, settings),
        leave_out(changed @ changed.T, artist, artist, settings),
        strict=True,
    ):
        scores = [left.points @ left.centres.T for left in (before, after)]
        np.testing.assert_allclose(scores[1], scores[0], atol=1e-6)


@pytest.mark.parametrize("settings", SETTINGS[:3], ids=str)
def test_a_left_out_file_is_not_seen_by_the_fit(settings: Settings) -> None:
    """Other left-out files of its group may be anything."""
    x, artist = world()
    other = x.copy()
    mine = np.flatnonzero(artist == 2)
    other[mine[1:]] = 100 * np.random.default_rng(3).standard_normal((len(mine) - 1, x.shape[1]))
    before, after = (list(leave_out(f @ f.T, artist, artist, settings))[2] for f in (x, other))
    assert before.rows.tolist() == mine.tolist()
    np.testing.assert_allclose(after.points[0] @ after.centres.T, before.points[0] @ before.centres.T, atol=1e-6)
    assert np.abs(after.points[1] @ after.centres.T - before.points[1] @ before.centres.T)[:2].max() > 1e-3


def test_leaving_an_artist_out_is_a_set_without_that_artist() -> None:
    x, artist = world()
    settings = Settings(10, 0.4)
    for left in leave_out(x @ x.T, artist, artist, settings):
        a = int(artist[left.rows[0]])
        rest = artist != a
        alone = fit(x[rest] @ x[rest].T, artist[rest], np.ones(rest.sum(), bool), settings)
        projection = Projection(alone.weight @ x[rest], x[rest].T @ alone.coefficients)
        centres = centroids(alone.points, artist[rest], 6, np.ones(rest.sum(), bool))
        assert np.isnan(left.centres[a]).all()
        np.testing.assert_allclose(left.points @ left.centres.T, cosines(projection(x[left.rows]), centres), atol=1e-7)


def test_every_file_is_left_out_once_and_parts_leave_the_artist_in() -> None:
    x, artist = world()
    parts = 2 * artist + (np.arange(len(artist)) % 2)
    seen = []
    for left in leave_out(x @ x.T, artist, parts, Settings()):
        seen += left.rows.tolist()
        assert np.isfinite(left.centres).all()
        np.testing.assert_allclose(np.linalg.norm(left.points, axis=1), 1)
    assert sorted(seen) == list(range(len(x)))


def test_discriminants_are_the_leading_ones() -> None:
    """Artists that differ in three directions: three discriminants hold them all."""
    rng = np.random.default_rng(2)
    artist = np.repeat(np.arange(8), 5)
    x = 0.3 * rng.standard_normal((40, 50))
    x[:, :3] += 4 * rng.standard_normal((8, 3))[artist]
    few = fit(x @ x.T, artist, np.ones(40, bool), Settings(20, 0.5, 3))
    assert few.points.shape == (40, 3)
    nearest = (unit(few.points) @ centroids(few.points, artist, 8, np.ones(40, bool)).T).argmax(1)
    assert (nearest == artist).mean() > 0.95


def test_centres_are_mean_directions() -> None:
    points = np.array([[10.0, 0], [0, 0.1], [0, 5], [3, 3]])
    artist, kept = np.array([0, 0, 1, 2]), np.array([True, True, True, False])
    found = centroids(points, artist, 4, kept)
    np.testing.assert_allclose(found[:2], [[0.5**0.5, 0.5**0.5], [0, 1]])
    assert np.isnan(found[2:]).all()
    scores = cosines(np.array([[1.0, 0], [0, 0]]), found)
    np.testing.assert_allclose(scores[:, :2], [[0.5**0.5, 0], [0, 0]], atol=1e-12)
    assert np.isnan(scores[:, 2:]).all()


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), st.integers(0, 1000))
def test_shares_of_a_mixture_are_found(shares: list[float], seed: int) -> None:
    centres = unit(np.random.default_rng(seed).standard_normal((4, 12)))
    missing = np.vstack([centres[:2], np.full((1, 12), np.nan), centres[2:]])
    found = mixture_shares(missing, np.array(shares) @ centres)
    assert (found >= 0).all()
    np.testing.assert_allclose(found, [*shares[:2], 0, *shares[2:]], atol=1e-6)


def test_a_direction_against_an_artist_has_no_share() -> None:
    assert mixture_shares(np.eye(3), np.array([-1.0, 0.5, 0])).tolist() == pytest.approx([0, 0.5, 0])


def test_t_norm_has_mean_zero_and_spread_one_and_forgets_units() -> None:
    scores = np.random.default_rng(0).standard_normal((5, 9))
    scores[2, 4] = np.nan
    found = t_norm(scores)
    np.testing.assert_allclose(np.nanmean(found, 1), 0, atol=1e-12)
    np.testing.assert_allclose(np.nanstd(found, 1), 1)
    assert np.isnan(found[2, 4])
    np.testing.assert_allclose(t_norm(3 * scores + 8), found)


def test_normalised_impostors_are_alike_for_every_artist() -> None:
    """Mean 0 and spread 1 over impostor artists, each counted once; an artist whom all resemble gains nothing."""
    rng = np.random.default_rng(1)
    artist = np.repeat(np.arange(7), [2, 3, 5, 4, 4, 3, 6])
    null = rng.standard_normal((27, 7)) * np.linspace(0.5, 3, 7) + np.linspace(-2, 2, 7)
    null[np.arange(27), artist] = np.nan
    normaliser = fit_normaliser(null, artist)
    scores = normaliser(null)
    assert np.isnan(scores[np.arange(27), artist]).all()
    for a in range(7):
        there = artist != a
        weight = 1 / np.bincount(artist)[artist[there]] / 6
        assert weight @ scores[there, a] == pytest.approx(0, abs=1e-12)
        assert weight @ scores[there, a] ** 2 == pytest.approx(1)
    more = np.vstack([null, null[artist == 5]])
    again = fit_normaliser(more, np.concatenate([artist, artist[artist == 5]]))
    np.testing.assert_allclose([again.centre, again.spread], [normaliser.centre, normaliser.spread])
