"""The singular value decomposition of a file's modules, as features need it.

A file of 1 GB would fill 4 GiB with singular vectors in double precision, so they are kept as small turns of the
factors (`lora.batches`) and made when asked for; `held` makes and keeps them, for what is read again and again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auditor.lora.algebra import canonical
from auditor.lora.batches import Turns, turns
from auditor.lora.weights import LoraModule, LoraWeights

Floats = NDArray[np.float64]
EMPTY = 1e-12  # a module whose ‖ΔW‖ is below this share of the file's largest has no direction to speak of


@dataclass(frozen=True)
class Factored:
    """ΔW = left @ right with left = U·S (out, r) and right = Vᵀ (r, in), orthonormal rows; singular values S (r,)."""

    left: Floats
    right: Floats
    singular: Floats
    raw: LoraModule | None = None
    """The module as stored, for the paper's features only."""

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
        across = self.turns.left @ self.turns.right
        return self.raw.up.astype(np.float64) @ across, self.raw.down.astype(np.float64)


def factor(module: LoraModule) -> Factored:
    """Thin singular value decomposition of scale · up @ down; never forms ΔW."""
    u, s, vt = canonical(module)
    return Factored(u * s, vt, s, module)


def factor_all(weights: LoraWeights, paths: Iterable[str]) -> dict[str, Factored]:
    """Factored modules of `paths` that the file adapts, empty ones left out."""
    modules = {path: weights.modules[path] for path in paths if path in weights.modules}
    found: dict[str, Factored] = {
        path: factor(module) if folded is None else Folded(module, folded)
        for (path, module), folded in zip(modules.items(), turns(list(modules.values())), strict=True)
    }
    strength = {path: float(np.linalg.norm(f.singular)) for path, f in found.items()}
    largest = max(strength.values(), default=0.0)
    return {path: f for path, f in found.items() if f.singular.size and strength[path] > EMPTY * largest}


def held(factored: dict[str, Factored]) -> dict[str, Factored]:
    """The same with all singular vectors in memory."""
    return {path: Factored(f.left, f.right, f.singular, f.raw) for path, f in factored.items()}
