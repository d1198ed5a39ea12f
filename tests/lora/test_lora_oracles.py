"""ΔW against PEFT and diffusers themselves: they write and merge, we read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auditor.lora import LoraWeights, load_lora

pytestmark = [pytest.mark.train, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def tiny_unet() -> Any:
    diffusers = pytest.importorskip("diffusers")
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=24,
        attention_head_dim=8,
        norm_num_groups=8,
    )


@pytest.fixture(scope="module")
def trained() -> tuple[Any, dict[str, Any], dict[str, np.ndarray]]:
    """(UNet, its PEFT state dict, ΔW by path as PEFT merges it): rank 4, alpha 6, random factors."""
    torch = pytest.importorskip("torch")
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    unet = tiny_unet()
    before = {name: p.detach().clone() for name, p in unet.named_parameters()}
    config = peft.LoraConfig(
        r=4,
        lora_alpha=6,
        init_lora_weights=False,
        target_modules=["to_q", "to_k", "to_v", "to_out.0", "conv1", "ff.net.2"],
    )
    unet.add_adapter(config)
    state = peft.get_peft_model_state_dict(unet)
    unet.fuse_lora()
    deltas = {}
    for name, parameter in unet.named_parameters():
        if ".base_layer.weight" in name:
            path = name.replace(".base_layer", "")
            change = parameter.detach() - before[path]
            deltas[f"unet.{path.removesuffix('.weight')}"] = change.reshape(change.shape[0], -1).double().numpy()
    return unet, state, deltas


def check(read: LoraWeights, deltas: dict[str, np.ndarray]) -> None:
    assert read.modules.keys() == deltas.keys()
    for path, module in read.modules.items():
        ours = module.scale * module.up.astype(np.float64) @ module.down.astype(np.float64)
        np.testing.assert_allclose(ours, deltas[path], atol=2e-6)


def test_diffusers_with_its_metadata(
    trained: tuple[Any, dict[str, Any], dict[str, np.ndarray]], tmp_path: Path
) -> None:
    diffusers = pytest.importorskip("diffusers")
    unet, state, deltas = trained
    metadata = unet.peft_config["default"].to_dict()
    diffusers.StableDiffusionPipeline.save_lora_weights(
        tmp_path, unet_lora_layers=state, unet_lora_adapter_metadata=metadata, weight_name="a.safetensors"
    )
    read = load_lora(tmp_path / "a.safetensors")
    assert read.dialect == "diffusers"
    check(read, deltas)


def test_kohya_as_diffusers_converts_it(
    trained: tuple[Any, dict[str, Any], dict[str, np.ndarray]], tmp_path: Path
) -> None:
    utils = pytest.importorskip("diffusers.utils")
    torch_files = pytest.importorskip("safetensors.torch")
    torch = pytest.importorskip("torch")
    _, state, deltas = trained
    flat = utils.convert_state_dict_to_kohya({f"unet.{name}": value for name, value in state.items()})
    named = {name: value.contiguous() for name, value in flat.items()}
    named |= {name: torch.tensor(6.0) for name in named if name.endswith(".alpha")}
    torch_files.save_file(named, tmp_path / "a.safetensors")
    check(load_lora(tmp_path / "a.safetensors"), deltas)


def test_peft_with_its_configuration(
    trained: tuple[Any, dict[str, Any], dict[str, np.ndarray]], tmp_path: Path
) -> None:
    torch_files = pytest.importorskip("safetensors.torch")
    unet, state, deltas = trained
    unet.peft_config["default"].save_pretrained(tmp_path)
    torch_files.save_file(
        {f"base_model.model.{k}": v.contiguous() for k, v in state.items()}, tmp_path / "a.safetensors"
    )
    read = load_lora(tmp_path / "a.safetensors")
    assert {module.scale_source for module in read.modules.values()} == {"config"}
    check(read, deltas)


def test_torch_files(trained: tuple[Any, dict[str, Any], dict[str, np.ndarray]], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    _, state, deltas = trained
    torch.save({f"unet.{name}": value for name, value in state.items()}, tmp_path / "a.bin")
    read = load_lora(tmp_path / "a.bin")
    check(read, {path: delta / 1.5 for path, delta in deltas.items()})
