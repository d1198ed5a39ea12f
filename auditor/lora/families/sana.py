"""Sana: blocks of linear self-attention, cross-attention and a convolutional feed-forward, 2240 (1.6B) or 1152 (0.6B).

Source: huggingface/diffusers scripts/convert_sana_to_diffusers.py (names of the original code).
"""

from __future__ import annotations

import re

from auditor.lora.families import Family, Shapes, blocks, fused, one, width

_BLOCK = "transformer_blocks.#."
_CONVOLUTIONS = (("inverted", "conv_inverted"), ("depth", "conv_depth"), ("point", "conv_point"))
_ATTENTION = tuple(f"attn{n}.{leaf}" for n in (1, 2) for leaf in ("to_q", "to_k", "to_v", "to_out.0"))


def recognise(shapes: Shapes) -> str | None:
    """The convolutional feed-forward, or attention 2240 wide."""
    if not blocks(shapes, "transformer_blocks"):
        return None
    if any(name.endswith(tuple(f".ff.{new}" for _, new in _CONVOLUTIONS)) for name in shapes):
        return "Blocks of self- and cross-attention with a convolutional feed-forward."
    channels = width(shapes, (".attn1.to_q", ".attn2.to_q", ".attn1.to_k", ".attn1.to_v", ".to_out.0"))
    return "Blocks of self- and cross-attention, 2240 wide." if channels == 2240 else None


FAMILY = Family(
    name="sana",
    title="Sana",
    order=21,
    modules=(
        *(_BLOCK + leaf for leaf in _ATTENTION),
        *(f"{_BLOCK}ff.{new}" for _, new in _CONVOLUTIONS),
        *(f"time_embed.emb.timestep_embedder.linear_{n}" for n in (1, 2)),
        *("time_embed.linear", "caption_projection.linear_1", "caption_projection.linear_2"),
        *("patch_embed.proj", "proj_out"),
    ),
    aliases={
        "blocks.#.attn.qkv": fused(*(_BLOCK + f"attn1.to_{leaf}" for leaf in "qkv")),
        "blocks.#.attn.proj": one(_BLOCK + "attn1.to_out.0"),
        "blocks.#.cross_attn.q_linear": one(_BLOCK + "attn2.to_q"),
        "blocks.#.cross_attn.kv_linear": fused(_BLOCK + "attn2.to_k", _BLOCK + "attn2.to_v"),
        "blocks.#.cross_attn.proj": one(_BLOCK + "attn2.to_out.0"),
        **{f"blocks.#.mlp.{old}_conv.conv": one(f"{_BLOCK}ff.{new}") for old, new in _CONVOLUTIONS},
        "t_embedder.mlp.0": one("time_embed.emb.timestep_embedder.linear_1"),
        "t_embedder.mlp.2": one("time_embed.emb.timestep_embedder.linear_2"),
        "t_block.1": one("time_embed.linear"),
        "y_embedder.y_proj.fc1": one("caption_projection.linear_1"),
        "y_embedder.y_proj.fc2": one("caption_projection.linear_2"),
        "x_embedder.proj": one("patch_embed.proj"),
        "final_layer.linear": one("proj_out"),
    },
    recognise=recognise,
    claims=re.compile(r"\bsana", re.I),
)
