"""Names that Flux, HunyuanVideo and their kin share: double blocks of two streams, then single blocks of one."""

from __future__ import annotations

from auditor.lora.families import Part, fused, one

ATTENTION = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")
ADDED = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out")
SINGLE_ATTENTION = ("attn.to_q", "attn.to_k", "attn.to_v")

DOUBLE = tuple(f"transformer_blocks.#.{leaf}" for leaf in (*ATTENTION, *ADDED))
FEED_FORWARD = tuple(
    f"transformer_blocks.#.{leaf}"
    for leaf in ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2")
)
MODULATION = ("transformer_blocks.#.norm1.linear", "transformer_blocks.#.norm1_context.linear")
SINGLE = tuple(
    f"single_transformer_blocks.#.{leaf}" for leaf in (*SINGLE_ATTENTION, "proj_mlp", "proj_out", "norm.linear")
)
EMBEDDERS = tuple(
    f"time_text_embed.{which}_embedder.linear_{n}" for which in ("timestep", "text", "guidance") for n in (1, 2)
)


FUSED = {
    "transformer_blocks.#.attn.to_qkv": fused(*(f"transformer_blocks.#.{leaf}" for leaf in ATTENTION[:3])),
    "transformer_blocks.#.attn.to_added_qkv": fused(*(f"transformer_blocks.#.{leaf}" for leaf in ADDED[:3])),
    "single_transformer_blocks.#.attn.to_qkv": fused(*(f"single_transformer_blocks.#.{x}" for x in SINGLE_ATTENTION)),
}
"""diffusers' own names once a model's queries, keys and values were fused, as its Kronecker products of Flux.2 are."""


def attention_aliases(separator: str) -> dict[str, tuple[Part, ...]]:
    """Both streams' attention in the original code, ``img_attn.qkv`` or ``img_attn_qkv`` by `separator`."""
    block = "transformer_blocks.#."
    found: dict[str, tuple[Part, ...]] = {name: FUSED[name] for name in list(FUSED)[:2]}
    for stream, leaves in (("img", ATTENTION), ("txt", ADDED)):
        fusion = f"double_blocks.#.{stream}_attn{separator}qkv"
        found[fusion] = fused(*(block + leaf for leaf in leaves[:3]))
        for number, leaf in enumerate(leaves[:3]):
            found[f"{fusion}.{number}"] = one(block + leaf)
        found[f"double_blocks.#.{stream}_attn{separator}proj"] = one(block + leaves[3])
    return found


def single_aliases() -> dict[str, tuple[Part, ...]]:
    """Single blocks in the original code: query, key, value and the feed-forward's first layer in ``linear1``."""
    block = "single_transformer_blocks.#."
    parts = [block + leaf for leaf in (*SINGLE_ATTENTION, "proj_mlp")]
    found = {
        "single_blocks.#.linear1": fused(*parts, shares=(1, 1, 1, 4)),
        "single_blocks.#.linear2": one(block + "proj_out"),
        "single_transformer_blocks.#.attn.to_qkv": FUSED["single_transformer_blocks.#.attn.to_qkv"],
    }
    for number, part in enumerate(parts):
        found[f"single_blocks.#.linear1.{number}"] = one(part)
    for name in ("lin", "linear"):
        found[f"single_blocks.#.modulation.{name}"] = one(block + "norm.linear")
    return found


def stream_aliases(mlp: tuple[str, str], modulation: str) -> dict[str, tuple[Part, ...]]:
    """Feed-forward and modulation of both streams under the original code's names."""
    block = "transformer_blocks.#."
    found: dict[str, tuple[Part, ...]] = {}
    for stream, suffix in (("img", ""), ("txt", "_context")):
        found[f"double_blocks.#.{stream}_mlp.{mlp[0]}"] = one(f"{block}ff{suffix}.net.0.proj")
        found[f"double_blocks.#.{stream}_mlp.{mlp[1]}"] = one(f"{block}ff{suffix}.net.2")
        found[f"double_blocks.#.{stream}_mod.{modulation}"] = one(f"{block}norm1{suffix}.linear")
    return found


def embedder_aliases(text: str, layers: tuple[str, str]) -> dict[str, tuple[Part, ...]]:
    """Time, guidance and pooled-text embedders; `layers` are the names of their two layers."""
    found: dict[str, tuple[Part, ...]] = {}
    for number, (layer, pooled) in enumerate(zip(layers, ("in_layer", "out_layer"), strict=True), start=1):
        found[f"time_in.{layer}"] = one(f"time_text_embed.timestep_embedder.linear_{number}")
        found[f"guidance_in.{layer}"] = one(f"time_text_embed.guidance_embedder.linear_{number}")
        found[f"{text}.{pooled}"] = one(f"time_text_embed.text_embedder.linear_{number}")
    return found
