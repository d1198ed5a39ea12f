"""Krea 2: 6144 wide blocks of gated attention with a quarter of the query channels for keys and values.

Source: diffusers `_convert_non_diffusers_krea2_lora_to_diffusers`.
"""

from __future__ import annotations

import re

from auditor.lora.families import Family, Part, Shapes, blocks, one

_ATTENTION = (("wq", "to_q"), ("wk", "to_k"), ("wv", "to_v"), ("wo", "to_out.0"), ("gate", "to_gate"))
_STEMS = (
    ("blocks.#.", "transformer_blocks.#."),
    ("txtfusion.layerwise_blocks.#.", "text_fusion.layerwise_blocks.#."),
    ("txtfusion.refiner_blocks.#.", "text_fusion.refiner_blocks.#."),
)
_SINGLE = {
    "first": "img_in", "last.linear": "final_layer.linear", "tmlp.0": "time_embed.linear_1",
    "tmlp.2": "time_embed.linear_2", "tproj.1": "time_mod_proj", "txtmlp.1": "txt_in.linear_1",
    "txtmlp.3": "txt_in.linear_2", "txtfusion.projector": "text_fusion.projector",
}  # fmt: skip


def recognise(shapes: Shapes) -> str | None:
    """Its own gates, or keys of 1536 out of 6144 channels."""
    own = {name: shape for name, shape in shapes.items() if name.startswith("transformer_blocks.")}
    if any(name.endswith((".attn.to_gate", ".ff.gate", ".ff.up", ".ff.down")) for name in own):
        return "Blocks with gated attention and feed-forward layers of Krea 2's names."
    keys = {shape for name, shape in own.items() if name.endswith((".attn.to_k", ".attn.to_v"))}
    if blocks(own, "transformer_blocks") and keys == {(1536, 6144)}:
        return "Blocks of width 6144 with a quarter of the channels for keys and values."
    return None


def _aliases() -> dict[str, tuple[Part, ...]]:
    """Names of the original code (ai-toolkit, ComfyUI)."""
    found: dict[str, tuple[Part, ...]] = {}
    for old, new in _STEMS:
        found |= {f"{old}attn.{a}": one(f"{new}attn.{b}") for a, b in _ATTENTION}
        found |= {f"{old}mlp.{leaf}": one(f"{new}ff.{leaf}") for leaf in ("gate", "up", "down")}
    return found | {old: one(new) for old, new in _SINGLE.items()}


FAMILY = Family(
    name="krea2",
    title="Krea 2",
    order=29,
    modules=(
        *(f"{stem}attn.{leaf}" for _, stem in _STEMS for _, leaf in _ATTENTION),
        *(f"{stem}ff.{leaf}" for _, stem in _STEMS for leaf in ("gate", "up", "down")),
        *_SINGLE.values(),
    ),
    aliases=_aliases(),
    recognise=recognise,
    claims=re.compile(r"krea[-_. ]?2", re.I),
)
