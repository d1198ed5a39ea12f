"""HunyuanVideo 1.5: 54 double blocks 2048 wide and no single ones; HunyuanVideo's names.

Source: diffusers `HunyuanVideo15Transformer3DModel`.
"""

from __future__ import annotations

import re

from auditor.lora.families import Family, Shapes, blocks, one, width
from auditor.lora.families import _flux_names as names
from auditor.lora.families.hunyuan_video import REFINER, refiner_aliases

_READS = (".attn.to_q", ".attn.to_k", ".attn.to_v", ".add_q_proj", ".add_k_proj", ".add_v_proj", ".attn.to_out.0",
          ".to_add_out", ".0.proj", ".norm1.linear", ".norm1_context.linear")  # fmt: skip


def recognise(shapes: Shapes) -> str | None:
    """Double blocks of width 2048."""
    if blocks(shapes, "transformer_blocks") and width(shapes, _READS) == 2048:
        return None if any(".attn1." in name for name in shapes) else "Double transformer blocks of width 2048."
    return None


FAMILY = Family(
    name="hunyuan-video-1.5",
    title="HunyuanVideo 1.5",
    order=34,
    modules=(
        *names.DOUBLE, *names.FEED_FORWARD, *names.MODULATION,
        *(REFINER + leaf for leaf in (*names.ATTENTION, "ff.net.0.proj", "ff.net.2", "norm_out.linear")),
        *(f"context_embedder.time_text_embed.{w}_embedder.linear_{n}" for w in ("timestep", "text") for n in (1, 2)),
        *(f"time_embed.timestep_embedder{r}.linear_{n}" for r in ("", "_r") for n in (1, 2)),
        *(f"image_embedder.linear_{n}" for n in (1, 2)), *(f"context_embedder_2.linear_{n}" for n in (1, 2, 3)),
        "context_embedder.proj_in", "x_embedder.proj", "norm_out.linear", "proj_out",
    ),
    aliases={
        **names.attention_aliases("_"), **names.attention_aliases("."), **refiner_aliases(),
        **names.stream_aliases(("fc1", "fc2"), "linear"),
        "img_in.proj": one("x_embedder.proj"),
        "final_layer.linear": one("proj_out"),
        "final_layer.adaLN_modulation.1": one("norm_out.linear", swap=True),
    },
    recognise=recognise,
    claims=re.compile(r"hunyuan[-_. ]?video[-_. ]?1[-_.]?5", re.I),
)  # fmt: skip
