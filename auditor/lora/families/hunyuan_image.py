"""HunyuanImage 2.1: HunyuanVideo's names, 3584 wide.

Source: huggingface/diffusers scripts/convert_hunyuan_image_to_diffusers.py.
"""

from __future__ import annotations

import re

from auditor.lora.families import Family, Part, Shapes, blocks, one, width
from auditor.lora.families import _flux_names as names
from auditor.lora.families.hunyuan_video import REFINER, refiner_aliases

_READS = (".to_q", ".to_k", ".to_v", ".add_q_proj", ".add_k_proj", ".add_v_proj", ".to_out.0", ".to_add_out",
          ".proj_mlp", ".0.proj", ".norm.linear")  # fmt: skip


def recognise(shapes: Shapes) -> str | None:
    """Width 3584."""
    found = blocks(shapes, "transformer_blocks") or blocks(shapes, "single_transformer_blocks")
    if found and width(shapes, _READS) == 3584:
        return "Double or single transformer blocks of width 3584."
    return None


def _apart() -> dict[str, tuple[Part, ...]]:
    """Query, key and value apart, as the original code has them for several devices."""
    found: dict[str, tuple[Part, ...]] = {}
    for stream, leaves in (("img", names.ATTENTION), ("txt", names.ADDED)):
        for letter, leaf in zip("qkv", leaves[:3], strict=True):
            found[f"double_blocks.#.{stream}_attn_{letter}"] = one(f"transformer_blocks.#.{leaf}")
    for letter, leaf in zip(("q", "k", "v", "mlp"), (*names.SINGLE_ATTENTION, "proj_mlp"), strict=True):
        found[f"single_blocks.#.linear1_{letter}"] = one(f"single_transformer_blocks.#.{leaf}")
    return found | {"single_blocks.#.linear2.fc": one("single_transformer_blocks.#.proj_out")}


FAMILY = Family(
    name="hunyuan-image",
    title="HunyuanImage",
    order=33,
    modules=(
        *names.DOUBLE, *names.FEED_FORWARD, *names.MODULATION, *names.SINGLE,
        *(REFINER + leaf for leaf in (*names.ATTENTION, "ff.net.0.proj", "ff.net.2", "norm_out.linear")),
        *(f"context_embedder.time_text_embed.{w}_embedder.linear_{n}" for w in ("timestep", "text") for n in (1, 2)),
        *(f"time_guidance_embed.{w}_embedder.linear_{n}" for w in ("timestep", "guidance") for n in (1, 2)),
        *(f"time_guidance_embed.timestep_embedder_r.linear_{n}" for n in (1, 2)),
        *(f"context_embedder_2.linear_{n}" for n in (1, 2, 3)),
        "context_embedder.proj_in", "x_embedder.proj", "norm_out.linear", "proj_out",
    ),
    aliases={
        **names.attention_aliases("_"), **names.attention_aliases("."), **names.single_aliases(), **_apart(),
        **names.stream_aliases(("fc1", "fc2"), "linear"), **names.stream_aliases(("0", "2"), "lin"),
        **refiner_aliases(),
        **{f"{old}_in.mlp.{layer}": one(f"time_guidance_embed.{new}.linear_{n}")
           for old, new in (("time", "timestep_embedder"), ("time_r", "timestep_embedder_r"),
                            ("guidance", "guidance_embedder")) for n, layer in ((1, 0), (2, 2))},
        **{f"byt5_in.fc{n}": one(f"context_embedder_2.linear_{n}") for n in (1, 2, 3)},
        "img_in.proj": one("x_embedder.proj"),
        "final_layer.linear": one("proj_out"),
        "final_layer.adaLN_modulation.1": one("norm_out.linear", swap=True),
    },
    recognise=recognise,
    claims=re.compile(r"hunyuan[-_. ]?image", re.I),
)  # fmt: skip
