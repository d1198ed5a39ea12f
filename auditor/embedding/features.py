"""Gauge-invariant features of a LoRA, the same function for references and suspects.

Per module, in the set's own bases P (out, k) and Q (in, k) of the directions that references use most:

* ``root-gram``: Pᵀ (ΔW ΔWᵀ)^½ P / ‖ΔW‖  (k·(k+1)/2 numbers): where the outputs go.  The input side of ΔW is mostly
  the random initial A (METHOD.md §2); the output covariance averages it out, and its root does not let the largest
  singular value, which belongs to the recipe as much as to the data, speak for all others;
* ``gram``: the same without the root, Pᵀ ΔW ΔWᵀ P / ‖ΔW ΔWᵀ‖, for comparison;
* ``delta``: Pᵀ ΔW Q / ‖ΔW‖  (k·k numbers): what the update does, sign included;
* ``paper``: a 64-number sketch of the raw A and B, after *A LoRA is Worth a Thousand Pictures*: the only kind that
  depends on the gauge.  It needs one rank and, to say anything, one shared initial A; for research.

Each block is divided by its norm before projection, so neither strength, alpha nor rank is rewarded.  Of the first two
kinds the multiple of Pᵀ P is taken out: what noise does, which goes everywhere alike, so that the amount of noise, a
matter of rank, batch and trainer, is not taken for style (docs/decisions/0032).  Nothing here depends on the factors
(B, A) other than through ΔW.  Cost: O(r (r + k) (out + in)) per module.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from auditor.embedding.factored import Factored, Floats, factor, held
from auditor.embedding.many import STACKED, Rooted, factor_all, stacked_features
from auditor.embedding.seeds import seed_of
from auditor.lora.weights import LoraModule

__all__ = [
    "KINDS", "KNOWN", "Bases", "Factored", "Floats", "common_directions", "factor", "factor_all", "features",
    "fit_bases", "half", "held", "module_features", "sketch_bases", "triangle",
]  # fmt: skip
KINDS = ("root-gram", "delta")
KNOWN = ("root-gram", "gram", "delta", "paper")
COVARIANCES = ("root-gram", "gram")
RAW_SKETCH = 64


@dataclass(frozen=True)
class Bases:
    """The directions in which a set's references move each module; fixed when the set is calibrated."""

    out: dict[str, Floats]
    """P by module path, (out, k), orthonormal columns."""
    into: dict[str, Floats]
    """Q by module path, (in, k), orthonormal columns."""
    kinds: tuple[str, ...] = KINDS
    sketch: int | None = None
    """Seed of random bases that anybody can draw again; None: fitted on references."""
    cells: int | None = None
    """Of a sketch: sums that the numbers of a longer block are thrown together in, with signs drawn from its seed."""

    @property
    def paths(self) -> list[str]:
        """Module paths in the order of the feature vector."""
        return sorted(self.out)

    def widths(self, path: str) -> dict[str, int]:
        """Length of one module's block of each kind."""
        k_out, k_in = self.out[path].shape[1], self.into[path].shape[1]
        known = {"paper": RAW_SKETCH, "delta": k_out * k_in}
        covariance = min(k_out * (k_out + 1) // 2, self.cells or k_out**2)
        return {kind: known.get(kind, covariance) for kind in self.kinds}

    def width(self, path: str) -> int:
        """Length of one module's features."""
        return sum(self.widths(path).values())

    def blocks(self) -> list[tuple[str, str, slice]]:
        """(module path, kind, columns) of every block of the feature vector, in order."""
        found, start = [], 0
        for path in self.paths:
            for kind, width in self.widths(path).items():
                found.append((path, kind, slice(start, start + width)))
                start += width
        return found

    def columns(self, paths: Collection[str]) -> NDArray[np.bool_]:
        """Which entries of the feature vector (D,) belong to modules of `paths`."""
        wanted = set(paths)
        chosen = np.array([path in wanted for path in self.paths], bool)
        return np.repeat(chosen, [self.width(path) for path in self.paths])

    @cached_property
    def everywhere(self) -> dict[tuple[str, str], Floats]:
        """By path and kind, of covariances only: the features of what goes everywhere alike, of unit length."""
        covariances = [kind for kind in self.kinds if kind in COVARIANCES]
        rows = {path: self.thrown(path, triangle(p.T @ p)) for path, p in self.out.items()}
        return {(path, kind): unit(row) for path, row in rows.items() for kind in covariances}

    def thrown(self, path: str, row: Floats) -> Floats:
        """A block of more numbers than cells as that many sums: a count sketch, inner products kept on average."""
        if self.sketch is None or self.cells is None or row.size <= self.cells:
            return row
        rng = np.random.default_rng(seed_of(self.sketch, path, "cells"))
        cell, sign = rng.integers(0, self.cells, row.size), rng.integers(0, 2, row.size) * 2.0 - 1.0
        return np.bincount(cell, sign * row, self.cells).astype(np.float64)

    def only(self, paths: Sequence[str]) -> Bases:
        """The bases of some modules."""
        return replace(self, out={p: self.out[p] for p in paths}, into={p: self.into[p] for p in paths})


def common_directions(pieces: Sequence[Floats], k: int, seed: int) -> Floats:
    """Top k eigenvectors of the mean of X Xᵀ / ‖X‖² over `pieces` X (d, r), by seeded subspace iteration; (d, k)."""
    scaled = [x / np.linalg.norm(x) for x in pieces]
    d = scaled[0].shape[0]
    stacked = np.concatenate(scaled, axis=1)
    if d <= 2 * stacked.shape[1] and d <= 2048:
        _, vectors = np.linalg.eigh(stacked @ stacked.T)
        return np.asarray(vectors[:, ::-1][:, :k])
    basis = np.linalg.qr(np.random.default_rng([seed, d]).standard_normal((d, min(d, k + 8))))[0]
    for _ in range(6):
        basis = np.linalg.qr(stacked @ (stacked.T @ basis))[0]
    seen = stacked.T @ basis
    _, vectors = np.linalg.eigh(seen.T @ seen)
    return np.asarray((basis @ vectors[:, ::-1])[:, :k])


def fit_bases(factored: Sequence[dict[str, Factored]], k: int, seed: int = 0, kinds: tuple[str, ...] = KINDS) -> Bases:
    """Bases of every module that at least one reference adapts, k directions a side (fewer in narrow layers)."""
    paths = sorted({path for one in factored for path in one})
    out, into = {}, {}
    for path in paths:
        have = [one[path] for one in factored if path in one]
        out[path] = half(common_directions([f.left / np.sqrt(f.singular) for f in have], k, seed))
        into[path] = half(common_directions([f.right.T * f.singular for f in have], k, seed))
    return Bases(out, into, kinds)


def sketch_bases(shapes: dict[str, tuple[int, int]], k: int, cells: int, seed: int) -> Bases:
    """Random bases for sketched output covariances: no reference goes into them, so they need not be shared.

    shapes: (out, in) by module path.  P (out, min(k, out)) is drawn from (seed, path), the same on every machine: its
    columns are orthogonal, P Pᵀ is the identity on average, and exactly where the layer is no wider than k.  What is
    seen through it is thrown together in `cells` sums (`Bases.thrown`).  Inputs are not looked at (Q is empty), so only
    `root-gram` can be used.
    """
    out = {}
    for path, (rows, _) in shapes.items():
        drawn = np.random.default_rng(seed_of(seed, path)).standard_normal((rows, min(k, rows)))
        q, r = np.linalg.qr(drawn)
        turned = np.sign(np.diag(r))  # as Gram and Schmidt would have it, whatever library is at work
        out[path] = q * turned * np.sqrt(rows / drawn.shape[1])
    inputs = {path: np.zeros((across, 0)) for path, (_, across) in shapes.items()}
    return Bases(out, inputs, ("root-gram",), seed, cells)


def half(matrix: Floats) -> Floats:
    """Rounded to the half precision in which a set stores it: references and suspects must meet the very same bases."""
    return matrix.astype(np.float16).astype(np.float64)


def module_features(f: Factored, out: Floats, into: Floats, kinds: tuple[str, ...]) -> Floats:
    """Features of one module, with what goes everywhere alike; see the docstring of this file.

    Raises ValueError on an unknown kind.
    """
    seen = f.left_by(out.T)
    strength = np.linalg.norm(f.singular)
    parts = []
    for kind in kinds:
        if kind == "root-gram":
            parts.append(triangle((seen / f.singular) @ seen.T / strength))
        elif kind == "gram":
            parts.append(triangle(seen @ seen.T / np.sqrt(np.sum(f.singular**4))))
        elif kind == "delta":
            parts.append((seen @ f.right_by(into)).ravel() / strength)
        elif kind == "paper" and f.raw is not None:
            parts.append(raw_sketch(f.raw))
        else:
            raise ValueError(f"unknown kind of features: {kind}")
    return np.concatenate(parts)


def raw_sketch(module: LoraModule) -> Floats:
    """Count sketch (64,) of A and B concatenated, unit length; the same draws for the same path and shapes."""
    flat = np.concatenate([module.down.ravel(), module.up.ravel()]).astype(np.float64)
    rng = np.random.default_rng(seed_of(module.path, flat.size))
    cell, sign = rng.integers(0, RAW_SKETCH, flat.size), rng.integers(0, 2, flat.size) * 2.0 - 1.0
    sketch = np.bincount(cell, sign * flat, RAW_SKETCH)
    return np.asarray(sketch / max(float(np.linalg.norm(flat)), 1e-300))


def unit(row: Floats) -> Floats:
    """`row` at unit length."""
    return np.asarray(row / np.linalg.norm(row))


def triangle(symmetric: Floats) -> Floats:
    """Upper triangle of a symmetric matrix as a vector of the same norm."""
    places, weights = _upper(len(symmetric))
    return np.asarray(symmetric.ravel()[places] * weights)


@lru_cache(maxsize=64)
def _upper(size: int) -> tuple[NDArray[np.intp], Floats]:
    """Places of the upper triangle in a flat (size, size) matrix, and 1 on the diagonal, √2 beside it."""
    rows, cols = np.triu_indices(size)
    return rows * size + cols, np.where(rows == cols, 1.0, np.sqrt(2.0))


def features(factored: dict[str, Factored], bases: Bases) -> tuple[Floats, NDArray[np.bool_]]:
    """Feature vector (D,) and which modules were present (modules,); absent modules are zero."""
    paths = bases.paths
    alike: dict[tuple[int, ...], list[int]] = {}
    blocks = [np.zeros(0)] * len(paths)
    for number, path in enumerate(paths):
        f = factored.get(path)
        if f is None:
            blocks[number] = np.zeros(bases.width(path))
        elif isinstance(f, Rooted) and STACKED.issuperset(bases.kinds):
            key = (len(f.singular), bases.out[path].shape[1], bases.into[path].shape[1])
            alike.setdefault(key, []).append(number)
        else:
            blocks[number] = module_features(f, bases.out[path], bases.into[path], bases.kinds)
    for members in alike.values():
        for number, row in zip(members, stacked(factored, bases, [paths[n] for n in members]), strict=True):
            blocks[number] = row
    if bases.cells is not None:
        blocks = [bases.thrown(path, row) if path in factored else row for path, row in zip(paths, blocks, strict=True)]
    vector = np.concatenate(blocks)
    for path, kind, columns in bases.blocks():
        if (same := bases.everywhere.get((path, kind))) is not None:
            vector[columns] -= same @ vector[columns] * same
    return vector, np.array([path in factored for path in paths])


def stacked(factored: dict[str, Factored], bases: Bases, paths: list[str]) -> Floats:
    """`module_features` (n, width) of modules of one rank whose bases are equally wide, worked out together."""
    group = [f for path in paths if isinstance(f := factored[path], Rooted)]
    made = stacked_features(group, [bases.out[p] for p in paths], [bases.into[p] for p in paths], bases.kinds)
    return np.concatenate([flat(made[kind], kind) for kind in bases.kinds], axis=1)


def flat(blocks: Floats, kind: str) -> Floats:
    """Blocks (n, k, k') as rows, symmetric ones without their lower half."""
    if kind == "delta":
        return blocks.reshape(len(blocks), -1)
    places, weights = _upper(blocks.shape[1])
    return np.asarray(blocks.reshape(len(blocks), -1)[:, places] * weights)
