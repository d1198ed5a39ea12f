"""A fitted projection as a set stores it: features → coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.embedding.points import Floats

STEPS = 31
"""Largest whole number of a stored projection: one signed byte an entry, which packs to less than six bits."""


@dataclass(frozen=True)
class Projection:
    """x → coordinates ((x - mean) · scale) @ steps.  mean, scale (D,); steps (D, d), of any number type."""

    mean: Floats
    scale: Floats
    steps: NDArray[Any]

    def __call__(self, x: Floats) -> Floats:
        """Coordinates (n, d) of features (n, D) or (D,), before length normalisation."""
        return self.part(np.atleast_2d(x))

    def part(self, x: Floats, columns: slice | NDArray[np.bool_] = slice(None)) -> Floats:
        """What some entries of features (n, D) give to the coordinates (n, d)."""
        centred = (x[:, columns] - self.mean[columns]) * self.scale[columns]
        return np.asarray(centred @ self.steps[columns].astype(np.float64))

    def shares(self, x: Floats, ends: Sequence[int]) -> Floats:
        """What each of K blocks of features (D,), one behind the other up to `ends`, gives to the coordinates (K, d).

        The steps become numbers block by block, in the processor's cache: all at once they would be 60 MB a suspect.
        """
        centred = (x - self.mean) * self.scale
        found = np.empty((len(ends), self.steps.shape[1]))
        numbers = np.empty((max(np.diff(ends, prepend=0), default=0), self.steps.shape[1]))
        for row, begin, end in zip(found, [0, *ends], ends, strict=False):
            here = numbers[: end - begin]
            here[:] = self.steps[begin:end]
            np.matmul(centred[begin:end], here, out=row)
        return found


def in_steps(matrix: Floats) -> tuple[Floats, NDArray[np.int8]]:
    """scale (D,) in half precision and whole steps (D, d) with matrix ≈ scale · steps, to 1/62 of each row's largest.

    A sixth of the space of float32; no cosine between the shipped references moves by more than .003.  References and
    suspects go through the same rounded matrix, so rounding turns the embedding a little and is no error of either.
    """
    largest = np.abs(matrix).max(axis=1)
    scale = np.nextafter((largest / STEPS).astype(np.float16), np.float16(np.inf)).astype(np.float64)
    return scale, np.rint(matrix / scale[:, None]).astype(np.int8)
