"""Adding to a set and taking out of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import lora_writing as writing
import mini_set
import numpy as np
import pytest

from auditor.audit import check
from auditor.errors import ReferenceSetError
from auditor.reference import add_folder, remove, verify
from auditor.reference.calibrate import load_features

ADA, BEN, LEA = (mini_set.ARTISTS[i] for i in (0, 1, -1))


@pytest.fixture
def folder(set_folder: Path, tmp_path: Path) -> Path:
    """A copy of the small set, with a card."""
    copy = tmp_path / "set"
    shutil.copytree(set_folder, copy)
    (copy / "card.json").write_text('{"headline": {}}', encoding="utf-8")
    return copy


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return found


def by_file(folder: Path) -> dict[str, np.ndarray]:
    """Features of each reference by its name."""
    arrays = load_features(folder)
    names = [r["file"] for r in manifest(folder)["references"]]
    rows = zip(names, arrays["features"], arrays["fingerprints"], arrays["control/norm_only"], strict=True)
    return {name: np.concatenate([np.asarray(a, np.float64) for a in parts]) for name, *parts in rows}


def named(folder: Path, artist: int, tmp_path: Path) -> str:
    """The first artist of a fresh file's audit."""
    path = mini_set.save(tmp_path / "x.safetensors", writing.kohya(mini_set.lora(artist, mini_set.FILES), 2.0))
    return check(path, folder, alpha=0.2, resamples=5).artists[0].artist


def test_removing_and_adding_again_gives_the_same_set(folder: Path, lora_folder: Path, tmp_path: Path) -> None:
    before, settings = by_file(folder), manifest(folder)["settings"]
    removed = remove(folder, [ADA, f"{BEN}/0.safetensors"])
    assert removed["removed"] == [*(f"{ADA}/{n}.safetensors" for n in range(mini_set.FILES)), f"{BEN}/0.safetensors"]
    assert (removed["artists"], removed["references"]) == (mini_set.COUNT - 1, mini_set.TOTAL - 5)
    assert verify(folder) == []
    assert not (folder / "card.json").exists(), "the card was about another set"
    assert named(folder, 0, tmp_path) != ADA

    added = add_folder(folder, lora_folder)
    assert sorted(added["added"]) == sorted(removed["removed"])
    assert added["new_artists"] == [ADA]
    assert len(added["skipped"]) == mini_set.TOTAL - 5
    assert verify(folder) == []
    after = by_file(folder)
    assert set(after) == set(before)
    for file, row in before.items():
        assert after[file] == pytest.approx(row, abs=2e-3), file  # half precision, and other directions' signs never
    assert manifest(folder)["settings"] == settings
    assert named(folder, 0, tmp_path) == ADA
    entry = next(a for a in manifest(folder)["artists"] if a["name"] == ADA)
    assert entry["genre"] == "shrubs"


def test_a_new_artist_is_found(folder: Path, tmp_path: Path) -> None:
    assert named(folder, mini_set.STRANGER, tmp_path) != "new-artist"
    for number in range(3):
        made = writing.peft(mini_set.lora(mini_set.STRANGER, number))
        mini_set.save(tmp_path / "more" / "new-artist" / f"{number}.safetensors", made)
    assert add_folder(folder, tmp_path / "more")["artists"] == mini_set.COUNT + 1
    assert named(folder, mini_set.STRANGER, tmp_path) == "new-artist"


def test_what_does_not_fit_is_skipped_with_its_reason(folder: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    wide = writing.make(mini_set.shapes((("down_blocks.0", 40), ("up_blocks.0", 36))))
    mini_set.save(more / BEN / "wide.safetensors", writing.diffusers(wide))
    mini_set.save(more / BEN / "good.safetensors", writing.diffusers(mini_set.lora(1, 50)))
    mini_set.save(more / BEN / "twin.safetensors", writing.diffusers(mini_set.lora(1, 50)))
    mini_set.save(more / "single" / "0.safetensors", writing.diffusers(mini_set.lora(60, 0)))
    (more / BEN / "bad.safetensors").write_bytes(b"garbage")
    found = add_folder(folder, more)
    assert found["added"] == [f"{BEN}/good.safetensors"]
    reasons = {row["file"]: row["reason"] for row in found["skipped"]}
    assert "shape" in reasons[f"{BEN}/wide.safetensors"] or "LoRA for" in reasons[f"{BEN}/wide.safetensors"]
    assert "already" in reasons[f"{BEN}/twin.safetensors"]
    assert "held out" in reasons["single"]
    assert f"{BEN}/bad.safetensors" in reasons


def test_refusals_change_nothing(folder: Path, lora_folder: Path, tmp_path: Path) -> None:
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    nearly_all = list(mini_set.ARTISTS[2:])
    for names in (["nobody"], [f"{ADA}/9.safetensors"], nearly_all, [f"{ADA}/{n}.safetensors" for n in range(3)]):
        with pytest.raises(ReferenceSetError):
            remove(folder, names)
    with pytest.raises(ReferenceSetError, match="no reference to add"):
        add_folder(folder, lora_folder)
    with pytest.raises(ReferenceSetError, match="no folder"):
        add_folder(folder, tmp_path / "nosuch")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_published_set_cannot_be_edited(folder: Path, lora_folder: Path) -> None:
    (folder / "features.npz").unlink()
    for edit in (lambda: remove(folder, [LEA]), lambda: add_folder(folder, lora_folder)):
        with pytest.raises(ReferenceSetError, match=r"features\.npz"):
            edit()


def test_names_may_be_spelt_as_people_do(folder: Path) -> None:
    assert remove(folder, [ADA.replace("-", " ").upper()])["removed"][0].startswith(f"{ADA}/")


def test_why_nothing_was_added_is_said_once_for_each_reason(folder: Path, lora_folder: Path, tmp_path: Path) -> None:
    loras = tmp_path / "loras"
    shutil.copytree(lora_folder, loras)
    nothing = {path: (0 * up, down) for path, (up, down) in mini_set.lora(1, 9).items()}
    mini_set.save(loras / BEN / "9.safetensors", writing.kohya(nothing, 2.0))
    with pytest.raises(ReferenceSetError) as caught:
        add_folder(folder, loras)
    said = str(caught.value)
    assert f"{ADA}/0.safetensors and {mini_set.TOTAL - 1} more: the set holds these tensors already." in said
    assert f"{BEN}/9.safetensors: This LoRA has no effect" in said
