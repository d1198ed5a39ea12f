"""CogView 3 Plus and 4: blocks of one joint attention, 2560 wide; names are those of diffusers everywhere.

Source: diffusers `CogView3PlusTransformer2DModel` and `CogView4Transformer2DModel`.
"""

from __future__ import annotations

import re

from auditor.lora.families import Family, Shapes, blocks, width

_LEAVES = ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "ff.net.0.proj", "ff.net.2", "norm1.linear")
_READS = (".attn1.to_q", ".attn1.to_k", ".attn1.to_v", ".attn1.to_out.0", ".ff.net.0.proj")


def recognise(shapes: Shapes) -> str | None:
    """Width 2560 with one attention a block."""
    if width(shapes, _READS) != 2560 or not blocks(shapes, "transformer_blocks"):
        return None
    return None if any(".attn2." in name for name in shapes) else "Blocks of one attention each, 2560 wide."


FAMILY = Family(
    name="cogview",
    title="CogView",
    order=23,
    modules=(
        *(f"transformer_blocks.#.{leaf}" for leaf in _LEAVES),
        *("patch_embed.proj", "patch_embed.text_proj", "norm_out.linear", "proj_out"),
        *(f"time_condition_embed.{which}_embedder.linear_{n}" for which in ("timestep", "condition") for n in (1, 2)),
    ),
    aliases={},
    recognise=recognise,
    claims=re.compile(r"cog[-_. ]?view", re.I),
)
