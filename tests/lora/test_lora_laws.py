"""Laws: nothing that we compute depends on how a LoRA was factored, ordered, scaled inside or padded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import lora_writing as writing
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.lora import LoraModule, LoraWeights, load_lora
from auditor.lora import algebra as al

SHAPES = {
    "unet.mid_block.attentions.0.proj_in": (40, 32),
    "unet.mid_block.attentions.0.proj_out": (32, 40),
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k": (24, 48),
}


def module(seed: int, rank: int = 3, shape: tuple[int, int] = (24, 18), scale: float = 0.7) -> LoraModule:
    rng = np.random.default_rng(seed)
    up, down = rng.standard_normal((shape[0], rank)), rng.standard_normal((rank, shape[1]))
    return LoraModule("unet.x", up.astype(np.float32), down.astype(np.float32), scale)


def dense(m: LoraModule) -> np.ndarray:
    return m.scale * m.up.astype(np.float64) @ m.down.astype(np.float64)


def output_agreement(a: LoraModule, b: LoraModule) -> float:
    """`output_cosine` of two files that hold one module each."""
    one, other = (LoraWeights({"unet.x": m}, "kohya", ("lora",), "sd1") for m in (a, b))
    return al.output_cosine(one, other)


def regauge(m: LoraModule, seed: int) -> LoraModule:
    """The same ΔW in another gauge, well-conditioned so that float32 keeps it."""
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.standard_normal((m.rank, m.rank)))
    gauge = q * rng.uniform(0.5, 2.0, m.rank)
    up = m.up @ gauge
    return replace(m, up=up.astype(np.float32), down=(np.linalg.inv(gauge) @ m.down).astype(np.float32))


WRITINGS = {
    "another gauge": lambda m: regauge(m, 99),
    "ranks in another order": lambda m: replace(m, up=m.up[:, ::-1], down=m.down[::-1]),
    "alpha folded into up": lambda m: replace(m, up=(m.up * np.float32(m.scale)), scale=1.0),
    "balanced by square roots": lambda m: replace(
        m, up=m.up * np.float32(m.scale**0.5), down=m.down * np.float32(m.scale**0.5), scale=1.0
    ),
    "padded with empty ranks": lambda m: replace(
        m, up=np.pad(m.up, ((0, 0), (0, 2))), down=np.concatenate([m.down, np.ones_like(m.down[:2])])
    ),
    "a rank split in two": lambda m: replace(
        m, up=np.concatenate([m.up, m.up[:, :1]], 1) * np.r_[0.5, np.ones(m.rank - 1), 0.5].astype(np.float32),
        down=np.concatenate([m.down, m.down[:1]]),
    ),
    "both signs changed": lambda m: replace(m, up=-m.up, down=-m.down),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITINGS)
def test_every_writing_of_one_update_has_the_same_invariants(name: str) -> None:
    a, other = module(1), module(2)
    b = WRITINGS[name](a)
    assert al.inner_product(a, other) == pytest.approx(al.inner_product(b, other), rel=1e-6)
    assert al.norm(a) == pytest.approx(al.norm(b), rel=1e-6)
    assert output_agreement(a, b) == pytest.approx(1.0, rel=1e-6)
    for mine, its in zip(al.canonical(a), al.canonical(b), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-5, atol=2e-6)
    kept = al.spectrum(b)[:3]
    np.testing.assert_allclose(al.spectrum(a), kept, rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 20), st.integers(1, 20), st.integers(0, 10**6))
def test_inner_products_are_gauge_free_and_those_of_the_dense_update(
    seed: int, rank: int, out: int, across: int, gauge: int
) -> None:
    a, b = module(seed, rank, (out, across)), module(seed + 1, rank, (out, across), -1.3)
    scale = np.linalg.norm(dense(a)) * np.linalg.norm(dense(b))
    assert al.inner_product(a, b) == pytest.approx(float(np.sum(dense(a) * dense(b))), abs=1e-9 * scale)
    assert al.inner_product(regauge(a, gauge), b) == pytest.approx(al.inner_product(a, b), abs=1e-5 * scale)


@pytest.mark.parametrize(("rank", "shape"), [(1, (9, 7)), (4, (30, 20)), (25, (20, 12)), (25, (12, 20))])
def test_decompositions_agree_with_the_dense_ones(rank: int, shape: tuple[int, int]) -> None:
    m = module(5, rank, shape)
    u, s, vt = al.canonical(m)
    np.testing.assert_allclose(u * s @ vt, dense(m), atol=1e-5 * s[0])
    np.testing.assert_allclose(
        al.spectrum(m), np.linalg.svd(dense(m), compute_uv=False)[: min(rank, *shape)], rtol=1e-6
    )
    np.testing.assert_allclose(u.T @ u, np.eye(len(s)), atol=1e-10)


@pytest.mark.parametrize("power", [0, 3, 7, 12])
def test_decompositions_stand_nearly_dependent_columns(power: int) -> None:
    m = module(3, 4, (30, 20))
    up = m.up.astype(np.float64)
    up[:, 3] = up[:, 2] + 10.0**-power * up[:, 3]
    m = replace(m, up=up.astype(np.float32))
    u, s, vt = al.canonical(m)
    np.testing.assert_allclose(u * s @ vt, dense(m), atol=3e-6 * s[0])
    np.testing.assert_allclose(u.T @ u, np.eye(len(s)), atol=1e-9)
    expected = np.linalg.svd(dense(m), compute_uv=False)[:4]
    np.testing.assert_allclose(al.spectrum(m), expected, atol=1e-12 * expected[0])


def test_agreement_of_outputs_is_the_cosine_of_output_covariances() -> None:
    a, b = module(1), module(2)
    ca, cb = dense(a) @ dense(a).T, dense(b) @ dense(b).T
    expected = np.sum(ca * cb) / np.linalg.norm(ca) / np.linalg.norm(cb)
    assert output_agreement(a, b) == pytest.approx(expected, rel=1e-9)


def test_zero_updates_have_no_direction() -> None:
    zero = replace(module(1), up=np.zeros((24, 3), np.float32))
    u, s, vt = al.canonical(zero)
    assert (u.shape, s.shape, vt.shape) == ((24, 0), (0,), (0, 18))
    assert al.effective_rank(al.spectrum(zero)) == 0.0
    assert output_agreement(zero, module(2)) == 0.0


def test_effective_rank_is_the_number_of_equal_directions() -> None:
    assert al.effective_rank(np.array([3.0, 3.0, 3.0, 0.0])) == pytest.approx(3.0)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        al.inner_product(module(1), module(2, shape=(24, 17)))
    with pytest.raises(ValueError, match="outputs differ"):
        al.output_inner(module(1), module(2, shape=(23, 18)))


def test_the_order_of_tensors_in_a_file_does_not_matter(tmp_path: Path) -> None:
    tensors = writing.kohya(writing.make(SHAPES), 2.0)
    names = list(tensors)
    np.random.default_rng(0).shuffle(names)
    a = load_lora(writing.save(tmp_path / "a.safetensors", tensors))
    b = load_lora(writing.save(tmp_path / "b.safetensors", {name: tensors[name] for name in names}))
    assert list(a.modules) == list(b.modules)
    assert al.cosine(a, b).union == pytest.approx(1.0, abs=1e-12)


def test_cosine_over_common_modules_and_over_the_union(tmp_path: Path) -> None:
    lora = writing.make(SHAPES)
    part = dict(list(lora.items())[:1])
    a = load_lora(writing.save(tmp_path / "a.safetensors", writing.kohya(lora)))
    b = load_lora(writing.save(tmp_path / "b.safetensors", writing.kohya(part)))
    found = al.cosine(a, b)
    assert found.common == pytest.approx(1.0)
    assert (found.common_modules, found.union_modules) == (1, 3)
    assert found.union == pytest.approx(found.norm_b / found.norm_a)
