"""Z-Image: layers 3840 wide, named as in Lumina's code but kept so by diffusers.

Source: diffusers `_convert_non_diffusers_z_image_lora_to_diffusers`.
"""

from __future__ import annotations

import re

from auditor.lora.families import Family, Part, Shapes, fused, one, width
from auditor.lora.families.lumina import STEMS

_LEAVES = (
    *(f"attention.{leaf}" for leaf in ("to_q", "to_k", "to_v", "to_out.0")),
    *(f"feed_forward.w{number}" for number in (1, 2, 3)),
    *(f"adaLN_modulation.{number}" for number in (0, 1)),
)


def recognise(shapes: Shapes) -> str | None:
    """Width 3840."""
    channels = width(shapes, (".attention.to_q", ".attention.to_k", ".to_v", ".to_out.0", ".feed_forward.w1"))
    return "Attention layers of width 3840." if channels == 3840 else None


def _aliases() -> dict[str, tuple[Part, ...]]:
    """Names of the original code (kohya, ComfyUI)."""
    found: dict[str, tuple[Part, ...]] = {}
    for stem in STEMS:
        found[f"{stem}.#.attention.qkv"] = fused(*(f"{stem}.#.attention.to_{x}" for x in "qkv"))
        found[f"{stem}.#.attention.out"] = one(f"{stem}.#.attention.to_out.0")
    return found


FAMILY = Family(
    name="z-image",
    title="Z-Image",
    order=25,
    modules=(
        *(f"{stem}.#.{leaf}" for stem in STEMS for leaf in _LEAVES),
        *("t_embedder.mlp.0", "t_embedder.mlp.2", "cap_embedder.1", "all_x_embedder.#-#"),
        *("all_final_layer.#-#.linear", "all_final_layer.#-#.adaLN_modulation.1"),
    ),
    aliases={
        **_aliases(),
        "x_embedder": one("all_x_embedder.2-1"),
        "final_layer.linear": one("all_final_layer.2-1.linear"),
        "final_layer.adaLN_modulation.1": one("all_final_layer.2-1.adaLN_modulation.1"),
    },
    recognise=recognise,
    claims=re.compile(r"z[-_. ]?image", re.I),
)
