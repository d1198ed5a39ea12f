"""Mochi 1 (video): 48 blocks of an image stream 3072 wide and a text stream 1536 wide, with gated feed-forwards.

Source: diffusers `convert_mochi_transformer_checkpoint_to_diffusers`; the gate comes first in the original code.
"""

from __future__ import annotations

import re

from auditor.lora.families import Family, Part, Shapes, blocks, fused, one, width

_BLOCK = "transformer_blocks.#."
_IMAGE = ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0")
_TEXT = ("attn1.add_q_proj", "attn1.add_k_proj", "attn1.add_v_proj", "attn1.to_add_out")
_BLOCKS_OF_COGVIDEOX = 42


def recognise(shapes: Shapes) -> str | None:
    """Its text stream, its gated feed-forward, or more blocks than CogVideoX has at this width."""
    count = blocks(shapes, "transformer_blocks")
    if not count or any(".attn2." in name for name in shapes):
        return None
    if width(shapes, (".attn1.add_q_proj", ".attn1.add_k_proj", ".attn1.add_v_proj")) == 1536:
        return "Blocks of an image stream and a text stream 1536 wide."
    out = {shape for name, shape in shapes.items() if name.endswith(".ff.net.0.proj")}
    if out == {(16384, 3072)} and any(".attn1." in name for name in shapes):
        return "Blocks 3072 wide with gated feed-forward layers of 8192 channels."
    channels = width(shapes, tuple("." + leaf for leaf in _IMAGE))
    if channels == 3072 and count > _BLOCKS_OF_COGVIDEOX:
        return f"{count} blocks of one attention each, 3072 wide."
    return None


def _aliases() -> dict[str, tuple[Part, ...]]:
    """Names of the original code (ComfyUI)."""
    found: dict[str, tuple[Part, ...]] = {}
    for stream, leaves, suffix in (("x", _IMAGE, ""), ("y", _TEXT, "_context")):
        found[f"blocks.#.attn.qkv_{stream}"] = fused(*(_BLOCK + leaf for leaf in leaves[:3]))
        found[f"blocks.#.attn.proj_{stream}"] = one(_BLOCK + leaves[3])
        found[f"blocks.#.mlp_{stream}.w1"] = (Part(f"{_BLOCK}ff{suffix}.net.0.proj", turned=True),)
        found[f"blocks.#.mlp_{stream}.w2"] = one(f"{_BLOCK}ff{suffix}.net.2")
        found[f"blocks.#.mod_{stream}"] = one(f"{_BLOCK}norm1{suffix}.linear")
    found["blocks.47.mod_y"] = one("transformer_blocks.47.norm1_context.linear_1")
    return found


FAMILY = Family(
    name="mochi",
    title="Mochi",
    order=22,
    modules=(
        *(_BLOCK + leaf for leaf in (*_IMAGE, *_TEXT, "norm1.linear", "norm1_context.linear")),
        *(f"{_BLOCK}ff{suffix}.net.{leaf}" for suffix in ("", "_context") for leaf in ("0.proj", "2")),
        *("transformer_blocks.47.norm1_context.linear_1", "time_embed.caption_proj"),
        *(f"time_embed.pooler.{leaf}" for leaf in ("to_kv", "to_q", "to_out")),
        *(f"time_embed.timestep_embedder.linear_{n}" for n in (1, 2)),
        *("patch_embed.proj", "norm_out.linear", "proj_out"),
    ),
    aliases={
        **{old: parts for old, parts in sorted(_aliases().items(), key=lambda item: "#" in item[0])},
        **{f"t5_y_embedder.{leaf}": one(f"time_embed.pooler.{leaf}") for leaf in ("to_kv", "to_q", "to_out")},
        "t5_yproj": one("time_embed.caption_proj"),
        "t_embedder.mlp.0": one("time_embed.timestep_embedder.linear_1"),
        "t_embedder.mlp.2": one("time_embed.timestep_embedder.linear_2"),
        "x_embedder.proj": one("patch_embed.proj"),
        "final_layer.mod": one("norm_out.linear", swap=True),
        "final_layer.linear": one("proj_out"),
    },
    recognise=recognise,
    claims=re.compile(r"mochi", re.I),
)
