"""Flux.2: modulation shared by all blocks, gated feed-forward, query, key, value and feed-forward in one matrix."""

from __future__ import annotations

import re

from auditor.lora.families import Family, Shapes, blocks, one, width
from auditor.lora.families import _flux_names as names

_FEED_FORWARD = tuple(
    f"transformer_blocks.#.{stream}.linear_{side}" for stream in ("ff", "ff_context") for side in ("in", "out")
)


def recognise(shapes: Shapes) -> str | None:
    """Its own layer names, or blocks of width 6144."""
    if any(name.endswith((".to_qkv_mlp_proj", ".ff.linear_out")) and blocks({name: shapes[name]}, "transformer_blocks")
           + blocks({name: shapes[name]}, "single_transformer_blocks") and _gated(name, shapes[name])
           for name in shapes):  # fmt: skip
        return "Gated feed-forward layers in double and single blocks, as only Flux.2 has."
    if width(shapes) == 6144 and blocks(shapes, "transformer_blocks"):
        return "Double transformer blocks of width 6144."
    return None


def _gated(name: str, shape: tuple[int, int]) -> bool:
    """Whether a layer has the proportions of a gated feed-forward of factor 3: in → 2·3·in (+ 3·in), 3·in → in."""
    out, across = shape
    return out == 9 * across if name.endswith(".to_qkv_mlp_proj") else across == 3 * out


FAMILY = Family(
    name="flux2",
    title="Flux.2",
    order=30,
    modules=(
        *names.DOUBLE, *_FEED_FORWARD,
        "single_transformer_blocks.#.attn.to_qkv_mlp_proj", "single_transformer_blocks.#.attn.to_out",
        "single_stream_modulation.linear", "double_stream_modulation_img.linear", "double_stream_modulation_txt.linear",
        *(f"time_guidance_embed.{w}_embedder.linear_{n}" for w in ("timestep", "guidance") for n in (1, 2)),
        "x_embedder", "context_embedder", "norm_out.linear", "proj_out",
    ),
    aliases={
        **names.attention_aliases("."),
        **{f"double_blocks.#.{stream}_mlp.{n}": one(f"transformer_blocks.#.{ff}.linear_{side}")
           for stream, ff in (("img", "ff"), ("txt", "ff_context")) for n, side in ((0, "in"), (2, "out"))},
        "single_blocks.#.linear1": one("single_transformer_blocks.#.attn.to_qkv_mlp_proj"),
        "single_blocks.#.linear2": one("single_transformer_blocks.#.attn.to_out"),
        "single_stream_modulation.lin": one("single_stream_modulation.linear"),
        "double_stream_modulation_img.lin": one("double_stream_modulation_img.linear"),
        "double_stream_modulation_txt.lin": one("double_stream_modulation_txt.linear"),
        **{f"{old}_in.{layer}_layer": one(f"time_guidance_embed.{new}_embedder.linear_{n}")
           for old, new in (("time", "timestep"), ("guidance", "guidance")) for n, layer in ((1, "in"), (2, "out"))},
        "img_in": one("x_embedder"),
        "txt_in": one("context_embedder"),
        "final_layer.linear": one("proj_out"),
        "final_layer.adaLN_modulation.1": one("norm_out.linear", swap=True),
    },
    recognise=recognise,
    claims=re.compile(r"flux[-_.]?2", re.I),
)  # fmt: skip
