"""Qwen-Image 2.1: blocks of one stream, 4096 wide, with gated feed-forwards.

Source: diffusers `QwenImage21Transformer2DModel` and `convert_qwen_image21_transformer_checkpoint_to_diffusers`.
"""

from __future__ import annotations

import re

from auditor.lora.families import Family, Shapes, blocks, fused, width
from auditor.lora.families import _flux_names as names

_BLOCK = "transformer_blocks.#."
_OWN = (".img_mlp.proj", ".img_mlp.out", ".img_mlp.gate_layer", ".img_mlp.gate_up")
_READS = (".attn.to_q", ".attn.to_k", ".attn.to_v", ".attn.to_out.0")


def recognise(shapes: Shapes) -> str | None:
    """Its own feed-forward names, or attention of width 4096 in a single stream."""
    if any(name.endswith(_OWN) for name in shapes):
        return "Gated feed-forward layers named img_mlp."
    if width(shapes, _READS) == 4096 and blocks(shapes, "transformer_blocks"):
        return None if any(".add_" in name for name in shapes) else "Blocks of one stream, 4096 wide."
    return None


FAMILY = Family(
    name="qwen-image-2.1",
    title="Qwen-Image 2.1",
    order=44,
    modules=(
        *(_BLOCK + leaf for leaf in (*names.ATTENTION, "img_mlp.proj", "img_mlp.out", "img_mlp.gate_layer")),
        *(f"time_text_embed.timestep_embedder.linear_{n}" for n in (1, 2)),
        *("modulation.#", "img_in", "txt_in.in_layer", "txt_in.out_layer", "norm_out.linear", "proj_out"),
    ),
    aliases={_BLOCK + "img_mlp.gate_up": fused(_BLOCK + "img_mlp.gate_layer", _BLOCK + "img_mlp.proj")},
    recognise=recognise,
    claims=re.compile(r"qwen[-_. ]?image[-_. ]?2", re.I),
)
