"""Whose style does this LoRA carry, and how sure may anyone be?

    from auditor import check, load_lora, ReferenceSet
    audit = check("suspect.safetensors")        # against the default set
    audit.verdict.label, audit.to_dict()        # 'CONSISTENT' …, the JSON of the contract

Names are imported when first used, so that `audit --help` does not wait for numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from auditor._version import __version__

if TYPE_CHECKING:
    from auditor.audit import check
    from auditor.errors import AuditorError, NotAuditable
    from auditor.lora import LoraModule, LoraWeights, load_lora, read_artifact
    from auditor.reference import ReferenceSet
    from auditor.result import Audit

__all__ = [
    "Audit",
    "AuditorError",
    "LoraModule",
    "LoraWeights",
    "NotAuditable",
    "ReferenceSet",
    "__version__",
    "check",
    "load_lora",
    "read_artifact",
]

PLACES = {
    "check": "auditor.audit",
    "AuditorError": "auditor.errors",
    "NotAuditable": "auditor.errors",
    "LoraModule": "auditor.lora",
    "LoraWeights": "auditor.lora",
    "load_lora": "auditor.lora",
    "read_artifact": "auditor.lora",
    "ReferenceSet": "auditor.reference",
    "Audit": "auditor.result",
}


def __getattr__(name: str) -> Any:
    """The public name `name`, imported now (PEP 562)."""
    if name not in PLACES:
        raise AttributeError(f"module 'auditor' has no attribute {name!r}")
    return getattr(import_module(PLACES[name]), name)
