"""Dotted names of ComfyUI and of trainers that write for it: ``diffusion_model.….lora_A.weight``."""

from __future__ import annotations

from auditor.lora.dialects import Dialect, Key
from auditor.lora.dialects._paths import from_dotted
from auditor.lora.dialects._roles import split_role


def split(name: str) -> Key | None:
    """See `Dialect.split`."""
    found = split_role(name)
    return found and Key(found[0], from_dotted(found[0]), found[1])


DIALECT = Dialect("comfy", 95, split)
