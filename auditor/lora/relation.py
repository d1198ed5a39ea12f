"""How two LoRA files are related, by their weights alone: copies, resizes, checkpoints of one run, merges.

Thresholds rest on published LoRAs of Stable Diffusion 1 and 2, ranks 1 and 4 (31 owners, 1,073 pairs of different
owners): |cos ΔW| of unrelated files is at most 0.0194 (99 % below 0.0106); neighbouring checkpoints of one run have
0.79 … 0.98, its most distant ones 0.49; longer or repeated runs of one owner from one seed have 0.28 … 0.71; re-keyed
copies 1.0000.  Other bases and ranks were not measured.  Similarity of `down` alone is no evidence of anything, since
trainers share seeds, so it is never used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from auditor.lora.algebra import canonical, common_paths, cosine, norm, output_cosine, spectrum
from auditor.lora.weights import LoraModule, LoraWeights

Name = Literal[
    "same_file",
    "same_tensors",
    "same_update",
    "resized",
    "same_run",
    "merge",
    "unrelated",
    "no_effect",
    "not_comparable",
]

SAME_UPDATE = 0.999
RESIZED = 0.9
SAME_RUN = 0.7
SAME_SOURCE = 0.28
"""Least cosine of two runs of one owner that was measured."""
UNRELATED = 0.02
CONTAINED = 0.98
"""Share of one LoRA's energy inside the other's row and column spaces from which it counts as part of a merge."""
SPECTRUM_MATCH = 0.02
"""Largest relative distance of a spectrum from the cut spectrum of the other for a resize."""
CALIBRATED_ON = "Thresholds were measured on Stable Diffusion 1 and 2 at ranks 1 and 4 only."


@dataclass(frozen=True)
class Relation:
    """The outcome of `compare`."""

    relation: Name
    figures: dict[str, float]
    """cos_delta_w (union), cos_delta_w_common, cos_output, coverage (common / union modules), norm_ratio (b / a), …"""
    reasons: tuple[str, ...]
    """In plain words."""


def compare(
    a: LoraWeights, b: LoraWeights, sha_a: str = "", sha_b: str = "", tensor_a: str = "", tensor_b: str = ""
) -> Relation:
    """The relation of two LoRAs; digests (hex, may be empty) settle the trivial cases."""
    figures = _figures(a, b)
    if sha_a and sha_a == sha_b:
        return Relation("same_file", figures, ("The files are the same, byte for byte (SHA-256).",))
    if tensor_a and tensor_a == tensor_b:
        return Relation("same_tensors", figures, ("Only the headers differ: the tensor sections have one SHA-256.",))
    if not figures["norm_a"] or not figures["norm_b"]:
        which = [name for name in ("a", "b") if not figures[f"norm_{name}"]]
        return Relation("no_effect", figures, (f"The change of weights of {' and '.join(which)} is zero.",))
    if not figures["common_modules"]:
        return Relation("not_comparable", figures, ("No module is adapted by both in the same shape.",))
    name, reasons = _judge(a, b, figures)
    return Relation(name, figures, tuple(reasons))


def _figures(a: LoraWeights, b: LoraWeights) -> dict[str, float]:
    """The figures of `Relation`, before any special test."""
    found = cosine(a, b)
    return {
        "cos_delta_w": found.union,
        "cos_delta_w_common": found.common,
        "cos_output": output_cosine(a, b),
        "coverage": found.common_modules / max(1, found.union_modules),
        "common_modules": float(found.common_modules),
        "union_modules": float(found.union_modules),
        "norm_a": found.norm_a,
        "norm_b": found.norm_b,
        "norm_ratio": found.norm_b / found.norm_a if found.norm_a else 0.0,
    }


def _judge(a: LoraWeights, b: LoraWeights, figures: dict[str, float]) -> tuple[Name, list[str]]:
    """The relation of two LoRAs with a ΔW and common modules; adds the figures of the tests that were needed."""
    cos = figures["cos_delta_w"]
    size, said = abs(cos), f"cos ΔW is {cos:.4f}"
    sign = ["The one is the negative of the other."] if cos < -UNRELATED else []
    if size >= SAME_UPDATE:
        return "same_update", [f"{said}: one change of weights, saved, named, factored or scaled anew.", *sign]
    if size >= RESIZED and _is_resized(a, b, figures):
        return "resized", [f"{said}, and the spectrum of the one is the cut spectrum of the other.", *sign]
    if size > UNRELATED:
        merged = _merged(a, b, figures)
        if merged:
            return "merge", [f"{said}, and {merged}.", CALIBRATED_ON]
    if size >= SAME_RUN:
        return "same_run", [f"{said}: as checkpoints of one training run have it.", CALIBRATED_ON, *sign]
    if size >= SAME_SOURCE:
        return "same_run", [
            f"{said}: as distant checkpoints of one run, or a longer or repeated run from one seed, have it.",
            CALIBRATED_ON,
            *sign,
        ]
    if size > UNRELATED:
        return "unrelated", [
            f"{said}: more than any unrelated pair that was measured (0.02) and less than any related one (0.28).",
            "The weights do not settle it; a remote merge or a small common part is possible.",
            CALIBRATED_ON,
        ]
    return "unrelated", [f"{said}: unrelated trainings have at most {UNRELATED}.", CALIBRATED_ON]


def _is_resized(a: LoraWeights, b: LoraWeights, figures: dict[str, float]) -> bool:
    """Whether the one's singular values are, module by module, the largest of the other's, up to one common factor."""
    small, large = sorted((a, b), key=lambda weights: sum(module.rank for module in weights.modules.values()))
    kept: list[float] = []
    whole: list[float] = []
    fewer = 0
    for path in common_paths(a, b):
        low = canonical(small.modules[path])[1]
        high = spectrum(large.modules[path])
        kept.extend(low)
        whole.extend(high[: len(low)])
        fewer += int(len(low) < np.count_nonzero(high > 1e-6 * high[0]))
    x, y = np.array(kept), np.array(whole)
    if not len(x) or len(x) != len(y) or not y.any():
        return False
    factor = float(x @ y / (y @ y))
    distance = float(np.linalg.norm(x - factor * y) / np.linalg.norm(x))
    figures["spectrum_distance"] = distance
    return fewer > 0 and distance <= SPECTRUM_MATCH


def _merged(a: LoraWeights, b: LoraWeights, figures: dict[str, float]) -> str:
    """Which of the two holds the other as a summand, in words; '' for neither or where chance could do it."""
    figures["a_inside_b"] = _share_inside(a, b)
    figures["b_inside_a"] = _share_inside(b, a)
    if max(figures["a_inside_b"], figures["b_inside_a"]) < CONTAINED:
        return ""
    inner, outer = ("a", "b") if figures["a_inside_b"] >= figures["b_inside_a"] else ("b", "a")
    return f"{inner} lies whole inside the row and column spaces of {outer}, as a summand of a merge does"


def _share_inside(part: LoraWeights, whole: LoraWeights) -> float:
    """Share of `part`'s energy inside the row and column spaces of `whole`, 0 … 1, over the common modules.

    0 where `whole` has no greater rank, or spans more than half of a module and would hold anything.
    """
    inside = total = 0.0
    for path in common_paths(part, whole):
        share = _project(part.modules[path], whole.modules[path])
        if share is None:
            continue
        energy = norm(part.modules[path]) ** 2
        inside, total = inside + share * energy, total + energy
    return inside / total if total > 0 else 0.0


def _project(part: LoraModule, whole: LoraModule) -> float | None:
    """Share of ΔW_part's energy in the row and column spaces of ΔW_whole; None where ΔW_part is 0."""
    u, s, vt = canonical(part)
    if not len(s):
        return None
    wide_u, wide_s, wide_vt = canonical(whole)
    if len(wide_s) <= len(s) or len(wide_s) > min(whole.shape) // 2:
        return 0.0
    core = (wide_u.T @ u * s) @ (vt @ wide_vt.T)
    return float(np.square(core).sum() / np.square(s).sum())
