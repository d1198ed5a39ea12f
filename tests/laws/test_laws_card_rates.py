"""The figures of the validity card, on a world whose truth is known: none of them could be a constant."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from worlds import SETTINGS, World, columns_of, references, view_of

from auditor.reference.measures import ALPHA, drift, false_attribution_band, figures, hard_negatives, when_asked
from auditor.reference.protocol import Pool
from auditor.reference.trials import run_trials

ARTISTS, FILES = 40, 6
NAMES = [f"artist-{a:02d}" for a in range(ARTISTS)]
GENRE = {name: "of twins" if a < 2 else f"genre-{a % 4}" for a, name in enumerate(NAMES)}


def pooled(style: float, twins: bool = False, artists: int = ARTISTS) -> Pool:
    """Three suspects by each artist of a set; twins: the first two artists differ by a fifth as much as others."""
    world = World(np.random.default_rng(5), style=style)
    styles, _, artist = references(world, artists, FILES)
    if twins:
        styles[1] = styles[0] + 0.2 * (styles[1] - styles[0])
    of = np.repeat(np.arange(artists), 3)
    x = np.vstack([world.files(styles[artist]), world.files(styles[of])])
    trials = run_trials(x, columns_of(world.width), artist, of, SETTINGS)
    one = np.full(len(of), "other")
    return Pool(trials, one, one, np.array(NAMES)[of], one)


@pytest.fixture(scope="module")
def clear() -> Pool:
    """Styles that stand out."""
    return pooled(1.5)


@pytest.fixture(scope="module")
def measured(clear: Pool) -> dict[str, dict[str, Any]]:
    return figures(clear, np.random.default_rng(0), 50)


def test_artists_who_stand_out_are_found_and_those_who_do_not_are_not(measured: dict[str, dict[str, Any]]) -> None:
    faint = figures(pooled(0.05), np.random.default_rng(0), 50)
    for name in ("top1", "found_at_alpha", "open_set_auc", "map_at_5", "tpr_at_fpr_1"):
        assert measured[name]["value"] > faint[name]["value"] + 0.3, name
    assert faint["found_at_alpha"]["value"] <= 0.1
    assert abs(faint["open_set_auc"]["value"] - 0.5) < 0.15
    assert measured["eer"]["value"] < faint["eer"]["value"] - 0.2


def test_nobody_is_found_by_a_set_too_small_to_name_anybody() -> None:
    """With nineteen artists the open-set test reaches .05, and the test of one artist does not."""
    small, enough = (pooled(1.5, artists=n) for n in (19, 20))
    assert small.trials.p_genuine.min() == pytest.approx(ALPHA)
    assert figures(small, np.random.default_rng(0), 50)["found_at_alpha"]["value"] == 0
    assert figures(enough, np.random.default_rng(0), 50)["found_at_alpha"]["value"] > 0.5


def test_strangers_are_attributed_as_often_as_claimed_and_twins_among_them() -> None:
    """One of a pair left out, the other stands in for it: these errors must be in the rate."""
    pair = pooled(1.5, twins=True)
    wrong, twins = pair.trials.p_impostor <= ALPHA, pair.trials.artist < 2
    rate = figures(pair, np.random.default_rng(0), 50)["false_attribution"]["value"]
    assert rate == pytest.approx(wrong.mean())
    assert 0.04 < rate <= stats.binom.ppf(0.999, ARTISTS, ALPHA) / ARTISTS
    assert figures(pair.rows(twins), np.random.default_rng(0), 50)["false_attribution"]["value"] == 1
    counts = false_attribution_band(pair)
    assert (counts["hits"], counts["of"], counts["artists"]) == (wrong.sum(), 3 * ARTISTS, ARTISTS)
    assert counts["low"] < rate < counts["high"]
    nearest = hard_negatives(pair, NAMES, GENRE)["impostors nearest to an artist of their own genre"]
    assert figures(nearest, np.random.default_rng(0), 50)["false_attribution"]["value"] > rate
    about = when_asked(pair, NAMES, GENRE, np.random.default_rng(0), 50)
    assert about["false_p_genre"]["value"] > 2 * about["false_p_at_alpha"]["value"]


def test_an_artist_asked_about_is_found_sooner_and_the_nearest_stranger_always(
    clear: Pool, measured: dict[str, dict[str, Any]]
) -> None:
    about = when_asked(clear, NAMES, GENRE, np.random.default_rng(0), 50)
    value = {name: figure["value"] for name, figure in about.items()}
    assert value["found_at_alpha"] >= measured["found_at_alpha"]["value"]
    assert value["p_at_alpha"] >= value["found_at_alpha"] > 0.9
    assert 0.02 < value["false_p_at_alpha"] < 0.08
    assert value["false_of_nearest"] > 0.5
    assert value["auc"] > 0.95
    assert value["cllr_min"] <= value["cllr"] < 0.5


def test_a_null_of_fitted_files_accuses_strangers() -> None:
    """Projection drift, uncured: held-out strangers look like nothing that a fit says of the files it has seen."""
    world = World(np.random.default_rng(5), width=1500)
    _, x, artist = references(world, ARTISTS, FILES)
    found = drift(view_of(x, artist))
    assert found["own_cosine"]["fitted"] > found["own_cosine"]["held_out"] + 0.02
    assert found["false_attribution"]["calibrated"] <= ALPHA < found["false_attribution"]["uncalibrated"]
