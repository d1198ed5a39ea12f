"""ΔW of adapters that PEFT itself saved, with the configuration it put beside them, against its own merge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auditor.lora import load_lora

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
pytestmark = [pytest.mark.slow, pytest.mark.train, pytest.mark.filterwarnings("ignore")]

COMMON: dict[str, Any] = {"target_modules": ["proj_in", "proj_out"]}
CONFIGS: dict[str, Any] = {
    "lora": lambda: peft.LoraConfig(r=4, lora_alpha=6, **COMMON),
    "rank stabilised": lambda: peft.LoraConfig(r=4, lora_alpha=6, use_rslora=True, **COMMON),
    "patterns of rank and alpha": lambda: peft.LoraConfig(
        r=4, lora_alpha=6, rank_pattern={"proj_out": 2}, alpha_pattern={"proj_out": 5}, **COMMON
    ),
    "rank stabilised, with patterns": lambda: peft.LoraConfig(
        r=4, lora_alpha=6, use_rslora=True, rank_pattern={"proj_out": 3}, alpha_pattern={"proj_in": 7}, **COMMON
    ),
    "patterns that are more than a name": lambda: peft.LoraConfig(
        r=4, lora_alpha=6, alpha_pattern={r".*attentions\.0\.proj_in": 3, "(to_q|proj_out)": 5}, **COMMON
    ),
    "biases of its own": lambda: peft.LoraConfig(r=4, lora_alpha=6, lora_bias=True, **COMMON),
    "loha": lambda: peft.LoHaConfig(r=3, alpha=5, use_effective_conv2d=True, **COMMON),
    "lokr": lambda: peft.LoKrConfig(r=2, alpha=5, **COMMON),
    "lokr, both factored": lambda: peft.LoKrConfig(r=1, alpha=5, decompose_both=True, decompose_factor=6, **COMMON),
    "lokr, both whole": lambda: peft.LoKrConfig(r=64, alpha=5, **COMMON),
    "lokr with a core": lambda: peft.LoKrConfig(r=2, alpha=5, use_effective_conv2d=True, **COMMON),
    "adalora": lambda: peft.AdaLoraConfig(
        init_r=4, target_r=2, lora_alpha=6, total_step=10, target_modules=["proj_in"],
    ),
}  # fmt: skip


class Model(torch.nn.Module):
    """Two layers under paths of a UNet's."""

    def __init__(self) -> None:
        super().__init__()
        self.mid_block = torch.nn.Module()
        self.mid_block.attentions = torch.nn.ModuleList([torch.nn.Module()])
        self.mid_block.attentions[0].proj_in = torch.nn.Linear(24, 36)
        self.mid_block.attentions[0].proj_out = torch.nn.Conv2d(12, 24, 3)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_peft_saved(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Model()
    before = {key: value.detach().clone() for key, value in model.state_dict().items() if key.endswith("weight")}
    adapted = peft.get_peft_model(model, CONFIGS[name]())
    with torch.no_grad():
        for key, parameter in adapted.named_parameters():
            if any(mark in key for mark in ("lora_", "hada_", "lokr_")):
                parameter.copy_(torch.randn_like(parameter) * 0.2)
    adapted.save_pretrained(tmp_path)
    merged = adapted.merge_and_unload().state_dict()
    read = load_lora(tmp_path / "adapter_model.safetensors")
    assert read.modules
    assert all(tensor.endswith(".lora_B.bias") for tensor in read.unread)
    assert len(read.unread) == (2 if name == "biases of its own" else 0)
    for path, module in read.modules.items():
        key = f"{path.removeprefix('unet.')}.weight"
        expected = (merged[key] - before[key]).reshape(module.shape[0], -1).double().numpy()
        found = module.scale * module.up.astype(np.float64) @ module.down.astype(np.float64)
        assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_a_start_that_takes_parts_of_the_base_is_told(start: str, tmp_path: Path) -> None:
    """PEFT's own files: at the start their product is no zero and no change, for the base has lost as much."""
    torch.manual_seed(0)
    model = Model()
    before = model.mid_block.attentions[0].proj_in.weight.detach().clone()
    config = peft.LoraConfig(r=4, lora_alpha=4, target_modules=["proj_in"], init_lora_weights=start)
    adapted = peft.get_peft_model(model, config)
    adapted.save_pretrained(tmp_path)
    read = load_lora(tmp_path / "adapter_model.safetensors")
    assert read.holds_base == start
    assert any(start in warning for warning in read.warnings)
    module = next(iter(read.modules.values()))
    assert np.linalg.norm(module.up @ module.down) > 0.1
    merged = adapted.merge_and_unload().mid_block.attentions[0].proj_in.weight
    torch.testing.assert_close(merged, before, atol=1e-5, rtol=1e-4)
