"""OneTrainer's mixture for transformers: diffusers' layer names, flattened, behind ``lora_transformer_``.

Its text encoders are numbered as diffusers numbers them: ``lora_te2_`` is the T5 of Flux (``lora_te3_`` with kohya).
"""

from __future__ import annotations

from auditor.lora.dialects import Dialect, Key
from auditor.lora.dialects._paths import from_flat
from auditor.lora.dialects._roles import split_role

_PREFIX = "lora_transformer_"


def split(name: str) -> Key | None:
    """See `Dialect.split`."""
    found = split_role(name) if name.startswith(_PREFIX) else None
    if found is None:
        return None
    body, role = found
    return Key(body, from_flat("transformer", body.removeprefix(_PREFIX)), role)


DIALECT = Dialect("onetrainer", 5, split)
