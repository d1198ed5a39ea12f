"""Projection drift: references' own coordinates are no model of a suspect's; held-out ones are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from worlds import World, grams_of, references

from auditor.embedding.fit import Settings, fit, leave_out
from auditor.embedding.points import centroids, cosines, unit
from auditor.embedding.projection import Projection
from auditor.embedding.scores import fit_normaliser, impostor_scores

ARTISTS, FILES, WORLDS = 20, 4, 10
SETTINGS = Settings(components=60, shrink=0.3)


class Measured:
    """One simulated set: what its own, its held-out and fresh files look like."""

    def __init__(self, seed: int) -> None:
        world = World(np.random.default_rng([seed, 4]), width=2000, style_dimensions=100, noise=3.0)
        styles, x, artist = references(world, ARTISTS, FILES)
        everything = np.ones(len(x), bool)
        grams = grams_of(x, artist)
        fitted = fit(grams, everything, SETTINGS)
        matrix = fitted.matrix(x, [slice(0, x.shape[1])])
        projection = Projection(fitted.weight @ x, np.ones(x.shape[1]), matrix)
        centres = centroids(fitted.points, artist, ARTISTS, everything)
        strangers, again = projection(world.files(world.artists(ARTISTS))), projection(world.files(styles))

        null, self.norms = np.full((len(x), ARTISTS), np.nan), []
        for a in range(ARTISTS):
            out = artist == a
            points = fit(grams, ~out, SETTINGS).points
            null[out] = cosines(points[out], centroids(points, artist, ARTISTS, ~out))
            self.norms.append(np.mean(points[out] ** 2) / np.mean(points[~out] ** 2))
        genuine = np.full_like(null, np.nan)
        for left in leave_out(grams, np.arange(len(x)), SETTINGS):
            genuine[left.rows] = left.points @ left.centres.T
        own = np.arange(len(x)), artist
        naive = cosines(fitted.points, centres)
        self.own = {"in-sample": naive[own].mean(), "held out": genuine[own].mean()}
        self.own["fresh"] = np.diag(cosines(again, centres)).mean()
        naive[own] = np.nan
        normaliser, one_each = fit_normaliser(null, artist), np.arange(ARTISTS) * FILES
        self.best = {
            "in-sample": np.nanmax(naive, 1)[one_each],
            "held out": np.nanmax(null, 1)[one_each],
            "fresh": cosines(strangers, centres).max(1),
        }
        self.scores = {
            "held out": np.nanmax(impostor_scores(null, artist), 1)[one_each],
            "fresh": normaliser(cosines(strangers, centres)).max(1),
        }
        self.fresh_norm = np.mean(strangers**2) / np.mean(fitted.points**2)
        self.length = np.linalg.norm(unit(strangers), axis=1)


@pytest.fixture(scope="module")
def measured() -> list[Measured]:
    return [Measured(seed) for seed in range(WORLDS)]


def pooled(measured: list[Measured], what: str, kind: str) -> np.ndarray:
    return np.concatenate([getattr(m, what)[kind] for m in measured])


def test_unseen_points_fall_towards_the_origin_and_held_out_references_as_much(measured: list[Measured]) -> None:
    held_out, fresh = np.mean([m.norms for m in measured]), np.mean([m.fresh_norm for m in measured])
    assert fresh < 0.6
    assert held_out == pytest.approx(fresh, rel=0.15)


def test_length_normalisation_leaves_no_drift_in_length(measured: list[Measured]) -> None:
    np.testing.assert_allclose(np.concatenate([m.length for m in measured]), 1)


def test_own_artist_scores_of_references_flatter_unless_held_out(measured: list[Measured]) -> None:
    own = {kind: np.mean([m.own[kind] for m in measured]) for kind in ("in-sample", "held out", "fresh")}
    assert own["in-sample"] > 1.2 * own["fresh"]
    assert own["held out"] == pytest.approx(own["fresh"], rel=0.2)


def test_held_out_references_score_like_fresh_files_of_fresh_artists(measured: list[Measured]) -> None:
    """One file an artist, so that all values of a sample are independent given the set."""
    for what in ("best", "scores"):
        fresh, held_out = pooled(measured, what, "fresh"), pooled(measured, what, "held out")
        assert stats.ks_2samp(fresh, held_out).pvalue > 0.001, what


def test_references_in_sample_do_not(measured: list[Measured]) -> None:
    fresh, naive = pooled(measured, "best", "fresh"), pooled(measured, "best", "in-sample")
    assert stats.ks_2samp(fresh, naive).pvalue < 1e-6
