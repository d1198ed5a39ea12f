"""Many modules at once through the small Gram matrices of their factors: singular values, output roots, features.

In:  modules ΔW = scale · up @ down.  Out: `Rooted`, or None where this way is not accurate enough for a module.

With L the Cholesky factor of down downᵀ, X = scale · up @ L is ΔW in an orthonormal frame of the inputs, and from
M = XᵀX = V Σ² Vᵀ follow all singular values, U Σ = X V, and the root (ΔW ΔWᵀ)^½ = X M^-½ Xᵀ.  No long side is turned
and no factor inverted, as two QR decompositions and an SVD would.  The price is a square: rounding moves ΔW ΔWᵀ by no
more than some r ε ‖scale · up‖² ‖down‖², and the roots of two matrices differ by no more than the matrices do over the
sum of their least roots (van Hemmen & Ando 1980).  Where that exceeds `ERROR` of ‖ΔW‖ the module is decomposed without
squares (`lora.batches`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from auditor.embedding.factored import Factored, Floats, Folded, factor
from auditor.lora.batches import in_batches, turns
from auditor.lora.weights import LoraModule, LoraWeights
from auditor.lora.whole import WholeModule

ERROR = 1e-10
"""Bound of the error of the root that is accepted, as a share of ‖ΔW‖; errors found are a thousand times smaller."""
LEAST = 1e-3
"""Least singular value, as a share of the largest: far above what is cut off as noise, so that nothing is cut here."""

STACKED = frozenset({"root-gram", "gram", "delta"})
"""Kinds of features that `stacked_features` makes."""
EMPTY = 1e-12  # a module whose ‖ΔW‖ is below this share of the file's largest has no direction to speak of


class Rooted(Factored):
    """`Factored` by the decomposition of a small Gram matrix; ΔW has the full rank of its factors."""

    raw: LoraModule
    turn: Floats
    """(r, r): up @ turn = U Σ, `left`."""
    lower: Floats
    """L (r, r), down = L Q with orthonormal rows of Q."""
    vectors: Floats
    """V (r, r)."""
    gross: float
    """|scale| (Σ_r ‖up_r‖² ‖down_r‖²)^½: far above ‖ΔW‖ where the terms of up @ down cancel."""

    def __init__(self, module: LoraModule, *made: object) -> None:
        """Of `module`, with the fields in order."""
        for name, value in zip(("singular", "turn", "lower", "vectors", "gross"), made, strict=True):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "raw", module)

    @property
    def left(self) -> Floats:
        """See `Factored.left`."""
        return np.asarray(self.raw.up.astype(np.float64) @ self.turn)

    @property
    def right(self) -> Floats:
        """See `Factored.right`."""
        return self._across() @ self.raw.down.astype(np.float64)

    @property
    def shape(self) -> tuple[int, int]:
        """See `Factored.shape`."""
        return self.raw.shape

    def left_by(self, probes: Floats) -> Floats:
        """See `Factored.left_by`."""
        return np.asarray((probes @ self.raw.up.astype(np.float64)) @ self.turn)

    def right_by(self, probes: Floats) -> Floats:
        """See `Factored.right_by`."""
        return self._across() @ (self.raw.down.astype(np.float64) @ probes)

    def product(self) -> tuple[Floats, Floats]:
        """See `Factored.product`."""
        return self.raw.up.astype(np.float64) * self.raw.scale, self.raw.down.astype(np.float64)

    def _across(self) -> Floats:
        """Vᵀ L⁻¹ (r, r)."""
        return np.asarray(np.linalg.solve(self.lower.T, self.vectors).T, np.float64)


def factor_all(weights: LoraWeights, paths: Iterable[str]) -> dict[str, Factored]:
    """Factored modules of `paths` that the file adapts, empty ones left out."""
    modules = {path: weights.modules[path] for path in paths if path in weights.modules}
    quick = dict(zip(modules, rooted(list(modules.values())), strict=True))
    rest = [module for path, module in modules.items() if quick[path] is None]
    slow = iter([factor(m) if t is None else Folded(m, t) for m, t in zip(rest, turns(rest), strict=True)])
    found: dict[str, Factored] = {path: one if one is not None else next(slow) for path, one in quick.items()}
    strength = {path: float(np.linalg.norm(f.singular)) for path, f in found.items()}
    largest = max(strength.values(), default=0.0)
    return {path: f for path, f in found.items() if f.singular.size and strength[path] > EMPTY * largest}


def rooted(modules: Sequence[LoraModule]) -> list[Rooted | None]:
    """One for each module, in order; None where another way is needed."""
    return in_batches(modules, lambda m: not isinstance(m, WholeModule) and m.rank <= min(m.shape), _alike)


def _alike(modules: Sequence[LoraModule]) -> list[Rooted | None]:
    """`rooted` of modules of one shape and rank; where one fails, the others are tried without it."""
    (out, across), rank = modules[0].shape, modules[0].rank
    up, down = np.empty((len(modules), out, rank)), np.empty((len(modules), rank, across))
    for number, module in enumerate(modules):
        up[number], down[number] = module.up, module.down
    scale = np.array([module.scale for module in modules])
    above, below = up.transpose(0, 2, 1) @ up, down @ down.transpose(0, 2, 1)
    try:
        lower = np.linalg.cholesky(below)
        values, vectors = np.linalg.eigh(lower.transpose(0, 2, 1) @ above @ lower)
    except np.linalg.LinAlgError:
        half = len(modules) // 2
        return [*_alike(modules[:half]), *_alike(modules[half:])] if half else [None]
    roots = np.sqrt(np.maximum(values[:, ::-1], 0.0))
    vectors = vectors[:, :, ::-1]
    norms = np.einsum("nii->ni", above), np.einsum("nii->ni", below)
    good = _accurate(roots, *norms)
    turned, gross = scale[:, None, None] * (lower @ vectors), np.sqrt(np.sum(norms[0] * norms[1], axis=1))
    strong = np.abs(scale)
    made = zip(modules, strong[:, None] * roots, turned, lower, vectors, (strong * gross).tolist(), strict=True)
    return [Rooted(*fields) if sound else None for sound, fields in zip(good.tolist(), made, strict=True)]


def _accurate(singular: Floats, above: Floats, below: Floats) -> NDArray[np.bool_]:
    """Whether roots are within `ERROR` (n,); singular values (n, r) at scale 1, squared norms of the columns (n, r)."""
    least, rank = singular[:, -1], singular.shape[1]
    moved = rank * np.finfo(np.float64).eps * above.sum(1) * below.sum(1)
    bound = ERROR * 2 * least * np.sqrt((singular**2).sum(1))
    return np.asarray((least > LEAST * singular[:, 0]) & (moved <= bound))


def stacked_features(
    group: Sequence[Rooted], out: Sequence[Floats], into: Sequence[Floats], kinds: Sequence[str]
) -> dict[str, Floats]:
    """Blocks (n, k_out, k_out) or (n, k_out, k_in) of modules of one rank in bases of one width, by kind.

    out: P (out, k_out) of each; into: Q (in, k_in); kinds: of 'root-gram', 'gram' and 'delta', see `features`.
    """
    bare = np.stack([p.T @ f.raw.up.astype(np.float64) for f, p in zip(group, out, strict=True)])
    singular = np.stack([f.singular for f in group])
    seen = bare @ np.stack([f.turn for f in group])
    strength = np.sqrt((singular**2).sum(1))[:, None, None]
    found = {}
    if "root-gram" in kinds:
        found["root-gram"] = (seen / singular[:, None, :]) @ seen.transpose(0, 2, 1) / strength
    if "gram" in kinds:
        found["gram"] = seen @ seen.transpose(0, 2, 1) / np.sqrt((singular**4).sum(1))[:, None, None]
    if "delta" in kinds:
        scale = np.array([f.raw.scale for f in group])[:, None, None]
        across = np.stack([f.raw.down.astype(np.float64) @ q for f, q in zip(group, into, strict=True)])
        found["delta"] = scale * bare @ across / strength
    return found
