"""How two LoRA files are related, by their weights alone: copies, resizes, checkpoints of one run, merges.

Thresholds rest on published LoRAs of Stable Diffusion 1 and 2, ranks 1 and 4 (31 owners, 1,073 pairs of different
owners): |cos ΔW| of unrelated files is at most 0.0194 (99 % below 0.0106); neighbouring checkpoints of one run have
0.79 … 0.98, its most distant ones 0.49; longer or repeated runs of one owner from one seed have 0.28 … 0.71; re-keyed
copies 1.0000.  Other bases and ranks were not measured.  Similarity of `down` alone is no evidence of anything, since
trainers share seeds; it only tells a merge from a checkpoint where ΔW has shown that the files are related.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from auditor.limits import SAME_SOURCE, UNRELATED
from auditor.lora.algebra import canonical, common_paths, cosine, inner_product, norm, output_cosine, spectrum
from auditor.lora.hashes import read_artifact
from auditor.lora.reader import load_lora
from auditor.lora.resaved import precision_of
from auditor.lora.toil import NOT_COVERED
from auditor.lora.weights import Artifact, LoraModule, LoraWeights
from auditor.lora.whole import WholeModule

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
DERIVED: frozenset[Name] = frozenset({"same_file", "same_tensors", "same_update", "resized", "same_run", "merge"})
"""Relations in which the weights of the one come from the other, or both from one training."""

SAME_UPDATE = 0.999
SAME_RUN = 0.7
BY_MODULE = 0.98
"""Share of the energy in modules that are copies, from which the files are one update scaled module by module."""
CONTAINED = 0.6
"""Share of one LoRA's energy inside the other's row and column spaces from which it counts as part of a merge.  Chance
gives at most a quarter, since spans of more than half a layer are not counted; halves of a merge that was cut to two
thirds of their ranks keep 0.97 where spectra fall as trained ones do, and 0.7 where they are flat."""
SPECTRUM_MATCH = 0.02
"""Largest relative distance of a spectrum from the cut spectrum of the other for a resize."""
SUMMED_DOWN = 0.95
"""Cosine of the raw `down` factors below which related files of one rank are no checkpoints of one run: `down` keeps
above 0.99 of itself from checkpoint to checkpoint, while in a sum of two files it has about 0.7 of each."""
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
    apart = _nothing_of_one_kind(a, b)
    a, b = (a, b) if apart else _comparable_parts(a, b)
    figures = _figures(a, b)
    if sha_a and sha_a == sha_b:
        return Relation("same_file", figures, ("The files are the same, byte for byte (SHA-256).",))
    if tensor_a and tensor_a == tensor_b:
        return Relation("same_tensors", figures, ("Only the headers differ: the tensor sections have one SHA-256.",))
    if apart:
        return Relation("not_comparable", figures, (apart,))
    if not figures["norm_a"] or not figures["norm_b"]:
        which = [name for name in ("a", "b") if not figures[f"norm_{name}"]]
        return Relation("no_effect", figures, (f"The change of weights of {' and '.join(which)} is zero.",))
    if not figures["common_modules"]:
        return Relation("not_comparable", figures, ("No module is adapted by both in the same shape.",))
    name, reasons = _judge(a, b, figures)
    return Relation(name, figures, tuple(reasons))


def compare_files(a: str | os.PathLike[str], b: str | os.PathLike[str]) -> Relation:
    """The relation of two files.  Raises NotAuditable where one cannot be read."""
    return Known(a).against(Known(b))


class Known:
    """A file that others are compared with; read once."""

    artifact: Artifact
    weights: LoraWeights
    """With what it holds beside ΔW."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read it.  Raises NotAuditable where that cannot be done."""
        self.weights = load_lora(path, with_beside=True)  # first: what is no LoRA need not be hashed to be refused
        self.artifact = read_artifact(path)

    @classmethod
    def of(cls, artifact: Artifact, weights: LoraWeights) -> Known:
        """A file that was read already; weights: `with_beside`."""
        made = cls.__new__(cls)
        made.artifact, made.weights = artifact, weights
        return made

    def against(self, other: Known) -> Relation:
        """The relation of this file (a) and `other` (b)."""
        one, two = self.artifact, other.artifact
        found = compare(self.weights, other.weights, one.sha256, two.sha256, one.tensor_sha256, two.tensor_sha256)
        left = [
            f"Of {side}: {warning}"
            for side, known in (("a", self), ("b", other))
            for warning in known.weights.warnings
            if NOT_COVERED in warning
        ]
        return replace(found, reasons=(*found.reasons, *left))


def _nothing_of_one_kind(a: LoraWeights, b: LoraWeights) -> str:
    """Which file holds what, where one makes a ΔW and has nothing beside it, and the other makes none; else ''."""
    if bool(a.modules) == bool(b.modules) or (a.beside and b.beside):
        return ""
    full, bare = ("a", "b") if a.modules else ("b", "a")
    kinds = sorted({module.algorithm for module in (a if full == "b" else b).beside.values()})
    return (
        f"{full} holds changes of weights and nothing beside them, {bare} holds none and beside them "
        f"{' and '.join(kinds) or 'nothing'} alone: nothing in the two files is of one kind."
    )


def _comparable_parts(a: LoraWeights, b: LoraWeights) -> tuple[LoraWeights, LoraWeights]:
    """Both files; where one makes no ΔW at all, what they hold beside it takes its place in both."""
    if a.modules and b.modules:
        return a, b
    return _beside_alone(a), _beside_alone(b)


def _beside_alone(weights: LoraWeights) -> LoraWeights:
    """The file with its rotations, scalings, biases and norms in the place of its modules."""
    return LoraWeights(weights.beside, weights.dialect, weights.algorithms, weights.base_family)


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
    copied = _copied(a, b, figures) if figures["cos_delta_w_common"] else ""
    if copied:
        return "same_update", [f"{said}: {copied}.", *sign]
    if size <= UNRELATED:
        return "unrelated", [f"{said}: unrelated trainings have at most {UNRELATED}.", CALIBRATED_ON]
    if _is_resized(a, b, figures):
        return "resized", [f"{said}, and the spectrum of the one is the cut spectrum of the other.", *sign]
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
    return "unrelated", [
        f"{said}: more than any unrelated pair that was measured ({UNRELATED}) and less than any related one "
        f"({SAME_SOURCE}).",
        "The weights do not settle it; a remote merge or a small common part is possible.",
        CALIBRATED_ON,
    ]


def _copied(a: LoraWeights, b: LoraWeights, figures: dict[str, float]) -> str:
    """In what way the two are one change of weights, in words; '' when they are not."""
    if abs(figures["cos_delta_w"]) >= SAME_UPDATE:
        return "one change of weights, saved, named, factored or scaled anew"
    if abs(figures["cos_delta_w_common"]) < UNRELATED:
        return ""
    share = figures["copied_modules"] = _copied_share(a, b)
    left_out = ", and one of them adapts further layers" if figures["coverage"] < 1 else ""
    if abs(figures["cos_delta_w_common"]) >= SAME_UPDATE:
        return f"over the layers that both adapt they are one change of weights{left_out}"
    if share >= BY_MODULE:
        return f"module by module they are one change of weights, scaled by different factors{left_out}"
    precision = precision_of(a, b)
    if precision:
        return f"the one is the other, rounded to {precision}{left_out}"
    return ""


def _copied_share(a: LoraWeights, b: LoraWeights) -> float:
    """Least share, of the two, of the energy over common modules in those with |cos ΔW| ≥ `SAME_UPDATE`."""
    inside, total = np.zeros(2), np.zeros(2)
    for path in common_paths(a, b):
        one, two = a.modules[path], b.modules[path]
        energies = np.array([norm(one) ** 2, norm(two) ** 2])
        inner = abs(inner_product(one, two))
        total += energies
        inside += energies * (inner >= SAME_UPDATE * float(np.sqrt(energies.prod())) > 0)
    return float(np.min(inside / total)) if total.all() else 0.0


def _is_resized(a: LoraWeights, b: LoraWeights, figures: dict[str, float]) -> bool:
    """Whether the one is, module by module, the other cut to its largest singular values, up to one common factor."""
    small, large = sorted((a, b), key=lambda weights: sum(module.rank for module in weights.modules.values()))
    kept: list[float] = []
    whole: list[float] = []
    fewer, inner = 0, 0.0
    for path in common_paths(a, b):
        low = canonical(small.modules[path])[1]
        high = spectrum(large.modules[path])
        kept.extend(low)
        whole.extend(high[: len(low)])
        fewer += int(len(low) < np.count_nonzero(high > 1e-6 * high[0]))
        inner += inner_product(small.modules[path], large.modules[path])
    x, y = np.array(kept), np.array(whole)
    if not len(x) or len(x) != len(y) or not y.any():
        return False
    factor = float(x @ y / (y @ y))
    distance = float(np.linalg.norm(x - factor * y) / np.linalg.norm(x))
    figures["spectrum_distance"] = distance
    aligned = abs(inner) >= 0.95 * float(x @ y)
    return fewer > 0 and distance <= SPECTRUM_MATCH and aligned


def _merged(a: LoraWeights, b: LoraWeights, figures: dict[str, float]) -> str:
    """Which of the two holds the other as a summand, in words; '' for neither or where chance could do it."""
    figures["a_inside_b"] = _share_inside(a, b)
    figures["b_inside_a"] = _share_inside(b, a)
    if max(figures["a_inside_b"], figures["b_inside_a"]) >= CONTAINED:
        inner, outer = ("a", "b") if figures["a_inside_b"] >= figures["b_inside_a"] else ("b", "a")
        return f"{inner} lies whole inside the row and column spaces of {outer}, as a summand of a merge does"
    return _summed(a, b, figures)


def _summed(a: LoraWeights, b: LoraWeights, figures: dict[str, float]) -> str:
    """Whether the raw factors are those of a plain merge, which adds up `up` and `down` apart; in words, or ''."""
    found = [_raw_cosine(a, b, side) for side in ("up", "down")]
    if found[0] is None or found[1] is None:
        return ""
    figures["cos_up"], figures["cos_down"] = found[0], found[1]
    product = found[0] * found[1]
    if abs(figures["cos_delta_w"]) < SAME_SOURCE or abs(found[1]) > SUMMED_DOWN or abs(found[1]) < 0.3:
        return ""
    if abs(product - figures["cos_delta_w_common"]) > 0.1:
        return ""
    return "both raw factors move together, as in a merge that adds factors up and not as from checkpoint to checkpoint"


def _raw_cosine(a: LoraWeights, b: LoraWeights, side: Literal["up", "down"]) -> float | None:
    """Cosine of the raw factors of one side over the common modules; None where ranks differ or nothing is factored."""
    products = np.zeros(3)
    for path in common_paths(a, b):
        one, two = a.modules[path], b.modules[path]
        if isinstance(one, WholeModule) or isinstance(two, WholeModule) or one.rank != two.rank:
            return None
        x, y = _flat(one, side), _flat(two, side)
        products += float(x @ y), float(x @ x), float(y @ y)
    below = float(np.sqrt(products[1] * products[2]))
    return float(products[0]) / below if below > 0 else None


def _flat(module: LoraModule, side: Literal["up", "down"]) -> NDArray[np.float64]:
    """A raw factor of unit scale as one vector, so that every module counts alike."""
    values = np.asarray(module.up if side == "up" else module.down, np.float64).ravel()
    size = float(np.linalg.norm(values))
    return values / size if size > 0 else values


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
