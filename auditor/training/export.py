"""Trained factors → a LoRA file as a trainer would have written it: diffusers or kohya dialect, float16."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from auditor.training.recipes import Recipe

Factors = dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]


def write_lora(path: Path, factors: Factors, recipe: Recipe) -> None:
    """Write path → (A (rank, in), B (out, rank)) atomically; alpha goes where the dialect keeps it."""
    tensors: dict[str, NDArray[np.float16]] = {}
    for module, (a, b) in sorted(factors.items()):
        if recipe.dialect == "kohya":
            flat = f"lora_unet_{module.replace('.', '_')}"
            tensors[f"{flat}.lora_down.weight"] = a.astype(np.float16)
            tensors[f"{flat}.lora_up.weight"] = b.astype(np.float16)
            tensors[f"{flat}.alpha"] = np.array(recipe.alpha, np.float16)
        else:  # diffusers' own files carry no alpha: fold alpha / rank into B
            tensors[f"unet.{module}.lora_A.weight"] = a.astype(np.float16)
            tensors[f"unet.{module}.lora_B.weight"] = (b * (recipe.alpha / recipe.rank)).astype(np.float16)
    declared = {"format": "pt"}
    if recipe.dialect == "kohya":
        declared = {"ss_network_dim": str(recipe.rank), "ss_network_alpha": str(recipe.alpha)}
        declared |= {"ss_network_module": "networks.lora"}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.part")
    partial.write_bytes(save(tensors, declared))
    partial.replace(path)
