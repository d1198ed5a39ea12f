"""HunyuanVideo: 20 double and 40 single blocks, 3072 wide, and a refiner of the text tokens.

Sources: diffusers `_convert_hunyuan_video_lora_to_diffusers`, kohya-ss/musubi-tuner.
"""

from __future__ import annotations

import re

from auditor.lora.families import Family, Part, Shapes, blocks, fused, one, width
from auditor.lora.families import _flux_names as names

REFINER = "context_embedder.token_refiner.refiner_blocks.#."
_OLD_REFINER = "txt_in.individual_token_refiner.blocks.#."


def recognise(shapes: Shapes) -> str | None:
    """More blocks than Flux, or the token refiner."""
    if width(shapes) not in (0, 3072):
        return None
    if any(name.startswith(("context_embedder.token_refiner", "context_embedder.proj_in")) for name in shapes):
        return "A refiner of text tokens before the double blocks."
    single, double = blocks(shapes, "single_transformer_blocks"), blocks(shapes, "transformer_blocks")
    if (double == 20 and single in (0, 40)) or (double in (0, 20) and single in (39, 40)):
        return "Twenty double and forty single transformer blocks of width 3072."
    return None


def refiner_aliases() -> dict[str, tuple[Part, ...]]:
    """The refiner of the text tokens in the original code."""
    found = {f"{_OLD_REFINER}self_attn_proj": one(REFINER + "attn.to_out.0")}
    found[_OLD_REFINER + "self_attn.proj"] = found[_OLD_REFINER + "self_attn_proj"]
    for separator in "._":
        found[f"{_OLD_REFINER}self_attn{separator}qkv"] = fused(*(REFINER + leaf for leaf in names.ATTENTION[:3]))
    found[_OLD_REFINER + "mlp.fc1"] = one(REFINER + "ff.net.0.proj")
    found[_OLD_REFINER + "mlp.fc2"] = one(REFINER + "ff.net.2")
    found[_OLD_REFINER + "adaLN_modulation.1"] = one(REFINER + "norm_out.linear")
    found["txt_in.input_embedder"] = one("context_embedder.proj_in")
    for number, layer in ((1, "0"), (2, "2")):
        stem = "context_embedder.time_text_embed."
        found[f"txt_in.t_embedder.mlp.{layer}"] = one(f"{stem}timestep_embedder.linear_{number}")
        found[f"txt_in.c_embedder.linear_{number}"] = one(f"{stem}text_embedder.linear_{number}")
    return found


FAMILY = Family(
    name="hunyuan-video",
    title="HunyuanVideo",
    order=35,
    modules=(
        *names.DOUBLE, *names.FEED_FORWARD, *names.MODULATION, *names.SINGLE, *names.EMBEDDERS,
        *(REFINER + leaf for leaf in (*names.ATTENTION, "ff.net.0.proj", "ff.net.2", "norm_out.linear")),
        *(f"context_embedder.time_text_embed.{w}_embedder.linear_{n}" for w in ("timestep", "text") for n in (1, 2)),
        "context_embedder.proj_in", "x_embedder.proj", "norm_out.linear", "proj_out",
    ),
    aliases={
        **names.attention_aliases("_"), **names.attention_aliases("."), **names.single_aliases(),
        **names.stream_aliases(("0", "2"), "lin"), **names.stream_aliases(("fc1", "fc2"), "linear"),
        **names.embedder_aliases("vector_in", ("mlp.0", "mlp.2")),
        **refiner_aliases(),
        "img_in.proj": one("x_embedder.proj"),
        "final_layer.linear": one("proj_out"),
        "final_layer.adaLN_modulation.1": one("norm_out.linear", swap=True),
    },
    recognise=recognise,
    claims=re.compile(r"hunyuan[-_. ]?video", re.I),
)  # fmt: skip
