"""What every reader of LoRA files returns: `LoraWeights`, modules under canonical paths, scale kept apart, no dense ΔW.

Canonical path: the dotted diffusers path with its part in front, e.g.
``unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q`` or
``text_encoder.text_model.encoder.layers.0.self_attn.q_proj``; the same module has the same path whatever the dialect.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from auditor.errors import OutOfScope

Matrix = NDArray[np.float32]
MOST_DECLARED = 1000
"""Entries of a file's own metadata that a document repeats."""


@dataclass(frozen=True)
class LoraModule:
    """One adapted layer, ΔW = scale · up @ down."""

    path: str
    """Canonical path, see the module's docstring."""
    up: Matrix
    """B, (out, rank), finite."""
    down: Matrix
    """A, (rank, in), finite; convolutions are flattened to in = channels · height · width."""
    scale: float
    """alpha / rank (or what the file's convention says); finite."""
    scale_source: str = "none"
    """Where the scale comes from: 'alpha', 'scale', 'rslora', 'config', 'folded' or 'none' (scale 1)."""
    algorithm: str = "lora"
    """'lora', 'locon', 'loha', 'lokr', 'full', 'glora' (its additive half) or 'dora' (its direction only)."""
    file_rank: int = 0
    """Rank as the file means it; `rank` when it is 0.  LoHa, LoKr and full differences are rewritten as up @ down."""
    source: str = ""
    """The module's name in the file; modules that the file keeps in one matrix share it.  Untrusted text."""

    @property
    def rank(self) -> int:
        """Declared rank, ≥ 1."""
        return int(self.down.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of ΔW."""
        return int(self.up.shape[0]), int(self.down.shape[1])

    @property
    def empty(self) -> bool:
        """Whether ΔW is zero because a factor or the scale is."""
        return not (self.scale and self.up.any() and self.down.any())

    @property
    def held_numbers(self) -> int:
        """Numbers kept in memory."""
        return int(self.up.size + self.down.size)

    def rows(self, begin: int, end: int) -> LoraModule:
        """The module that holds rows `begin` … `end` - 1 of ΔW."""
        return replace(self, up=self.up[begin:end])


@dataclass(frozen=True)
class LoraWeights:
    """A LoRA file, read."""

    modules: dict[str, LoraModule]
    """By canonical path, sorted."""
    dialect: str
    """'diffusers', 'diffusers-attn-processor', 'peft', 'kohya', …"""
    algorithms: tuple[str, ...]
    """('lora',), …"""
    base_family: str
    """'sd1', 'sd2', 'sdxl', 'audit-mini' (the shipped base), a name of `families`, or 'unknown'; by structure alone."""
    base_grounds: tuple[str, ...] = ()
    """What the base family was concluded from, in plain words."""
    declared: dict[str, str] = field(default_factory=dict)
    """The file's own metadata: claims, never evidence.  Untrusted text."""
    warnings: tuple[str, ...] = ()
    """What a reader of the result must know, in plain words."""
    unread: tuple[str, ...] = ()
    """Names of tensors that make no ΔW, explained or not.  Untrusted text."""
    beside: dict[str, LoraModule] = field(default_factory=dict)
    """What makes no ΔW, as matrices under names of their own: rotations and scalings of the base's weights, biases,
    norms.  Never evidence of style; two files can be compared by it.  Read only when asked for."""
    holds_base: str = ""
    """'pissa', 'olora', …: the file declares a start at which parts of the base went into the factors, so that its ΔW
    is no change of the base; '' otherwise."""
    config_sha256: str | None = None
    """Hex digest of the `adapter_config.json` beside the file that was read for its scales; None without one."""


def require_change(weights: LoraWeights, paths: Iterable[str]) -> None:
    """Raises OutOfScope where ΔW is no change of the base, so that nothing about training can be read from it, or where
    it is none at all in the modules `paths`."""
    if weights.holds_base:
        raise OutOfScope(
            f"This file declares the start '{weights.holds_base}', which puts parts of the base's own weights into the "
            "factors: their product is not what training changed.",
            advice="Convert it to a plain LoRA with the trainer that made it (PEFT: save_pretrained with "
            "path_initial_model_for_weight_conversion), and give that file.",
        )
    looked_at = [weights.modules[path] for path in paths]
    if all(not (np.any(m.up) and np.any(m.down) and m.scale) for m in looked_at):
        raise OutOfScope(
            "This LoRA has no effect: its update is zero in every layer that is looked at.",
            advice="Get the trained file from whoever made it: this one was saved before training, or emptied.",
        )


@dataclass(frozen=True)
class Artifact:
    """A file as bytes."""

    path: str
    """As the user named it.  Untrusted text."""
    size: int
    """Bytes."""
    sha256: str
    """Hex digest of the whole file."""
    tensor_sha256: str
    """Hex digest of the tensor section only (safetensors bytes after the header): survives edits of the metadata."""
