"""Names of PEFT: ``base_model.model.….lora_A.weight``; alpha lies in ``adapter_config.json`` beside the file."""

from __future__ import annotations

from auditor.lora.dialects import Dialect, Key
from auditor.lora.dialects._paths import from_dotted
from auditor.lora.dialects._roles import split_role


def split(name: str) -> Key | None:
    """See `Dialect.split`."""
    if "base_model." not in name:
        return None
    found = split_role(name)
    return found and Key(found[0], from_dotted(found[0]), found[1])


DIALECT = Dialect("peft", 30, split)
