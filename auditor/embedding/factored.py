"""The singular value decomposition of a file's modules, as features need it.

A file of 1 GB would fill 4 GiB with singular vectors in double precision, so they are kept as small turns of the
factors (`lora.batches`) and made when asked for; `held` makes and keeps them, for what is read again and again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auditor.lora.algebra import TRUNCATION, canonical
from auditor.lora.batches import Turns
from auditor.lora.weights import LoraModule, Matrix
from auditor.lora.whole import Decomposition, KroneckerModule, thin_svd

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Factored:
    """ΔW = left @ right with left = U·S (out, r) and right = Vᵀ (r, in), orthonormal rows; singular values S (r,)."""

    left: Floats
    right: Floats
    singular: Floats
    raw: LoraModule | None = None
    """The module as stored: the paper's features compare it, and singular vectors not held are made from it."""

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of ΔW."""
        return self.left.shape[0], self.right.shape[1]

    def left_by(self, probes: Floats) -> Floats:
        """probes @ left (p, r), for probes (p, out)."""
        return probes @ self.left

    def right_by(self, probes: Floats) -> Floats:
        """right @ probes (r, p), for probes (in, p)."""
        return self.right @ probes

    def product(self) -> tuple[Floats, Floats]:
        """Two matrices (out, r) and (r, in) whose product is ΔW, whichever are at hand."""
        return self.left, self.right


class Folded(Factored):
    """The same, with singular vectors made from the module's factors each time they are asked for."""

    def __init__(self, module: LoraModule, folded: Turns) -> None:
        """Of `module`, by its turns."""
        for name, value in (("raw", module), ("singular", folded.singular), ("turns", folded)):
            object.__setattr__(self, name, value)

    raw: LoraModule
    turns: Turns

    @property
    def left(self) -> Floats:
        """See `Factored.left`."""
        return self.raw.up.astype(np.float64) @ self.turns.left

    @property
    def right(self) -> Floats:
        """See `Factored.right`."""
        return self.turns.right @ self.raw.down.astype(np.float64)

    @property
    def shape(self) -> tuple[int, int]:
        """See `Factored.shape`."""
        return self.raw.shape

    def left_by(self, probes: Floats) -> Floats:
        """See `Factored.left_by`."""
        return (probes @ self.raw.up.astype(np.float64)) @ self.turns.left

    def right_by(self, probes: Floats) -> Floats:
        """See `Factored.right_by`."""
        return self.turns.right @ (self.raw.down.astype(np.float64) @ probes)

    def product(self) -> tuple[Floats, Floats]:
        """See `Factored.product`."""
        if self.raw.rank > min(self.shape):
            return self.left, self.right
        across = self.turns.left @ self.turns.right
        return self.raw.up.astype(np.float64) @ across, self.raw.down.astype(np.float64)


class Paired(Factored):
    """The same of a Kronecker product W₁ ⊗ W₂, as the decompositions of its factors.

    Its own singular vectors fill two whole matrices: 24 GiB for the layers of Stable Diffusion XL, of a file of 70 MB.
    """

    raw: KroneckerModule
    factors: tuple[Matrix, Matrix]
    halves: tuple[Decomposition, Decomposition]
    """Thin decompositions of W₁ and W₂."""
    order: NDArray[np.intp]
    """Which pairs of singular values, counted row by row in the table of all products, give `singular`; (k,)."""

    def __init__(self, module: KroneckerModule, factors: tuple[Matrix, Matrix]) -> None:
        """Of `module`, by its factors."""
        halves = thin_svd(factors[0]), thin_svd(factors[1])
        values = abs(module.scale) * np.asarray(np.kron(halves[0][1], halves[1][1]), np.float64)
        order = np.argsort(-values, kind="stable")
        if len(order):
            order = order[values[order] > TRUNCATION * values[order[0]]]
        values = values[order]
        names = ("raw", "factors", "halves", "order", "singular")
        for name, value in zip(names, (module, factors, halves, order, values), strict=True):
            object.__setattr__(self, name, value)

    @property
    def left(self) -> Floats:
        """See `Factored.left`; dense, made at each call."""
        (u1, _, _), (u2, _, _) = self.halves
        return np.asarray(np.kron(u1, u2), np.float64)[:, self.order] * self._signed()

    @property
    def right(self) -> Floats:
        """See `Factored.right`; dense, made at each call."""
        (_, _, v1), (_, _, v2) = self.halves
        return np.asarray(np.kron(v1, v2), np.float64)[self.order]

    @property
    def shape(self) -> tuple[int, int]:
        """See `Factored.shape`."""
        return self.raw.shape

    def left_by(self, probes: Floats) -> Floats:
        """See `Factored.left_by`."""
        (u1, _, _), (u2, _, _) = self.halves
        table = u1.T @ (probes.reshape(len(probes), len(u1), len(u2)) @ u2)
        return table.reshape(len(probes), -1)[:, self.order] * self._signed()

    def right_by(self, probes: Floats) -> Floats:
        """See `Factored.right_by`."""
        (_, _, v1), (_, _, v2) = self.halves
        table = v1 @ (probes.T.reshape(probes.shape[1], v1.shape[1], v2.shape[1]) @ v2.T)
        return np.ascontiguousarray(table.reshape(probes.shape[1], -1)[:, self.order].T)

    def _signed(self) -> Floats:
        """Singular values with the sign of the scale."""
        return np.asarray(self.singular * np.sign(self.raw.scale), np.float64)


def factor(module: LoraModule) -> Factored:
    """Thin singular value decomposition of scale · up @ down; never forms ΔW."""
    if isinstance(module, KroneckerModule) and (factors := module.factors) is not None:
        return Paired(module, factors)
    u, s, vt = canonical(module)
    return Factored(u * s, vt, s, module)


def held(factored: dict[str, Factored]) -> dict[str, Factored]:
    """The same with all singular vectors in memory."""
    return {path: Factored(f.left, f.right, f.singular, f.raw) for path, f in factored.items()}
