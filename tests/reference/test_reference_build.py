"""Folder of LoRA files → reference set."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import lora_writing as writing
import mini_set
import numpy as np
import pytest

from auditor.audit import check
from auditor.embedding.features import Bases, factor_all, features
from auditor.embedding.fit import Settings
from auditor.embedding.points import unit
from auditor.errors import ReferenceSetError, UsageError
from auditor.lora import load_lora
from auditor.reference import ReferenceSet, calibrate, import_folder
from auditor.reference.calibrate import VIEWS, covers, parts_of, view_modules
from auditor.statistics.conformal import p_floor


@pytest.fixture
def loras(lora_folder: Path, tmp_path: Path) -> Path:
    """A copy of the folder of LoRA files, to be spoiled."""
    return Path(shutil.copytree(lora_folder, tmp_path / "loras"))


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def test_a_set_holds_every_artist_and_file(set_folder: Path) -> None:
    loaded = ReferenceSet.load(set_folder)
    assert loaded.artists == list(mini_set.ARTISTS)
    assert loaded.genres == ["shrubs", "trees"] * 6
    assert len(loaded.manifest["references"]) == mini_set.TOTAL
    assert loaded.artist_of.tolist() == sorted(list(range(mini_set.COUNT)) * 4)
    assert loaded.manifest["base"]["family"] == "unknown"
    assert loaded.manifest["skipped"] == []
    assert set(loaded.views) == set(VIEWS)
    assert loaded.modules == sorted(mini_set.shapes())
    assert loaded.shapes.items() <= mini_set.shapes().items()
    assert loaded.fingerprints.shape == (mini_set.TOTAL, 256)
    assert set(loaded.controls) == {"rank_only", "norm_only", "spectrum_only"}
    assert {values.shape for values in loaded.controls.values()} == {(mini_set.TOTAL, 20)}


def test_it_holds_no_weights_and_no_file_but_its_own(set_folder: Path) -> None:
    assert sorted(p.name for p in set_folder.iterdir()) == ["arrays.npz", "features.npz", "manifest.json"]


def test_views_are_fitted_on_complete_references(set_folder: Path) -> None:
    for name, view in ReferenceSet.load(set_folder).views.items():
        modules = view_modules(sorted(mini_set.shapes()), VIEWS[name])
        assert set(view.bases.paths) <= set(modules)
        assert len(view.bases.paths) > len(modules) / 2
        assert view.rows.tolist() == list(range(mini_set.TOTAL))
        assert view.null.shape == view.genuine.shape == (mini_set.TOTAL, mini_set.COUNT)
        own = np.arange(mini_set.TOTAL), view.artist
        assert np.isnan(view.null[own]).all()
        assert np.isnan(view.null).sum() == mini_set.TOTAL
        assert np.isfinite(view.genuine).all()
        assert view.calibration.bound == pytest.approx(np.log10(mini_set.COUNT))


def test_what_is_stored_in_half_precision_still_puts_a_reference_where_it_was(
    set_folder: Path, lora_folder: Path
) -> None:
    loaded = ReferenceSet.load(set_folder)
    for view in loaded.views.values():
        for i in (0, 7, 30):
            weights = load_lora(lora_folder / loaded.manifest["references"][view.rows[i]]["file"])
            vector, present = features(factor_all(weights, view.bases.paths), view.bases)
            assert present.all()
            assert unit(view.projection(vector))[0] @ unit(view.points)[i] == pytest.approx(1, abs=1e-3)


def test_held_out_scores_tell_artists_apart(set_folder: Path) -> None:
    for name in ("all", "attention", "feed_forward"):
        view = ReferenceSet.load(set_folder).views[name]
        assert np.mean(view.genuine_scores > view.null_statistic) > 0.8
        assert view.calibration.slope > 0


def test_the_same_files_give_the_same_set(lora_folder: Path, set_folder: Path, tmp_path: Path) -> None:
    again = mini_set.build(lora_folder, tmp_path / "elsewhere")
    assert (again / "arrays.npz").read_bytes() == (set_folder / "arrays.npz").read_bytes()
    assert manifest(again) == manifest(set_folder)
    assert len(manifest(again)["digest"]) == 64
    calibrate(again, settings=mini_set.SETTINGS)
    assert manifest(again) == manifest(set_folder)


def test_settings_and_seed_are_part_of_the_digest(set_folder: Path, tmp_path: Path) -> None:
    again = Path(shutil.copytree(set_folder, tmp_path / "set"))
    digests = {manifest(again)["digest"]}
    calibrate(again, settings=mini_set.SETTINGS, seed=1)
    digests.add(manifest(again)["digest"])
    calibrate(again, settings=Settings(components=5))
    digests.add(manifest(again)["digest"])
    assert len(digests) == 3
    assert manifest(again)["settings"]["components"] == 5


def test_bad_files_are_listed_and_the_set_is_built(loras: Path, tmp_path: Path) -> None:
    place = loras / mini_set.ARTISTS[2]
    (place / "empty.safetensors").write_bytes(b"")
    (place / "torn.safetensors").write_bytes((place / "0.safetensors").read_bytes()[:-7])
    (place / "notes.txt").write_text("not a LoRA")
    writing.save(place / "checkpoint.safetensors", {"unet.conv_in.weight": np.zeros((4, 4), np.float32)})
    started = {"lora_adapter_metadata": json.dumps({"unet.init_lora_weights": "pissa"})}
    mini_set.save(place / "pissa.safetensors", writing.diffusers_ab(mini_set.lora(2, 40)), started)
    told = import_folder(loras, tmp_path / "set", k=4)
    assert (told["artists"], told["references"]) == (mini_set.COUNT, mini_set.TOTAL)
    assert told["works"] == f"not known of {mini_set.TOTAL} of {mini_set.TOTAL} references: the set rules nobody out"
    listed = {row["file"]: row["reason"] for row in told["skipped"]}
    assert set(listed) == {f"{place.name}/{n}.safetensors" for n in ("empty", "torn", "checkpoint", "pissa")}
    assert all(listed.values())
    assert manifest(tmp_path / "set")["skipped"] == told["skipped"]
    assert calibrate(tmp_path / "set", settings=mini_set.SETTINGS)["references"] == mini_set.TOTAL


def test_one_file_is_one_reference_whoever_is_said_to_have_made_it(loras: Path, tmp_path: Path) -> None:
    """A twin in another artist's folder would stand among the strangers whom suspects are compared with."""
    first, second = (loras / name for name in mini_set.ARTISTS[:2])
    (second / "twin.safetensors").write_bytes((first / "0.safetensors").read_bytes())
    (second / "0.safetensors").rename(second / "0.SAFETENSORS")
    told = import_folder(loras, tmp_path / "set", k=4)
    assert told["references"] == mini_set.TOTAL
    assert [row["file"] for row in told["skipped"]] == [f"{second.name}/twin.safetensors"]
    assert f"{first.name}/0.safetensors" in told["skipped"][0]["reason"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("plan.json", "{"), ("plan.json", "[]"), ("plan.json", '{"jobs": [{}]}'), ("plan.json", '{"jobs": 3}'),
     ("artists.json", "\x00"), ("artists.json", '{"ada-alder": "portrait"}')],
)  # fmt: skip
def test_what_lies_beside_the_files_and_cannot_be_read_is_named(
    loras: Path, tmp_path: Path, name: str, content: str
) -> None:
    (loras / name).write_text(content)
    with pytest.raises(ReferenceSetError, match=re.escape(str(loras / name))):
        import_folder(loras, tmp_path / "set", k=4)


def test_an_artist_with_one_reference_cannot_be_held_out(loras: Path, tmp_path: Path) -> None:
    for number in range(1, 4):
        (loras / mini_set.ARTISTS[0] / f"{number}.safetensors").unlink()
    told = import_folder(loras, tmp_path / "set", k=4)
    assert (told["artists"], told["references"]) == (mini_set.COUNT - 1, mini_set.TOTAL - 4)
    assert [row["file"] for row in told["skipped"]] == [mini_set.ARTISTS[0]]
    calibrate(tmp_path / "set", settings=mini_set.SETTINGS)
    assert ReferenceSet.load(tmp_path / "set").artists == list(mini_set.ARTISTS[1:])


def test_files_without_effect_do_not_spoil_the_set(loras: Path, tmp_path: Path) -> None:
    nothing = {path: (0 * up, down) for path, (up, down) in mini_set.lora(1, 9).items()}
    mini_set.save(loras / mini_set.ARTISTS[1] / "9.safetensors", writing.diffusers(nothing))
    told = import_folder(loras, tmp_path / "set", k=4)
    assert [row["file"] for row in told["skipped"]] == [f"{mini_set.ARTISTS[1]}/9.safetensors"]
    assert "no effect" in told["skipped"][0]["reason"]
    calibrate(tmp_path / "set", settings=mini_set.SETTINGS)
    view = ReferenceSet.load(tmp_path / "set").views["all"]
    assert len(view.rows) == mini_set.TOTAL
    assert np.isfinite(view.points).all()


def test_calibration_says_which_artist_lacks_what(loras: Path, tmp_path: Path) -> None:
    ada = mini_set.ARTISTS[0]
    shutil.rmtree(loras / ada)
    for number, kept in enumerate((".ff.", ".attn1.", ".attn2.")):  # no two of them adapt the same layers
        made = {path: factors for path, factors in mini_set.lora(0, number).items() if kept in path}
        mini_set.save(loras / ada / f"{number}.safetensors", writing.kohya(made, 2.0))
    import_folder(loras, tmp_path / "set", k=4)
    with pytest.raises(ReferenceSetError, match=rf"Missing: {ada} \(lacks layers: {ada}/0.safetensors, {ada}/1"):
        calibrate(tmp_path / "set", settings=mini_set.SETTINGS)


def test_references_that_adapt_attention_only_leave_the_other_views_out(loras: Path, tmp_path: Path) -> None:
    for a, name in enumerate(mini_set.ARTISTS):
        shutil.rmtree(loras / name)
        for number in range(3):
            made = {p: f for p, f in mini_set.lora(a, number).items() if ".ff." not in p}
            mini_set.save(loras / name / f"{number}.safetensors", writing.attn_processor(made))
    mini_set.build(loras, tmp_path / "set")
    assert set(ReferenceSet.load(tmp_path / "set").views) == {"all", "attention"}


@pytest.fixture(scope="module")
def partly_random(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(LoRA files, set) of a network of which one block, at a rank of its own, has nothing to do with the artist."""
    loras = tmp_path_factory.mktemp("partly-random")
    random = {path: shape for path, shape in mini_set.shapes().items() if ".down_blocks." in path}
    for a, name in enumerate(mini_set.ARTISTS):
        for number in range(4):
            made = mini_set.lora(a, number, rank=3) | writing.make(random, rank=7, seed=10 * a + number)
            mini_set.save(loras / name / f"{number}.safetensors", writing.diffusers(made))
    return loras, mini_set.build(loras, tmp_path_factory.mktemp("set") / "partly-random")


def test_modules_that_say_nothing_of_the_artist_may_go_but_controls_and_copies_know_them(
    partly_random: tuple[Path, Path], tmp_path: Path
) -> None:
    loras, folder = partly_random
    loaded = ReferenceSet.load(folder)
    used = set(loaded.views["all"].bases.paths)
    assert any(".down_blocks." not in path for path in used)
    assert loaded.modules == sorted(mini_set.shapes())
    for path, column in zip(loaded.modules, loaded.controls["rank_only"].T, strict=True):
        assert set(column) == {7.0 if ".down_blocks." in path else 3.0}
    again = load_lora(loras / mini_set.ARTISTS[1] / "2.safetensors").modules
    made = {path: (2 * m.up[:, ::-1], m.down[::-1]) for path, m in again.items()}
    copy = check(mini_set.save(tmp_path / "copy.safetensors", writing.kohya(made)), loaded).derivative
    assert copy is not None
    assert (copy["of"], copy["relation"]) == (f"{mini_set.ARTISTS[1]}/2.safetensors", "same_update")
    assert copy["figures"]["cos_delta_w"] == pytest.approx(1, abs=2e-3)


def test_artists_without_a_style_make_a_set_that_names_nobody_or_none(tmp_path: Path) -> None:
    """Random files: there may be nothing to calibrate, which is then said."""
    loras = tmp_path / "loras"
    for a, name in enumerate(mini_set.ARTISTS):
        for number in range(3):
            made = writing.make(mini_set.shapes(), rank=3, seed=10 * a + number)
            mini_set.save(loras / name / f"{number}.safetensors", writing.diffusers(made))
    try:
        loaded = ReferenceSet.load(mini_set.build(loras, tmp_path / "set"))
    except ReferenceSetError:
        return
    suspect = mini_set.save(tmp_path / "s.safetensors", writing.diffusers(writing.make(mini_set.shapes(), 3, 999)))
    audit = check(suspect, loaded)
    assert audit.verdict.label in ("INCONCLUSIVE", "NO_MATCH")
    assert all(np.isfinite(row.score) for row in audit.artists)
    assert np.isfinite(audit.artists[0].log10_lr or 0.0)


@pytest.mark.parametrize(
    ("artists", "said", "advice"), [(0, "no folders", "a folder of its own"), (2, "2 artists", "three")]
)
def test_too_few_artists_are_refused(artists: int, said: str, advice: str, tmp_path: Path) -> None:
    (tmp_path / "loras").mkdir()
    mini_set.write_artists(tmp_path / "loras", mini_set.ARTISTS[:artists], 2)
    with pytest.raises(ReferenceSetError, match=said) as caught:
        import_folder(tmp_path / "loras", tmp_path / "set")
    assert advice in caught.value.advice
    assert not (tmp_path / "set").exists()


def test_bases_do_not_mix(loras: Path, tmp_path: Path) -> None:
    mini_set.save(loras / mini_set.ARTISTS[0] / "9.safetensors", writing.diffusers(writing.make(writing.mini_paths())))
    counted = r"48 for 'unknown', 1 for 'audit-mini' \(ada-alder/9.safetensors, for one\)"
    with pytest.raises(ReferenceSetError, match=counted):
        import_folder(loras, tmp_path / "set")


def test_references_of_other_shapes_are_no_traceback(loras: Path, tmp_path: Path) -> None:
    """Two networks that no one knows, with the same names and other widths."""
    wide = writing.make(mini_set.shapes((("down_blocks.0", 28), ("up_blocks.0", 20))), seed=3)
    mini_set.save(loras / mini_set.ARTISTS[0] / "9.safetensors", writing.diffusers(wide))
    with pytest.raises(ReferenceSetError, match="shape"):
        import_folder(loras, tmp_path / "set", k=4)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReferenceSetError, match="nosuch"):
        import_folder(tmp_path / "nosuch", tmp_path / "set")


def test_calibration_needs_features(tmp_path: Path, set_folder: Path) -> None:
    with pytest.raises(ReferenceSetError, match=r"manifest\.json|reference set"):
        calibrate(tmp_path)
    shutil.copy(set_folder / "manifest.json", tmp_path)
    with pytest.raises(ReferenceSetError, match=r"features\.npz"):
        calibrate(tmp_path)


def test_the_trainers_plan_names_halves_recipes_and_which_files_are_references(loras: Path, tmp_path: Path) -> None:
    jobs = []
    for name in mini_set.ARTISTS:
        for number in range(4):
            kind = "test" if number == 3 else "ref"
            stem = f"{name}--{kind}-{number}"
            (loras / name / f"{number}.safetensors").rename(loras / name / f"{stem}.safetensors")
            half = "ab"[number % 2]
            jobs.append({"name": stem, "half": half, "recipe": "plain", "pictures": ["1", "2", "3"]})
    (loras / "plan.json").write_text(json.dumps({"base": "d1gest", "jobs": jobs}))
    assert import_folder(loras, tmp_path / "set", k=4)["references"] == 3 * mini_set.COUNT
    found = manifest(tmp_path / "set")
    assert found["base"]["digest"] == "d1gest"
    assert [r["part"] for r in found["references"][:3]] == ["a", "b", "a"]
    assert {(r["recipe"], r["images"]) for r in found["references"]} == {("plain", 3)}
    assert import_folder(loras, tmp_path / "whole", k=4, tag=None)["references"] == mini_set.TOTAL


def test_a_plan_of_ones_own_needs_no_tags(loras: Path, tmp_path: Path) -> None:
    """As docs/sets.md says: names and halves are enough."""
    jobs = []
    for name in mini_set.ARTISTS:
        for number in range(4):
            (loras / name / f"{number}.safetensors").rename(loras / name / f"{name}-{number}.safetensors")
            jobs.append({"name": f"{name}-{number}", "half": "ab"[number % 2], "recipe": "plain", "pictures": []})
    (loras / "plan.json").write_text(json.dumps({"base": "", "jobs": jobs}))
    told = import_folder(loras, tmp_path / "set", k=4)
    assert told["references"] == mini_set.TOTAL
    assert told["works"] == "of two parts or more of every artist's"
    assert {r["part"] for r in manifest(tmp_path / "set")["references"]} == {"a", "b"}
    (loras / "plan.json").write_text(json.dumps({"base": "", "jobs": jobs[:-1]}))
    assert f"not known of 1 of {mini_set.TOTAL}" in import_folder(loras, tmp_path / "other", k=4)["works"]


# --- the paper's features ------------------------------------------------------------------------------------------


def test_the_papers_features_need_one_rank(loras: Path, tmp_path: Path) -> None:
    with pytest.raises(ReferenceSetError, match="ranks 2, 3, 4, 5"):
        import_folder(loras, tmp_path / "set", features_name="paper")
    with pytest.raises(UsageError, match="nosuch"):
        import_folder(loras, tmp_path / "set", features_name="delta+nosuch")


def test_a_set_of_the_papers_features_refuses_another_rank(loras: Path, tmp_path: Path) -> None:
    for a, name in enumerate(mini_set.ARTISTS):
        for number in range(4):
            made = writing.diffusers(mini_set.lora(a, number, rank=3))
            mini_set.save(loras / name / f"{number}.safetensors", made)
    import_folder(loras, tmp_path / "set", k=4, features_name="paper")
    calibrate(tmp_path / "set", settings=mini_set.SETTINGS)
    loaded = ReferenceSet.load(tmp_path / "set")
    loaded.require_features("paper")
    labels = []
    for rank in (3, 4):
        made = writing.diffusers(mini_set.lora(1, 9, rank=rank))
        labels.append(check(mini_set.save(tmp_path / f"{rank}.safetensors", made), loaded).verdict.label)
    assert labels[0] != "OUT_OF_SCOPE"
    assert labels[1] == "OUT_OF_SCOPE"


# --- small parts ---------------------------------------------------------------------------------------------------


def test_columns_pick_the_features_of_modules() -> None:
    rng = np.random.default_rng(0)
    bases = Bases({p: rng.standard_normal((5, k)) for p, k in (("a", 2), ("b", 3), ("c", 1))},
                  {p: rng.standard_normal((4, 2)) for p in "abc"})  # fmt: skip
    assert [bases.width(p) for p in "abc"] == [3 + 4, 6 + 6, 1 + 2]
    picked = bases.columns(["a", "c"])
    assert picked.tolist() == [True] * 7 + [False] * 12 + [True] * 3


def test_nearly_all_modules_are_enough() -> None:
    modules = [str(i) for i in range(40)]
    assert covers({*modules[2:], "further"}, modules)
    assert not covers(modules[3:], modules)


def test_parts_are_halves_and_single_files_where_there_is_one_half() -> None:
    references = [{"artist": a, "part": p} for a, p in ("xa", "xb", "xa", "ya", "ya", "za", "zb")]
    rows, artist = np.arange(7), np.array([0, 0, 0, 1, 1, 2, 2])
    parts = parts_of({"references": references}, rows, artist)
    assert parts[0] == parts[2]
    assert len(np.unique(parts)) == 6
    for part in np.unique(parts):
        assert len(np.unique(artist[parts == part])) == 1


def test_least_p_of_the_set(set_folder: Path) -> None:
    view = ReferenceSet.load(set_folder).views["all"]
    assert p_floor(len(np.unique(view.artist))) == pytest.approx(1 / (mini_set.COUNT + 1))
