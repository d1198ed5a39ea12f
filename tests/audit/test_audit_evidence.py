"""Pieces of the evidence that have laws of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lora_writing as writing
import mini_set
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.audit import check
from auditor.embedding.features import factor_all
from auditor.embedding.sketches import fingerprint
from auditor.evidence import (
    COPY,
    KEPT,
    copy_of,
    exclusion_p,
    fit_recipe,
    kept,
    make_ready,
    mixture,
    nearest_references,
    open_set,
    p_interval,
    per_artist_p,
    score_spread,
    scores_of,
    stepwise,
    style_map,
)
from auditor.lora import load_lora, read_artifact
from auditor.reference import ReferenceSet
from auditor.statistics.conformal import conformal_p, holm

ROWS = st.lists(st.tuples(st.floats(0.01, 1), st.floats(-5, 5)), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def reference(set_folder: Path) -> ReferenceSet:
    return ReferenceSet.load(set_folder)


@given(ROWS, st.floats(0.01, 1))
def test_adjusted_p_never_helps_and_follows_the_score(rows: list[tuple[float, float]], p_open: float) -> None:
    raw, scores = map(np.array, zip(*rows, strict=True))
    adjusted = stepwise(raw, scores, p_open)
    order = np.argsort(-scores, kind="stable")
    assert (adjusted >= raw - 1e-12).all()
    assert (adjusted >= p_open - 1e-12).all()
    assert (np.diff(adjusted[order]) >= 0).all()
    assert adjusted[order[0]] == max(raw[order[0]], p_open)
    assert (adjusted[order[1:]] >= holm(raw)[order[1:]] - 1e-12).all()
    assert (adjusted <= 1).all()


def test_after_making_ready_an_audit_makes_nothing_more_and_finds_the_same(set_folder: Path, tmp_path: Path) -> None:
    """But for what is left of a file without an artist found in it, which is a thing of its own for each choice."""
    suspects = [
        mini_set.save(tmp_path / f"{a}.safetensors", writing.diffusers(mini_set.lora(a, mini_set.FILES)))
        for a in (0, mini_set.STRANGER)
    ]
    ready, plain = ReferenceSet.load(set_folder), ReferenceSet.load(set_folder)
    make_ready(ready, 0.2)
    before = {name: set(view.__dict__["_kept"]) for name, view in ready.views.items()}
    for path in suspects:
        one, other = (check(path, refs, alpha=0.2, resamples=20).to_dict() for refs in (ready, plain))
        assert one | {"timing_s": {}, "created_at": ""} == other | {"timing_s": {}, "created_at": ""}
    after = {name: set(view.__dict__["_kept"]) for name, view in ready.views.items()}
    assert all(before.values())
    assert not [key for name in after for key in after[name] - before[name] if key[0] != "left"]


def test_a_reference_is_nearest_to_itself(reference: ReferenceSet) -> None:
    for view in reference.views.values():
        for i in (0, 9, 23):
            entry = reference.manifest["references"][view.rows[i]]
            assert nearest_references(reference, view, view.points[i : i + 1])[view.artist[i]] == entry["file"]


def test_an_artists_direction_belongs_to_that_artist_alone(reference: ReferenceSet) -> None:
    view = reference.views["all"]
    for a, centre in enumerate(view.centres):
        scores = scores_of(view, centre[None])
        assert scores.argmax() == a
        against, excluded = per_artist_p(view, scores), exclusion_p(view, scores)
        assert against.argmin() == a
        assert against[a] <= 2 / mini_set.COUNT
        assert excluded.argmax() == a
        first = mixture(reference, view, centre[None], 1.0)[0]
        assert (first["artist"], first["share"]) == (mini_set.ARTISTS[a], pytest.approx(1.0, abs=0.2))
        assert first["p"] == open_set(view, centre[None], 0.2, 1, 0).p
        assert mixture(reference, view, centre[None], 0.01) == []  # no p of twelve artists can be so small


def test_length_of_a_point_does_not_matter(reference: ReferenceSet) -> None:
    view = reference.views["all"]
    point = np.random.default_rng(0).standard_normal((1, view.points.shape[1]))
    np.testing.assert_allclose(scores_of(view, 1e3 * point), scores_of(view, point), atol=1e-12)
    longer, plain = (open_set(view, c * point, 0.05, 9, 1) for c in (7, 1))
    assert (longer.p, longer.p_interval) == (plain.p, plain.p_interval)
    assert longer.statistic == pytest.approx(plain.statistic)
    assert style_map(reference, view, 3 * point).suspect == pytest.approx(style_map(reference, view, point).suspect)


@pytest.mark.parametrize("alpha", [0.01, 0.08, 0.3])
def test_p_and_threshold_can_be_had_from_the_result_alone(reference: ReferenceSet, alpha: float) -> None:
    view = reference.views["all"]
    for seed in range(6):
        point = np.random.default_rng(seed).standard_normal((1, view.points.shape[1])) + 2 * seed * view.centres[:1]
        found = open_set(view, point, alpha, 9, 1, reference.artists)
        owners = np.array(found.null_owner)
        reached = [np.mean(np.array(found.null)[owners == i] >= found.statistic) for i in range(len(found.null_names))]
        assert found.p == pytest.approx((1 + sum(reached)) / (found.null_artists + 1))
        assert (found.threshold is not None and found.statistic > found.threshold) == (found.p <= alpha)
        assert (found.threshold is None) == (found.p_min > alpha)


def test_a_score_moves_both_ways_when_a_file_is_trained_again(reference: ReferenceSet) -> None:
    for view in reference.views.values():
        low, high = score_spread(view)
        assert low < 0 < high
        assert high - low < 2 * np.nanstd(view.null_scores) * 1.65 * 1.5


def test_what_is_kept_of_a_view_is_made_once_and_does_not_grow(reference: ReferenceSet) -> None:
    view, made = replace(reference.views["all"]), []

    def make(key: int) -> int:
        made.append(key)
        return key

    for key in [*range(KEPT), 0, KEPT, 0, 1]:  # 1 is the oldest when there is one too many
        assert kept(view, key, lambda key=key: make(key)) == key
    assert made == [*range(KEPT), KEPT, 1]
    assert len(view.__dict__["_kept"]) == KEPT


@pytest.mark.parametrize("observed", [-9.0, 1.0, 1.6, 9.0])
def test_range_of_p_lies_around_p(reference: ReferenceSet, observed: float) -> None:
    view = reference.views["all"]
    p = conformal_p(observed, view.null_statistic, view.artist)[0]
    low, high = p_interval(view, observed, 2000, 0)
    assert 1 / 13 <= low <= p <= high <= 1
    assert (low == high) == (p in (1 / 13, 1.0))
    assert p_interval(view, observed, 2000, 0) == (low, high)


def test_the_map_places_artists_apart_and_a_centre_on_itself(reference: ReferenceSet) -> None:
    view = reference.views["all"]
    for a, centre in enumerate(view.centres):
        found = style_map(reference, view, centre[None])
        place = found.artists[a]
        assert found.suspect == pytest.approx((place["x"], place["y"]))
    assert len({(round(p["x"], 3), round(p["y"], 3)) for p in found.artists}) == mini_set.COUNT
    assert [p["artist"] for p in found.artists] == list(mini_set.ARTISTS)


def test_only_copies_are_copies(reference: ReferenceSet, lora_folder: Path, tmp_path: Path) -> None:
    """References of one artist are no copies of each other; every reference is one of itself."""
    known = reference.fingerprints.astype(float)
    closeness = known @ known.T - 2 * np.eye(len(known))
    assert closeness.max() < COPY
    for entry in reference.manifest["references"][::5]:
        path = lora_folder / entry["file"]
        factored = factor_all(load_lora(path), reference.modules)
        found = copy_of(reference, factored, read_artifact(path))
        assert found is not None
        assert found["of"] == entry["file"]
        i = reference.manifest["references"].index(entry)
        assert fingerprint(factored) @ known[i] == pytest.approx(1, abs=2e-3)
    stranger = mini_set.save(tmp_path / "s.safetensors", mini_set.DIALECTS[0](mini_set.lora(mini_set.STRANGER, 0)))
    assert copy_of(reference, factor_all(load_lora(stranger), reference.modules), read_artifact(stranger)) is None


# --- controls -------------------------------------------------------------------------------------------------------


def recipes(ranks: np.ndarray, rng: np.random.Generator, layers: int = 12) -> np.ndarray:
    """Figures (n, layers) of files of these ranks, as controls see them; layers differ by a trace."""
    return np.repeat(ranks[:, None], layers, 1) - (rng.random((len(ranks), layers)) < 0.05)


def recipe_test(known: np.ndarray, artist: np.ndarray, seen: np.ndarray) -> tuple[int, float]:
    """(nearest artist, p) of one control."""
    view: Any = SimpleNamespace(artist=artist, centres=np.zeros((artist.max() + 1, 1)))
    return fit_recipe(known, view).test(seen)


@pytest.mark.parametrize("rank", [2.0, 12.0, 15.0, 16.0, 64.0, 256.0])
def test_where_all_artists_have_the_same_recipes_no_rank_names_anybody(rank: float) -> None:
    rng = np.random.default_rng(int(rank))
    artist = np.repeat(np.arange(40), 4)
    known = recipes(np.tile([4.0, 8.0, 16.0, 32.0], 40), rng)
    assert recipe_test(known, artist, recipes(np.array([rank]), rng)[0])[1] > 0.05


def test_a_recipe_that_only_one_artist_has_names_this_artist() -> None:
    rng = np.random.default_rng(0)
    artist = np.repeat(np.arange(40), 4)
    ranks = np.tile([4.0, 8.0, 16.0, 32.0], 40)
    ranks[artist == 7] = 24.0
    first, p = recipe_test(recipes(ranks, rng), artist, recipes(np.array([24.0]), rng)[0])
    assert first == 7
    assert p <= 0.05


def test_controls_accuse_strangers_no_more_often_than_they_claim() -> None:
    """H0: the suspect's artist, who has a recipe of their own like everybody, is not in the set."""
    rng = np.random.default_rng(1)
    artist = np.repeat(np.arange(40), 4)
    hits = 0
    for _ in range(200):
        ranks = rng.uniform(2, 64, 41)
        known = recipes(ranks[:40][artist] + rng.normal(0, 1, 160), rng)
        hits += recipe_test(known, artist, recipes(ranks[40:] + rng.normal(0, 1, 1), rng)[0])[1] <= 0.05
    assert hits <= 18  # .99 of a binomial with 200 trials at .05
