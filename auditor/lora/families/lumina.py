"""Lumina-Image 2: layers 2304 wide whose keys and values have a third of the queries' channels.

Source: diffusers `_convert_non_diffusers_lumina2_lora_to_diffusers`.
"""

from __future__ import annotations

import re

from auditor.lora.families import Family, Part, Shapes, fused, one, width

STEMS = ("layers", "noise_refiner", "context_refiner")


def recognise(shapes: Shapes) -> str | None:
    """Width 2304."""
    channels = width(shapes, (".attn.to_q", ".attn.to_k", ".attn.to_out.0", ".feed_forward.linear_1"))
    return "Attention of width 2304 with fewer key than query channels." if channels == 2304 else None


def _aliases() -> dict[str, tuple[Part, ...]]:
    """Names of the original code (kohya, ComfyUI)."""
    found: dict[str, tuple[Part, ...]] = {}
    for stem in STEMS:
        block = f"{stem}.#."
        found[block + "attention.qkv"] = fused(*(f"{block}attn.to_{x}" for x in "qkv"), shares=(3, 1, 1))
        found[block + "attention.out"] = one(block + "attn.to_out.0")
        found[block + "adaLN_modulation.1"] = one(block + "norm1.linear")
        for number in (1, 2, 3):
            found[f"{block}feed_forward.w{number}"] = one(f"{block}feed_forward.linear_{number}")
    return found


_LEAVES = (
    *(f"attn.{leaf}" for leaf in ("to_q", "to_k", "to_v", "to_out.0")),
    *(f"feed_forward.linear_{number}" for number in (1, 2, 3)),
    "norm1.linear",
)
FAMILY = Family(
    name="lumina",
    title="Lumina-Image 2",
    order=24,
    modules=(
        *(f"{stem}.#.{leaf}" for stem in STEMS for leaf in _LEAVES),
        *(f"time_caption_embed.timestep_embedder.linear_{n}" for n in (1, 2)),
        *("time_caption_embed.caption_embedder.1", "x_embedder", "norm_out.linear_1", "norm_out.linear_2"),
    ),
    aliases={
        **_aliases(),
        "t_embedder.mlp.0": one("time_caption_embed.timestep_embedder.linear_1"),
        "t_embedder.mlp.2": one("time_caption_embed.timestep_embedder.linear_2"),
        "cap_embedder.1": one("time_caption_embed.caption_embedder.1"),
        "final_layer.linear": one("norm_out.linear_2"),
        "final_layer.adaLN_modulation.1": one("norm_out.linear_1"),
    },
    recognise=recognise,
    claims=re.compile(r"lumina", re.I),
)
