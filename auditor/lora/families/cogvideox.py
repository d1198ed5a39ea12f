"""CogVideoX (video): blocks of one joint attention, 1920 (2B) or 3072 (5B) wide, under the names of diffusers.

Source: diffusers `CogVideoXTransformer3DModel`.
"""

from __future__ import annotations

import re

from auditor.lora.families import Family, Shapes, blocks, width

_BLOCK = "transformer_blocks.#."
_LEAVES = ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "ff.net.0.proj", "ff.net.2", "norm1.linear",
           "norm2.linear")  # fmt: skip
_READS = (".attn1.to_q", ".attn1.to_k", ".attn1.to_v", ".attn1.to_out.0", ".ff.net.0.proj")
UNSETTLED = "Mochi has the same attention: nothing in this file tells it from CogVideoX."


def recognise(shapes: Shapes) -> str | None:
    """One attention a block, of a published width; says so where it is Mochi's as well."""
    channels = width(shapes, _READS)
    if channels not in (1920, 3072) or not blocks(shapes, "transformer_blocks"):
        return None
    if any(".attn2." in name or ".add_" in name for name in shapes):
        return None
    found = f"Video blocks of one attention each, {channels} wide."
    settled = channels == 1920 or any(".ff." in name or ".norm" in name for name in shapes)
    return found if settled else f"{found} {UNSETTLED}"


FAMILY = Family(
    name="cogvideox",
    title="CogVideoX",
    order=23,
    modules=(
        *(_BLOCK + leaf for leaf in _LEAVES),
        *("patch_embed.proj", "patch_embed.text_proj", "norm_out.linear", "proj_out"),
        *(f"{which}_embedding.linear_{n}" for which in ("time", "ofs") for n in (1, 2)),
    ),
    aliases={},
    recognise=recognise,
    claims=re.compile(r"cog[-_. ]?video", re.I),
)
