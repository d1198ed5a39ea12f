"""Numbered tensors of cloneofsimo's lora: ``unet:7:down``.  The number is the place in the trainer's walk of the model.

Order for SD 1 and 2: down blocks, up blocks, middle block last; in each transformer block q, k, v, out of attn1, the
feed-forward's first layer, q, k, v, out of attn2.  Text encoder: k, v, q, out of each layer.
"""

from __future__ import annotations

import re

from auditor.lora.dialects import Dialect, Key

_NAME = re.compile(r"(?P<part>unet|text_encoder):(?P<index>[0-9]{1,4}):(?P<role>up|down)")
_PLACES = (
    [f"down_blocks.{b}.attentions.{a}" for b in range(3) for a in range(2)]
    + [f"up_blocks.{b}.attentions.{a}" for b in range(1, 4) for a in range(3)]
    + ["mid_block.attentions.0"]
)
_LEAVES = (
    [f"attn1.{leaf}" for leaf in ("to_q", "to_k", "to_v", "to_out.0")]
    + ["ff.net.0.proj"]
    + [f"attn2.{leaf}" for leaf in ("to_q", "to_k", "to_v", "to_out.0")]
)
_UNET = [f"unet.{place}.transformer_blocks.0.{leaf}" for place in _PLACES for leaf in _LEAVES]
_TEXT = ("k_proj", "v_proj", "q_proj", "out_proj")


def split(name: str) -> Key | None:
    """See `Dialect.split`."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    index = int(match["index"])
    if match["part"] == "unet":
        path = _UNET[index] if index < len(_UNET) else None
    else:
        path = f"text_encoder.text_model.encoder.layers.{index // 4}.self_attn.{_TEXT[index % 4]}"
    return Key(name.rpartition(":")[0], path, match["role"])


DIALECT = Dialect(
    "cloneofsimo",
    50,
    split,
    "The file numbers its layers instead of naming them; their places follow the usual order and are uncertain.",
)
