"""AuraFlow: joint blocks then single blocks, 3072 wide, gated feed-forward of three matrices.

Source: comfyanonymous/ComfyUI comfy/utils.py `auraflow_to_diffusers`; its stream 2 is the image, stream 1 the text.
"""

from __future__ import annotations

import re

from auditor.lora.families import Family, Part, Shapes, one
from auditor.lora.families import _flux_names as names

_FEED_FORWARD = ("linear_1", "linear_2", "out_projection")
_OLD_FEED_FORWARD = ("c_fc1", "c_fc2", "c_proj")
_JOINT, _SINGLE = "joint_transformer_blocks.#.", "single_transformer_blocks.#."


def recognise(shapes: Shapes) -> str | None:
    """Its own block or layer names."""
    own = ("joint_transformer_blocks.",)
    if any(name.startswith(own) or name.endswith((".ff.out_projection", ".ff.linear_2")) for name in shapes):
        return "Joint blocks and feed-forward layers named as only AuraFlow's are."
    return None


def _aliases() -> dict[str, tuple[Part, ...]]:
    """Names of the original code (kohya, ComfyUI)."""
    found: dict[str, tuple[Part, ...]] = {}
    for letter, image, text in zip("qkvo", names.ATTENTION, names.ADDED, strict=True):
        found[f"double_layers.#.attn.w2{letter}"] = one(_JOINT + image)
        found[f"double_layers.#.attn.w1{letter}"] = one(_JOINT + text)
        found[f"single_layers.#.attn.w1{letter}"] = one(_SINGLE + image)
    for old, new in zip(_OLD_FEED_FORWARD, _FEED_FORWARD, strict=True):
        found[f"double_layers.#.mlpX.{old}"] = one(f"{_JOINT}ff.{new}")
        found[f"double_layers.#.mlpC.{old}"] = one(f"{_JOINT}ff_context.{new}")
        found[f"single_layers.#.mlp.{old}"] = one(f"{_SINGLE}ff.{new}")
    found["double_layers.#.modX.1"] = one(_JOINT + "norm1.linear")
    found["double_layers.#.modC.1"] = one(_JOINT + "norm1_context.linear")
    found["single_layers.#.modCX.1"] = one(_SINGLE + "norm1.linear")
    return found


FAMILY = Family(
    name="auraflow",
    title="AuraFlow",
    order=10,
    modules=(
        *(_JOINT + leaf for leaf in (*names.ATTENTION, *names.ADDED, "norm1.linear", "norm1_context.linear")),
        *(f"{_JOINT}{stream}.{leaf}" for stream in ("ff", "ff_context") for leaf in _FEED_FORWARD),
        *(_SINGLE + leaf for leaf in (*names.ATTENTION, "norm1.linear")),
        *(f"{_SINGLE}ff.{leaf}" for leaf in _FEED_FORWARD),
        "time_step_proj.linear_1", "time_step_proj.linear_2",
        "pos_embed.proj", "context_embedder", "norm_out.linear", "proj_out",
    ),
    aliases={
        **_aliases(),
        "init_x_linear": one("pos_embed.proj"),
        "cond_seq_linear": one("context_embedder"),
        "t_embedder.mlp.0": one("time_step_proj.linear_1"),
        "t_embedder.mlp.2": one("time_step_proj.linear_2"),
        "modF.1": one("norm_out.linear", swap=True),
        "final_linear": one("proj_out"),
    },
    recognise=recognise,
    claims=re.compile(r"aura[-_. ]?flow", re.I),
)  # fmt: skip
