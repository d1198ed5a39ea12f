"""HunyuanDiT: 40 blocks of self- and cross-attention with long skips, 1408 wide.

Source: huggingface/diffusers scripts/convert_hunyuandit_to_diffusers.py (names of the original code).
"""

from __future__ import annotations

import re

from auditor.lora.families import Family, Shapes, blocks, fused, one, width

_BLOCK = "blocks.#."
_ATTENTION = tuple(f"attn{n}.{leaf}" for n in (1, 2) for leaf in ("to_q", "to_k", "to_v", "to_out.0"))
_READS = (".attn1.to_q", ".attn1.to_k", ".attn1.to_v", ".attn2.to_q", ".to_out.0", ".ff.net.0.proj")


def recognise(shapes: Shapes) -> str | None:
    """Width 1408."""
    found = blocks(shapes, "blocks") and width(shapes, _READS) == 1408
    return "Blocks of self- and cross-attention, 1408 wide." if found else None


FAMILY = Family(
    name="hunyuan-dit",
    title="HunyuanDiT",
    order=19,
    modules=(
        *(_BLOCK + leaf for leaf in (*_ATTENTION, "ff.net.0.proj", "ff.net.2", "norm1.linear", "skip_linear")),
        *(f"time_extra_emb.{which}_embedder.linear_{n}" for which in ("timestep", "extra") for n in (1, 2)),
        *(f"time_extra_emb.pooler.{leaf}_proj" for leaf in "kqvc"),
        *("text_embedder.linear_1", "text_embedder.linear_2", "pos_embed.proj", "norm_out.linear", "proj_out"),
    ),
    aliases={
        "blocks.#.attn1.Wqkv": fused(*(f"{_BLOCK}attn1.to_{leaf}" for leaf in "qkv")),
        "blocks.#.attn2.kv_proj": fused(_BLOCK + "attn2.to_k", _BLOCK + "attn2.to_v"),
        "blocks.#.attn2.q_proj": one(_BLOCK + "attn2.to_q"),
        **{f"blocks.#.attn{n}.out_proj": one(f"{_BLOCK}attn{n}.to_out.0") for n in (1, 2)},
        "blocks.#.mlp.fc1": one(_BLOCK + "ff.net.0.proj"),
        "blocks.#.mlp.fc2": one(_BLOCK + "ff.net.2"),
        "blocks.#.default_modulation.1": one(_BLOCK + "norm1.linear"),
        **{f"pooler.{leaf}_proj": one(f"time_extra_emb.pooler.{leaf}_proj") for leaf in "kqvc"},
        **{f"{old}.{layer}": one(f"{new}.linear_{n}")
           for old, new in (("t_embedder.mlp", "time_extra_emb.timestep_embedder"), ("mlp_t5", "text_embedder"),
                            ("extra_embedder", "time_extra_emb.extra_embedder"))
           for n, layer in ((1, 0), (2, 2))},
        "x_embedder.proj": one("pos_embed.proj"),
        "final_layer.linear": one("proj_out"),
        "final_layer.adaLN_modulation.1": one("norm_out.linear", swap=True),
    },
    recognise=recognise,
    claims=re.compile(r"hunyuan[-_. ]?dit|hydit", re.I),
)  # fmt: skip
