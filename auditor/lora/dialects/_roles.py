"""Roles of tensors: what the end of a tensor's name says it is to its module.

Roles that begin with 'beside:' belong to what multiplies the base's weights (rotations, scalings) or changes no linear
map (biases, norms): they make no ΔW, but two files can be compared by them.  Roles that begin with 'other:' name a
method that is not read at all.  Both are listed, never dropped in silence.
"""

from __future__ import annotations

import re
from functools import lru_cache

_ENDINGS: tuple[tuple[str, str], ...] = (
    (r"[._]lora_down\.weight", "down"),
    (r"[._]lora_up\.weight", "up"),
    (r"[._]lora_mid\.weight", "mid"),
    (r"\.alpha", "alpha"),
    (r"\.scale", "scale"),
    (r"\.lora_[AB](?:\.[A-Za-z0-9_\-]+)?\.bias|\.diff_b|\.b_norm", "beside:bias"),
    (r"\.lora_A(?:\.[A-Za-z0-9_\-]+)?(?:\.weight)?", "down"),
    (r"\.lora_B(?:\.[A-Za-z0-9_\-]+)?(?:\.weight)?", "up"),
    (r"\.lora(?:_linear_layer)?\.down\.weight", "down"),
    (r"\.lora(?:_linear_layer)?\.up\.weight", "up"),
    (r"\.(?:lora\.|lora_linear_layer\.)alpha", "alpha"),
    (r"\.dora_scale|\.lora_magnitude_vector(?:\.[A-Za-z0-9_\-]+)?(?:\.weight)?|\.magnitude", "dora"),
    (r"\.(hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2)(?:\.[A-Za-z0-9_\-]+)?", ""),
    (r"\.lora_E(?:\.[A-Za-z0-9_\-]+)?", "middle"),
    (r"\.ranknum(?:\.[A-Za-z0-9_\-]+)?", "ranknum"),
    (r"\.diff", "diff"),
    (r"\.w_norm", "beside:norm"),
    (r"\.(oft_blocks|oft_diag|rescale)", "beside:"),
    (r"\.((?:oft|boft)_[rRsS])(?:\.[A-Za-z0-9_\-]+)?(?:\.weight)?", "beside:"),
    (r"\.(?:on_input)", "beside:on_input"),
    (r"\.ia3_l(?:\.[A-Za-z0-9_\-]+)?", "beside:ia3"),
    (r"\.([ab][12])\.weight", "glora_"),
    (r"\.bm\.weight", "beside:glora"),
    (r"\.(?:q_layer|p_layer)\.weight|\.lambda_layer|\.base_(?:q|p|lambda)", "other:tlora"),
    (r"\.(?:set_weight|reshape_weight)", "other:replacement"),
    (
        r"\.(hra|fourierft|waveft|vblora|randlora|shira|miss|bone|c3a|road|delora|gralora)_[A-Za-z_]+(?:\.weight)?",
        "other:",
    ),
    (r"\.lora_embedding_[AB](?:\.[A-Za-z0-9_\-]+)?", "other:embedding"),
    (r"\.(?:vera_lambda_[bd]|unilora_[a-z_]+)(?:\.[A-Za-z0-9_\-]+)?", "other:shared projections"),
)
_TABLE = tuple((re.compile(f"(?:{pattern})$"), role) for pattern, role in _ENDINGS)


_PLAIN = {"lora_down.weight": "down", "lora_up.weight": "up", "alpha": "alpha", "lora_A.weight": "down",
          "lora_B.weight": "up", "dora_scale": "dora", "diff": "diff", "diff_b": "beside:bias"}  # fmt: skip
"""What most files write after a flat name: known without any pattern."""
COMPONENTS = 3
"""Most parts between dots that an ending spans."""


def split_role(name: str) -> tuple[str, str] | None:
    """(module's name, role) of a tensor's name, or None when its end says nothing."""
    body, _, end = name.partition(".")
    if end in _PLAIN:
        return body, _PLAIN[end]
    pieces = name.rsplit(".", COMPONENTS)
    found = _of_end(name[len(pieces[0]) :] if len(pieces) > COMPONENTS else name)
    return None if found is None else (name[: len(name) - found[0]], found[1])


@lru_cache(maxsize=4096)
def _of_end(end: str) -> tuple[int, str] | None:
    """(characters that the role takes, role) of the end of a tensor's name."""
    for pattern, role in _TABLE:
        match = pattern.search(end, max(0, len(end) - 120))
        if match is not None:
            return len(end) - match.start(), role + match.group(1) if match.lastindex else role
    return None
