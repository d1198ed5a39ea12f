"""Relations between files that were made one from the other in a known way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import lora_writing as writing
import numpy as np
import pytest

from auditor.lora import LoraWeights, load_lora
from auditor.lora.relation import compare

SHAPES = {f"unet.{block}.attentions.0.{leaf}": (96, 80) for block in ("mid_block", "up_blocks.1", "down_blocks.0")
          for leaf in ("proj_in", "proj_out")}  # fmt: skip


def weights(tmp_path: Path, lora: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> LoraWeights:
    return load_lora(writing.save(tmp_path / "x.safetensors", writing.kohya(dict(lora))))


def mixed(a: writing.Lora, b: writing.Lora, share: float) -> writing.Lora:
    """ΔW of `a` and `share` of that of `b`, ranks side by side."""
    return {
        p: (np.concatenate([a[p][0], np.float32(share) * b[p][0]], 1), np.concatenate([a[p][1], b[p][1]])) for p in a
    }


def refactored(lora: writing.Lora, keep: int | None = None) -> writing.Lora:
    made = {}
    for path, (up, down) in lora.items():
        u, s, vt = np.linalg.svd(up.astype(np.float64) @ down, full_matrices=False)
        k = keep or up.shape[1]
        made[path] = ((u[:, :k] * s[:k]).astype(np.float32), vt[:k].astype(np.float32))
    return made


@pytest.fixture
def lora() -> writing.Lora:
    return writing.make(SHAPES, rank=6)


@pytest.fixture
def other() -> writing.Lora:
    return writing.make(SHAPES, rank=6, seed=1)


def test_same_file_and_same_tensors(lora: writing.Lora, tmp_path: Path) -> None:
    a = weights(tmp_path, lora)
    assert compare(a, a, "1", "1", "2", "2").relation == "same_file"
    assert compare(a, a, "1", "3", "2", "2").relation == "same_tensors"


def test_refactored_rescaled_and_rekeyed_are_the_same_update(lora: writing.Lora, tmp_path: Path) -> None:
    a = weights(tmp_path, lora)
    rescaled = {path: (up * np.float32(3), down) for path, (up, down) in refactored(lora).items()}
    b = load_lora(writing.save(tmp_path / "b.safetensors", writing.diffusers(rescaled)))
    found = compare(a, b)
    assert found.relation == "same_update"
    assert found.figures["norm_ratio"] == pytest.approx(3, rel=1e-4)


def test_a_negative_copy_is_seen(lora: writing.Lora, tmp_path: Path) -> None:
    minus = {path: (-up, down) for path, (up, down) in lora.items()}
    found = compare(weights(tmp_path, lora), weights(tmp_path, minus))
    assert found.relation == "same_update"
    assert any("negative" in reason for reason in found.reasons)


def test_resized(lora: writing.Lora, tmp_path: Path) -> None:
    steep = {path: (up * np.float32(2.0) ** -np.arange(6, dtype=np.float32), down) for path, (up, down) in lora.items()}
    assert compare(weights(tmp_path, steep), weights(tmp_path, refactored(steep, 3))).relation == "resized"


def test_checkpoints_of_one_run(lora: writing.Lora, other: writing.Lora, tmp_path: Path) -> None:
    later = {path: (up + np.float32(0.4) * other[path][0], down) for path, (up, down) in lora.items()}
    assert compare(weights(tmp_path, lora), weights(tmp_path, later)).relation == "same_run"


def test_a_merge_holds_its_parts(lora: writing.Lora, other: writing.Lora, tmp_path: Path) -> None:
    found = compare(weights(tmp_path, lora), weights(tmp_path, mixed(lora, other, 1.0)))
    assert found.relation == "merge"
    assert found.figures["a_inside_b"] == pytest.approx(1.0, abs=1e-6)


def test_one_seed_is_no_relation(lora: writing.Lora, other: writing.Lora, tmp_path: Path) -> None:
    """Two runs with one seed share `down` almost exactly; their updates are unrelated all the same."""
    shared = {path: (other[path][0], down) for path, (_, down) in lora.items()}
    assert compare(weights(tmp_path, lora), weights(tmp_path, shared)).relation == "unrelated"


def test_nothing_to_compare(lora: writing.Lora, tmp_path: Path) -> None:
    a = weights(tmp_path, lora)
    zero = weights(tmp_path, {path: (0 * up, down) for path, (up, down) in lora.items()})
    elsewhere = weights(tmp_path, writing.make({"unet.conv_in": (8, 8)}))
    assert compare(a, zero).relation == "no_effect"
    assert compare(a, elsewhere).relation == "not_comparable"


def test_the_order_of_the_two_does_not_matter(lora: writing.Lora, other: writing.Lora, tmp_path: Path) -> None:
    a, b = weights(tmp_path, lora), weights(tmp_path, mixed(lora, other, 0.5))
    assert compare(a, b).relation == compare(b, a).relation
