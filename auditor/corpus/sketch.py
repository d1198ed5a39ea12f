"""A short vector linear in ΔW, of every module of a file and with no reference set: what candidates for copies are
found by.

`ΔW ↦ Σ_m S_out,m ΔW_m S_in,mᵀ`, with count sketches S (one random cell and sign for every row; Charikar et al. 2002)
drawn from the module's path and width.  Inner products estimate ⟨ΔW, ΔW'⟩ with standard error about 1/√(OUT · IN) of
the norms; cost: one pass over the factors.  Re-keying, re-factoring, strength and alpha leave the unit vector as it is.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from auditor.embedding.seeds import seed_of
from auditor.lora.weights import LoraWeights

OUT, IN = 16, 32
SIZE = OUT * IN
NAME = f"count-sketch/{OUT}x{IN}/v1"


def sketch(weights: LoraWeights) -> NDArray[np.float32] | None:
    """Unit vector (SIZE,) of a file's whole ΔW; None when ΔW is 0 (or sketches to 0)."""
    total = np.zeros((OUT, IN))
    for path, module in weights.modules.items():
        left = _folded(module.up, *_draws(path, "out", module.shape[0], OUT), OUT)
        right = _folded(module.down.T, *_draws(path, "in", module.shape[1], IN), IN)
        total += module.scale * (left @ right.T)
    norm = float(np.linalg.norm(total))
    return (total / norm).ravel().astype(np.float32) if norm > 0 else None


def _folded(
    rows: NDArray[np.float32], cell: NDArray[np.uint8], sign: NDArray[np.float32], cells: int
) -> NDArray[np.float64]:
    """(cells, r): signed rows (d, r), added up cell by cell; as a product, which is ten times as fast as adding."""
    chosen = np.zeros((cells, len(cell)), np.float32)
    chosen[cell, np.arange(len(cell))] = sign
    return (chosen @ rows).astype(np.float64)


@lru_cache(maxsize=4096)
def _draws(path: str, side: str, width: int, cells: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """(cell, sign) of every row: the same on every machine."""
    rng = np.random.default_rng(seed_of(path, side, width, cells))
    cell = rng.integers(0, cells, width).astype(np.uint8)
    return cell, (rng.integers(0, 2, width) * 2 - 1).astype(np.float32)
