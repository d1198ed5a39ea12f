"""Algebra of ΔW = scale · up @ down without ever forming ΔW; everything here is blind to the gauge (B, A) → (BG, G⁻¹A).

float64 throughout.  For rank r and ΔW of shape (m, n), inner products cost O(r² (m + n)) and decompositions the same,
through thin QR of both factors and an SVD of the small core R_B R_Aᵀ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.lora.weights import LoraModule, LoraWeights
from auditor.lora.whole import KroneckerModule, WholeModule

Array = NDArray[np.float64]

OUTPUT_MOST = 4e10
"""Multiplications of whole matrices that the output covariances of a pair of files may take, some two seconds."""

TRUNCATION = 1e-6
"""Singular values below this share of the largest are float32 noise."""


@dataclass(frozen=True)
class Cosine:
    """Similarity of two LoRAs' ΔW, −1 … 1; 0 where a norm is 0."""

    common: float
    """Over the modules that both adapt in the same shape."""
    union: float
    """Over all modules; those of one side only count in that side's norm."""
    common_modules: int
    union_modules: int
    norm_a: float
    """Frobenius norm of a's whole ΔW."""
    norm_b: float


def inner_product(a: LoraModule, b: LoraModule) -> float:
    """⟨ΔW_a, ΔW_b⟩ = s_a s_b Σ (B_aᵀ B_b) ∘ (A_a A_bᵀ).  Raises ValueError when the shapes differ."""
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: {a.shape} and {b.shape}")
    if isinstance(a, WholeModule) or isinstance(b, WholeModule):
        return a.scale * b.scale * _whole_inner(a, b)
    (up_a, down_a), (up_b, down_b) = _short(a), _short(b)
    ups, downs = up_a.T @ up_b, down_a @ down_b.T
    return float(a.scale * b.scale * np.sum(ups * downs))


def _short(module: LoraModule) -> tuple[Array, Array]:
    """up and down in float64; of a rank above the sides, ΔW itself and an identity: rank² numbers might not fit."""
    up, down = module.up.astype(np.float64), module.down.astype(np.float64)
    if module.rank <= min(module.shape):
        return up, down
    whole = up @ down
    return (whole, np.eye(whole.shape[1])) if whole.shape[0] >= whole.shape[1] else (np.eye(len(whole)), whole)


def _whole_inner(a: LoraModule, b: LoraModule) -> float:
    """⟨ΔW_a, ΔW_b⟩ without scales, at least one held whole; two Kronecker products of one form stay factored."""
    if isinstance(a, KroneckerModule) and isinstance(b, KroneckerModule) and a.factors and b.factors:
        (a1, a2), (b1, b2) = a.factors, b.factors
        if a1.shape == b1.shape:
            return _dense_inner(a1, b1) * _dense_inner(a2, b2)
    if isinstance(a, WholeModule) and isinstance(b, WholeModule):
        return _dense_inner(a.matrix, b.matrix)
    whole, low = (a, b) if isinstance(a, WholeModule) else (b, a)
    across = whole.matrix.astype(np.float64) @ low.down.astype(np.float64).T  # type: ignore[attr-defined]
    return float(np.sum(across * low.up.astype(np.float64)))


def _dense_inner(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Σ a ∘ b in float64, a few rows at a time."""
    step = max(1, 2**20 // max(1, a.shape[1]))
    pieces = range(0, a.shape[0], step)
    return sum(float(np.vdot(a[i : i + step].astype(np.float64), b[i : i + step].astype(np.float64))) for i in pieces)


def energy(module: LoraModule) -> float:
    """‖ΔW‖²."""
    return _once(module, "_energy", lambda: max(0.0, inner_product(module, module)))


def output_energy(module: LoraModule) -> float:
    """‖ΔW ΔWᵀ‖²."""
    return _once(module, "_output_energy", lambda: output_inner(module, module))


def _once(module: LoraModule, name: str, make: Callable[[], float]) -> float:
    """What `make` gives, kept with the module: a known file meets every suspect, and its own norms never change."""
    kept: dict[str, float] = module.__dict__
    if name not in kept:
        kept[name] = make()
    return kept[name]


def norm(module: LoraModule) -> float:
    """Frobenius norm of ΔW."""
    return math.sqrt(energy(module))


def canonical(module: LoraModule) -> tuple[Array, Array, Array]:
    """(U, S, Vt) with ΔW = U diag(S) Vt: U (m, k), S (k,) descending and positive, Vt (k, n); k = 0 when ΔW is 0.

    Cut at `TRUNCATION` of the largest singular value.  The largest entry of each column of U is positive, so that the
    factors themselves, not only their product, are the same for every writing of one ΔW with distinct singular values.
    """
    if isinstance(module, WholeModule):
        wide, kept, across = _cut_whole(module)
    else:
        left, core_left = thin_qr(module.up)
        right, core_right = thin_qr(module.down.T)
        u, s, vt = np.linalg.svd(module.scale * (core_left @ core_right.T), full_matrices=False)
        keep = s > TRUNCATION * s[0] if s[0] > 0 else np.zeros(len(s), bool)
        wide, kept, across = left @ u[:, keep], s[keep].astype(np.float64), vt[keep] @ right.T
    if len(kept):
        signs = np.sign(wide[np.abs(wide).argmax(0), np.arange(len(kept))])
        wide, across = wide * signs, across * signs[:, None]
    return wide, kept, across


def _cut_whole(module: WholeModule) -> tuple[Array, Array, Array]:
    """`canonical` of a module that is held whole, signs left open; a negative scale turns U."""
    u, s, vt = module.decomposed()
    s = s * abs(module.scale)
    keep = s > TRUNCATION * s[0] if s[0] > 0 else np.zeros(len(s), bool)
    return u[:, keep] * np.sign(module.scale), s[keep], vt[keep]


def spectrum(module: LoraModule) -> Array:
    """All min(r, m, n) singular values of ΔW, descending; trailing ones are 0 up to rounding."""
    if isinstance(module, WholeModule):
        return abs(module.scale) * module.singular()
    core_left, core_right = thin_qr(module.up)[1], thin_qr(module.down.T)[1]
    return _as_array(np.linalg.svd(module.scale * (core_left @ core_right.T), compute_uv=False))


def rough_spectrum(module: LoraModule) -> Array:
    """`spectrum` from the Gram matrices of the factors: several times quicker, exact to about 1e-8 of the largest."""
    if isinstance(module, WholeModule):
        return spectrum(module)
    if module.rank > min(module.shape):
        return spectrum(module)
    up, down = module.up.astype(np.float64), module.down.astype(np.float64)
    size, vectors = np.linalg.eigh(up.T @ up)
    root = vectors * np.sqrt(np.maximum(size, 0.0))
    squares = np.linalg.eigvalsh(root.T @ (down @ down.T) @ root)[::-1]
    kept = np.sqrt(np.maximum(squares, 0.0))[: min(module.shape)]
    return abs(module.scale) * np.where(kept > 1e-8 * kept[0], kept, 0.0)


def thin_qr(matrix: NDArray[np.float32]) -> tuple[Array, Array]:
    """Thin QR in float64: Q with orthonormal columns, and R (square but not always triangular) with Q @ R = matrix.

    Two rounds of Cholesky QR on scaled columns (Yamamoto et al. 2015), which are products of matrices only: threaded
    Householder QR of tall, thin matrices crawls on a busy machine.  Householder where columns are nearly dependent.
    """
    wide: Array = matrix.astype(np.float64)
    if wide.shape[0] >= wide.shape[1]:
        norms = np.linalg.norm(wide, axis=0)
        if norms.all():
            found = _cholesky_qr(wide / norms)
            if found is not None:
                return found[0], found[1] * norms
    q, r = np.linalg.qr(wide)
    return _as_array(q), _as_array(r)


def _cholesky_qr(wide: Array) -> tuple[Array, Array] | None:
    """Cholesky QR, twice; None when the first round was too inaccurate for the second to repair."""
    r = np.eye(wide.shape[1])
    for _ in range(2):
        try:
            lower = np.linalg.cholesky(wide.T @ wide)
        except np.linalg.LinAlgError:
            return None
        wide = wide @ _as_array(np.linalg.inv(lower)).T
        r = lower.T @ r
    return (wide, r) if np.abs(lower - np.eye(len(lower))).max() < 1e-3 else None


def _as_array(values: Any) -> Array:
    """`values` as a float64 array."""
    return np.asarray(values, np.float64)


def effective_rank(singular_values: Array) -> float:
    """exp of the entropy of the energies σ² / Σσ² (Roy & Vetterli 2007, of energies); 1 … k, and 0 when all are 0."""
    energy = np.square(singular_values)
    total = float(energy.sum())
    if total <= 0:
        return 0.0
    share = energy / total
    share = share[share > 0]
    return float(np.exp(-np.sum(share * np.log(share))))


def output_inner(a: LoraModule, b: LoraModule) -> float:
    """⟨ΔW_a ΔW_aᵀ, ΔW_b ΔW_bᵀ⟩ = ‖ΔW_aᵀ ΔW_b‖²: agreement of the output directions, blind to the inputs and ≥ 0.

    The modules must have equally many outputs; otherwise ValueError.
    """
    if a.shape[0] != b.shape[0]:
        raise ValueError(f"outputs differ: {a.shape[0]} and {b.shape[0]}")
    if isinstance(a, WholeModule) or isinstance(b, WholeModule):
        inner = _whole_output_inner(a, b)
    else:
        (up_a, down_a), (up_b, down_b) = _short(a), _short(b)
        across = up_a.T @ up_b
        inner = float(np.sum((down_a @ down_a.T @ across) * (across @ (down_b @ down_b.T))))
    return max(0.0, (a.scale * b.scale) ** 2 * inner)


def _whole_output_inner(a: LoraModule, b: LoraModule) -> float:
    """`output_inner` without scales, at least one held whole; Kronecker products with blocks as high stay factored."""
    if isinstance(a, KroneckerModule) and isinstance(b, KroneckerModule) and a.factors and b.factors:
        (a1, a2), (b1, b2) = a.factors, b.factors
        if len(a1) == len(b1):
            return _squares(a1.T, b1) * _squares(a2.T, b2)
    if isinstance(a, WholeModule) and isinstance(b, WholeModule):
        return _squares(a.matrix.T, b.matrix)
    whole, low = (a, b) if isinstance(a, WholeModule) else (b, a)
    up, down = _short(low)
    across = whole.matrix.astype(np.float64).T @ up  # type: ignore[attr-defined]
    return float(np.sum((across.T @ across) * (down @ down.T)))


def _squares(left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    """‖left @ right‖², in float64."""
    return float(np.square(left.astype(np.float64) @ right.astype(np.float64)).sum())


def cosine(a: LoraWeights, b: LoraWeights) -> Cosine:
    """Cosine of the ΔW of two LoRAs, over common modules and over the union."""
    common = common_paths(a, b)
    inner = sum(inner_product(a.modules[path], b.modules[path]) for path in common)
    energy_a, energy_b = _energies(a.modules.values()), _energies(b.modules.values())
    shared_a = sum(energy_a[path] for path in common)
    shared_b = sum(energy_b[path] for path in common)
    total_a, total_b = sum(energy_a.values()), sum(energy_b.values())
    return Cosine(
        common=_ratio(inner, shared_a, shared_b),
        union=_ratio(inner, total_a, total_b),
        common_modules=len(common),
        union_modules=len(a.modules.keys() | b.modules.keys()),
        norm_a=math.sqrt(total_a),
        norm_b=math.sqrt(total_b),
    )


def output_cosine(a: LoraWeights, b: LoraWeights) -> float:
    """Cosine of the output covariances ΔWΔWᵀ over the common modules, 0 … 1; 0 where a norm is 0.

    Products of whole matrices that cost too much are left out: what a pair of files may take is `OUTPUT_MOST`.
    """
    products, left_over = np.zeros(3), OUTPUT_MOST
    for path in common_paths(a, b):
        left, right = a.modules[path], b.modules[path]
        left_over -= _output_toil(left, right)
        if left_over < 0:
            break
        products += output_inner(left, right), output_energy(left), output_energy(right)
    return _ratio(*map(float, products))


def _output_toil(a: LoraModule, b: LoraModule) -> float:
    """Multiplications of the dense products of whole matrices behind `output_inner` of a pair; 0 where none is made."""
    if not (isinstance(a, WholeModule) or isinstance(b, WholeModule)):
        return 0.0
    if isinstance(a, KroneckerModule) and isinstance(b, KroneckerModule) and a.factors and b.factors:
        pairs = zip(a.factors, b.factors, strict=True)
        if len(a.factors[0]) == len(b.factors[0]):
            return float(sum(one.size * two.shape[1] for one, two in pairs))
    return float(a.shape[0] * a.rank * b.rank)


def common_paths(a: LoraWeights, b: LoraWeights) -> list[str]:
    """Sorted paths of the modules that both LoRAs adapt in the same shape."""
    return sorted(p for p in a.modules.keys() & b.modules.keys() if a.modules[p].shape == b.modules[p].shape)


def _energies(modules: Iterable[LoraModule]) -> dict[str, float]:
    """‖ΔW‖² by path."""
    return {module.path: energy(module) for module in modules}


def _ratio(inner: float, square_a: float, square_b: float) -> float:
    """inner / √(square_a · square_b), held in −1 … 1; 0 when a square is 0."""
    below = math.sqrt(square_a) * math.sqrt(square_b)
    return max(-1.0, min(1.0, inner / below)) if below > 0 else 0.0
