"""HiDream-I1: 16 double and 32 single blocks, 2560 wide, with experts; names are those of diffusers everywhere.

Source: diffusers `HiDreamImageTransformer2DModel` and `_convert_non_diffusers_hidream_lora_to_diffusers`.
"""

from __future__ import annotations

import re

from auditor.lora.families import Family, Shapes, width

_DOUBLE, _SINGLE = "double_stream_blocks.#.block.", "single_stream_blocks.#.block."
_ATTENTION = tuple(f"attn1.to_{leaf}" for leaf in ("q", "k", "v", "out"))
_EXPERTS = tuple(f"ff_i.{group}.w{n}" for group in ("shared_experts", "experts.#") for n in (1, 2, 3))
_READS = tuple(f".attn1.to_{leaf}{stream}" for leaf in "qkv" for stream in ("", "_t"))
_ALSO_READ = (".to_out", ".to_out_t", ".adaLN_modulation.1", ".w1", ".w3")


def recognise(shapes: Shapes) -> str | None:
    """Width 2560 in blocks that only this family names so."""
    own = {name: shape for name, shape in shapes.items() if name.startswith(("double_stream", "single_stream"))}
    if own and (width(own, _READS) or width(own, _ALSO_READ)) == 2560:
        return "Double- and single-stream blocks, 2560 wide, under HiDream's own names."
    return None


FAMILY = Family(
    name="hidream",
    title="HiDream",
    order=30,
    modules=(
        *(block + leaf for block in (_DOUBLE, _SINGLE) for leaf in (*_ATTENTION, *_EXPERTS, "adaLN_modulation.1")),
        *(f"{_DOUBLE}{leaf}_t" for leaf in _ATTENTION),
        *(f"{_DOUBLE}ff_t.w{n}" for n in (1, 2, 3)),
        *(f"t_embedder.timestep_embedder.linear_{n}" for n in (1, 2)),
        *(f"p_embedder.pooled_embedder.linear_{n}" for n in (1, 2)),
        *("x_embedder.proj", "caption_projection.#.linear", "final_layer.linear", "final_layer.adaLN_modulation.1"),
    ),
    aliases={},
    recognise=recognise,
    claims=re.compile(r"hi[-_. ]?dream", re.I),
)
