"""Stable Diffusion 3 and 3.5: joint blocks, 1536 (medium) or 2432 (large) wide; 3.5 medium has a second attention.

Source: comfyanonymous/ComfyUI comfy/utils.py `mmdit_to_diffusers`.
"""

from __future__ import annotations

import re

from auditor.lora.families import Family, Part, Shapes, blocks, fused, one, width
from auditor.lora.families import _flux_names as names

_SECOND = tuple(f"transformer_blocks.#.attn2.{leaf}" for leaf in ("to_q", "to_k", "to_v", "to_out.0"))
_BLOCK = "transformer_blocks.#."
_STREAMS = (("x", names.ATTENTION, ""), ("context", names.ADDED, "_context"))


def recognise(shapes: Shapes) -> str | None:
    """Joint attention of a width that only this family has."""
    channels = width(shapes) or width(shapes, (".to_out.0", ".to_add_out", ".ff.net.0.proj", ".ff_context.net.0.proj"))
    if channels in (1536, 2432) and blocks(shapes, "transformer_blocks"):
        return f"Joint transformer blocks of width {channels}."
    return None


def _aliases() -> dict[str, tuple[Part, ...]]:
    """Names of the original code (kohya, ComfyUI)."""
    found: dict[str, tuple[Part, ...]] = {name: names.FUSED[name] for name in list(names.FUSED)[:2]}
    found["transformer_blocks.#.attn2.to_qkv"] = fused(*_SECOND[:3])
    for stream, attention, suffix in _STREAMS:
        old = f"joint_blocks.#.{stream}_block."
        found[old + "attn.qkv"] = fused(*(_BLOCK + leaf for leaf in attention[:3]))
        for number, leaf in enumerate(attention[:3]):
            found[f"{old}attn.qkv.{number}"] = one(_BLOCK + leaf)
        found[old + "attn.proj"] = one(_BLOCK + attention[3])
        found[old + "mlp.fc1"] = one(f"{_BLOCK}ff{suffix}.net.0.proj")
        found[old + "mlp.fc2"] = one(f"{_BLOCK}ff{suffix}.net.2")
        found[old + "adaLN_modulation.1"] = one(f"{_BLOCK}norm1{suffix}.linear", swap=bool(suffix))
    found["joint_blocks.#.x_block.attn2.qkv"] = fused(*_SECOND[:3])
    found["joint_blocks.#.x_block.attn2.proj"] = one(_SECOND[3])
    return found


FAMILY = Family(
    name="sd3",
    title="Stable Diffusion 3",
    order=20,
    modules=(
        *names.DOUBLE, *names.FEED_FORWARD, *names.MODULATION, *_SECOND, *names.EMBEDDERS,
        "pos_embed.proj", "context_embedder", "norm_out.linear", "proj_out",
    ),
    aliases={
        **_aliases(),
        "x_embedder.proj": one("pos_embed.proj"),
        **{f"{old}_embedder.mlp.{layer}": one(f"time_text_embed.{new}_embedder.linear_{n}")
           for old, new in (("t", "timestep"), ("y", "text")) for n, layer in ((1, 0), (2, 2))},
        "final_layer.linear": one("proj_out"),
        "final_layer.adaLN_modulation.1": one("norm_out.linear", swap=True),
    },
    recognise=recognise,
    claims=re.compile(r"sd_?v?3|stable-diffusion-(v)?3", re.I),
)  # fmt: skip
