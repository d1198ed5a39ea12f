"""Artists asked about: ruled out at the claimed rate; chosen independently of the file, found at the claimed rate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from test_laws_error_rates import ALPHA, ARTISTS, Judged, most_false
from worlds import World, references, view_of

from auditor.evidence.impostors import Asked, scores_of
from auditor.evidence.membership import member_p, outsiders_no_match
from auditor.evidence.significance import open_set
from auditor.reference.set import View

FILES = 6


@pytest.fixture(scope="module")
def faint() -> Judged:
    """Styles that show so little that the question who of all it is can seldom be answered."""
    world = World(np.random.default_rng(21), style=0.4)
    styles, x, artist = references(world, ARTISTS, FILES)
    return Judged(view_of(x, artist), styles, world)


def p_of(judged: Judged, x: np.ndarray, asked: Asked) -> np.ndarray:
    """Open-set p of each suspect's features."""
    points = judged.view.projection(x)[:, None]
    found = [open_set(judged.view, point, ALPHA, 1, 0, asked=asked, independent=bool(asked)) for point in points]
    return np.array([one.p for one in found])


@pytest.mark.parametrize("asked", [(0,), (17,), (39,), (3, 8, 21), tuple(range(20))])
def test_strangers_rarely_stand_out_for_whom_was_asked_about(faint: Judged, asked: Asked) -> None:
    p = p_of(faint, faint.world.files(faint.world.artists(300)), asked)
    null_artists = ARTISTS - len(asked)
    assert np.sum(p <= ALPHA) <= most_false(300, artists=null_artists)
    assert np.sum(p <= 0.5) > 60  # the test is not simply mute
    assert p.min() >= 1 / (null_artists + 1)


def test_nor_do_files_by_the_sets_other_artists(faint: Judged) -> None:
    others = np.repeat(np.arange(1, ARTISTS), 8)
    p = p_of(faint, faint.world.files(faint.styles[others]), (0,))
    assert np.sum(p <= ALPHA) <= most_false(len(others), artists=ARTISTS - 1)


def test_far_more_is_found_of_an_artist_named_beforehand(faint: Judged) -> None:
    open_found, found = 0, 0
    for artist in range(ARTISTS):
        x = faint.world.files(np.repeat(faint.styles[[artist]], 4, axis=0))
        found += int(np.sum(p_of(faint, x, (artist,)) <= ALPHA))
        points = faint.view.projection(x)[:, None]
        first = np.array([scores_of(faint.view, point).argmax() == artist for point in points])
        open_found += int(np.sum(first & (p_of(faint, x, ()) <= ALPHA)))
    assert open_found < 0.5 * 4 * ARTISTS
    assert found > 1.4 * open_found
    assert found > 0.6 * 4 * ARTISTS


def test_the_fewer_are_asked_about_the_smaller_is_p(faint: Judged) -> None:
    """Asking about more is paid for by the maximum over them, also in files by the artist."""
    x = faint.world.files(np.repeat(faint.styles[[5]], 12, axis=0))
    ps = [p_of(faint, x, asked).mean() for asked in ((5,), (3, 5, 8, 21), tuple(range(20)), ())]
    assert ps == sorted(ps)


def test_whom_was_asked_about_is_rarely_ruled_out_and_others_often_are(faint: Judged) -> None:
    world, view = faint.world, faint.view
    own = [scores_of(view, p)[a] for a in range(ARTISTS)
           for p in view.projection(world.files(np.repeat(faint.styles[[a]], 5, axis=0)))[:, None]]  # fmt: skip
    assert np.sum(member_p(view, np.array(own), single=True) <= ALPHA) <= most_false(len(own))
    strangers = np.array([scores_of(view, p) for p in view.projection(world.files(world.artists(200)))[:, None]])
    told = member_p(view, strangers[:, 4], single=True) <= ALPHA
    assert told.mean() > 0.25
    assert outsiders_no_match(view, ALPHA, (4,)) == pytest.approx(told.mean(), abs=0.2)


def chosen(view: View, point: np.ndarray, alpha: float, artist: int) -> float:
    """p for one artist, chosen independently of the file."""
    return open_set(view, point, alpha, 1, 0, asked=(artist,), independent=True).p


def test_whoever_chooses_by_likeness_gets_the_test_of_the_nearest_of_all(faint: Judged) -> None:
    """The artist nearest to a stranger's file stands out for it as if found by looking; alone tested, far too often."""
    points = faint.view.projection(faint.world.files(faint.world.artists(200)))[:, None]
    misled, p, alone = 0, [], []
    for point in points:
        nearest = int(scores_of(faint.view, point).argmax())
        found = open_set(faint.view, point, ALPHA, 1, 0, asked=(nearest,))
        p.append(found.p)
        alone.append(found.p_otherwise)
        misled += chosen(faint.view, point, ALPHA, nearest) == found.p_otherwise
    assert misled == len(points)
    assert np.sum(np.array(p) <= ALPHA) <= most_false(200)
    assert np.mean(np.array(alone) <= 2 * ALPHA) > 0.5


def test_over_many_sets_the_rate_is_the_claimed_one() -> None:
    """A new set, and a new stranger for each of its artists: 19 others behind every p, α = 0.1."""
    alpha, hits, worlds = 0.1, [], 40
    for seed in range(worlds):
        world = World(np.random.default_rng([seed, 9]), width=60, style_dimensions=15, style=0.8)
        _, x, artist = references(world, 20, 4)
        view = view_of(x, artist, blocks=1)
        points = view.projection(world.files(world.artists(5)))[:, None]
        hits += [chosen(view, point, alpha, a) <= alpha + 1e-9 for a, point in enumerate(points)]
    assert stats.binom.ppf(0.0005, len(hits), alpha) <= np.sum(hits) <= stats.binom.ppf(0.9995, len(hits), alpha)
