"""Whose style does this LoRA carry, and how sure may anyone be?

    from auditor import check, load_lora, ReferenceSet
    audit = check("suspect.safetensors")        # against the default set
    audit.verdict.label, audit.to_dict()        # 'CONSISTENT' …, the JSON of the contract
"""

from __future__ import annotations

from auditor._version import __version__
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
