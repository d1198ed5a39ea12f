"""Laws of the back end: the Gram matrix is enough, a left-out file is out of sample, and units do not matter.

Gram matrices are kept in single precision, hence the tolerances.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from worlds import columns_of, grams_of

from auditor.embedding.axes import principal
from auditor.embedding.fit import Fit, Settings, fit, leave_out
from auditor.embedding.grams import Grams
from auditor.embedding.points import artist_weights, centroids, cosines, unit
from auditor.embedding.projection import STEPS, Projection, in_steps
from auditor.embedding.scores import CROWD, DISCOUNT, fit_normaliser, impostor_scores, lead, leads, t_norm
from auditor.errors import ReferenceSetError

ARTISTS, WIDTH, BLOCKS = 6, 60, 4
SETTINGS = [
    Settings(components=200, shrink=0.3, weigh=False),
    Settings(components=6, shrink=0.05, weigh=False),
    Settings(components=12, shrink=0.7, weigh=True),
    Settings(components=200, shrink=0.5, weigh=True),
    Settings(components=10, shrink=1.0, weigh=True),
]


def world(seed: int = 0, sizes: tuple[int, ...] = (4, 3, 5, 2, 4, 4)) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D) of artists with different numbers of files, and the artist of each file."""
    rng = np.random.default_rng(seed)
    artist = np.repeat(np.arange(len(sizes)), sizes)
    x = rng.standard_normal((len(sizes), WIDTH))[artist] + rng.standard_normal((len(artist), WIDTH)) + 5
    return x * np.repeat([1.0, 0.1, 10.0, 3.0], WIDTH // BLOCKS), artist


def kept_rows(artist: np.ndarray, seed: int = 1) -> np.ndarray:
    """Some files left out, among them all of one artist's."""
    kept = np.random.default_rng(seed).uniform(size=len(artist)) > 0.2
    kept[artist == 2] = False
    kept[np.flatnonzero(artist == 0)[:2]] = True
    return kept


def across_mean(x: np.ndarray, weight: np.ndarray, blocks: int = BLOCKS) -> np.ndarray:
    """Features without the direction of their weighted mean in every block."""
    across = x.copy()
    for block in columns_of(x.shape[1], blocks):
        mean = weight @ x[:, block]
        across[:, block] -= np.outer(x[:, block] @ mean, mean) / (mean @ mean)
    return across


def in_feature_space(x: np.ndarray, artist: np.ndarray, kept: np.ndarray, settings: Settings) -> np.ndarray:
    """The fit written down directly: mean's direction out of every block, weighted PCA by SVD, inverse root of the
    within covariance, discriminants."""
    names = np.unique(artist[kept])
    weight = np.array([1 / len(names) / np.sum(artist[kept] == a) for a in artist[kept]])
    every = np.zeros(len(x))
    every[kept] = weight
    across = across_mean(x, every)
    _, s, axes = np.linalg.svd(across[kept] * np.sqrt(weight)[:, None], full_matrices=False)
    axes = axes[: int(min(settings.components, np.sum(s > 1e-3 * s[0])))]
    y = across @ axes.T
    within = np.zeros((len(axes), len(axes)))
    for a in names:
        mine = y[kept & (artist == a)]
        within += (mine - mine.mean(0)).T @ (mine - mine.mean(0)) / max(len(mine) - 1, 1) / len(names)
    within = (1 - settings.shrink) * within + settings.shrink * np.trace(within) / len(within) * np.eye(len(within))
    y = y @ np.linalg.inv(np.linalg.cholesky(within)).T
    centre = np.stack([y[kept & (artist == a)].mean(0) for a in names])
    _, turn = np.linalg.eigh(np.cov(centre.T))
    return y @ turn[:, ::-1][:, : len(names) - 1]


def projected(fitted: Fit, x: np.ndarray, blocks: int) -> Projection:
    """What calibration makes of a fit, without rounding."""
    return Projection(fitted.weight @ x, np.ones(x.shape[1]), fitted.matrix(x, columns_of(x.shape[1], blocks)))


def same_products(points: np.ndarray, others: np.ndarray, atol: float = 2e-3) -> None:
    """Coordinates agree up to a rotation and a common factor."""
    one, two = points @ points.T, others @ others.T
    np.testing.assert_allclose(one / np.trace(one), two / np.trace(two), atol=atol / len(one))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_gram_space_gives_what_feature_space_gives(settings: Settings) -> None:
    """Inner products of coordinates, of fitted and left-out files alike."""
    x, artist = world()
    kept = kept_rows(artist)
    fitted = fit(grams_of(x, artist, BLOCKS), kept, settings)
    scaled = x * np.repeat(np.sqrt(fitted.blocks), WIDTH // BLOCKS)
    assert fitted.points.shape == (len(x), min(4, settings.components))
    same_products(fitted.points, in_feature_space(scaled, artist, kept, settings))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_projection_of_features_gives_the_fitted_coordinates(settings: Settings) -> None:
    """Mean and matrix as calibration makes them; for files that the fit has seen and for others."""
    x, artist = world()
    kept = kept_rows(artist)
    fitted = fit(grams_of(x, artist, BLOCKS), kept, settings)
    projection = projected(fitted, x, BLOCKS)
    size = np.abs(fitted.points).max()
    np.testing.assert_allclose(projection(x), fitted.points, atol=2e-3 * size)
    np.testing.assert_allclose(projection(x[3]), fitted.points[3:4], atol=2e-3 * size)
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
    y = fit(grams_of(x, artist, BLOCKS), everything, Settings(components=8, shrink=0.0)).points
    within = sum(np.cov(y[artist == a].T) for a in range(ARTISTS)) / ARTISTS
    np.testing.assert_allclose(within, np.eye(ARTISTS - 1), atol=1e-2)
    assert np.abs(np.cov(y.T) - np.eye(ARTISTS - 1)).max() > 0.1


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("change", ["rotation", "strength"])
def test_units_of_the_features_do_not_matter(settings: Settings, change: str) -> None:
    """Axes and unit of each block are arbitrary; its zero is not, which is no change at all."""
    x, artist = world()
    rng = np.random.default_rng(8)
    changed = {
        "strength": x * np.repeat([3.0, 500, 0.2, 1], WIDTH // BLOCKS),
    }
    turned = x.copy()
    for block in columns_of(WIDTH, BLOCKS):
        turned[:, block] = x[:, block] @ np.linalg.qr(rng.standard_normal((WIDTH // BLOCKS,) * 2))[0]
    changed["rotation"] = turned
    pairs = zip(
        leave_out(grams_of(x, artist, BLOCKS), artist, settings),
        leave_out(grams_of(changed[change], artist, BLOCKS), artist, settings),
        strict=True,
    )
    for before, after in pairs:
        np.testing.assert_allclose(after.points @ after.centres.T, before.points @ before.centres.T, atol=5e-3)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_how_much_of_the_mean_a_file_has_does_not_matter(settings: Settings) -> None:
    """Nor does a block that it lacks: it moves no coordinate, as if others alone had been looked at."""
    x, artist = world()
    kept, rng = kept_rows(artist), np.random.default_rng(5)
    fitted = fit(grams_of(x, artist, BLOCKS), kept, settings)
    projection = projected(fitted, x, BLOCKS)
    blocks = columns_of(WIDTH, BLOCKS)
    more = x + np.repeat(rng.uniform(-3, 3, (len(x), BLOCKS)), WIDTH // BLOCKS, axis=1) * projection.mean
    size = np.abs(fitted.points).max()
    np.testing.assert_allclose(projection(more), projection(x), atol=1e-9 * size)
    np.testing.assert_allclose(projection(0 * x), 0, atol=1e-9 * size)
    lacking = x.copy()
    lacking[:, blocks[2]] = 0
    np.testing.assert_allclose(projection(lacking), projection(x) - projection.part(x, blocks[2]), atol=1e-9 * size)


def test_where_files_have_no_mean_nothing_is_taken_out() -> None:
    """Every file and its opposite: the direction of a mean of rounding errors is nobody's."""
    half = np.random.default_rng(6).standard_normal((12, 30))
    x, artist = np.concatenate([half, -half]), np.arange(24) // 3
    for block in (x, x + 1e-8):
        fitted = fit(grams_of(block, artist), np.ones(24, bool), Settings(components=40, shrink=1.0))
        np.testing.assert_allclose(projected(fitted, block, 1)(block), fitted.points, atol=1e-4)
        assert np.isfinite(fitted.points).all()


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize(("blocks", "atol"), [(1, 2e-3), (BLOCKS, 0.1)])
def test_a_left_out_file_is_not_seen_by_the_fit(settings: Settings, blocks: int, atol: float) -> None:
    """Other left-out files of its group may be any others.

    Exactly so for one block; with several, the weights of blocks know the common centre of all files, and no more.
    """
    x, artist = world()
    other = x.copy()
    mine = np.flatnonzero(artist == 2)
    other[mine[1:]] += x.std(0) * np.random.default_rng(3).standard_normal((len(mine) - 1, WIDTH))
    before, after = (list(leave_out(grams_of(f, artist, blocks), artist, settings))[2] for f in (x, other))
    assert before.rows.tolist() == mine.tolist()
    np.testing.assert_allclose(after.points[0] @ after.centres.T, before.points[0] @ before.centres.T, atol=atol)
    assert np.abs(after.points[1] @ after.centres.T - before.points[1] @ before.centres.T)[:2].max() > 0.05


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize(("blocks", "atol"), [(1, 2e-3), (BLOCKS, 0.1)])
def test_leaving_an_artist_out_is_a_set_without_that_artist(settings: Settings, blocks: int, atol: float) -> None:
    x, artist = world()
    for left in leave_out(grams_of(x, artist, blocks), artist, settings):
        a = int(artist[left.rows[0]])
        rest = artist != a
        everything = np.ones(rest.sum(), bool)
        alone = fit(grams_of(x[rest], artist[rest], blocks), everything, settings)
        projection = projected(alone, x[rest], blocks)
        centres = centroids(alone.points, artist[rest], ARTISTS, everything)
        assert np.isnan(left.centres[a]).all()
        np.testing.assert_allclose(left.points @ left.centres.T, cosines(projection(x[left.rows]), centres), atol=atol)


def test_every_file_is_left_out_once_and_parts_leave_the_artist_in() -> None:
    x, artist = world()
    parts = 2 * artist + (np.arange(len(artist)) % 2)
    seen = []
    for left in leave_out(grams_of(x, artist, BLOCKS), parts, Settings()):
        seen += left.rows.tolist()
        assert np.isfinite(left.centres).all()
        np.testing.assert_allclose(np.linalg.norm(left.points, axis=1), 1)
    assert sorted(seen) == list(range(len(x)))


def test_discriminants_are_the_leading_ones() -> None:
    """Artists that differ in few directions, all of one noise: the kept directions hold the differences."""
    rng = np.random.default_rng(2)
    artist = np.repeat(np.arange(8), 5)
    x = 0.3 * rng.standard_normal((40, 50))
    x[:, :3] += 4 * rng.standard_normal((8, 3))[artist]
    few = fit(grams_of(x, artist), np.ones(40, bool), Settings(components=20, shrink=0.5))
    assert few.points.shape == (40, 7)
    spread = few.points.var(0)
    assert (np.diff(spread) <= 1e-9 + 0.1 * spread[:-1]).all()
    assert spread[:3].sum() > 0.95 * spread.sum()
    nearest = (unit(few.points) @ centroids(few.points, artist, 8, np.ones(40, bool)).T).argmax(1)
    assert (nearest == artist).mean() > 0.95


# --- weights of blocks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", ["an artist", "half of an artist's files", "a file of every artist"])
def test_weights_of_blocks_are_signal_over_squared_noise(left: str) -> None:
    """By loops over pairs of kept files, on the features without the direction of the mean of all."""
    x, artist = world(3)
    turn = np.arange(len(artist)) % int((artist == 0).sum())
    kept = {"an artist": artist != 2, "half of an artist's files": (artist != 2) | (turn % 2 == 0)}.get(left, turn != 1)
    fitted = fit(grams_of(x, artist, BLOCKS), kept, Settings(components=5, weigh=True))
    centred = across_mean(x, artist_weights(artist, np.ones(len(x), bool)))
    rows = np.flatnonzero(kept)
    weights, shares = [], []
    for block in columns_of(WIDTH, BLOCKS):
        products = {
            same: [
                centred[i, block] @ centred[j, block]
                for i in rows
                for j in rows
                if i != j and (artist[i] == artist[j]) == same
            ]
            for same in (True, False)
        }
        signal = max(0.0, np.mean(products[True]) - np.mean(products[False]))
        weights.append(signal / np.var(products[False]))
        shares.append(signal / np.std(products[False]))
    expected = np.where(np.array(shares) >= 0.1 * max(shares), weights, 0)
    np.testing.assert_allclose(fitted.blocks / fitted.blocks.max(), expected / expected.max(), rtol=1e-3)


def test_a_block_of_noise_has_no_weight() -> None:
    rng = np.random.default_rng(0)
    artist = np.repeat(np.arange(10), 5)
    signal = rng.standard_normal((10, 20))[artist] + 0.3 * rng.standard_normal((50, 20))
    x = np.hstack([signal, 100 * rng.standard_normal((50, 20)), signal @ np.diag(rng.uniform(1, 2, 20))])
    blocks = fit(grams_of(x, artist, 3), np.ones(50, bool), Settings(components=20, weigh=True)).blocks
    assert blocks[1] < 0.01 * blocks[0]
    assert blocks[2] > 0.05 * blocks[0]
    alike = fit(grams_of(x, artist, 3), np.ones(50, bool), Settings(components=20, weigh=False)).blocks
    across = across_mean(x, artist_weights(artist, np.ones(50, bool)), 3)
    energy = [(across[:, block] ** 2).sum() for block in columns_of(60, 3)]
    np.testing.assert_allclose(alike * energy, (alike * energy)[0], rtol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_artists_that_nothing_separates_are_fitted_all_the_same(seed: int) -> None:
    """Noise for features, so that the estimated signal may be zero or below in every block."""
    rng = np.random.default_rng(seed)
    artist = np.repeat(np.arange(5), 3)
    x = rng.standard_normal((15, 30))
    x -= 0.9 * np.stack([x[artist == a].mean(0) for a in artist])  # files of an artist lie apart, if anything
    for left in leave_out(grams_of(x, artist, 1), artist, Settings(components=10, weigh=True)):
        assert np.isfinite(left.points).all()
        np.testing.assert_allclose(np.linalg.norm(left.points, axis=1), 1)


# --- scores ----------------------------------------------------------------------------------------------------------


def test_centres_are_mean_directions() -> None:
    points = np.array([[10.0, 0], [0, 0.1], [0, 5], [3, 3]])
    artist, kept = np.array([0, 0, 1, 2]), np.array([True, True, True, False])
    found = centroids(points, artist, 4, kept)
    np.testing.assert_allclose(found[:2], [[0.5, 0.5], [0, 1]])
    assert np.isnan(found[2:]).all()
    scores = cosines(np.array([[1.0, 0], [0, 0]]), found)
    np.testing.assert_allclose(scores[:, :2], [[0.5, 0], [0, 0]], atol=1e-12)
    assert np.isnan(scores[:, 2:]).all()


def test_t_norm_has_mean_zero_and_spread_one_and_forgets_units() -> None:
    scores = np.random.default_rng(0).standard_normal((5, 9))
    scores[2, 4] = np.nan
    found = t_norm(scores)
    np.testing.assert_allclose(np.nanmean(found, 1), 0, atol=1e-12)
    np.testing.assert_allclose(np.nanstd(found, 1), 1)
    assert np.isnan(found[2, 4])
    np.testing.assert_allclose(t_norm(3 * scores + 8), found)


def some_null(seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Leave-artist-out cosines with artists whom all resemble more than others; own column NaN."""
    rng = np.random.default_rng(seed)
    artist = np.repeat(np.arange(7), [2, 3, 5, 4, 4, 3, 6])
    null = rng.standard_normal((27, 7)) * np.linspace(0.5, 3, 7) + np.linspace(-2, 2, 7)
    null[np.arange(27), artist] = np.nan
    return null, artist


def crowd_by_hand(null: np.ndarray, artist: np.ndarray, a: int) -> float:
    """Mean cosine of the strangers nearest to artist a: files one by one, until they weigh a third of an artist."""
    left, total = CROWD, 0.0
    for i in sorted((i for i in range(len(null)) if not np.isnan(null[i, a])), key=lambda i: -null[i, a]):
        worth = min(left, 1 / np.sum(artist == artist[i]))
        total, left = total + worth * null[i, a], left - worth
    return total / (CROWD - left)


def test_a_score_discounts_how_near_strangers_come_to_the_artist() -> None:
    """Cosine less three quarters of the crowd's, in standard deviations of all strangers, whose mean is 0."""
    null, artist = some_null()
    scores = fit_normaliser(null, artist)(null)
    assert np.array_equal(np.isnan(scores), np.isnan(null))
    plain = null - DISCOUNT * np.array([crowd_by_hand(null, artist, a) for a in range(7)])
    spread = np.nanstd(plain) / np.nanstd(scores)
    np.testing.assert_allclose(scores, (plain - plain[0, 1]) / spread + scores[0, 1])
    weight = np.where(np.isnan(scores), 0, 1 / np.bincount(artist)[artist][:, None])
    filled = np.nan_to_num(scores)
    assert (weight * filled).sum() == pytest.approx(0, abs=1e-12)
    assert (weight * filled**2).sum() / weight.sum() == pytest.approx(1)


def test_files_of_an_artist_who_has_more_of_them_weigh_no_more() -> None:
    null, artist = some_null()
    more, labels = np.vstack([null, null[artist == 5]]), np.concatenate([artist, artist[artist == 5]])
    one, two = fit_normaliser(null, artist), fit_normaliser(more, labels)
    np.testing.assert_allclose(two.centre, one.centre)
    assert two.spread == pytest.approx(one.spread)


def test_an_artist_whom_strangers_come_near_needs_more() -> None:
    """Where the crowd is nearer the same cosine scores less, and nobody else's score moves."""
    null, artist = some_null()
    before = fit_normaliser(null, artist)
    crowded = null.copy()
    crowded[artist == 2, 6] += 9.0
    after = fit_normaliser(crowded, artist)
    moved = (after.centre - before.centre) - (after.centre - before.centre)[0]
    assert moved[6] > 1
    np.testing.assert_allclose(np.delete(moved, 6), 0, atol=1e-12)


def test_an_impostor_is_in_no_crowd_that_it_is_measured_against() -> None:
    """As a suspect is in none: its files may come as near as they like without raising what is asked of them."""
    null, artist = some_null()
    fitted, scores = fit_normaliser(null, artist), impostor_scores(null, artist)
    assert np.array_equal(np.isnan(scores), np.isnan(null))
    for a in range(7):
        own, others = artist == a, np.arange(7) != a
        alone = fit_normaliser(null[~own], artist[~own])
        expected = (null[own] - alone.centre)[:, others] / fitted.spread
        apart = scores[own][:, others] - expected
        np.testing.assert_allclose(apart, apart[0, 0])  # but for the level, which no lead sees
        np.testing.assert_allclose(lead(scores)[own], lead((null[own] - alone.centre) / fitted.spread))
    twin = null.copy()
    twin[artist == 2, 6] += 3.0
    closer = (impostor_scores(twin, artist) * fit_normaliser(twin, artist).spread - scores * fitted.spread)[artist == 2]
    np.testing.assert_allclose(closer[:, 6] - closer[:, 0], 3.0)


# --- degenerate sets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [2, 3, 40])
def test_one_file_an_artist_has_no_within_artist_variance_to_remove(width: int) -> None:
    x = np.random.default_rng(0).standard_normal((6, width))
    artist = np.arange(6)
    for left in leave_out(Grams(x, [slice(0, width)], artist, np.ones(6, bool)), artist, Settings()):
        assert np.isfinite(left.points).all()
        assert np.isnan(left.centres[left.rows]).all()
        assert np.isfinite(np.delete(left.centres, left.rows, 0)).all()


@pytest.mark.parametrize("shrink", [0.0, 0.5, 1.0])
def test_identical_files_of_an_artist_are_no_fault(shrink: float) -> None:
    artist = np.repeat(np.arange(4), 3)
    x = np.random.default_rng(0).standard_normal((4, 30))[artist]
    everyone = np.ones(12, bool)
    fitted = fit(Grams(x, [slice(0, 30)], artist, everyone), everyone, Settings(shrink=shrink))
    closeness = unit(fitted.points) @ unit(fitted.points).T
    assert closeness[artist[:, None] == artist].min() == pytest.approx(1)
    assert closeness[artist[:, None] != artist].max() < 0.5


def test_features_of_two_numbers_order_artists_by_their_angle() -> None:
    """Of one number nothing is left without its size; of two, what lies across the mean."""
    artist = np.repeat(np.arange(5), 2)
    angle = 0.1 * artist + 0.01 * np.random.default_rng(0).standard_normal(10)
    x, everyone = np.stack([np.cos(angle), np.sin(angle)], axis=1), np.ones(10, bool)
    fitted = fit(Grams(x, [slice(0, 2)], artist, everyone), everyone, Settings())
    assert abs(np.corrcoef(fitted.points[:, 0], angle)[0, 1]) == pytest.approx(1, abs=1e-3)
    with pytest.raises(ReferenceSetError, match="told apart"):
        fit(Grams(x[:, 1:], [slice(0, 1)], artist, everyone), everyone, Settings())


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_files_that_do_not_differ_are_refused(value: float) -> None:
    artist, everyone = np.repeat(np.arange(4), 2), np.ones(8, bool)
    with pytest.raises(ReferenceSetError, match="told apart"):
        fit(Grams(np.full((8, 5), value), [slice(0, 5)], artist, everyone), everyone, Settings())


def test_a_single_artist_is_refused() -> None:
    x, artist = np.random.default_rng(0).standard_normal((4, 5)), np.zeros(4, np.intp)
    with pytest.raises(ReferenceSetError, match="one artist"):
        fit(Grams(x, [slice(0, 5)], artist, np.ones(4, bool)), np.ones(4, bool), Settings())


def test_a_projection_in_steps_turns_the_embedding_by_less_than_anyone_can_see() -> None:
    """Rounded to one byte an entry, rows and columns of very different size; a row of nothing stays nothing."""
    x, artist = world()
    fitted = fit(grams_of(x, artist, BLOCKS), np.ones(len(x), bool), Settings())
    matrix = fitted.matrix(x, columns_of(WIDTH, BLOCKS))
    matrix /= np.abs(matrix).max()
    matrix[5] = 0.0
    scale, steps = in_steps(matrix)
    assert steps.dtype == np.int8
    np.testing.assert_allclose(scale[:, None] * steps, matrix, atol=1.01 * np.abs(matrix).max(1).max() / (2 * STEPS))
    assert not steps[5].any()
    mean, ones = fitted.weight @ x, np.ones(len(matrix))
    exact, coarse = Projection(mean, ones, matrix), Projection(mean, scale, steps)
    assert (np.sum(unit(exact(x)) * unit(coarse(x)), axis=1) > 0.999).all()
    half = np.arange(len(matrix)) < len(matrix) // 2
    np.testing.assert_allclose(coarse.part(x, half) + coarse.part(x, ~half), coarse(x), rtol=1e-9)


def test_the_lead_is_over_the_mean_of_the_next_three() -> None:
    scores = np.array([[9.0, 1, 5, 2, 3, 4], [np.nan, 1, 5, 2, 3, 9], [1, 1, 1, 1, 1, 1]])
    np.testing.assert_allclose(lead(scores), [9 - 4, 9 - 10 / 3, 0])
    np.testing.assert_allclose(lead(np.array([[4.0, 1, 3]])), [1.0])
    np.testing.assert_allclose(lead(np.array([[4.0, np.nan, 3]])), [1.0])
    np.testing.assert_allclose(lead(np.array([[4.0, np.nan]])), [4.0])


@given(hnp.arrays(float, (1, 9), elements=st.floats(-20, 20)), st.floats(-5, 5), st.floats(0, 9))
def test_the_lead_follows_the_first_alone_and_no_common_shift(scores: np.ndarray, shift: float, more: float) -> None:
    plain = lead(scores)[0]
    assert plain >= -1e-12
    assert lead(scores + shift)[0] == pytest.approx(plain, abs=1e-9)
    assert lead(scores[:, ::-1])[0] == pytest.approx(plain, abs=1e-9)
    raised = scores.copy()
    raised[0, scores[0].argmax()] += more
    assert lead(raised)[0] == pytest.approx(plain + more, abs=1e-9)


def strangers(artists: int = 9, files: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Leave-artist-out cosines of a set, own columns NaN, and the files' artists."""
    artist = np.repeat(np.arange(artists), files)
    null = np.random.default_rng(4).normal(0, 0.1, (len(artist), artists))
    null[np.arange(len(artist)), artist] = np.nan
    return null, artist


@given(st.permutations(range(9)))
def test_the_order_of_artists_changes_no_statistic(order: list[int]) -> None:
    null, artist = strangers()
    place = np.argsort(order)
    turned = lead(impostor_scores(null[:, order], place[artist]))
    np.testing.assert_allclose(turned, lead(impostor_scores(null, artist)), rtol=1e-9)


def test_signs_of_the_axes_do_not_depend_on_the_decomposition() -> None:
    directions = unit(np.random.default_rng(0).standard_normal((12, 7)) * np.arange(1, 8))
    axes = principal(directions)
    for order in (slice(None, None, -1), np.random.default_rng(1).permutation(12)):
        assert principal(directions[order]).axes == pytest.approx(axes.axes, abs=1e-12)
    mirrored = principal(-directions)
    assert mirrored.axes == pytest.approx(axes.axes, abs=1e-12)
    assert mirrored(-directions) == pytest.approx(-axes(directions), abs=1e-12)
    assert (axes.axes.max(0) == np.abs(axes.axes).max(0)).all()
    assert 0 < axes.explained < 1


@pytest.mark.parametrize("artists", [2, 3, 4, 5, 9])
def test_the_lead_of_whom_was_asked_about_is_over_the_three_best_of_all_others(artists: int) -> None:
    rng = np.random.default_rng(artists)
    scores = rng.standard_normal((30, artists))
    scores[np.arange(30) % 3 == 0, 0] = np.nan
    after = min(3, artists - 2)
    alone = leads(scores)
    for row, found in zip(scores, alone, strict=True):
        for a in range(artists):
            others = np.sort(np.delete(row, a)[~np.isnan(np.delete(row, a))])[::-1][:after]
            expected = row[a] - (others.mean() if len(others) else 0.0)
            assert found[a] == pytest.approx(expected, nan_ok=True)
    assert np.nanmax(alone, axis=1) == pytest.approx(lead(scores))
    assert lead(scores, range(artists)) == pytest.approx(lead(scores))
    for a in range(artists):
        assert lead(scores, (a,)) == pytest.approx(np.where(np.isnan(scores[:, a]), -np.inf, alone[:, a]))
    several = tuple(range(1, artists, 2))
    assert lead(scores, several) == pytest.approx(np.max(alone[:, list(several)], axis=1))
