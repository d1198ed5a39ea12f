"""Relations between files that were made one from the other in a known way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import lora_writing as writing
import numpy as np
import pytest

from auditor.limits import SAME_SOURCE, UNRELATED
from auditor.lora import LoraWeights, load_lora
from auditor.lora.dtypes import E4M3
from auditor.lora.relation import compare
from auditor.lora.resaved import rounded
from auditor.lora.weights import LoraModule

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


def test_a_part_of_the_layers_is_the_same_update(lora: writing.Lora, tmp_path: Path) -> None:
    part = dict(list(lora.items())[:4])
    found = compare(weights(tmp_path, lora), weights(tmp_path, part))
    assert found.relation == "same_update"
    assert any("further layers" in reason for reason in found.reasons)


def test_modules_scaled_by_different_factors_are_the_same_update(lora: writing.Lora, tmp_path: Path) -> None:
    turned = {p: (up * np.float32((-1) ** i * 2.0**-i), down) for i, (p, (up, down)) in enumerate(lora.items())}
    found = compare(weights(tmp_path, lora), weights(tmp_path, turned))
    assert abs(found.figures["cos_delta_w"]) < 0.9
    assert found.relation == "same_update"


@pytest.mark.parametrize(("bits", "least"), [(3, -6), (2, -14), (7, -126)])
def test_re_saves_in_coarse_formats(bits: int, least: int, lora: writing.Lora, tmp_path: Path) -> None:
    coarse = {p: (rounded(up, bits, least), rounded(down, bits, least)) for p, (up, down) in lora.items()}
    assert compare(weights(tmp_path, lora), weights(tmp_path, coarse)).relation == "same_update"


def test_rounding_is_that_of_the_formats() -> None:
    """Every value of E4M3 stays itself, and what lies between goes to a neighbour."""
    values = E4M3[np.isfinite(E4M3)]
    np.testing.assert_array_equal(rounded(values, 3, -6), values)
    between = np.float32([1.0, 1.0625, 1.07, 0.001])
    np.testing.assert_allclose(rounded(between, 3, -6), [1.0, 1.0, 1.125, 2.0**-9 * np.rint(0.001 * 2**9)])


def test_a_deep_resize(lora: writing.Lora, tmp_path: Path) -> None:
    """Cut to a sixth of its ranks, little of the cosine is left, but what is left is just its largest part."""
    found = compare(weights(tmp_path, lora), weights(tmp_path, refactored(lora, 1)))
    assert found.figures["cos_delta_w"] < 0.8
    assert found.relation == "resized"


def test_a_merge_cut_to_fewer_ranks(lora: writing.Lora, other: writing.Lora, tmp_path: Path) -> None:
    cut = refactored(mixed(lora, other, 1.0), 9)
    assert compare(weights(tmp_path, lora), weights(tmp_path, cut)).relation == "merge"


def test_a_plain_merge_adds_factors(lora: writing.Lora, other: writing.Lora, tmp_path: Path) -> None:
    added = {p: (lora[p][0] + other[p][0], lora[p][1] + other[p][1]) for p in lora}
    found = compare(weights(tmp_path, lora), weights(tmp_path, added))
    assert found.figures["cos_delta_w"] == pytest.approx(0.5, abs=0.1)
    assert found.relation == "merge"


def test_what_lies_beside_is_compared_when_nothing_else_is_there(tmp_path: Path) -> None:
    blocks = np.random.default_rng(0).standard_normal((2, 4, 4), np.float32)
    name = "oft_unet_mid_block_attentions_0_proj_out.oft_blocks"
    made = [
        load_lora(writing.save(tmp_path / f"{i}.safetensors", {name: values}), with_beside=True)
        for i, values in enumerate((blocks, blocks.copy(), blocks[::-1].copy()))
    ]
    assert compare(made[0], made[1]).relation == "same_update"
    assert compare(made[0], made[2]).relation != "same_update"


def test_a_lora_and_a_file_of_rotations_or_scalings_alone_have_nothing_of_one_kind(tmp_path: Path) -> None:
    layer = "unet.mid_block.attentions.0.proj_out"
    plain = {f"oft_{layer.replace('.', '_')}.oft_blocks": np.ones((2, 4, 4), np.float32)}
    scaled = {f"base_model.model.{layer.removeprefix('unet.')}.ia3_l": np.full((96, 1), 2, np.float32)}
    full = weights(tmp_path, writing.make(SHAPES))
    for tensors, kind in ((plain, "rotation"), (scaled, "scaling")):
        other = load_lora(writing.save(tmp_path / "o.safetensors", tensors), with_beside=True)
        for pair, sides in (((full, other), "ab"), ((other, full), "ba")):
            found = compare(*pair)
            assert found.relation == "not_comparable"
            assert found.reasons == (
                f"{sides[0]} holds changes of weights and nothing beside them, {sides[1]} holds none and beside them "
                f"{kind} alone: nothing in the two files is of one kind.",
            )
            assert found.figures[f"norm_{sides[0]}"] > 0


def test_what_lies_beside_is_compared_where_both_have_some(tmp_path: Path) -> None:
    name = "lora_unet_mid_block_attentions_0_proj_out"
    extra = {f"{name}.diff_b": np.arange(1, 97, dtype=np.float32)}
    made = [
        load_lora(writing.save(tmp_path / "x.safetensors", tensors), with_beside=True)
        for tensors in (writing.kohya(writing.make(SHAPES)) | extra, extra)
    ]
    assert (bool(made[0].modules), bool(made[1].modules)) == (True, False)
    assert compare(*made).relation == "same_update"


@pytest.mark.parametrize("rank", [8, 32, 64])
@pytest.mark.parametrize("order", ["the larger first", "the smaller first"])
def test_half_of_a_flat_spectrum_is_a_resize_and_no_merge(rank: int, order: str) -> None:
    """Where all singular values are nearly one size, half of them keep a cosine of √½ only, as a merge of two would."""
    whole, half = {}, {}
    for number in range(4):
        path, rng = f"unet.mid_block.attentions.{number}.proj_in", np.random.default_rng([number, rank])
        left, right = (np.linalg.qr(rng.standard_normal((320, rank)))[0] for _ in range(2))
        sizes = np.sort(1 + 1e-2 * rng.standard_normal(rank))[::-1]
        up, down = (left * sizes).astype(np.float32), right.T.astype(np.float32)
        whole[path] = LoraModule(path, up, down, 1.0)
        kept = slice(0, rank // 2)
        cut = [side.astype(np.float16).astype(np.float32) for side in (up[:, kept], down[kept])]
        half[path] = LoraModule(path, cut[0], cut[1], 1.0)
    both = [LoraWeights(modules, "kohya", ("lora",), "sd1") for modules in (whole, half)]
    found = compare(*(both if order == "the larger first" else both[::-1]))
    assert found.relation == "resized"
    assert found.figures["cos_delta_w"] == pytest.approx(0.5**0.5, abs=0.02)


def test_the_docs_name_the_limits_that_are_used() -> None:
    told = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    assert f"cos ΔW\\| ≥ {SAME_SOURCE} otherwise" in told
    assert f"Up to {UNRELATED} it is what unrelated files have" in told
