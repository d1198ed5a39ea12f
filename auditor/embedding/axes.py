"""Two principal axes, for maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from auditor.embedding.points import Floats


@dataclass(frozen=True)
class Axes:
    """The first two principal axes of some directions: `axes(points (n, d))` is places (n, 2), of one point (2,)."""

    mean: Floats
    """(d,)."""
    axes: Floats
    """(d, 2), orthonormal columns, the entry of each that is largest in size positive."""
    explained: float
    """Share of the directions' variance on them, 0 … 1."""

    def __call__(self, points: Floats) -> Floats:
        """Where points (…, d) lie on the axes (…, 2)."""
        return np.asarray((points - self.mean) @ self.axes)


def principal(directions: Floats) -> Axes:
    """Of directions (n, d).  Signs are fixed: a decomposition's own are no more than its library's habit."""
    mean = directions.mean(0)
    _, s, vt = np.linalg.svd(directions - mean, full_matrices=False)
    first = vt[:2]
    signs = np.sign(first[np.arange(len(first)), np.abs(first).argmax(1)])
    return Axes(mean, (first * signs[:, None]).T, float((s[:2] ** 2).sum() / (s**2).sum()))
