"""Stable Cascade, stage C: two levels of residual, time and attention blocks, 2048 wide.

Sources: Nerogar/OneTrainer modules/util/convert/lora/convert_stable_cascade_lora.py, ComfyUI comfy/ldm/cascade.
"""

from __future__ import annotations

import re

from auditor.lora.families import Family, Part, Shapes, one, width

_SIDES = ("down_blocks.#.#.", "up_blocks.#.#.")
_LEAVES = (
    *(f"attention.{leaf}" for leaf in ("to_q", "to_k", "to_v", "to_out.0")),
    *("kv_mapper.1", "channelwise.0", "channelwise.4", "depthwise", "mapper", "mapper_sca", "mapper_crp"),
)
_READS = (".attention.to_q", ".attention.to_k", ".attention.to_v", ".attention.to_out.0", ".kv_mapper.1")


def recognise(shapes: Shapes) -> str | None:
    """Blocks of its own names, whose attention is 2048 wide where they adapt it."""
    own = {name: shape for name, shape in shapes.items() if name.startswith(("down_blocks.", "up_blocks."))}
    reads = [shape[1] for name, shape in own.items() if name.endswith(_READS)]
    if own and (width(own, _READS) == 2048 if reads else width(own, (".channelwise.4",)) == 8192):
        return "Residual, time and attention blocks of Stable Cascade's names, 2048 wide."
    return None


def _aliases() -> dict[str, tuple[Part, ...]]:
    """Names of the original code, with its one matrix of query, key and value cut in three."""
    found: dict[str, tuple[Part, ...]] = {}
    for side in _SIDES:
        for number, leaf in enumerate("qkv"):
            for old in (f"in_proj.{number}", f"to_{leaf}"):
                found[f"{side}attention.attn.{old}"] = one(f"{side}attention.to_{leaf}")
        found[f"{side}attention.attn.out_proj"] = one(f"{side}attention.to_out.0")
    return found


FAMILY = Family(
    name="stable-cascade",
    title="Stable Cascade",
    order=18,
    modules=(
        *(side + leaf for side in _SIDES for leaf in _LEAVES),
        *("clip_txt_pooled_mapper", "clip_txt_mapper", "clip_img_mapper", "embedding.1", "clf.1"),
        *("down_downscalers.#.#.blocks.0", "up_upscalers.#.#.blocks.1"),
    ),
    aliases=_aliases(),
    recognise=recognise,
    claims=re.compile(r"stable[-_. ]?cascade|w[uü]e?rstchen", re.I),
)
