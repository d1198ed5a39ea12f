"""Files: read back as the trained update, loaded by diffusers as the same update, keys those of real files."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("peft")
pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore")]

import torch  # noqa: E402
from diffusers import DiffusionPipeline  # noqa: E402
from tiny_bases import FAMILIES  # noqa: E402

from auditor.errors import TrainingError  # noqa: E402
from auditor.lora import load_lora  # noqa: E402
from auditor.training.adapters import Update, sizes, target_modules  # noqa: E402
from auditor.training.export import check_dialect, lora_tensors, write_lora  # noqa: E402
from auditor.training.families import load_base  # noqa: E402
from auditor.training.families.objectives import Diffusion  # noqa: E402
from auditor.training.families.stable_diffusion import StableDiffusion1, StableDiffusion2  # noqa: E402
from auditor.training.families.stable_diffusion_xl import StableDiffusionXL  # noqa: E402
from auditor.training.families.transformers import Flux  # noqa: E402
from auditor.training.published import build  # noqa: E402
from auditor.training.recipes import Recipe  # noqa: E402

RECIPE = Recipe("tiny", "diffusers", 4, 2, 2e-3, 3, "attention+ff+proj")
REAL = Path(os.environ.get("AUDIT_REAL_LORAS", Path(__file__).resolve().parents[3] / "shared" / "loras"))
CLASSES = {"sd15": StableDiffusion1, "sd2": StableDiffusion2, "sdxl": StableDiffusionXL, "flux": Flux}
WRITTEN = [(family, "diffusers") for family in FAMILIES] + [(family, "kohya") for family in FAMILIES[:4]]


def made_up(modules: dict[str, torch.nn.Module], rank: int = 4, seed: int = 0) -> Update:
    """Factors as training leaves them, but random and at once."""
    rng = np.random.default_rng(seed)
    factors = {}
    for path, module in modules.items():
        width, height = sizes(module)
        a = rng.standard_normal((rank, width)).astype(np.float32)
        b = rng.standard_normal((height, rank)).astype(np.float32)
        if module.weight.ndim == 4:
            a, b = a.reshape(rank, *module.weight.shape[1:]), b.reshape(height, rank, 1, 1)
        factors[path] = (a, b)
    return factors


def update_of(a: np.ndarray, b: np.ndarray, scale: float) -> np.ndarray:
    return scale * b.reshape(len(b), -1).astype(np.float64) @ a.reshape(len(a), -1)


@pytest.mark.parametrize("targets", ["attention+ff+proj", "attention+ff+proj+conv"])
@pytest.mark.parametrize(("family", "dialect"), WRITTEN)
def test_our_reader_and_diffusers_loader_find_the_trained_update(
    tmp_path: Path, base_folder: Callable[[str], Path], family: str, dialect: str, targets: str
) -> None:
    if "conv" in targets and family in ("sd3", "flux"):
        pytest.skip("transformers have no convolutions")
    base, recipe = load_base(base_folder(family)), replace(RECIPE, dialect=dialect, targets=targets)
    factors = made_up(target_modules(base, targets))
    write_lora(tmp_path / "x.safetensors", factors, recipe, family)
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]
    weights = load_lora(tmp_path / "x.safetensors")
    assert sorted(weights.modules) == sorted(f"{base.part}.{path}" for path in factors)
    pipeline = DiffusionPipeline.from_pretrained(base.folder)
    pipeline.load_lora_weights(tmp_path, weight_name="x.safetensors", adapter_name="x")
    model = getattr(pipeline, base.part)
    for path, (a, b) in factors.items():
        expected = update_of(a, b, recipe.alpha / recipe.rank)
        close = {"atol": 4e-3 * np.abs(expected).max()}
        ours = weights.modules[f"{base.part}.{path}"]
        np.testing.assert_allclose(ours.scale * ours.up @ ours.down, expected, **close)
        loaded = model.get_submodule(path).get_delta_weight("x")
        np.testing.assert_allclose(loaded.detach().reshape(len(b), -1), expected, **close)


def test_fluxs_fused_layers_hold_the_split_updates_and_diffusers_splits_them_again() -> None:
    from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers

    rng = np.random.default_rng(0)
    rows = {"attn.to_q": 3072, "attn.to_k": 3072, "attn.to_v": 3072, "proj_mlp": 12288}
    single = {f"single_transformer_blocks.0.{leaf}": (3072, height) for leaf, height in rows.items()}
    double = {f"transformer_blocks.0.attn.to_{leaf}": (3072, 3072) for leaf in "qkv"}
    others = {"single_transformer_blocks.0.proj_out": (15360, 3072)}
    others |= {"transformer_blocks.0.ff.net.0.proj": (3072, 12288)}
    factors = {
        path: (rng.standard_normal((2, width)).astype(np.float32), rng.standard_normal((height, 2)).astype(np.float32))
        for path, (width, height) in (single | double | others).items()
    }
    tensors = lora_tensors(factors, replace(RECIPE, dialect="kohya", rank=2, alpha=1), "flux")
    assert tensors["lora_unet_single_blocks_0_linear1.lora_up.weight"].shape == (21504, 8)
    assert float(tensors["lora_unet_double_blocks_0_img_attn_qkv.alpha"]) == 3.0
    converted = _convert_kohya_flux_lora_to_diffusers({k: torch.from_numpy(v.copy()) for k, v in tensors.items()})
    assert len(converted) == 2 * len(factors)
    for path, (a, b) in factors.items():
        down, up = (converted[f"transformer.{path}.lora_{side}.weight"].float().numpy() for side in "AB")
        assert down.shape == a.shape
        np.testing.assert_allclose((up @ down)[:50], 0.5 * (b[:50] @ a), atol=0.05)


def test_fused_layers_have_zero_rows_where_nothing_was_trained() -> None:
    factors = {"single_transformer_blocks.3.attn.to_v": (np.ones((1, 4), np.float32), np.ones((2, 1), np.float32))}
    tensors = lora_tensors(factors, replace(RECIPE, dialect="kohya", rank=1, alpha=1), "flux")
    name = "lora_unet_single_blocks_3_linear1"
    down, up, alpha = (tensors[f"{name}.{leaf}"] for leaf in ("lora_down.weight", "lora_up.weight", "alpha"))
    update = float(alpha) / len(down) * up.astype(float) @ down
    np.testing.assert_array_equal(update.any(1), [False] * 4 + [True] * 2 + [False] * 8)
    np.testing.assert_array_equal(update[4:6], 1.0)


def test_dialects_that_nobody_writes_are_refused() -> None:
    with pytest.raises(TrainingError, match="Stable Diffusion 3"):
        check_dialect(replace(RECIPE, dialect="kohya"), "sd3")
    with pytest.raises(TrainingError, match="norm_out"):
        lora_tensors({"norm_out.linear": (np.ones((1, 2)), np.ones((2, 1)))}, replace(RECIPE, dialect="kohya"), "flux")


def keys_and_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Keys of a real file, or of its skeleton, with shapes in which rank reads 0."""
    if path.suffix == ".json":
        shapes = json.loads(path.read_text())
    else:
        with path.open("rb") as handle:
            header = json.loads(handle.read(struct.unpack("<Q", handle.read(8))[0]))
        shapes = {key: entry["shape"] for key, entry in header.items() if key != "__metadata__"}
    return {key: without_rank(key, tuple(shape)) for key, shape in shapes.items()}


def without_rank(key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with 0 for the rank and no trailing axes of 1."""
    if not shape:
        return ()
    down = key.endswith(("lora_down.weight", "lora.down.weight", "lora_A.weight"))
    shape = (0, *shape[1:]) if down else (shape[0], 0, *shape[2:])
    return shape[:2] if shape[2:] == (1, 1) else shape


@pytest.mark.parametrize(
    ("family", "dialect", "targets", "file"),
    [
        ("sd15", "diffusers", "attention", "Hirvita6__LoRA-flower-diffusion__pytorch_lora_weights.safetensors"),
        ("sd15", "kohya", "attention+ff+proj", "skeletons/sd15_kohya_thickline_fp16.json"),
        ("sdxl", "kohya", "attention+ff+proj", "skeletons/sdxl_kohya_alien_style.json"),
        ("flux", "diffusers", "attention+ff", "skeletons/flux_lora_diffusers.json"),
        ("flux", "kohya", "attention+ff", "skeletons/flux_lora_kohya.json"),
        ("flux", "kohya", "attention+ff", "m000lie__runpod-comfy-docker__test.safetensors"),
    ],
)
def test_keys_and_shapes_are_those_of_real_files(family: str, dialect: str, targets: str, file: str) -> None:
    if not (REAL / file).is_file():
        pytest.skip("needs the collection of real files")
    base = CLASSES[family].of(build(family, "meta"), None)  # type: ignore[arg-type]
    factors = made_up_small(target_modules(base, targets))
    ours = lora_tensors(factors, replace(RECIPE, dialect=dialect, rank=1), family)
    real = keys_and_shapes(REAL / file)
    # Text encoders are frozen here, and no recipe adapts Flux's modulation.
    others = ("lora_te", "norm.linear", "norm1.linear", "norm1_context.linear", "mod_lin", "modulation_lin")
    expected = {key: shape for key, shape in real.items() if not any(part in key for part in others)}
    assert {key: without_rank(key, value.shape) for key, value in ours.items()} == expected


def made_up_small(modules: dict[str, torch.nn.Module]) -> Update:
    """Rank 1 factors of zeros in the shapes of a model without memory."""
    factors = {}
    for path, module in modules.items():
        shape = module.weight.shape
        a = np.zeros((1, *shape[1:]), np.float32)
        factors[path] = (a, np.zeros((shape[0], 1, *(1,) * (len(shape) - 2)), np.float32))
    return factors


def test_published_configurations_have_the_published_sizes() -> None:
    millions = {name: round(sum(p.numel() for p in build(name, "meta").parameters()) / 1e6) for name in CLASSES}
    assert millions == {"sd15": 860, "sd2": 866, "sdxl": 2567, "flux": 11901}


@pytest.mark.skipif("AUDIT_FULL_SIZE" not in os.environ, reason="set AUDIT_FULL_SIZE=1 to run it")
@pytest.mark.slow
def test_stable_diffusion_15_trains_at_full_size(tmp_path: Path) -> None:
    """860 M random parameters, 256 px, two steps on the CPU: minutes and 5 GB, so only when asked for."""
    from diffusers import DDPMScheduler

    from auditor.training.gang import Member, train_gang

    torch.manual_seed(0)
    base = StableDiffusion1.of(build("sd15"), Diffusion(DDPMScheduler(beta_schedule="scaled_linear")))
    recipe = replace(RECIPE, dialect="kohya", steps=2, batch=1, learning_rate=1e-3)
    members = [
        Member(f"m{k}", k, recipe, torch.randn(2, 2, 8, 32, 32), {"states": torch.randn(2, 77, 768)}) for k in range(2)
    ]
    together = train_gang(base, members)
    alone = train_gang(base, members[1:])[0]
    assert len(alone.factors) == 192
    for path, (a, b) in alone.factors.items():
        np.testing.assert_allclose(together[1].factors[path][0], a, atol=2e-4)
        np.testing.assert_allclose(together[1].factors[path][1], b, atol=2e-3)
    write_lora(tmp_path / "x.safetensors", alone.factors, recipe, "sd15")
    assert load_lora(tmp_path / "x.safetensors").base_family.startswith("sd1")


def test_the_same_lora_is_written_as_the_same_bytes(tmp_path: Path) -> None:
    factors = {"mid_block.attentions.0.proj_in": (np.ones((4, 8), np.float32), np.ones((8, 4), np.float32))}
    paths = [tmp_path / f"{k}.safetensors" for k in range(8)]
    for path in paths:
        write_lora(path, factors, replace(RECIPE, dialect="kohya"), "sd15")
    assert len({path.read_bytes() for path in paths}) == 1
    assert (8 + struct.unpack("<Q", paths[0].read_bytes()[:8])[0]) % 8 == 0
    assert load_lora(paths[0]).declared["ss_network_dim"] == "4"


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_weights_that_are_no_numbers_in_half_precision_are_not_written(tmp_path: Path, value: float) -> None:
    up = np.ones((8, 4), np.float32)
    up[3, 2] = value
    with pytest.raises(TrainingError, match="too large for half precision"):
        write_lora(tmp_path / "x.safetensors", {"mid_block.x": (np.ones((4, 8), np.float32), up)}, RECIPE, "sd15")
    assert not list(tmp_path.iterdir())
