"""Flux.1: 19 double and 38 single blocks, 3072 wide.  Names of diffusers, the original code (kohya, ComfyUI) and XLabs.

Sources: kohya-ss/sd-scripts networks/convert_flux_lora.py, huggingface/diffusers loaders/lora_conversion_utils.py.
"""

from __future__ import annotations

import re

from auditor.lora.families import Family, Shapes, blocks, fused, one, width
from auditor.lora.families import _flux_names as names

_XLABS = {
    **{
        f"double_blocks.#.processor.qkv_{stream}": fused(*(f"transformer_blocks.#.{leaf}" for leaf in leaves[:3]))
        for stream, leaves in (("img", names.ATTENTION), ("txt", names.ADDED))
    },
    "double_blocks.#.processor.proj_img": one("transformer_blocks.#.attn.to_out.0"),
    "double_blocks.#.processor.proj_txt": one("transformer_blocks.#.attn.to_add_out"),
    "single_blocks.#.processor.qkv": fused(*(f"single_transformer_blocks.#.{x}" for x in names.SINGLE_ATTENTION)),
    "single_blocks.#.processor.proj": one("single_transformer_blocks.#.proj_out"),
}


_FULL_WIDTH = (".to_out.0", ".to_add_out", ".proj_mlp", ".norm.linear", ".0.proj")


_OWN = (".norm.linear", ".norm1.linear", ".norm1_context.linear", "norm_out.linear")
UNSETTLED = "Chroma has the same layers: nothing in this file tells it from Flux."


def recognise(shapes: Shapes) -> str | None:
    """Width 3072 with Flux's blocks; says so where they are Chroma's as well."""
    found = _blocks_of_flux(shapes)
    if found is None or any(name.endswith(_OWN) or name.startswith("time_text_embed.") for name in shapes):
        return found
    return f"{found} {UNSETTLED}"


def _blocks_of_flux(shapes: Shapes) -> str | None:
    """Width 3072 with single blocks, or double blocks that have names or numbers of Flux."""
    single, double = blocks(shapes, "single_transformer_blocks"), blocks(shapes, "transformer_blocks")
    own = {name: shape for name, shape in shapes.items() if name.startswith("transformer_blocks.")}
    channels = width(own) or width(shapes) or width(shapes, _FULL_WIDTH)
    out = {shape[0] for name, shape in shapes.items() if name.endswith(".proj_out") and "." in name}
    if channels not in (0, 3072) or (not channels and out and out != {3072}):
        return None
    if single:
        return f"Single and double transformer blocks of width 3072 (single up to {single - 1})."
    if double and channels and any(name.startswith("double_blocks.") for name in shapes):
        return "Double blocks of width 3072 under the names of Flux's own code."
    if double and any(".ff" in name or ".norm1" in name for name in shapes):
        return "Double transformer blocks of width 3072 with Flux's feed-forward layers."
    if double == 19 and channels:
        return "Nineteen double transformer blocks of width 3072."
    return None


FAMILY = Family(
    name="flux",
    title="Flux",
    order=40,
    modules=(
        *names.DOUBLE, *names.FEED_FORWARD, *names.MODULATION, *names.SINGLE, *names.EMBEDDERS,
        "x_embedder", "context_embedder", "norm_out.linear", "proj_out",
    ),
    aliases={
        **names.attention_aliases("."), **names.single_aliases(), **_XLABS,
        **names.stream_aliases(("0", "2"), "lin"), **names.embedder_aliases("vector_in", ("in_layer", "out_layer")),
        "img_in": one("x_embedder"),
        "txt_in": one("context_embedder"),
        "final_layer.linear": one("proj_out"),
        "final_layer.adaLN_modulation.1": one("norm_out.linear", swap=True),
    },
    recognise=recognise,
    claims=re.compile(r"flux(?![-_.]?2)", re.I),
    text_parts={"text_encoder_3": "text_encoder_2"},
)  # fmt: skip
