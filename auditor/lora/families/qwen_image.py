"""Qwen-Image: 60 joint blocks, 3072 wide, no single blocks; names are those of diffusers everywhere."""

from __future__ import annotations

import re

from auditor.lora.families import Family, Shapes, blocks, width
from auditor.lora.families import _flux_names as names

_OWN = (".img_mlp.", ".txt_mlp.", ".img_mod.", ".txt_mod.")


def recognise(shapes: Shapes) -> str | None:
    """Its own layer names, or joint attention of width 3072 without what Flux has beside it."""
    if any(own in name for own in _OWN for name in shapes):
        return "Feed-forward and modulation layers named img_mlp, txt_mlp, img_mod or txt_mod."
    count = blocks(shapes, "transformer_blocks")
    if width(shapes) != 3072 or not count or count == 19:
        return None
    if count > 20:
        return f"{count} or more joint blocks of width 3072 and no single blocks."
    return "Joint attention of width 3072 alone, without Flux's single blocks, feed-forward or modulation layers."


FAMILY = Family(
    name="qwen-image",
    title="Qwen-Image",
    order=45,
    modules=(
        *names.DOUBLE,
        *(f"transformer_blocks.#.{stream}_mlp.net.{leaf}" for stream in ("img", "txt") for leaf in ("0.proj", "2")),
        *(f"transformer_blocks.#.{stream}_mod.1" for stream in ("img", "txt")),
        *(f"time_text_embed.timestep_embedder.linear_{n}" for n in (1, 2)),
        "img_in", "txt_in", "norm_out.linear", "proj_out",
    ),
    aliases={name: names.FUSED[name] for name in list(names.FUSED)[:2]},
    recognise=recognise,
    claims=re.compile(r"qwen[-_. ]?image", re.I),
)  # fmt: skip
