"""LTX-Video: blocks of self- and cross-attention, 2048 (2B) or 4096 (13B) wide, whose text is projected to that width.

Source: huggingface/diffusers scripts/convert_ltx_to_diffusers.py (the original code's names, as ComfyUI keeps them).
"""

from __future__ import annotations

import re

from auditor.lora.families import Family, Shapes, blocks, one, width

_BLOCK = "transformer_blocks.#."
_LEAVES = (
    *(f"attn{n}.{leaf}" for n in (1, 2) for leaf in ("to_q", "to_k", "to_v", "to_out.0")),
    *("ff.net.0.proj", "ff.net.2"),
)
_TIME = ("emb.timestep_embedder.linear_1", "emb.timestep_embedder.linear_2", "linear")


def recognise(shapes: Shapes) -> str | None:
    """Width 2048 or 4096, in which cross-attention reads as many text channels."""
    channels = width(shapes, (".attn1.to_q", ".attn1.to_k", ".attn1.to_v", ".attn2.to_q", ".ff.net.0.proj"))
    texts = {shape[1] for name, shape in shapes.items() if name.endswith((".attn2.to_k", ".attn2.to_v"))}
    if channels not in (2048, 4096) or not blocks(shapes, "transformer_blocks") or not texts <= {channels}:
        return None
    return f"Blocks of self- and cross-attention, {channels} wide, which read {channels} text channels."


FAMILY = Family(
    name="ltx-video",
    title="LTX-Video",
    order=29,
    modules=(
        *(_BLOCK + leaf for leaf in _LEAVES),
        *(f"time_embed.{leaf}" for leaf in _TIME),
        *("proj_in", "proj_out", "caption_projection.linear_1", "caption_projection.linear_2"),
    ),
    aliases={"patchify_proj": one("proj_in"), **{f"adaln_single.{leaf}": one(f"time_embed.{leaf}") for leaf in _TIME}},
    recognise=recognise,
    claims=re.compile(r"\bltx", re.I),
)
