"""A reference set on disk: found, described, verified; damage is a clear error."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

import mini_set
import numpy as np
import processes
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.embedding.features import KNOWN
from auditor.errors import AuditorError, ReferenceSetError, UsageError
from auditor.reference import ReferenceSet, calibrate, describe, installed, verify
from auditor.reference import set as set_module
from auditor.reference.features_name import FeaturesName
from auditor.reference.set import locate


@pytest.fixture
def copy(set_folder: Path, tmp_path: Path) -> Path:
    """A copy of the set, to be damaged."""
    return Path(shutil.copytree(set_folder, tmp_path / "copy"))


def change_arrays(folder: Path, **changes: object) -> None:
    """Replace arrays ('__' stands for '/'); None removes one."""
    with np.load(folder / "arrays.npz") as packed:
        arrays = {key: packed[key] for key in packed.files}
    for key, value in changes.items():
        name = key.replace("__", "/")
        assert name in arrays
        if value is None:
            del arrays[name]
        else:
            arrays[name] = value(arrays[name])  # type: ignore[operator]
    np.savez_compressed(folder / "arrays.npz", **arrays)


def change_manifest(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_set_as_it_was_made_is_sound(set_folder: Path) -> None:
    assert verify(set_folder) == []
    assert verify(str(set_folder)) == []


def test_moving_a_set_changes_nothing(copy: Path) -> None:
    assert verify(copy) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda f: change_manifest(f, name="other"),
        lambda f: change_manifest(f, seed=1),
        lambda f: change_manifest(f, digest="0" * 64),
        lambda f: change_manifest(f, artists=json.loads((f / "manifest.json").read_text())["artists"][::-1]),
        lambda f: change_arrays(f, all__null=lambda a: a * 0.5),
        lambda f: change_arrays(f, all__scale=lambda a: np.nextafter(a, np.float16(1))),
        lambda f: change_arrays(f, all__points=lambda a: a[:-1]),
        lambda f: change_arrays(f, all__points=lambda a: a * np.nan),
        lambda f: (f / "arrays.npz").write_bytes((f / "arrays.npz").read_bytes() + b"\0"),
    ],
    ids=["name", "seed", "digest", "order of artists", "null", "one ulp", "shape", "nan", "one byte"],
)
def test_every_change_is_found(copy: Path, change: object) -> None:
    change(copy)  # type: ignore[operator]
    problems = verify(copy)
    assert any("digest" in problem for problem in problems)


@pytest.mark.parametrize(
    ("change", "words"),
    [(lambda a: a[:-1], "do not fit"), (lambda a: a * np.nan, "not finite")],
    ids=["shape", "nan"],
)
def test_damage_is_named_even_under_a_right_digest(copy: Path, change: object, words: str) -> None:
    change_arrays(copy, all__points=change)
    mini_set.seal(copy)
    assert [words in problem for problem in verify(copy)] == [True]


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: (f / "arrays.npz").unlink(),
        lambda f: (f / "arrays.npz").write_bytes(b""),
        lambda f: (f / "arrays.npz").write_bytes(b"not an archive"),
        lambda f: (f / "arrays.npz").write_bytes((f / "arrays.npz").read_bytes()[:1000]),
        lambda f: (f / "arrays.npz").write_bytes((f / "arrays.npz").read_bytes()[:-100]),
        lambda f: change_arrays(f, all__points=None),
        lambda f: change_arrays(f, fingerprints=None),
        lambda f: (f / "manifest.json").write_text("{"),
        lambda f: (f / "manifest.json").write_text("[]"),
        lambda f: (f / "manifest.json").write_bytes(b"\xff\xfe"),
        lambda f: change_manifest(f, schema="audit-reference-set/999"),
        lambda f: change_manifest(f, views=None),
    ],
    ids=["no arrays", "empty arrays", "no archive", "torn", "torn at the end", "array missing", "fingerprints missing",
         "torn manifest", "manifest is a list", "manifest is no text", "other schema", "not calibrated"],
)  # fmt: skip
def test_a_damaged_set_is_a_clear_error(copy: Path, damage: object) -> None:
    damage(copy)  # type: ignore[operator]
    with suppress(OSError, ValueError, TypeError, AttributeError):  # what can no more be read has no digest
        mini_set.seal(copy)
    with pytest.raises(ReferenceSetError) as caught:
        ReferenceSet.load(copy)
    assert "digest" not in caught.value.message
    assert str(copy) in caught.value.message
    assert caught.value.advice


def test_an_array_that_is_a_pickle_is_not_opened(copy: Path) -> None:
    change_arrays(copy, all__points=lambda a: np.array([{"a": 1}], dtype=object))
    mini_set.seal(copy)
    with pytest.raises(ReferenceSetError, match="cannot be read"):
        _ = ReferenceSet.load(copy).views["all"]


def test_a_set_that_was_changed_is_not_audited_by(copy: Path) -> None:
    """Audits cite the digest as what they were made by, and are made again by it."""
    artists = json.loads((copy / "manifest.json").read_text())["artists"]
    change_manifest(copy, artists=[artists[0] | {"name": "somebody-else"}, *artists[1:]])
    with pytest.raises(ReferenceSetError, match="changed after it was made"):
        ReferenceSet.load(copy)


def test_a_view_is_unpacked_when_it_is_looked_through(copy: Path) -> None:
    """An audit uses one view: the other is not waited for, and damage in it is told when it is asked for."""
    manifest = json.loads((copy / "manifest.json").read_text())
    change_arrays(copy, attention__points=lambda a: np.array([{"a": 1}], dtype=object))
    mini_set.seal(copy)
    views = ReferenceSet.load(copy).views
    assert views.modules("attention") == manifest["views"]["attention"]["modules"]
    assert views["all"] is views["all"]
    assert views.modules("all") == views["all"].bases.paths
    with pytest.raises(ReferenceSetError, match="cannot be read"):
        _ = views["attention"]


def test_bases_of_older_sets_are_read_module_by_module(copy: Path) -> None:
    given = ReferenceSet.load(copy).views["all"].bases
    apart = {f"all/{side}/{p}": b.astype(np.float16) for side, have in (("out", given.out), ("in", given.into))
             for p, b in have.items()}  # fmt: skip
    with np.load(copy / "arrays.npz") as packed:
        rest = {key: packed[key] for key in packed.files if key not in ("all/out", "all/in")}
    np.savez_compressed(copy / "arrays.npz", **rest, **apart)
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["views"]["all"]["shapes"]
    change_manifest(copy, views=manifest["views"])
    mini_set.seal(copy)
    read = ReferenceSet.load(copy).views["all"].bases
    assert read.paths == given.paths
    for path in given.paths:
        np.testing.assert_array_equal(read.out[path], given.out[path])
        np.testing.assert_array_equal(read.into[path], given.into[path])


def test_bases_that_do_not_fit_their_modules_are_refused(copy: Path) -> None:
    change_arrays(copy, all__out=lambda a: a[:-1])
    mini_set.seal(copy)
    with pytest.raises(ReferenceSetError, match="are not the bases"):
        _ = ReferenceSet.load(copy).views["all"]


# --- names ---------------------------------------------------------------------------------------------------------


def test_installed_sets_are_found_by_name(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "reference_sets"
    home.mkdir()
    copy.rename(home / "default")
    (home / "not a set").mkdir()
    monkeypatch.setattr(set_module, "places", lambda: [home])
    assert installed() == [("default", home / "default")]
    assert locate(None) == locate("default") == home / "default"
    assert ReferenceSet.load().folder == home / "default"
    with pytest.raises(ReferenceSetError, match=r"'nosuch'.*default"):
        locate("nosuch")


def test_without_any_set_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_module, "places", list)
    with pytest.raises(ReferenceSetError, match="none installed"):
        ReferenceSet.load()
    with pytest.raises(ReferenceSetError, match="none installed"):
        verify(tmp_path)


def test_a_folder_wins_over_a_name(set_folder: Path) -> None:
    assert locate(set_folder) == set_folder
    assert locate(str(set_folder)) == set_folder


# --- what it tells -------------------------------------------------------------------------------------------------


def test_description_is_json(set_folder: Path) -> None:
    told = json.loads(json.dumps(describe(set_folder), allow_nan=False))
    assert told["name"] == "mini"
    assert [a["name"] for a in told["artists"]] == list(mini_set.ARTISTS)
    assert {a["references"] for a in told["artists"]} == {4}
    assert 10 <= told["views"]["all"] <= len(mini_set.shapes())
    assert told["validity"] == {}
    assert "references" not in told
    assert told["digest"] == json.loads((set_folder / "manifest.json").read_text())["digest"]


def test_the_headline_of_the_card_is_shown(copy: Path) -> None:
    headline = {"top1": {"value": 0.5, "low": 0.4, "high": 0.6, "of": 6}}
    (copy / "card.json").write_text(json.dumps({"headline": headline, "rest": []}))
    assert describe(copy)["validity"] == headline
    assert verify(copy) == []


def test_the_card_is_read_once(copy: Path) -> None:
    (copy / "card.json").write_text('{"headline": {"top1": 0.5}}')
    loaded = ReferenceSet.load(copy)
    loaded.validity().clear()
    (copy / "card.json").unlink()
    assert loaded.validity() == {"top1": 0.5}


def test_a_card_that_cannot_be_read_is_named(copy: Path) -> None:
    for content in ("{", "[]"):
        (copy / "card.json").write_text(content)
        with pytest.raises(ReferenceSetError, match=r"card\.json"):
            describe(copy)


def test_features_that_the_set_was_not_made_with_are_refused(set_folder: Path) -> None:
    loaded = ReferenceSet.load(set_folder)
    for name in (None, loaded.manifest["features"], FeaturesName.parse(loaded.manifest["features"]).family):
        loaded.require_features(name)
    with pytest.raises(UsageError, match="paper"):
        loaded.require_features("paper")


@given(
    st.lists(st.sampled_from(KNOWN), min_size=1, max_size=4), st.integers(0, 10**9 - 1), st.integers(0, 2**62),
    st.none() | st.integers(1, 10**9 - 1),
)  # fmt: skip
def test_a_features_name_is_read_as_it_is_written(kinds: list[str], k: int, seed: int, cells: int | None) -> None:
    name = FeaturesName(tuple(kinds), k, seed, cells)
    assert FeaturesName.parse(str(name)) == name


def test_features_names_in_use() -> None:
    assert FeaturesName.parse("root-gram+delta/k32/seed0/v2") == FeaturesName(("root-gram", "delta"), 32, 0)
    assert FeaturesName.parse("root-gram/sketch96in600/seed7/v2") == FeaturesName(("root-gram",), 96, 7, 600)


@pytest.mark.parametrize(
    "name",
    ["", "root-gram", "root-gram/k32", "root-gram/k32/seed0/v1", "/k1/seed0/v1", "a/kk/b/c", "gram/sketch24/seed0/v2"],
)
def test_what_is_no_features_name_is_refused(name: str) -> None:
    with pytest.raises(ReferenceSetError, match="does not know"):
        FeaturesName.parse(name)


def test_a_set_of_another_versions_features_is_refused(copy: Path) -> None:
    """Its projection is for other numbers: what it said of a suspect would be of no meaning."""
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    manifest["features"] = manifest["features"].replace("/v2", "/v1")
    (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ReferenceSetError, match="/v1") as told:
        ReferenceSet.load(copy)
    assert "refs import" in told.value.advice


def test_a_calibration_that_finds_no_room_leaves_the_set_as_it_was(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(AuditorError, match="No space left") as told:
        calibrate(copy, seed=1, settings=mini_set.SETTINGS)
    assert "Make room" in told.value.advice
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("refs", "import", "{loras}", "-o", "file/set"),
        ("refs", "export", "{set}", "-o", "file/set"),
        ("map", "--refs", "{set}", "-o", "file/map.html"),
        ("scan", "{loras}", "--refs", "{set}", "--workers", "1", "-o", "file/out.parquet"),
    ],
)
def test_a_place_that_cannot_be_written_is_no_fault_of_audit(
    set_folder: Path, lora_folder: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    asked = [word.format(loras=lora_folder, set=set_folder) for word in arguments]
    done = processes.audit(tmp_path, *asked)
    assert (done.returncode, done.stdout) == (1, "")
    assert "could not be written: " in done.stderr
    assert "Give another" in done.stderr or "Make room" in done.stderr
    assert "fault of audit itself" not in done.stderr
