"""Wan 2.x (video): blocks of self- and cross-attention, 1536, 3072 or 5120 wide.

Source: diffusers `_convert_non_diffusers_wan_lora_to_diffusers`.
"""

from __future__ import annotations

import re

from auditor.lora.families import Family, Part, Shapes, blocks, one, width

_ATTENTION = (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("o", "to_out.0"))
_ADDED = (("k_img", "add_k_proj"), ("v_img", "add_v_proj"))
_STEMS = ("blocks", "vace_blocks")
"""The model's own blocks, and those that VACE sets beside them."""
WIDTHS = (1536, 3072, 5120)


def recognise(shapes: Shapes) -> str | None:
    """One of the published widths, in blocks that only this family names so."""
    channels = width(shapes, (".to_q", ".to_k", ".to_v", ".to_out.0", ".ffn.net.0.proj"))
    if channels in WIDTHS and (blocks(shapes, "blocks") or blocks(shapes, "vace_blocks")):
        return f"Video blocks of self- and cross-attention, {channels} wide."
    return None


def _aliases() -> dict[str, tuple[Part, ...]]:
    """Names of the original code (ComfyUI, musubi-tuner)."""
    found: dict[str, tuple[Part, ...]] = {}
    for stem in _STEMS:
        for old, new in _ATTENTION:
            found[f"{stem}.#.self_attn.{old}"] = one(f"{stem}.#.attn1.{new}")
            found[f"{stem}.#.cross_attn.{old}"] = one(f"{stem}.#.attn2.{new}")
        found[f"{stem}.#.ffn.0"] = one(f"{stem}.#.ffn.net.0.proj")
        found[f"{stem}.#.ffn.2"] = one(f"{stem}.#.ffn.net.2")
    found["vace_blocks.#.before_proj"] = one("vace_blocks.#.proj_in")
    found["vace_blocks.#.after_proj"] = one("vace_blocks.#.proj_out")
    for old, new in _ADDED:
        found[f"blocks.#.cross_attn.{old}"] = one(f"blocks.#.attn2.{new}")
    for old, new in (("text_embedding", "text_embedder"), ("time_embedding", "time_embedder")):
        found[f"{old}.0"] = one(f"condition_embedder.{new}.linear_1")
        found[f"{old}.2"] = one(f"condition_embedder.{new}.linear_2")
    return found


FAMILY = Family(
    name="wan",
    title="Wan",
    order=26,
    modules=(
        *(f"{stem}.#.attn{n}.{new}" for stem in _STEMS for n in (1, 2) for _, new in _ATTENTION),
        *(f"blocks.#.attn2.{new}" for _, new in _ADDED),
        *(f"{stem}.#.ffn.net.{leaf}" for stem in _STEMS for leaf in ("0.proj", "2")),
        *("vace_blocks.#.proj_in", "vace_blocks.#.proj_out", "patch_embedding", "proj_out"),
        *(f"condition_embedder.{which}_embedder.linear_{n}" for which in ("time", "text") for n in (1, 2)),
        *("condition_embedder.time_proj", "condition_embedder.image_embedder.ff.net.0.proj"),
        "condition_embedder.image_embedder.ff.net.2",
    ),
    aliases={
        **_aliases(),
        "time_projection.1": one("condition_embedder.time_proj"),
        "head.head": one("proj_out"),
        "img_emb.proj.1": one("condition_embedder.image_embedder.ff.net.0.proj"),
        "img_emb.proj.3": one("condition_embedder.image_embedder.ff.net.2"),
    },
    recognise=recognise,
    claims=re.compile(r"\bwan[-_. ]?(2|video|\b)", re.I),
)
