"""Attention processors of diffusers in 2023: ``[unet.]….attn1.processor.to_q_lora.down.weight``; to_out is to_out.0."""

from __future__ import annotations

import re

from auditor.lora.dialects import Dialect, Key
from auditor.lora.dialects._paths import from_dotted

_NAME = re.compile(
    r"(?P<body>.+?)(?:\.processor)?\.(?P<leaf>to_[qkv]|to_out|add_[kqv]_proj)_lora\.(?:(?P<role>down|up)\.weight|alpha)"
)


def split(name: str) -> Key | None:
    """See `Dialect.split`."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    leaf = "to_out.0" if match["leaf"] == "to_out" else match["leaf"]
    body = f"{match['body']}.{leaf}"
    return Key(body, from_dotted(body), match["role"] or "alpha")


DIALECT = Dialect("diffusers-attn-processor", 20, split)
