"""Dotted names of diffusers: ``unet.….lora.down.weight``, ``….lora_linear_layer.up.weight``, ``….lora_A.weight``."""

from __future__ import annotations

from auditor.lora.dialects import Dialect, Key
from auditor.lora.dialects._paths import from_dotted
from auditor.lora.dialects._roles import split_role


def split(name: str) -> Key | None:
    """See `Dialect.split`."""
    if name.startswith(("diffusion_model.", "model.diffusion_model.", "text_encoders.")):
        return None
    found = split_role(name)
    return found and Key(found[0], from_dotted(found[0]), found[1])


DIALECT = Dialect("diffusers", 90, split)
