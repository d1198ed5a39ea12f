"""Anima (Cosmos Predict 2): 28 blocks of self- and cross-attention with adaptive norms, 2048 wide.

Source: diffusers `_convert_non_diffusers_anima_lora_to_diffusers`.
"""

from __future__ import annotations

import re

from auditor.lora.families import Family, Part, Shapes, blocks, one, width

_BLOCK = "transformer_blocks.#."
_ATTENTION = (("q_proj", "to_q"), ("k_proj", "to_k"), ("v_proj", "to_v"), ("output_proj", "to_out.0"))
_NORMS = (("self_attn", "norm1"), ("cross_attn", "norm2"), ("mlp", "norm3"))


def recognise(shapes: Shapes) -> str | None:
    """Width 2048 with this family's names or a cross-attention that reads 1024 channels."""
    if not blocks(shapes, "transformer_blocks"):
        return None
    own = (".cross_attn.output_proj", ".self_attn.output_proj", ".cross_attn.k_proj", ".self_attn.k_proj",
           ".cross_attn.q_proj", ".self_attn.q_proj", ".cross_attn.v_proj", ".self_attn.v_proj")  # fmt: skip
    if any(name.endswith(own) for name in shapes):
        return "Blocks of self- and cross-attention under the names of Cosmos' own code."
    norms = any(mark in name for mark in (".norm1.linear_", ".norm2.linear_", ".norm3.linear_") for name in shapes)
    if width(shapes, (".to_q",)) == 2048 and (norms or width(shapes, (".attn2.to_k", ".attn2.to_v")) == 1024):
        return "Blocks of self- and cross-attention, 2048 wide."
    return None


def _aliases() -> dict[str, tuple[Part, ...]]:
    """Names of the original code (kohya, ComfyUI)."""
    found: dict[str, tuple[Part, ...]] = {}
    for old, new in _ATTENTION:
        found[f"blocks.#.self_attn.{old}"] = one(f"{_BLOCK}attn1.{new}")
        found[f"blocks.#.cross_attn.{old}"] = one(f"{_BLOCK}attn2.{new}")
    for old, new in _NORMS:
        for number in (1, 2):
            found[f"blocks.#.adaln_modulation_{old}.{number}"] = one(f"{_BLOCK}{new}.linear_{number}")
    found["blocks.#.mlp.layer1"] = one(_BLOCK + "ff.net.0.proj")
    found["blocks.#.mlp.layer2"] = one(_BLOCK + "ff.net.2")
    return found


FAMILY = Family(
    name="anima",
    title="Anima",
    order=28,
    modules=(
        *(f"{_BLOCK}attn{n}.{new}" for n in (1, 2) for _, new in _ATTENTION),
        *(f"{_BLOCK}{norm}.linear_{n}" for _, norm in _NORMS for n in (1, 2)),
        *(_BLOCK + "ff.net.0.proj", _BLOCK + "ff.net.2", "patch_embed.proj", "proj_out"),
        *(f"norm_out.linear_{n}" for n in (1, 2)),
        *(f"time_embed.t_embedder.linear_{n}" for n in (1, 2)),
    ),
    aliases={
        **_aliases(),
        "x_embedder.proj.1": one("patch_embed.proj"),
        "final_layer.linear": one("proj_out"),
        "final_layer.adaln_modulation.1": one("norm_out.linear_1"),
        "final_layer.adaln_modulation.2": one("norm_out.linear_2"),
        "t_embedder.1.linear_1": one("time_embed.t_embedder.linear_1"),
        "t_embedder.1.linear_2": one("time_embed.t_embedder.linear_2"),
    },
    recognise=recognise,
    claims=re.compile(r"anima\b|cosmos", re.I),
)
