"""Merges in feature space: who is not in a file is named no more often than claimed, and both parts can be found."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from worlds import World, references, view_of

from auditor.embedding.points import cosines
from auditor.evidence.mixtures import MOST_PARTS, mixture, strongest_left
from auditor.evidence.significance import open_set
from auditor.reference.set import View

ARTISTS, FILES, ALPHA = 40, 6, 0.1


@dataclass(frozen=True)
class Merged:
    """A calibrated set of 40 artists, its styles, and its world."""

    view: View
    styles: np.ndarray
    world: World
    reference: Any = field(default_factory=lambda: SimpleNamespace(artists=list(range(ARTISTS))))

    def found(self, x: np.ndarray, alpha: float = ALPHA) -> list[list[dict[str, Any]]]:
        """What the audit lists for each suspect's features."""
        return [mixture(self.reference, self.view, p[None], alpha) for p in self.view.projection(x)]

    def merge(self, parts: list[np.ndarray], weights: list[float]) -> np.ndarray:
        """Features of merges: own file for every part; what all files share keeps its strength."""
        files = [self.world.files(styles) - self.world.common for styles in parts]
        return self.world.common + sum(w / np.linalg.norm(weights) * f for w, f in zip(weights, files, strict=True))


@pytest.fixture(scope="module")
def merged() -> Merged:
    world = World(np.random.default_rng(3), style=1.6, recipe=1.0)
    styles, x, artist = references(world, ARTISTS, FILES)
    return Merged(view_of(x, artist), styles, world)


def names(found: list[list[dict[str, Any]]]) -> list[set[int]]:
    return [{row["artist"] for row in rows} for rows in found]


def test_merges_of_strangers_name_nobody_beyond_the_claimed_rate(merged: Merged) -> None:
    for weights in ([1.0], [0.5, 0.5], [0.7, 0.3]):
        found = merged.found(merged.merge([merged.world.artists(100) for _ in weights], weights))
        assert np.mean([bool(rows) for rows in found]) < 2 * ALPHA


@pytest.mark.parametrize("weight", [1.0, 0.6])
def test_beside_an_artist_of_the_set_nobody_else_is_named_beyond_it(merged: Merged, weight: float) -> None:
    """One part is of the set, the rest of a stranger (or nothing): the second name is the one to fear."""
    truth = np.tile(np.arange(ARTISTS), 2)
    parts = [merged.styles[truth], merged.world.artists(len(truth))]
    found = names(merged.found(merged.merge(parts, [weight, 1 - weight])))
    assert np.mean([bool(who - {a}) for a, who in zip(truth, found, strict=True)]) < 2 * ALPHA
    assert np.mean([a in who for a, who in zip(truth, found, strict=True)]) > 0.5


@pytest.mark.parametrize("weights", [[0.5, 0.5], [0.7, 0.3], [0.9, 0.1]])
def test_two_artists_of_the_set_are_both_found_and_nobody_else(merged: Merged, weights: list[float]) -> None:
    other = np.roll(np.arange(ARTISTS), 7)
    found = merged.found(merged.merge([merged.styles, merged.styles[other]], weights))
    who = names(found)
    assert np.mean([bool(w - {a, other[a]}) for a, w in enumerate(who)]) < 2 * ALPHA
    both = [a for a, w in enumerate(who) if w == {a, other[a]}]
    if weights[1] > 0.2:
        assert len(both) > 0.25 * ARTISTS
    share = {a: {row["artist"]: row["share"] for row in found[a]} for a in both}
    for main in both:
        assert sum(share[main].values()) <= 1 + 1e-9
    if both:
        assert np.mean([share[a][a] for a in both]) == pytest.approx(weights[0], abs=0.12)


def test_the_first_question_is_the_open_set_question(merged: Merged) -> None:
    x = merged.merge([merged.styles[:5]], [1.0])
    gram = merged.view.centres @ merged.view.centres.T
    for point, rows in zip(merged.view.projection(x), merged.found(x, 1.0), strict=True):
        tested = open_set(merged.view, point[None], ALPHA, 1, 0)
        artist, p = strongest_left(merged.view, cosines(point[None], merged.view.centres), gram, [])
        assert (rows[0]["artist"], rows[0]["p"]) == (artist, p) == (artist, tested.p)
        assert len(rows) == MOST_PARTS
        assert [r["p"] for r in rows] == sorted(r["p"] for r in rows)
        assert len({r["artist"] for r in rows}) == len(rows)


def test_a_higher_claimed_rate_only_adds_names(merged: Merged) -> None:
    x = merged.merge([merged.styles[:15], merged.styles[20:35]], [0.6, 0.4])
    strict, lenient = (merged.found(x, alpha) for alpha in (0.05, 0.3))
    for few, many in zip(strict, lenient, strict=True):
        assert [(r["artist"], r["p"]) for r in many[: len(few)]] == [(r["artist"], r["p"]) for r in few]
        assert all(r["p"] <= 0.05 for r in few)
