"""Chroma: Flux without modulation layers, whose place a guidance network takes.

Attention and feed-forward are Flux's, name by name and size by size, so that only a LoRA that adapts the guidance
network, or a modulation, tells the two apart.  Source: huggingface/diffusers `convert_chroma_transformer_checkpoint`.
"""

from __future__ import annotations

import re

from auditor.lora.families import Family, Shapes, one
from auditor.lora.families import _flux_names as names

_GUIDANCE = "distilled_guidance_layer."


def recognise(shapes: Shapes) -> str | None:
    """The guidance network."""
    if any(name.startswith(_GUIDANCE) for name in shapes):
        return "A distilled guidance network, which Flux does not have."
    return None


FAMILY = Family(
    name="chroma",
    title="Chroma",
    order=38,
    modules=(
        *names.DOUBLE, *names.FEED_FORWARD,
        *(name for name in names.SINGLE if not name.endswith(".norm.linear")),
        *(f"{_GUIDANCE}{leaf}" for leaf in ("in_proj", "out_proj", "layers.#.linear_1", "layers.#.linear_2")),
        "x_embedder", "context_embedder", "proj_out",
    ),
    aliases={
        **names.attention_aliases("."),
        **{old: parts for old, parts in names.single_aliases().items() if ".modulation." not in old},
        **{old: parts for old, parts in names.stream_aliases(("0", "2"), "lin").items() if "_mod." not in old},
        f"{_GUIDANCE}layers.#.in_layer": one(f"{_GUIDANCE}layers.#.linear_1"),
        f"{_GUIDANCE}layers.#.out_layer": one(f"{_GUIDANCE}layers.#.linear_2"),
        "img_in": one("x_embedder"),
        "txt_in": one("context_embedder"),
        "final_layer.linear": one("proj_out"),
    },
    recognise=recognise,
    claims=re.compile(r"chroma", re.I),
)  # fmt: skip
