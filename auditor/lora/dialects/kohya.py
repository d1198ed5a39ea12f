"""Flat names of kohya's sd-scripts and LyCORIS: ``lora_unet_down_blocks_0_…_to_q.lora_down.weight``.

IA³ of LyCORIS calls its vector plainly ``weight``.
"""

from __future__ import annotations

import re

from auditor.lora.dialects import Dialect, Key
from auditor.lora.dialects._paths import from_flat
from auditor.lora.dialects._roles import split_role

_PREFIXES = {
    "lora_unet_": "denoiser",
    "Hunyuan_video_I2V_lora_": "denoiser",
    "oft_unet_": "denoiser",
    "lycoris_": "denoiser",
    "lora_prior_unet_": "denoiser",
    "lora_prior_te_": "text_encoder",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te3_": "text_encoder_3",
}
_PREFIX = re.compile("|".join(sorted(_PREFIXES, key=len, reverse=True)))


def split(name: str) -> Key | None:
    """See `Dialect.split`."""
    prefix = _PREFIX.match(name)
    if prefix is None:
        return None
    found = split_role(name)
    if found is None:
        if not name.endswith(".weight") or "." in name[: -len(".weight")]:
            return None
        found = name[: -len(".weight")], "beside:whole"
    body, role = found
    return Key(body, _path(_PREFIXES[prefix.group()], body[prefix.end() :]), role)


def _path(part: str, flat: str) -> str | None:
    """Canonical path; LyCORIS' own prefix says denoiser even of a text encoder that it wraps."""
    return from_flat(part, flat) or (from_flat("text_encoder", flat) if part == "denoiser" else None)


DIALECT = Dialect("kohya", 10, split)
