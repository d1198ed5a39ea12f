"""Mixtures of known directions: shares by non-negative least squares, and what is left when a direction is taken out.

A merge of LoRAs lies near the sum of its parts' directions.  Which artists are in it is decided one after another, as
the open-set question: the strongest first, then the same question to what is left without it, and so on until what is
left could come from artists outside the set.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
LEAST_LEFT = 1e-6
"""Least share of a point's squared length that is scaled up: less is rounding."""


def shares(directions: ArrayLike, point: ArrayLike) -> Floats:
    """Coefficients (C,) ≥ 0 of directions (C, d) in a point (d,): non-negative least squares, not scaled.

    Directions with NaN get 0.
    """
    given, x = np.asarray(directions, float), np.asarray(point, float)
    there = ~np.isnan(given).any(1)
    found = np.zeros(len(given))
    if there.any():
        found[there] = _bounded(given[there].T, x)
    return found


def _bounded(columns: Floats, x: Floats) -> Floats:
    """The solution: where plain least squares has no negative coefficient it is the answer to both questions."""
    free, _, rank, _ = np.linalg.lstsq(columns, x)
    if rank == columns.shape[1] and (free >= 0).all():
        return np.asarray(free)
    from scipy.optimize import nnls  # a quarter of a second of imports, which few audits need

    return np.asarray(nnls(columns, x)[0])


def taken_out(cosine: ArrayLike, gram: ArrayLike, found: Sequence[int]) -> Floats:
    """Inner products (n, C) with C directions of what is left of unit points without the directions `found`.

    cosine (n, C): inner products before; gram (C, C): those of the directions with each other.  What is left is scaled
    to unit length again: a lesser part of a merge is as clear as its own file, not as small as its share.  Columns of
    `found` come back as NaN; a NaN in any of them makes the row NaN.  Directions are taken out of the points only: what
    is left of a point has no part along them.
    """
    seen, between = np.array(cosine, float), np.asarray(gram, float)
    out = list(found)
    if out:
        part = seen[:, out] @ np.linalg.pinv(between[np.ix_(out, out)])
        left = 1.0 - (part * seen[:, out]).sum(1, keepdims=True)
        seen = (seen - part @ between[out]) / np.sqrt(np.maximum(left, LEAST_LEFT))
        seen[:, out] = np.nan
    return np.asarray(seen)
