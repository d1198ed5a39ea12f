"""Gauge-invariant features of a LoRA, the same function for references and suspects.

Per module, in the set's own bases P (out, k) and Q (in, k) of the directions that references use most:

* ``delta``: Pᵀ ΔW Q / ‖ΔW‖  (k·k numbers): what the update does, sign included;
* ``gram-left``: Pᵀ ΔW ΔWᵀ P / ‖ΔW ΔWᵀ‖  (k·(k+1)/2 numbers): where its outputs go.  The input side of ΔW is mostly
  the random initial A (METHOD.md §2); the output covariance averages it out.

Each block is divided by its norm before projection, so neither strength, alpha nor rank is rewarded.  Nothing here
depends on the factors (B, A) other than through ΔW.  Cost: O(r (r + k) (out + in)) per module.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auditor.lora.algebra import canonical
from auditor.lora.weights import LoraModule, LoraWeights

Floats = NDArray[np.float64]
KINDS = ("gram-left", "delta")
EMPTY = 1e-12  # a module whose ‖ΔW‖ is below this share of the file's largest has no direction to speak of


@dataclass(frozen=True)
class Factored:
    """ΔW = left @ right with left = U·S (out, r) and right = Vᵀ (r, in), orthonormal rows; singular values S (r,)."""

    left: Floats
    right: Floats
    singular: Floats


def factor(module: LoraModule) -> Factored:
    """Thin singular value decomposition of scale · up @ down; never forms ΔW."""
    u, s, vt = canonical(module)
    return Factored(u * s, vt, s)


def factor_all(weights: LoraWeights, paths: Iterable[str]) -> dict[str, Factored]:
    """Factored modules of `paths` that the file adapts, empty ones left out."""
    found = {path: factor(weights.modules[path]) for path in paths if path in weights.modules}
    largest = max((np.linalg.norm(f.singular) for f in found.values()), default=0.0)
    return {path: f for path, f in found.items() if f.singular.size and np.linalg.norm(f.singular) > EMPTY * largest}


@dataclass(frozen=True)
class Bases:
    """The directions in which a set's references move each module; fixed when the set is calibrated."""

    out: dict[str, Floats]
    """P by module path, (out, k), orthonormal columns."""
    into: dict[str, Floats]
    """Q by module path, (in, k), orthonormal columns."""
    kinds: tuple[str, ...] = KINDS

    @property
    def paths(self) -> list[str]:
        """Module paths in the order of the feature vector."""
        return sorted(self.out)

    def width(self, path: str) -> int:
        """Length of one module's features."""
        k_out, k_in = self.out[path].shape[1], self.into[path].shape[1]
        return ("gram-left" in self.kinds) * k_out * (k_out + 1) // 2 + ("delta" in self.kinds) * k_out * k_in


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
        out[path] = common_directions([f.left for f in have], k, seed)
        into[path] = common_directions([f.right.T * f.singular for f in have], k, seed)
    # half precision is what a set stores; references and suspects must meet the very same bases
    out, into = ({p: b.astype(np.float16).astype(np.float64) for p, b in side.items()} for side in (out, into))
    return Bases(out, into, kinds)


def module_features(f: Factored, out: Floats, into: Floats, kinds: tuple[str, ...]) -> Floats:
    """Features of one module; see the docstring of this file."""
    seen = out.T @ f.left
    parts = []
    if "gram-left" in kinds:
        gram = seen @ seen.T / np.sqrt(np.sum(f.singular**4))
        rows, cols = np.triu_indices(len(gram))
        parts.append(gram[rows, cols] * np.where(rows == cols, 1.0, np.sqrt(2.0)))
    if "delta" in kinds:
        parts.append((seen @ (f.right @ into)).ravel() / np.linalg.norm(f.singular))
    return np.concatenate(parts)


def features(factored: dict[str, Factored], bases: Bases) -> tuple[Floats, NDArray[np.bool_]]:
    """Feature vector (D,) and which modules were present (modules,); absent modules are zero."""
    blocks, present = [], []
    for path in bases.paths:
        here = path in factored
        present.append(here)
        blocks.append(
            module_features(factored[path], bases.out[path], bases.into[path], bases.kinds)
            if here
            else np.zeros(bases.width(path))
        )
    return np.concatenate(blocks), np.array(present)
