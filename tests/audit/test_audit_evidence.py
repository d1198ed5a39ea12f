"""Pieces of the evidence that have laws of their own."""

from __future__ import annotations

import shutil
from dataclasses import astuple, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lora_writing as writing
import mini_set
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor import check
from auditor.embedding.features import factor_all
from auditor.embedding.points import cosines, unit
from auditor.embedding.sketches import fingerprint
from auditor.evidence import make_ready
from auditor.evidence.artists import exclusion_p, nearest_references, per_artist_p, score_spread, stepwise
from auditor.evidence.controls import fit_recipe
from auditor.evidence.copies import COPY, copy_of
from auditor.evidence.impostors import impostors_of, scores_of
from auditor.evidence.kept import KEPT, kept
from auditor.evidence.maps import style_map
from auditor.evidence.mixtures import mixture, strongest_left
from auditor.evidence.significance import lookalikes, open_set, p_interval
from auditor.lora import load_lora, read_artifact
from auditor.reference import ReferenceSet
from auditor.reference.calibrate import ratios_of
from auditor.statistics.conformal import conformal_p, holm, rate_limits

ROWS = st.lists(st.tuples(st.floats(0.01, 1), st.floats(-5, 5)), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def reference(set_folder: Path) -> ReferenceSet:
    return ReferenceSet.load(set_folder)


@given(ROWS, st.floats(0.01, 1))
def test_adjusted_p_never_helps_and_follows_the_score(rows: list[tuple[float, float]], p_open: float) -> None:
    raw, scores = map(np.array, zip(*rows, strict=True))
    order = np.argsort(-scores, kind="stable")
    adjusted = stepwise(raw, scores, p_open)
    assert (adjusted >= raw - 1e-12).all()
    assert (adjusted >= p_open - 1e-12).all()
    assert (np.diff(adjusted[order]) >= 0).all()
    assert adjusted[order[0]] == max(raw[order[0]], p_open)
    assert (adjusted[order[1:]] >= holm(raw)[order[1:]] - 1e-12).all()
    assert (adjusted <= 1).all()


def test_after_making_ready_an_audit_makes_nothing_more_and_finds_the_same(set_folder: Path, tmp_path: Path) -> None:
    """But for what hangs on the suspect: what is left without an artist found in it, limits at its own statistic."""
    suspects = [
        mini_set.save(tmp_path / f"{a}.safetensors", writing.diffusers(mini_set.lora(a, mini_set.FILES)))
        for a in (0, mini_set.STRANGER)
    ]
    ready, plain = ReferenceSet.load(set_folder), ReferenceSet.load(set_folder)
    make_ready(ready, 0.2)
    before = {name: set(view.__dict__["_kept"]) for name, view in ready.views.items()}
    assert all("left_out_p" in impostors_of(view).__dict__ for view in ready.views.values())
    for path in suspects:
        one, other = (check(path, refs, alpha=0.2, resamples=20).to_dict() for refs in (ready, plain))
        assert one | {"timing_s": {}, "created_at": ""} == other | {"timing_s": {}, "created_at": ""}
    after = {name: set(view.__dict__["_kept"]) for name, view in ready.views.items()}
    assert all(before.values())
    assert not [key for name in after for key in after[name] - before[name] if key[0] not in ("left", "limits")]


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
        own = [view.genuine_scores[view.artist == a] for a in range(mini_set.COUNT)]
        moves = np.concatenate([(a[:, None] - a)[~np.eye(len(a), dtype=bool)] for a in own])
        assert np.mean((moves >= low) & (moves <= high)) == pytest.approx(0.9, abs=0.03)


def test_lookalikes_are_the_errors_of_left_out_references_by_whom_they_name(reference: ReferenceSet) -> None:
    for view in reference.views.values():
        for alpha in (0.01, 0.2, 0.5):
            found = [lookalikes(view, a, alpha) for a in range(mini_set.COUNT)]
            assert all(a not in named for a, named in enumerate(found))
            assert all(list(named.values()) == sorted(named.values(), reverse=True) for named in found)
            rejected = []
            for a in range(mini_set.COUNT):
                own = view.artist == a
                p = conformal_p(view.null_statistic[own], view.null_statistic[~own], view.artist[~own])
                rejected.append((p <= alpha).mean())
            assert sum(sum(named.values()) for named in found) == pytest.approx(sum(rejected))
        assert sum(rejected) > 0


def test_nobody_is_ruled_out_where_works_are_unknown(set_folder: Path, tmp_path: Path) -> None:
    """Held-out files on the very works of the others say nothing of files on other works, which lie farther away."""
    folder = Path(shutil.copytree(set_folder, tmp_path / "set"))
    mini_set.rename_parts(folder, {"a": "part-0", "b": "part-1"})
    split, unknown = ReferenceSet.load(set_folder), ReferenceSet.load(folder)
    assert split.works_split
    assert not unknown.works_split
    one_part = Path(shutil.copytree(set_folder, tmp_path / "one"))
    mini_set.rename_parts(one_part, {"a": "all", "b": "all"})
    assert not ReferenceSet.load(one_part).works_split
    path = mini_set.save(tmp_path / "far.safetensors", writing.diffusers(mini_set.lora(mini_set.STRANGER, 0)))
    known, other = (check(path, refs, alpha=0.2, resamples=5) for refs in (split, unknown))
    assert known.open_set is not None
    assert other.open_set is not None
    assert known.open_set.p_member <= 0.2 < other.open_set.p_member == 1
    assert other.open_set.p_member_interval == (0.0, 1.0)
    low, high = known.open_set.p_member_interval
    exact = rate_limits((mini_set.COUNT + 1) * known.open_set.p_member - 1, mini_set.COUNT)
    assert low <= exact[0] <= known.open_set.p_member <= exact[1] <= high < 1
    assert known.verdict.label == "NO_MATCH"
    assert other.verdict.label == "INCONCLUSIVE"
    assert any("which works the references were made from is not known" in r for r in other.verdict.reasons)
    assert {a.p_exclusion for a in other.artists} == {1.0}
    assert min(a.p_exclusion for a in known.artists) < 0.2
    assert (known.open_set.p, known.artists[0].score) == (other.open_set.p, other.artists[0].score)


def test_the_ratio_for_other_works_is_the_first_artists_alone(reference: ReferenceSet, lora_folder: Path) -> None:
    path = next(lora_folder.glob("*/1.safetensors"))
    first, *others = check(path, reference, resamples=5).artists
    view = reference.views["all"]
    fitted = ratios_of(view, view.genuine)
    assert view.other_works is not None
    assert astuple(view.other_works) == pytest.approx(astuple(fitted), abs=1e-4)
    low, high = fitted.limits
    assert first.log10_lr_other_works is not None
    assert low <= first.log10_lr_other_works <= high
    assert {a.log10_lr_other_works for a in others} == {None}


def test_what_is_kept_of_a_view_is_made_once_and_does_not_grow(reference: ReferenceSet) -> None:
    view, made = replace(reference.views["all"]), []

    def make(key: int) -> int:
        made.append(key)
        return key

    for key in [*range(KEPT), 0, KEPT, 0, 1]:  # 1 is the oldest when there is one too many
        assert kept(view, key, lambda key=key: make(key)) == key
    assert made == [*range(KEPT), KEPT, 1]
    assert len(view.__dict__["_kept"]) == KEPT


def test_that_there_is_nothing_is_kept_as_well(reference: ReferenceSet) -> None:
    view, made = replace(reference.views["all"]), []
    assert [kept(view, "none", lambda: made.append(1)) for _ in range(3)] == [None] * 3
    assert len(made) == 1


def test_what_is_left_does_not_depend_on_who_was_found_first(reference: ReferenceSet) -> None:
    view = replace(reference.views["all"])
    gram = view.centres @ view.centres.T
    cosine = cosines(unit(view.centres)[[0, 3, 7, 9]].sum(0, keepdims=True), view.centres)
    first, again = (strongest_left(view, cosine, gram, order) for order in ([7, 0, 3], [3, 7, 0]))
    assert first == again
    assert first[0] == 9
    assert len([key for key in view.__dict__["_kept"] if key[0] == "left"]) == 1


@pytest.mark.parametrize("observed", [-9.0, 1.0, 1.6, 9.0])
def test_range_of_p_lies_around_p(reference: ReferenceSet, observed: float) -> None:
    view = reference.views["all"]
    p = conformal_p(observed, view.null_statistic, view.artist)[0]
    reached = view.null_statistic >= observed
    low, high = p_interval(reached, view, 2000, 0)
    assert 0 <= low <= p <= high <= 1
    assert p_interval(reached, view, 2000, 0) == (low, high)
    exact = rate_limits(13 * p - 1, 12)  # what the artists reached, of twelve
    assert low <= exact[0]
    assert high >= exact[1]
    assert p_interval(reached, view, 1, 0)[1] >= exact[1]


@pytest.mark.parametrize("rate", [0.02, 0.05, 0.2])
@pytest.mark.parametrize("clumped", [0.0, 0.7])
def test_the_range_of_p_covers_the_rate_of_outsiders(rate: float, clumped: float) -> None:
    """56 artists with 16 files each; some are like somebody of the set, so that most of their files stand out."""
    rng, covered = np.random.default_rng(1), 0
    artist = np.repeat(np.arange(56), 16)
    for _ in range(200):
        near = rng.random(56) < rate
        own = np.clip(rng.normal(rate, 0.01, 56), 0, 1) if clumped == 0 else np.where(near, clumped, 0.3 * rate)
        truth = rate if clumped == 0 else rate * clumped + (1 - rate) * 0.3 * rate
        beyond = rng.random(len(artist)) < own[artist]
        low, high = p_interval(beyond, SimpleNamespace(artist=artist), 200, 0)
        covered += low <= truth <= high
    assert covered >= 200 * 0.93


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
    stranger = mini_set.save(tmp_path / "s.safetensors", mini_set.DIALECTS[0](mini_set.lora(mini_set.STRANGER, 0)))
    for entry in reference.manifest["references"][::5]:
        path = lora_folder / entry["file"]
        factored = factor_all(load_lora(path), reference.modules)
        found = copy_of(reference, factored, read_artifact(path))
        assert found is not None
        assert found["of"] == entry["file"]
        i = reference.manifest["references"].index(entry)
        assert fingerprint(factored) @ known[i] == pytest.approx(1, abs=2e-3)
        read = load_lora(path)
        turned = {where: replace(module, scale=-module.scale) for where, module in read.modules.items()}
        factored = factor_all(replace(read, modules=turned), reference.modules)
        negative = copy_of(reference, factored, read_artifact(stranger))
        assert negative is not None
        assert negative["of"] == entry["file"]
        assert negative["relation"] == "same_update"
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
