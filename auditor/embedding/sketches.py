"""Small vectors beside the style embedding: a fingerprint that recognises copies, and controls that know no style."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from auditor.embedding.factored import Factored, Paired
from auditor.embedding.many import Rooted
from auditor.embedding.seeds import seed_of
from auditor.lora.whole import WholeModule

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
FINGERPRINT = 256
PROBES = 32
"""Probes that are worked on together; divides `FINGERPRINT`."""
ROUGH = 0.01
"""How far a cosine with `rough_fingerprint` may be from that with `fingerprint`; seen: 1e-5 at most."""
CANCELLING = 30.0
"""Size of a file's factors over that of its fingerprint up to which single precision is enough.  Rounding a sum of n
terms with random signs errs by some √n ε of their size, n ≤ 10⁴ and ε = 6e-8: a fifty-fifth of `ROUGH`."""
BUFFER = 2**17
"""Signs of a layer that lie as numbers in the processor's cache."""


def fingerprint(factored: dict[str, Factored]) -> Floats:
    """Unit vector (256,) linear in ΔW: entry j is Σ_m uᵀ ΔW_m v with signs u, v drawn from (path of m, j).

    Its inner products estimate cos(ΔW) with standard error 1/√256; the same draws on every machine.
    """
    total = np.zeros(FINGERPRINT)
    for path, f in sorted(factored.items()):
        left, right = packed_signs(path, *f.shape)
        if isinstance(f, Paired):
            total += kronecker_sums(left, right, f)
            continue
        one, two = f.product()
        total += np.einsum("jr,jr->j", signed_sums(left, one), signed_sums(right, two.T))
    norm = np.linalg.norm(total)
    return np.asarray(total / norm if norm > 0 else total)


def rough_fingerprint(factored: dict[str, Factored]) -> Floats | None:
    """`fingerprint` by products in single precision, a quarter of the work; None where that may err by `ROUGH`.

    For files whose copies are looked for and not found, which is nearly all: no figure that is shown comes from it.
    """
    total, gross = np.zeros(FINGERPRINT), 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # numbers near the end of single precision: not finite below
        for path, f in sorted(factored.items()):
            if f.raw is None or isinstance(f.raw, WholeModule):
                return None
            up, down, (left, right) = f.raw.up, f.raw.down.T, packed_signs(path, *f.shape)
            total += f.raw.scale * np.einsum("jr,jr->j", rough_sums(left, up), rough_sums(right, down))
            gross += (f.gross if isinstance(f, Rooted) else gross_norm(f.raw.scale, up, down)) ** 2
    norm = float(np.linalg.norm(total))
    if not (0 < norm < np.inf and np.sqrt(FINGERPRINT * gross) <= CANCELLING * norm):
        return None
    return np.asarray(total / norm)


def gross_norm(scale: float, up: Singles, down: Singles) -> float:
    """|scale| (Σ_r ‖up_r‖² ‖down_r‖²)^½ of factors (out, r) and (in, r): what ‖ΔW‖ would be if no terms cancelled."""
    squares = np.einsum("nr,nr->r", up, up, dtype=np.float64), np.einsum("nr,nr->r", down, down, dtype=np.float64)
    return abs(scale) * float(np.sqrt(squares[0] @ squares[1]))


def rough_sums(bits: NDArray[np.uint8], matrix: Singles) -> Singles:
    """`signed_sums` in single precision."""
    rows = len(matrix)
    step = max(1, min(len(bits), BUFFER // rows))
    plus, sums = np.empty((step, rows), np.float32), np.empty((len(bits), matrix.shape[1]), np.float32)
    for begin in range(0, len(bits), step):
        some = bits[begin : begin + step]
        here = plus[: len(some)]
        here[:] = np.unpackbits(some, axis=1, count=rows)
        np.matmul(here, matrix, out=sums[begin : begin + step])
    return np.asarray(2 * sums - matrix.sum(0))


@lru_cache(maxsize=8192)
def packed_signs(path: str, out: int, into: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Random signs (256, out) and (256, into) of one module, as bits: drawing them costs more than using them.

    A sign is the highest bit of 32 drawn ones: what `Generator.integers(0, 2)` gives, at a third of its price.
    """
    rng = np.random.default_rng(seed_of(path)).bit_generator
    left, right = (np.packbits(highest_bits(rng, width), 1) for width in (out, into))
    return left, right


def highest_bits(source: np.random.BitGenerator, width: int) -> NDArray[np.uint8]:
    """(256, width) of 0 and 1, each from 32 drawn bits, the lower half of a drawn word first on every machine."""
    words = source.random_raw(FINGERPRINT // 2 * width).astype("<u8", copy=False)
    return np.asarray((words.view("<u4") >> 31).astype(np.uint8).reshape(FINGERPRINT, width))


def signed_sums(bits: NDArray[np.uint8], matrix: Floats) -> Floats:
    """Sums (256, r) of the rows of matrix (n, r) with the signs of packed bits (256, n / 8), 1 for + and 0 for −.

    A few probes at a time: all signs of a layer as numbers would not fit the processor's cache.
    """
    rows = len(matrix)
    plus, sums = np.empty((PROBES, rows)), np.empty((len(bits), matrix.shape[1]))
    for begin in range(0, len(bits), PROBES):
        plus[:] = np.unpackbits(bits[begin : begin + PROBES], axis=1, count=rows)
        np.matmul(plus, matrix, out=sums[begin : begin + PROBES])
    return np.asarray(2 * sums - matrix.sum(0))


def kronecker_sums(left: NDArray[np.uint8], right: NDArray[np.uint8], f: Paired) -> Floats:
    """Σ uᵀ (W₁ ⊗ W₂) v · scale for each of 256 probes with packed signs u (256, out / 8), v (256, in / 8).

    As Σ (W₁ᵀ u) ∘ (v W₂ᵀ) with u and v as tables: the product of full rank itself would cost a thousand times that.
    """
    one, two = (factor.astype(np.float64) for factor in f.factors)
    sums = np.empty(len(left))
    for begin in range(0, len(left), PROBES):
        u, v = (
            2.0 * np.unpackbits(bits[begin : begin + PROBES], axis=1, count=count) - 1.0
            for bits, count in ((left, f.shape[0]), (right, f.shape[1]))
        )
        tables = one.T @ u.reshape(len(u), len(one), len(two)), v.reshape(len(v), one.shape[1], two.shape[1]) @ two.T
        sums[begin : begin + PROBES] = np.einsum("jab,jab->j", *tables)
    return sums * f.raw.scale


def controls(factored: dict[str, Factored], paths: list[str]) -> dict[str, Floats]:
    """What recipe alone would show, per module of `paths`: rank, log-norm relative to the file, decay of the spectrum.

    An audit in which one of these singles out an artist as well as the embedding does is not evidence of style.
    """
    values = [factored[path].singular if path in factored else np.zeros(1) for path in paths]
    singular = np.zeros((len(paths), max((len(one) for one in values), default=1)))
    for row, one in zip(singular, values, strict=True):
        row[: len(one)] = one
    largest = singular.max(axis=1, initial=0.0, keepdims=True)
    energy = np.sum(singular**2, axis=1)
    there = energy > 0
    norm = np.where(there, 0.5 * np.log(energy + 1e-300), np.nan)
    norm = np.where(there, norm, np.nanmin(norm) if there.any() else 0.0)
    share = singular**2 / np.where(there, energy, 1.0)[:, None]
    rank = np.count_nonzero(singular > 1e-3 * largest, axis=1).astype(np.float64)
    return {"rank_only": rank, "norm_only": norm - norm.mean(), "spectrum_only": np.sum(share**2, axis=1)}
