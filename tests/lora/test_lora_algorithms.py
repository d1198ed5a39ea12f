"""ΔW of every algorithm against its textbook formula, dense."""

from __future__ import annotations

from pathlib import Path

import lora_writing as writing
import numpy as np
import pytest

from auditor.errors import MalformedFile, NotAuditable
from auditor.lora import LoraModule, load_lora
from auditor.lora.inspect import inspect

NAME = "lora_unet_mid_block_resnets_0_conv1"
FACTORS = {"lora_down__weight": np.ones((2, 8)), "lora_up__weight": np.ones((8, 2))}


def dense(module: LoraModule) -> np.ndarray:
    return module.scale * module.up.astype(np.float64) @ module.down.astype(np.float64)


def read_one(tmp_path: Path, **tensors: np.ndarray) -> LoraModule:
    named = {f"{NAME}.{role.replace('__', '.')}": np.asarray(a, np.float32) for role, a in tensors.items()}
    return next(iter(load_lora(writing.save(tmp_path / "a.safetensors", named)).modules.values()))


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape, np.float32)


def test_locon_flattens_kernels(tmp_path: Path) -> None:
    up, down = draw(12, 3, 1, 1), draw(3, 8, 3, 3)
    module = read_one(tmp_path, lora_up__weight=up, lora_down__weight=down, alpha=np.float32(1.5))
    expected = 0.5 * np.einsum("or,rikl->oikl", up[:, :, 0, 0], down).reshape(12, -1)
    np.testing.assert_allclose(dense(module), expected, rtol=1e-5, atol=1e-6)
    assert module.algorithm == "locon"


def test_locon_with_a_core(tmp_path: Path) -> None:
    up, mid, down = draw(12, 4, 1, 1), draw(4, 4, 3, 3), draw(4, 8, 1, 1)
    with pytest.raises(MalformedFile, match="fits neither side"):
        read_one(tmp_path, lora_up__weight=draw(12, 5, 1, 1), lora_mid__weight=mid, lora_down__weight=down)
    module = read_one(tmp_path, lora_up__weight=up, lora_mid__weight=mid, lora_down__weight=down)
    expected = np.einsum("abkl,oa,bi->oikl", mid, up[:, :, 0, 0], down[:, :, 0, 0]).reshape(12, -1)
    np.testing.assert_allclose(dense(module), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rank", [2, 6])
def test_loha(rank: int, tmp_path: Path) -> None:
    w = [draw(20, rank), draw(rank, 24, seed=1), draw(20, rank, seed=2), draw(rank, 24, seed=3)]
    module = read_one(tmp_path, hada_w1_a=w[0], hada_w1_b=w[1], hada_w2_a=w[2], hada_w2_b=w[3], alpha=np.float32(1.0))
    np.testing.assert_allclose(dense(module), (w[0] @ w[1]) * (w[2] @ w[3]) / rank, rtol=1e-4, atol=1e-5)
    assert module.file_rank == rank


def test_loha_with_cores(tmp_path: Path) -> None:
    r, out, across = 2, 10, 6
    a1, b1, a2, b2 = draw(r, out), draw(r, across), draw(r, out, seed=5), draw(r, across, seed=6)
    t1, t2 = draw(r, r, 3, 3), draw(r, r, 3, 3, seed=7)
    module = read_one(tmp_path, hada_w1_a=a1, hada_w1_b=b1, hada_t1=t1, hada_w2_a=a2, hada_w2_b=b2, hada_t2=t2)
    one, two = (np.einsum("ijkl,jr,ip->prkl", t, b, a) for t, b, a in ((t1, b1, a1), (t2, b2, a2)))
    np.testing.assert_allclose(dense(module), (one * two).reshape(out, -1), rtol=1e-4, atol=1e-5)


def test_lokr_of_factors(tmp_path: Path) -> None:
    w1, a, b = draw(4, 3), draw(10, 2), draw(2, 12)
    module = read_one(tmp_path, lokr_w1=w1, lokr_w2_a=a, lokr_w2_b=b, alpha=np.float32(1.0))
    np.testing.assert_allclose(dense(module), 0.5 * np.kron(w1, a @ b), rtol=1e-4, atol=1e-5)
    assert module.rank < 36


def test_lokr_of_two_whole_matrices_ignores_alpha(tmp_path: Path) -> None:
    w1, w2 = draw(4, 4), draw(8, 6, 3, 3)
    module = read_one(tmp_path, lokr_w1=w1, lokr_w2=w2, alpha=np.float32(7.0))
    expected = np.kron(w1[:, :, None, None], w2).reshape(32, -1)
    np.testing.assert_allclose(dense(module), expected, rtol=1e-5, atol=1e-6)
    assert module.scale == 1.0


def test_lokr_with_a_core(tmp_path: Path) -> None:
    w1, t2, a, b = draw(2, 2), draw(3, 3, 3, 3), draw(3, 8), draw(3, 5)
    module = read_one(tmp_path, lokr_w1=w1, lokr_t2=t2, lokr_w2_a=a, lokr_w2_b=b, alpha=np.float32(3.0))
    w2 = np.einsum("ijkl,ip,jr->prkl", t2, a, b)
    expected = np.kron(w1[:, :, None, None], w2).reshape(16, -1)
    np.testing.assert_allclose(dense(module), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(("out", "across"), [(12, 12), (12, 20), (20, 12)])
def test_glora_in_both_orders(old: bool, out: int, across: int, tmp_path: Path) -> None:
    rank = 3
    b, a = (draw(out, rank), draw(rank, across)), (draw(across, rank, seed=1), draw(rank, across, seed=2))
    stored = {f"{half}{n}.weight": side for half, pair in (("b", b), ("a", a))
              for n, side in zip("21" if old else "12", pair, strict=True)}  # fmt: skip
    path = tmp_path / "a.safetensors"
    writing.save(path, {f"{NAME}.{role}": side for role, side in stored.items()} | {f"{NAME}.alpha": np.float32(6.0)})
    read = load_lora(path, with_beside=True)
    (module,), (half,) = read.modules.values(), read.beside.values()
    np.testing.assert_allclose(dense(module), 2 * b[0] @ b[1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dense(half), a[0] @ a[1], rtol=1e-5, atol=1e-5)
    assert (module.file_rank, inspect(path)["rank"]["max"]) == (rank, rank)


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (6, 3, 3, 3)])
def test_full_differences(shape: tuple[int, ...], tmp_path: Path) -> None:
    diff = draw(*shape)
    module = read_one(tmp_path, diff=diff)
    np.testing.assert_array_equal(dense(module), diff.reshape(shape[0], -1))


def test_dora_is_its_direction_with_a_warning(tmp_path: Path) -> None:
    lora = writing.make({"unet.mid_block.attentions.0.proj_in": (64, 64)})
    tensors = writing.kohya(lora) | {
        "lora_unet_mid_block_attentions_0_proj_in.dora_scale": np.ones((1, 64), np.float32)
    }
    read = load_lora(writing.save(tmp_path / "a.safetensors", tensors))
    assert read.algorithms == ("dora",)
    assert any("DoRA" in warning for warning in read.warnings)


@pytest.mark.parametrize(
    "ending", ["diff_b", "w_norm", "oft_blocks", "a1.weight", "on_input", "set_weight", "surprise"]
)
def test_what_cannot_be_read_is_listed(ending: str, tmp_path: Path) -> None:
    lora = writing.make({"unet.mid_block.attentions.0.proj_in": (64, 64)})
    odd = f"lora_unet_mid_block_attentions_0_proj_out.{ending}"
    read = load_lora(writing.save(tmp_path / "a.safetensors", writing.kohya(lora) | {odd: np.ones((2, 2), np.float32)}))
    assert read.unread == (odd,)
    assert any("not read" in warning for warning in read.warnings)


def test_only_methods_that_need_the_base(tmp_path: Path) -> None:
    tensors = {"oft_unet_mid_block_attentions_0_proj_out.oft_blocks": np.ones((2, 4, 4), np.float32)}
    with pytest.raises(NotAuditable, match="oft"):
        load_lora(writing.save(tmp_path / "a.safetensors", tensors))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"lora_down__weight": np.ones((2, 8))}, "no partner 'up'"),
        ({"lora_up__weight": np.ones((8, 2))}, "no partner 'down'"),
        ({"lora_down__weight": np.ones((2, 8)), "lora_up__weight": np.ones((8, 3))}, "rank 3"),
        ({"lora_down__weight": np.ones((0, 8)), "lora_up__weight": np.ones((8, 0))}, "no factor"),
        ({"lora_down__weight": np.ones(8), "lora_up__weight": np.ones((8, 1))}, "no factor"),
        ({"lora_down__weight": np.ones((1, 8)), "lora_up__weight": np.ones((8, 1, 3, 3))}, "first two sizes"),
        ({"lora_down__weight": np.full((1, 8), np.nan), "lora_up__weight": np.ones((8, 1))}, "NaN"),
        ({"lora_down__weight": np.ones((1, 8)), "lora_up__weight": np.full((8, 1), np.inf)}, "infinite"),
        ({"lora_down__weight": np.ones((1, 8)), "lora_up__weight": np.ones((8, 1)), "alpha": np.nan}, "NaN"),
        ({"lora_down__weight": np.ones((1, 8)), "lora_up__weight": np.ones((8, 1)), "alpha": np.ones(3)}, "one number"),
        ({"lora_down__weight": np.ones((1, 8)), "lora_up__weight": np.full((8, 1), 1e30)}, "no training"),
        ({"hada_w1_a": np.ones((4, 2)), "hada_w1_b": np.ones((2, 4))}, "no partner"),
        ({"lokr_w1_a": np.ones((4, 2)), "lokr_w2": np.ones((2, 4))}, "no partner"),
        (FACTORS | {"diff": np.ones((8, 8))}, "a second time"),
        (FACTORS | {"lokr_w1": np.ones((1, 1)), "lokr_w2": np.ones((8, 8))}, "a second time"),
    ],
)
def test_faults_name_the_tensor(tensors: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    with pytest.raises(MalformedFile, match=message) as caught:
        read_one(tmp_path, **tensors)
    assert NAME in str(caught.value)


def test_zero_loras_are_read_with_a_warning(tmp_path: Path) -> None:
    module = {"lora_down__weight": np.ones((1, 8)), "lora_up__weight": np.zeros((8, 1))}
    named = {f"{NAME}.{role.replace('__', '.')}": a.astype(np.float32) for role, a in module.items()}
    read = load_lora(writing.save(tmp_path / "a.safetensors", named))
    assert any("No effect" in warning for warning in read.warnings)
