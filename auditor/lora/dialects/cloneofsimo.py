"""Numbered tensors of cloneofsimo's lora: ``unet:7:down``, or bare lists up, down, up, … in its first torch files.

The number is the place in the trainer's walk of the model.  Order for SD 1 and 2: down blocks, up blocks, middle block
last; in each transformer block q, k, v, out of attn1, the feed-forward's first layer (not in lists of 128 modules),
then q, k, v, out of attn2.  Text encoder: k, v, q, out of each layer; 48 modules.
"""

from __future__ import annotations

import re

from auditor.lora.dialects import Dialect, Key

_NAME = re.compile(r"(?P<part>unet|text_encoder):(?P<index>[0-9]{1,4}):(?P<role>up|down)")
_PLACE = re.compile(r"\[(?P<place>[0-9]{1,4}) of (?P<count>[0-9]{1,4})\]")
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
_UNET_OF_LISTS = [path for path in _UNET if ".ff." not in path]
_TEXT = ("k_proj", "v_proj", "q_proj", "out_proj")


def split(name: str) -> Key | None:
    """See `Dialect.split`."""
    match = _NAME.fullmatch(name)
    if match is None:
        return _of_list(name)
    index = int(match["index"])
    path = _at(_UNET, index) if match["part"] == "unet" else _text_path(index)
    return Key(name.rpartition(":")[0], path, match["role"])


def _of_list(name: str) -> Key | None:
    """A tensor of a bare list: modules by half its place, `up` first."""
    match = _PLACE.fullmatch(name)
    if match is None:
        return None
    index, count = int(match["place"]) // 2, int(match["count"]) // 2
    lists = {len(_UNET): _UNET, len(_UNET_OF_LISTS): _UNET_OF_LISTS}
    path = _text_path(index) if count in (48, 92) else _at(lists.get(count, []), index)
    return Key(f"list:{index}", path, "down" if int(match["place"]) % 2 else "up")


def _at(paths: list[str], index: int) -> str | None:
    """The path at a place, or None beyond the end."""
    return paths[index] if index < len(paths) else None


def _text_path(index: int) -> str:
    """The path of a module of the text encoder."""
    return f"text_encoder.text_model.encoder.layers.{index // 4}.self_attn.{_TEXT[index % 4]}"


DIALECT = Dialect(
    "cloneofsimo",
    50,
    split,
    "The file numbers its layers instead of naming them; their places follow the usual order and are uncertain.",
)
