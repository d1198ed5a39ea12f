"""Has a file anything of what all references have in common?

LoRAs of one base share much of where their outputs go, whoever painted: about a quarter of a layer's block of output
covariances, as a cosine.  Files of another base of the same shape, and noise, share nothing of it: they score low with
everybody, which says nothing about whose they are (docs/decisions/0034).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auditor.embedding.features import COVARIANCES
from auditor.embedding.points import Floats
from auditor.reference.set import View

ENOUGH = 10.0
"""In common among the references: a set whose own have less cannot ask it of others."""


def in_common(view: View, vector: Floats, present: NDArray[np.bool_]) -> float | None:
    """Mean cosine of a file's blocks with the references' mean, in standard deviations of blocks in random directions.

    vector: features (D,) in the view's bases; present: its modules (m,).  H0: the blocks lie at random to the mean of
    the references, each in its own width d, where a cosine has mean 0 and variance 1 / d; the figure is then about
    standard normal.  Only blocks of output covariances count: what they share is large, and has no sign.  None where a
    set has none or its references share too little (`ENOUGH`).
    """
    there = dict(zip(view.bases.paths, present.tolist(), strict=True))
    blocks = [c for path, kind, c in view.bases.blocks() if kind in COVARIANCES and there[path]]
    mean, least = view.projection.mean, 1 / view.null.shape[1]
    # Of C artists who share nothing the mean is still some 1 / √C long: that much is taken off.
    lengths = np.array([float(mean[block] @ mean[block]) for block in blocks])
    spread = np.sqrt(sum(1 / (block.stop - block.start) for block in blocks))
    if not blocks or np.sqrt(np.maximum(lengths - least, 0)).sum() < ENOUGH * spread:
        return None
    return float(sum(_cosine(vector[block], mean[block]) for block in blocks) / spread)


def _cosine(a: Floats, b: Floats) -> float:
    """Cosine of two vectors; 0 where one has no length."""
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length else 0.0
