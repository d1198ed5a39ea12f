"""Flat names of kohya's sd-scripts, LyCORIS and OneTrainer: ``lora_unet_down_blocks_0_…_to_q.lora_down.weight``."""

from __future__ import annotations

import re

from auditor.lora.dialects import Dialect, Key
from auditor.lora.dialects._paths import from_flat
from auditor.lora.dialects._roles import split_role

_PREFIXES = {
    "lora_unet_": "denoiser",
    "lora_transformer_": "denoiser",
    "oft_unet_": "denoiser",
    "lycoris_": "denoiser",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te3_": "text_encoder_3",
}
_PREFIX = re.compile("|".join(sorted(_PREFIXES, key=len, reverse=True)))


def split(name: str) -> Key | None:
    """See `Dialect.split`."""
    prefix = _PREFIX.match(name)
    found = split_role(name) if prefix else None
    if prefix is None or found is None:
        return None
    body, role = found
    return Key(body, from_flat(_PREFIXES[prefix.group()], body[prefix.end() :]), role)


DIALECT = Dialect("kohya", 10, split)
