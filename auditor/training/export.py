"""Trained factors → a LoRA file as a trainer would have written it, float16.

`diffusers`: the keys of diffusers' training scripts, ``unet.….lora.down.weight`` for UNets and
``transformer.….lora_A.weight`` for transformers; no alpha, so alpha / rank is folded into B.
`kohya`: the keys of kohya's sd-scripts with an alpha per module; see `auditor.training.kohya_names`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from auditor.errors import TrainingError
from auditor.training.adapters import Update
from auditor.training.kohya_names import DECLARED, fused, kohya_name
from auditor.training.recipes import Recipe
from auditor.whole_file import whole_file

Tensors = dict[str, NDArray[np.float16]]


def lora_tensors(factors: Update, recipe: Recipe, family: str = "mini") -> Tensors:
    """The tensors of a file by key; family: of the base, see recipes.FAMILIES."""
    write = kohya_tensors if recipe.dialect == "kohya" else diffusers_tensors
    tensors = write(factors, recipe, family)
    # np.ascontiguousarray would give alpha an axis, which real files do not have.
    return {key: np.array(value, np.float16, order="C") for key, value in tensors.items()}


def diffusers_tensors(factors: Update, recipe: Recipe, family: str) -> dict[str, NDArray[np.float32]]:
    """Keys of diffusers' scripts."""
    prefix, down, up = ("unet", "lora.down", "lora.up")
    if family in ("flux", "sd3"):
        prefix, down, up = ("transformer", "lora_A", "lora_B")
    scale = recipe.alpha / recipe.rank
    tensors = {}
    for path, (a, b) in sorted(factors.items()):
        tensors[f"{prefix}.{path}.{down}.weight"] = a
        tensors[f"{prefix}.{path}.{up}.weight"] = b * scale
    return tensors


def kohya_tensors(factors: Update, recipe: Recipe, family: str) -> dict[str, NDArray[np.float32]]:
    """Keys of kohya's sd-scripts; Flux's split layers are fused as its own model has them."""
    if family == "flux":
        return kohya_layout(fused(factors, recipe.alpha))
    return kohya_layout({kohya_name(path, family): (a, b, recipe.alpha) for path, (a, b) in sorted(factors.items())})


def kohya_layout(
    modules: dict[str, tuple[NDArray[np.float32], NDArray[np.float32], float]],
) -> dict[str, NDArray[np.float32]]:
    """name → (A, B, alpha) as lora_down, lora_up and alpha."""
    tensors = {}
    for name, (a, b, alpha) in sorted(modules.items()):
        tensors[f"lora_unet_{name}.lora_down.weight"] = a
        tensors[f"lora_unet_{name}.lora_up.weight"] = b
        tensors[f"lora_unet_{name}.alpha"] = np.array(alpha, np.float32)
    return tensors


def declared_by(recipe: Recipe, family: str) -> dict[str, str]:
    """The header's metadata, as the trainers write it; nothing about pictures."""
    if recipe.dialect == "diffusers":
        return {"format": "pt"}
    own = {"ss_network_dim": str(recipe.rank), "ss_network_alpha": str(recipe.alpha)}
    return own | {"ss_network_module": "networks.lora"} | DECLARED.get(family, {})


def check_dialect(recipe: Recipe, family: str) -> None:
    """Raises TrainingError for a dialect that is not written for the family: diffusers reads no kohya keys of SD 3."""
    if recipe.dialect == "kohya" and family == "sd3":
        raise TrainingError(
            f"The recipe {recipe.name!r} asks for kohya's dialect, which is not written for Stable Diffusion 3.",
            advice='Use dialect = "diffusers"; ComfyUI reads it too.',
        )


def in_order(data: bytes) -> bytes:
    """A safetensors file with its metadata sorted: the library writes them in another order every time."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header = {"__metadata__": dict(sorted(header.pop("__metadata__").items()))} | header
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


def write_lora(path: Path, factors: Update, recipe: Recipe, family: str = "mini") -> None:
    """Write a LoRA file; a reader sees all of it or nothing.

    Raises OSError (disk full) and TrainingError (weights that are no numbers in half precision), leaving nothing.
    """
    with np.errstate(over="ignore"):  # found below
        tensors = lora_tensors(factors, recipe, family)
    if not all(np.isfinite(value).all() for value in tensors.values()):
        raise TrainingError(
            "its weights are not finite, or too large for half precision", advice="Lower the recipe's learning rate."
        )
    data = in_order(save(tensors, declared_by(recipe, family)))
    with whole_file(path, only_writer=True) as partial, partial.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
