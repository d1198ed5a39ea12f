"""Writers of LoRA files for tests: one LoRA as a table of factors, and its writings in every dialect."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

CODES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "U8": "|u1"}
NAMES = {np.dtype(code): name for name, code in CODES.items()}
Lora = dict[str, tuple[np.ndarray, np.ndarray]]
"""Canonical path → (up, down)."""


def save(path: Path, tensors: Mapping[str, object], metadata: Mapping[str, str] | None = None) -> Path:
    """A safetensors file; a value is an array, or (dtype name, shape, bytes) for formats that numpy lacks."""
    header: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    pieces, at = [], 0
    for name, value in tensors.items():
        if isinstance(value, tuple):
            dtype, shape, raw = value
        else:
            array = np.asarray(value)
            dtype, shape, raw = NAMES[array.dtype], list(array.shape), array.tobytes()
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(raw)]}
        pieces.append(raw)
        at += len(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(pieces))
    return path


def raw_file(header: bytes, data: bytes = b"") -> bytes:
    """A safetensors file with exactly this header."""
    return struct.pack("<Q", len(header)) + header + data


def mini_paths() -> dict[str, tuple[int, int]]:
    """Some modules of the shipped base and their (out, in)."""
    shapes = {}
    for block, width in (("down_blocks.0", 64), ("down_blocks.2", 192), ("mid_block", 192), ("up_blocks.1", 128)):
        root = f"unet.{block}.attentions.0.transformer_blocks.0"
        for leaf in ("to_q", "to_k", "to_v", "to_out.0"):
            shapes[f"{root}.attn1.{leaf}"] = (width, width)
            shapes[f"{root}.attn2.{leaf}"] = (width, 128 if leaf in ("to_k", "to_v") else width)
        shapes[f"{root}.ff.net.0.proj"] = (8 * width, width)
        shapes[f"{root}.ff.net.2"] = (width, 4 * width)
    return shapes


def text_paths(width: int = 128) -> dict[str, tuple[int, int]]:
    """Modules of a text encoder of one layer."""
    root = "text_encoder.text_model.encoder.layers.0"
    shapes = {f"{root}.self_attn.{leaf}_proj": (width, width) for leaf in ("q", "k", "v", "out")}
    return shapes | {f"{root}.mlp.fc1": (2 * width, width), f"{root}.mlp.fc2": (width, 2 * width)}


def make(paths: Mapping[str, tuple[int, int]], rank: int = 4, seed: int = 0) -> Lora:
    """A random LoRA."""
    rng = np.random.default_rng(seed)
    return {
        path: (
            rng.standard_normal((out, rank), np.float32) * 0.05,
            rng.standard_normal((rank, across), np.float32) / np.float32(math.sqrt(across)),
        )
        for path, (out, across) in paths.items()
    }


def diffusers(lora: Lora) -> dict[str, np.ndarray]:
    """``unet.….lora.down.weight``; text encoder with ``lora_linear_layer``."""
    made = {}
    for path, (up, down) in lora.items():
        middle = "lora" if path.startswith("unet.") else "lora_linear_layer"
        made[f"{path}.{middle}.down.weight"], made[f"{path}.{middle}.up.weight"] = down, up
    return made


def diffusers_ab(lora: Lora) -> dict[str, np.ndarray]:
    """``unet.….lora_A.weight``."""
    made = {}
    for path, (up, down) in lora.items():
        made[f"{path}.lora_A.weight"], made[f"{path}.lora_B.weight"] = down, up
    return made


def attn_processor(lora: Lora, prefix: str = "unet.") -> dict[str, np.ndarray]:
    """``[unet.]….attn1.processor.to_q_lora.down.weight``; attention layers only."""
    made = {}
    for path, (up, down) in lora.items():
        body = path.removeprefix("unet.").replace("to_out.0", "to_out")
        root, _, leaf = body.rpartition(".")
        for role, factor in (("down", down), ("up", up)):
            made[f"{prefix}{root}.processor.{leaf}_lora.{role}.weight"] = factor
    return made


def peft(lora: Lora, adapter: str = "") -> dict[str, np.ndarray]:
    """``base_model.model.….lora_A[.adapter].weight``; the part's prefix falls away, as in PEFT's own files."""
    made = {}
    for path, (up, down) in lora.items():
        body = path.removeprefix("unet.").removeprefix("text_encoder.")
        for side, factor in (("A", down), ("B", up)):
            made[f"base_model.model.{body}.lora_{side}{adapter}.weight"] = factor
    return made


def kohya(lora: Lora, alpha: float | None = None, prefix: str = "lora_unet_") -> dict[str, np.ndarray]:
    """``lora_unet_…_to_q.lora_down.weight``."""
    made: dict[str, np.ndarray] = {}
    for path, (up, down) in lora.items():
        part, _, body = path.partition(".")
        flat = (prefix if part == "unet" else "lora_te_") + body.replace(".", "_")
        made[f"{flat}.lora_down.weight"], made[f"{flat}.lora_up.weight"] = down, up
        if alpha is not None:
            made[f"{flat}.alpha"] = np.float32(alpha)
    return made
