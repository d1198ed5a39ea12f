"""Sets for another party: complete for audits, and as sketches without anything that a style could be made from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import lora_writing as writing
import mini_set
import numpy as np
import pytest

from auditor.audit import check
from auditor.embedding.features import sketch_bases, triangle
from auditor.errors import ReferenceSetError, UsageError
from auditor.reference import ReferenceSet, evaluate, export_set, export_sketch, verify
from auditor.reference.set import pack_view, unpack_view

FRESH = mini_set.FILES


@pytest.fixture(scope="module")
def sketch(set_folder: Path, lora_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("given") / "sketch"
    export_sketch(set_folder, lora_folder, target)
    return target


def suspects(folder: Path) -> list[Path]:
    """A fresh file of every artist and of four strangers."""
    who = [*range(mini_set.COUNT), *range(mini_set.STRANGER, mini_set.STRANGER + 4)]
    return [
        mini_set.save(folder / f"{a}.safetensors", writing.kohya(mini_set.lora(a, FRESH, 3 + a % 3), 1.0)) for a in who
    ]


def test_a_sketch_scores_suspects_as_its_set_does(set_folder: Path, sketch: Path, tmp_path: Path) -> None:
    """Other numbers, since it sees less, but the same order of artists at the top and the same conclusions."""
    scores, first, labels = [], [], []
    for path in suspects(tmp_path):
        whole, seen = (check(path, refs, resamples=10, alpha=0.2) for refs in (set_folder, sketch))
        ours, theirs = ({a.artist: a.score for a in audit.artists} for audit in (whole, seen))
        scores += [(score, theirs[artist]) for artist, score in ours.items()]
        first.append(whole.artists[0].artist == seen.artists[0].artist)
        labels.append((whole.verdict.artist, seen.verdict.artist))
    assert np.mean(first[: mini_set.COUNT]) > 0.9
    assert np.corrcoef(np.array(scores).T)[0, 1] > 0.8
    assert all(one == other for one, other in labels if one and other)


@pytest.mark.parametrize("k", [3, 24, 999])
def test_what_the_other_party_draws_again_is_what_the_sketch_was_made_with(sketch: Path, k: int) -> None:
    """Exactly, in every view, through fewer directions than layers have or more."""
    given = ReferenceSet.load(sketch)
    made = sketch_bases(given.shapes, k, 50, 7)
    for view in given.views.values():
        spec, arrays = pack_view(replace(view, bases=made.only(view.bases.paths)))
        assert not [key for key in arrays if "/out" in key or "/in" in key]
        again = unpack_view(view.name, spec, arrays).bases
        assert (again.paths, again.cells, again.sketch) == (view.bases.paths, 50, 7)
        for path in again.paths:
            np.testing.assert_array_equal(again.out[path], made.out[path])
    other = sketch_bases(given.shapes, k, 50, 8)
    assert all((made.out[p] != other.out[p]).any() for p in given.shapes)


def test_a_sketch_holds_no_direction_of_any_layer_and_no_file(sketch: Path, lora_folder: Path) -> None:
    """Per reference only coordinates, held-out scores, recipe controls and the copy detector's 256 numbers."""
    with np.load(sketch / "arrays.npz") as packed:
        sizes = {key: packed[key].shape for key in packed.files}
    assert not [key for key in sizes if "/out/" in key or "/in/" in key or "features" in key]
    references = mini_set.TOTAL
    per_reference = {k: s[1:] for k, s in sizes.items() if s[0] == references and not k.startswith("control/")}
    assert max(int(np.prod(s, dtype=int)) for s in per_reference.values()) <= 256
    text = (sketch / "manifest.json").read_text(encoding="utf-8")
    assert ".safetensors" not in text
    assert str(lora_folder) not in text
    assert sorted(p.name for p in sketch.iterdir()) == ["arrays.npz", "manifest.json"]
    assert verify(sketch) == []


def test_a_sketch_keeps_inner_products_of_covariances() -> None:
    """On average through fewer directions or in fewer sums than a layer has; exactly where it is given enough."""
    rng = np.random.default_rng(0)
    one, other = (f @ f.T for f in (rng.standard_normal((30, 3)), rng.standard_normal((30, 4))))

    def product(k: int, cells: int, seed: int) -> float:
        bases = sketch_bases({"m": (30, 5)}, k, cells, seed)
        seen = [bases.thrown("m", triangle(bases.out["m"].T @ c @ bases.out["m"])) for c in (one, other)]
        assert len(seen[0]) == bases.width("m") <= cells
        return float(seen[0] @ seen[1])

    exact = float(np.sum(one * other))
    hashed = [product(30, 60, seed) for seed in range(600)]
    assert np.mean(hashed) == pytest.approx(exact, abs=3 * np.std(hashed) / np.sqrt(len(hashed)))
    assert np.std(hashed) < np.linalg.norm(one) * np.linalg.norm(other) / np.sqrt(60) * 1.5
    assert product(99, 30 * 31 // 2, 0) == pytest.approx(exact, rel=1e-12)
    frames = [sketch_bases({"m": (30, 5)}, 24, 60, seed).out["m"] for seed in range(400)]
    np.testing.assert_allclose(np.mean([p @ p.T for p in frames], 0), np.eye(30), atol=0.06)


def test_the_sign_and_the_inputs_of_an_update_do_not_enter_a_sketch(sketch: Path, tmp_path: Path) -> None:
    """-ΔW and ΔW turned on its input side score alike: neither can be read back from what a sketch holds."""
    made = mini_set.lora(2, FRESH)
    turned = {}
    for path, (up, down) in made.items():
        turn = np.linalg.qr(np.random.default_rng(len(path)).standard_normal((down.shape[1],) * 2))[0]
        turned[path] = (-up, (down @ turn).astype(np.float32))
    plain, other = (
        check(mini_set.save(tmp_path / f"{i}.safetensors", writing.diffusers(one)), sketch, resamples=10)
        for i, one in enumerate((made, turned))
    )
    assert plain.open_set is not None
    assert other.open_set is not None
    assert other.open_set.statistic == pytest.approx(plain.open_set.statistic, abs=1e-4)
    assert [a.artist for a in other.artists] == [a.artist for a in plain.artists]


def test_a_plain_export_is_the_set_without_its_features(set_folder: Path, tmp_path: Path) -> None:
    done = export_set(set_folder, tmp_path / "copy")
    assert "features.npz" not in done["files"]
    assert ReferenceSet.load(tmp_path / "copy").manifest == ReferenceSet.load(set_folder).manifest
    assert verify(tmp_path / "copy") == []


def test_what_cannot_be_exported_is_said(set_folder: Path, lora_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ReferenceSetError, match="not the file"):
        export_sketch(set_folder, tmp_path, tmp_path / "a")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x", encoding="utf-8")
    with pytest.raises(UsageError, match="not an empty folder"):
        export_sketch(set_folder, lora_folder, tmp_path / "full")
    manifest = json.loads((set_folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["references"][0]["tensor_sha256"]


def test_a_sketch_is_not_evaluated_on_files_and_says_so_before_it_reads_them(
    sketch: Path, lora_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reads(_: Path) -> None:
        raise AssertionError("a file was read")

    monkeypatch.setattr("auditor.reference.validity.read_corpus", reads)
    with pytest.raises(ReferenceSetError, match="is a sketch"):
        evaluate(sketch, lora_folder)
