"""PixArt alpha and sigma: 28 blocks of self- and cross-attention, 1152 wide.

Source of the original code's names: comfyanonymous/ComfyUI comfy/utils.py `pixart_to_diffusers`.
"""

from __future__ import annotations

import re

from auditor.lora.families import Family, Shapes, blocks, fused, one, width

_BLOCK = "transformer_blocks.#."
_LEAVES = (
    *(f"attn{n}.{leaf}" for n in (1, 2) for leaf in ("to_q", "to_k", "to_v", "to_out.0")),
    *("ff.net.0.proj", "ff.net.2"),
)


def recognise(shapes: Shapes) -> str | None:
    """Width 1152 with two attentions a block."""
    channels = width(shapes, (".attn1.to_q", ".attn2.to_q", ".attn1.to_k", ".to_out.0", ".ff.net.0.proj"))
    if channels != 1152 or not blocks(shapes, "transformer_blocks"):
        return None
    found = "Blocks of self- and cross-attention, 1152 wide."
    if any(".ff." in name or name.startswith(("adaln_single.", "pos_embed.")) for name in shapes):
        return found
    return f"{found} The smallest Sana has the same attention: nothing in this file tells it from PixArt."


FAMILY = Family(
    name="pixart",
    title="PixArt",
    order=22,
    modules=(
        *(_BLOCK + leaf for leaf in _LEAVES),
        *(f"adaln_single.emb.{which}_embedder.linear_{n}"
          for which in ("timestep", "resolution", "aspect_ratio") for n in (1, 2)),
        "adaln_single.linear", "caption_projection.linear_1", "caption_projection.linear_2", "pos_embed.proj",
        "proj_out",
    ),
    aliases={
        "blocks.#.attn.qkv": fused(*(_BLOCK + f"attn1.to_{leaf}" for leaf in "qkv")),
        "blocks.#.attn.proj": one(_BLOCK + "attn1.to_out.0"),
        "blocks.#.cross_attn.q_linear": one(_BLOCK + "attn2.to_q"),
        "blocks.#.cross_attn.kv_linear": fused(_BLOCK + "attn2.to_k", _BLOCK + "attn2.to_v"),
        "blocks.#.cross_attn.proj": one(_BLOCK + "attn2.to_out.0"),
        "blocks.#.mlp.fc1": one(_BLOCK + "ff.net.0.proj"),
        "blocks.#.mlp.fc2": one(_BLOCK + "ff.net.2"),
        "t_embedder.mlp.0": one("adaln_single.emb.timestep_embedder.linear_1"),
        "t_embedder.mlp.2": one("adaln_single.emb.timestep_embedder.linear_2"),
        "t_block.1": one("adaln_single.linear"),
        "y_embedder.y_proj.fc1": one("caption_projection.linear_1"),
        "y_embedder.y_proj.fc2": one("caption_projection.linear_2"),
        "x_embedder.proj": one("pos_embed.proj"),
        "final_layer.linear": one("proj_out"),
    },
    recognise=recognise,
    claims=re.compile(r"pixart", re.I),
)  # fmt: skip
