"""What a launderer can do to a LoRA, and the mergers in use: factors in, factors out.  Used by benchmarks and tests.

A LoRA here is a table: module path → (up (out, r), down (r, in)) with the scale folded in, so ΔW = up @ down.
Exact rewritings keep every ΔW (or all of them up to one common factor); all others change it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from auditor.embedding.features import Factored, factor
from auditor.lora import load_lora
from auditor.lora.weights import LoraModule

Lora = dict[str, tuple[np.ndarray, np.ndarray]]
Merge = Callable[[Sequence[Lora], Sequence[float]], Lora]
Attack = Callable[[Lora], Lora]


def read(path: Path) -> Lora:
    """The denoiser's modules of a file, scale folded into up."""
    modules = load_lora(path).modules
    return {
        p: (m.scale * m.up.astype(np.float64), m.down.astype(np.float64))
        for p, m in modules.items()
        if not p.startswith("text_encoder")
    }


def factored(lora: Lora) -> dict[str, Factored]:
    """What the features are computed from."""
    made = {
        p: factor(LoraModule(p, up.astype(np.float32), down.astype(np.float32), 1.0)) for p, (up, down) in lora.items()
    }
    return {p: f for p, f in made.items() if f.singular.size}


# --- exact rewritings -----------------------------------------------------------------------------------------------


def regauged(lora: Lora, rng: np.random.Generator) -> Lora:
    """(B, A) → (B G, G⁻¹ A) with a random, well-conditioned G of every module."""
    made = {}
    for path, (up, down) in lora.items():
        rank = down.shape[0]
        turn = np.linalg.qr(rng.standard_normal((rank, rank)))[0] * np.exp(rng.uniform(-1, 1, rank))
        made[path] = up @ turn, np.linalg.solve(turn, down)
    return made


def padded_with_zeros(lora: Lora, extra: int) -> Lora:
    """`extra` further ranks whose up is zero."""
    return {
        path: (
            np.hstack([up, np.zeros((len(up), extra))]),
            np.vstack([down, np.ones((extra, down.shape[1]))]),
        )
        for path, (up, down) in lora.items()
    }


def scaled(lora: Lora, strength: float) -> Lora:
    """strength · ΔW."""
    return {path: (strength * up, down) for path, (up, down) in lora.items()}


def shuffled(lora: Lora, rng: np.random.Generator) -> Lora:
    """Ranks of every module in another order, and the modules as well."""
    made = {}
    for i in rng.permutation(len(lora)):
        path, (up, down) = list(lora.items())[i]
        order = rng.permutation(down.shape[0])
        made[path] = up[:, order], down[order]
    return made


# --- lossy changes --------------------------------------------------------------------------------------------------


def rounded(values: np.ndarray, mantissa: int, least_exponent: int) -> np.ndarray:
    """Nearest floating-point numbers with `mantissa` bits after the leading one; subnormal below 2^least_exponent."""
    exponent = np.maximum(np.floor(np.log2(np.maximum(np.abs(values), 1e-300))), least_exponent)
    step = 2.0 ** (exponent - mantissa)
    return np.asarray(np.round(values / step) * step)


FORMATS = {"fp16": (10, -14), "bf16": (7, -126), "fp8": (3, -6)}
"""Bits of mantissa and least exponent; fp8 is E4M3."""


def cast(lora: Lora, name: str) -> Lora:
    """Both factors stored in another number format."""
    bits = FORMATS[name]
    return {path: (rounded(up, *bits), rounded(down, *bits)) for path, (up, down) in lora.items()}


def resized(lora: Lora, keep: Callable[[int], int]) -> Lora:
    """The best approximation of every ΔW by keep(rank) ranks."""
    made = {}
    for path, (up, down) in lora.items():
        wide, s, across = compact(up, down)
        k = max(1, keep(down.shape[0]))
        made[path] = wide[:, :k] * s[:k], across[:k]
    return made


def compact(up: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thin singular value decomposition of up @ down, through QR of both."""
    q, r = np.linalg.qr(up)
    p, s = np.linalg.qr(down.T)
    u, values, vt = np.linalg.svd(r @ s.T, full_matrices=False)
    return q @ u, values, vt @ p.T


def noised(lora: Lora, share: float, rng: np.random.Generator) -> Lora:
    """Gaussian noise on every factor, `share` of the factor's root mean square."""

    def add(x: np.ndarray) -> np.ndarray:
        return np.asarray(x + share * np.sqrt(np.mean(x**2)) * rng.standard_normal(x.shape))

    return {path: (add(up), add(down)) for path, (up, down) in lora.items()}


def weighted(lora: Lora, rng: np.random.Generator) -> Lora:
    """Every block of the network at its own strength, .2 to 1.5, as people weigh blocks when they merge."""
    block = {path: path.partition(".attentions.")[0] for path in lora}
    strength = {name: rng.uniform(0.2, 1.5) for name in sorted(set(block.values()))}
    return {path: (strength[block[path]] * up, down) for path, (up, down) in lora.items()}


def padded(lora: Lora, share: float, rng: np.random.Generator) -> Lora:
    """As many random ranks as there are, with `share` of each module's energy ‖ΔW‖² added."""
    made = {}
    for path, (up, down) in lora.items():
        extra_up, extra_down = rng.standard_normal(up.shape), rng.standard_normal(down.shape)
        strength = np.linalg.norm(up @ down) / max(float(np.linalg.norm(extra_up @ extra_down)), 1e-300)
        made[path] = np.hstack([up, np.sqrt(share) * strength * extra_up]), np.vstack([down, extra_down])
    return made


def only(lora: Lora, wanted: Callable[[str], bool]) -> Lora:
    """Some modules."""
    return {path: factors for path, factors in lora.items() if wanted(path)}


def random_lora(like: Lora, rng: np.random.Generator) -> Lora:
    """No training at all: Gaussian factors of the same shapes and norms."""
    made = {}
    for path, (up, down) in like.items():
        extra_up, extra_down = rng.standard_normal(up.shape), rng.standard_normal(down.shape)
        made[path] = extra_up * np.linalg.norm(up) / np.linalg.norm(extra_up), extra_down
    return made


# --- mergers --------------------------------------------------------------------------------------------------------


def common(parts: Sequence[Lora]) -> list[str]:
    """Modules that any part adapts."""
    return sorted({path for part in parts for path in part})


def concatenated(parts: Sequence[Lora], weights: Sequence[float]) -> Lora:
    """Σ w ΔW exactly, by stacking ranks."""
    made = {}
    for path in common(parts):
        have = [(w, part[path]) for w, part in zip(weights, parts, strict=True) if path in part]
        made[path] = np.hstack([w * up for w, (up, _) in have]), np.vstack([down for _, (_, down) in have])
    return made


def summed_factors(parts: Sequence[Lora], weights: Sequence[float]) -> Lora:
    """(Σ √w B)(Σ √w A): linear merging of the factors, with its cross terms; ranks are filled up with zeros."""
    made = {}
    for path in common(parts):
        have = [(np.sqrt(w), part[path]) for w, part in zip(weights, parts, strict=True) if path in part]
        rank = max(down.shape[0] for _, (_, down) in have)
        up = sum(w * np.pad(up, ((0, 0), (0, rank - up.shape[1]))) for w, (up, _) in have)
        down = sum(w * np.pad(down, ((0, rank - down.shape[0]), (0, 0))) for w, (_, down) in have)
        made[path] = np.asarray(up), np.asarray(down)
    return made


def dense(parts: Sequence[Lora], path: str) -> list[np.ndarray]:
    """ΔW of each part; zero where a part does not adapt the module."""
    some = next(part[path] for part in parts if path in part)
    shape = len(some[0]), some[1].shape[1]
    return [part[path][0] @ part[path][1] if path in part else np.zeros(shape) for part in parts]


def by_rank(parts: Sequence[Lora]) -> int:
    """The largest rank of the parts: what a merge is usually cut to."""
    return max(down.shape[0] for part in parts for _, down in part.values())


def cut(merged: Mapping[str, np.ndarray], rank: int) -> Lora:
    """Dense updates as factors of `rank`."""
    made = {}
    for path, delta in merged.items():
        u, s, vt = np.linalg.svd(delta, full_matrices=False)
        made[path] = u[:, :rank] * s[:rank], vt[:rank]
    return made


def svd_merged(parts: Sequence[Lora], weights: Sequence[float]) -> Lora:
    """Σ w ΔW cut to the parts' largest rank."""
    rank = by_rank(parts)
    return resized(concatenated(parts, weights), lambda _: rank)


def ties(parts: Sequence[Lora], weights: Sequence[float], density: float = 0.5) -> Lora:
    """TIES (Yadav et al. 2023) on ΔW: trim to the largest entries, elect signs, add what agrees; cut by SVD."""
    merged = {}
    for path in common(parts):
        kept = []
        for w, delta in zip(weights, dense(parts, path), strict=True):
            least = np.quantile(np.abs(delta), 1 - density)
            kept.append(w * np.where(np.abs(delta) >= least, delta, 0.0))
        stack = np.stack(kept)
        agree = np.sign(stack) == np.sign(stack.sum(0))
        merged[path] = np.sum(stack * agree, 0)
    return cut(merged, by_rank(parts))


def dare(parts: Sequence[Lora], weights: Sequence[float], density: float = 0.5, seed: int = 0) -> Lora:
    """DARE (Yu et al. 2023) on ΔW: drop entries at random, scale the rest up, add; cut by SVD."""
    rng = np.random.default_rng(seed)
    merged = {}
    for path in common(parts):
        deltas = dense(parts, path)
        merged[path] = np.asarray(
            sum(w * d * (rng.random(d.shape) < density) / density for w, d in zip(weights, deltas, strict=True))
        )
    return cut(merged, by_rank(parts))


MERGERS: dict[str, Merge] = {
    "concatenation": concatenated,
    "linear (factors)": summed_factors,
    "svd": svd_merged,
    "ties": ties,
    "dare": dare,
}
