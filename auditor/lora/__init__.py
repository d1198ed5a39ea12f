"""Any LoRA file → `LoraWeights`: hardened container, dialects of names, algorithms, scales, hashes, low-rank algebra.

numpy only; nothing here imports torch or unpickles anything.
"""

from auditor.lora.hashes import read_artifact
from auditor.lora.reader import load_lora
from auditor.lora.weights import Artifact, LoraModule, LoraWeights

__all__ = ["Artifact", "LoraModule", "LoraWeights", "load_lora", "read_artifact"]
