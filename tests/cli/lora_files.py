"""Files for the tests of the command line."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np


def write_lora(path: Path, seed: int = 0, prefix: str = "unet.mid_block", width: int = 192) -> Path:
    """A small diffusers LoRA of one transformer block."""
    rng = np.random.default_rng(seed)
    root = f"{prefix}.attentions.0.transformer_blocks.0.attn1"
    tensors = {}
    for leaf in ("to_q", "to_k", "to_v", "to_out.0"):
        tensors[f"{root}.{leaf}.lora_A.weight"] = rng.standard_normal((4, width), np.float32)
        tensors[f"{root}.{leaf}.lora_B.weight"] = rng.standard_normal((width, 4), np.float32)
    header: dict[str, object] = {}
    at = 0
    for name, value in tensors.items():
        end = at + value.nbytes
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(v.tobytes() for v in tensors.values()))
    return path
