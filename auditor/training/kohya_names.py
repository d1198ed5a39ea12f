"""Module paths of diffusers → names of kohya's sd-scripts, which ComfyUI, A1111 and diffusers read too.

SD 1 and 2 keep diffusers' names.  SD XL uses those of the original model ("sgm"): our own reader's table, inverted.
Flux's own model has q, k, v (and the MLP of single blocks) as one layer: their LoRAs become one, A stacked, B
block-diagonal, alpha times the number of parts, since readers divide by the whole rank.
"""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from auditor.errors import TrainingError
from auditor.lora.dialects._paths import SGM, sgm_to_diffusers
from auditor.training.adapters import Update

Triple = tuple[NDArray[np.float32], NDArray[np.float32], float]

DECLARED = {
    "sd15": {"ss_base_model_version": "sd_v1", "ss_v2": "False"},
    "sd2": {"ss_base_model_version": "sd_v2", "ss_v2": "True"},
    "sdxl": {"ss_base_model_version": "sdxl_base_v1-0"},
    "flux": {"ss_base_model_version": "flux1"},
}
"""What kohya's trainer says about the base."""

_DOUBLE = {
    "img_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "img_attn_proj": ("attn.to_out.0",),
    "txt_attn_proj": ("attn.to_add_out",),
    "img_mlp_0": ("ff.net.0.proj",),
    "img_mlp_2": ("ff.net.2",),
    "txt_mlp_0": ("ff_context.net.0.proj",),
    "txt_mlp_2": ("ff_context.net.2",),
}
_SINGLE = {"linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"), "linear2": ("proj_out",)}
_MLP_RATIO = 4  # of Flux: rows of proj_mlp per row of to_q


def kohya_name(path: str, family: str) -> str:
    """The name of a UNet's module without its prefix.  Raises TrainingError for an SD XL module that has none."""
    if family != "sdxl":
        return path.replace(".", "_")
    name = sgm_names().get(path)
    if name is None:
        raise TrainingError(f"{path} has no name in kohya's dialect.", advice='Use dialect = "diffusers".')
    return name.replace(".", "_")


@lru_cache(maxsize=1)
def sgm_names() -> dict[str, str]:
    """diffusers path → original path of every module of SD XL's UNet that can be adapted."""
    # First, since our reader takes them at any block of their level.
    names = {f"down_blocks.{level}.downsamplers.0.conv": f"input_blocks.{3 * level + 3}.0.op" for level in range(2)}
    names |= {f"up_blocks.{level}.upsamplers.0.conv": f"output_blocks.{3 * level + 2}.2.conv" for level in range(2)}
    for template in SGM:
        for filled in _filled(template):
            path = sgm_to_diffusers(filled)
            if path:
                names.setdefault(path, filled)
    return names


def _filled(template: str) -> list[str]:
    """A template with every number that SD XL uses in its places: 9 blocks, sub-blocks, 10 transformer layers."""
    made = [template]
    for place in range(template.count("#")):
        inner = template.split("#")[place].endswith("transformer_blocks.")
        made = [m.replace("#", str(k), 1) for m in made for k in range(10 if place == 0 or inner else 4)]
    return made


def fused(factors: Update, alpha: float) -> dict[str, Triple]:
    """Kohya's names of Flux's layers → (A, B, alpha).  Raises TrainingError for a module without one."""
    done: dict[str, Triple] = {}
    left = set(factors)
    kinds = (("transformer_blocks", _DOUBLE, "double"), ("single_transformer_blocks", _SINGLE, "single"))
    for kind, table, short in kinds:
        blocks = sorted({int(m[1]) for path in factors if (m := re.match(rf"{kind}\.(\d+)\.", path))})
        for block in blocks:
            for name, leaves in table.items():
                paths = [f"{kind}.{block}.{leaf}" for leaf in leaves]
                present = [path for path in paths if path in factors]
                if present:
                    done[f"{short}_blocks_{block}_{name}"] = _fuse(factors, paths, alpha)
                    left -= set(present)
    if left:
        raise TrainingError(f"{min(left)} has no name in kohya's dialect.", advice='Use dialect = "diffusers".')
    return done


def _fuse(factors: Update, paths: list[str], alpha: float) -> Triple:
    """One LoRA for layers that share their input: ΔW stacked by rows, zero rows where a layer has no adapter."""
    if len(paths) == 1:
        return (*factors[paths[0]], alpha)
    rank, width = next(factors[path][0] for path in paths if path in factors).shape
    heads = next(len(factors[path][1]) for path in paths if path in factors and "proj_mlp" not in path)
    rows = [len(factors[p][1]) if p in factors else heads * (_MLP_RATIO if "proj_mlp" in p else 1) for p in paths]
    a = np.zeros((rank * len(paths), width), np.float32)
    b = np.zeros((sum(rows), rank * len(paths)), np.float32)
    for k, path in enumerate(paths):
        if path in factors:
            a[k * rank : (k + 1) * rank] = factors[path][0]
            b[sum(rows[:k]) : sum(rows[: k + 1]), k * rank : (k + 1) * rank] = factors[path][1]
    return a, b, alpha * len(paths)
