"""Modules whose ΔW has full rank: full differences, and Kronecker products kept as their two factors.

They look like any `LoraModule`, but hold no identity matrix and, for a Kronecker product, no dense ΔW: `up` and `down`
are made each time they are asked for.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from auditor.lora.packed import PackedModule
from auditor.lora.weights import LoraModule, Matrix

Array = NDArray[np.float64]
Decomposition = tuple[Array, Array, Array]


class WholeModule(LoraModule):
    """ΔW = scale · matrix, with up and down of which one is the identity of the smaller side."""

    held: tuple[Matrix, ...]
    """What is kept in memory: the matrix (out, in), or the factors W₁ (a, b) and W₂ (c, d) of a Kronecker product."""
    span: tuple[int, int]
    """First row of what is held that counts, and the row after the last."""

    def __init__(
        self, path: str, held: tuple[Matrix, ...], scale: float, scale_source: str, algorithm: str, file_rank: int
    ) -> None:
        """held: see there; all rows count."""
        height = int(np.prod([matrix.shape[0] for matrix in held]))
        self._fill(path, held, (0, height), scale, scale_source, algorithm, file_rank, "")

    def _fill(self, *values: object) -> None:
        """Set the fields of the frozen base class."""
        names = ("path", "held", "span", "scale", "scale_source", "algorithm", "file_rank", "source")
        for name, value in zip(names, values, strict=True):
            object.__setattr__(self, name, value)

    def copy(self, path: str, span: tuple[int, int], source: str) -> WholeModule:
        """The same content under another name, or fewer of its rows."""
        made = type(self).__new__(type(self))
        made._fill(path, self.held, span, self.scale, self.scale_source, self.algorithm, self.file_rank, source)
        return made

    @property
    def matrix(self) -> Matrix:
        """ΔW / scale, dense."""
        return self.held[0][self.span[0] : self.span[1]]

    @property
    def up(self) -> Matrix:
        """ΔW / scale, or the identity."""
        return self.matrix if self.shape[0] >= self.shape[1] else np.eye(self.shape[0], dtype=np.float32)

    @property
    def down(self) -> Matrix:
        """The identity, or ΔW / scale."""
        return np.eye(self.shape[1], dtype=np.float32) if self.shape[0] >= self.shape[1] else self.matrix

    @property
    def rank(self) -> int:
        """The smaller side."""
        return min(self.shape)

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of ΔW."""
        return self.span[1] - self.span[0], int(np.prod([matrix.shape[1] for matrix in self.held]))

    @property
    def empty(self) -> bool:
        """See `LoraModule.empty`."""
        return not (self.scale and all(matrix.any() for matrix in self.held))

    @property
    def held_numbers(self) -> int:
        """See `LoraModule.held_numbers`."""
        return sum(int(matrix.size) for matrix in self.held)

    def rows(self, begin: int, end: int) -> LoraModule:
        """See `LoraModule.rows`."""
        return self.copy(self.path, (self.span[0] + begin, self.span[0] + end), self.source)

    def swapped(self) -> WholeModule:
        """The halves of the rows in the other order."""
        half, whole = self.shape[0] // 2, self.matrix
        held = (np.concatenate([whole[half:], whole[:half]]),)
        return WholeModule(self.path, held, self.scale, self.scale_source, self.algorithm, self.file_rank)

    def decomposed(self) -> Decomposition:
        """Thin singular value decomposition of ΔW / scale: U (m, k), S descending (k,), Vt (k, n)."""
        return thin_svd(self.matrix)

    def singular(self) -> Array:
        """All singular values of ΔW / scale, descending."""
        return self.decomposed()[1]


class KroneckerModule(WholeModule):
    """ΔW = scale · W₁ ⊗ W₂; its singular vectors are the Kronecker products of theirs."""

    def swapped(self) -> WholeModule:
        """See `WholeModule.swapped`; as a product where the halves are halves of W₁."""
        one, two = self.held
        if self.factors is None or len(one) % 2 or self.span != (0, len(one) * len(two)):
            return super().swapped()
        held = (np.concatenate([one[len(one) // 2 :], one[: len(one) // 2]]), two)
        return KroneckerModule(self.path, held, self.scale, self.scale_source, self.algorithm, self.file_rank)

    @property
    def factors(self) -> tuple[Matrix, Matrix] | None:
        """W₁ and W₂ whose product the rows that count are; None where the cut falls inside a block of rows."""
        one, two = self.held
        height = two.shape[0]
        if self.span[0] % height or self.span[1] % height:
            return None
        return one[self.span[0] // height : self.span[1] // height], two

    @property
    def matrix(self) -> Matrix:
        """ΔW / scale, dense."""
        one, two = self.held
        height = two.shape[0]
        first = self.span[0] // height
        blocks = np.kron(one[first : -(-self.span[1] // height)], two)
        return blocks[self.span[0] - first * height : self.span[1] - first * height]

    def decomposed(self) -> Decomposition:
        """See `WholeModule.decomposed`."""
        if self.factors is None:
            return super().decomposed()
        (u1, s1, v1), (u2, s2, v2) = map(thin_svd, self.factors)
        values = np.asarray(np.kron(s1, s2), np.float64)
        order = np.argsort(-values, kind="stable")
        left, right = np.asarray(np.kron(u1, u2), np.float64), np.asarray(np.kron(v1, v2), np.float64)
        return left[:, order], values[order], right[order]

    def singular(self) -> Array:
        """See `WholeModule.singular`; never larger than the factors'."""
        if self.factors is None:
            return super().singular()
        one, two = (thin_svd(factor)[1] for factor in self.factors)
        return np.asarray(np.sort(np.kron(one, two))[::-1], np.float64)


def thin_svd(matrix: Matrix) -> Decomposition:
    """Thin singular value decomposition in float64."""
    wide: Array = matrix.astype(np.float64)
    u, s, vt = np.linalg.svd(wide, full_matrices=False)
    return np.asarray(u, np.float64), np.asarray(s, np.float64), np.asarray(vt, np.float64)


def named(module: LoraModule, path: str, source: str) -> LoraModule:
    """`module` under another path, with its name in the file."""
    if isinstance(module, WholeModule):
        return module.copy(path, module.span, source)
    if isinstance(module, PackedModule):
        return module.renamed(path, source)
    return replace(module, path=path, source=source)
