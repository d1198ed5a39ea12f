"""Whether one LoRA is another saved in a coarser number format: its factors are the other's, rounded.

An 8-bit re-save moves ΔW far enough to look like another checkpoint.  That its numbers are just those which rounding
gives, no further training brings about.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auditor.lora.algebra import common_paths
from auditor.lora.weights import LoraWeights
from auditor.lora.whole import WholeModule

Floats = NDArray[np.float32]
AGREE = 0.99
"""Least share of numbers that must be what rounding gives: ties are rounded in different ways."""
FORMATS: dict[str, tuple[int, int]] = {
    "half precision": (10, -14),
    "bfloat16": (7, -126),
    "8 bits (E4M3)": (3, -6),
    "8 bits (E5M2)": (2, -14),
}
"""Stored bits of the mantissa and the least exponent of a normal number."""


def precision_of(a: LoraWeights, b: LoraWeights) -> str:
    """The format, of `FORMATS`, to which the one was rounded to give the other; '' when neither was."""
    for fine, coarse in ((a, b), (b, a)):
        for name, (bits, least) in FORMATS.items():
            if _is_rounded(fine, coarse, bits, least):
                return name
    return ""


def _is_rounded(fine: LoraWeights, coarse: LoraWeights, bits: int, least: int) -> bool:
    """Whether the factors of `coarse` are those of `fine`, rounded, in nearly every number of every module."""
    same = total = 0
    for path in common_paths(fine, coarse):
        one, two = fine.modules[path], coarse.modules[path]
        if isinstance(one, WholeModule) or isinstance(two, WholeModule) or one.rank != two.rank:
            return False
        for x, y in ((one.up, two.up), (one.down, two.down)):
            same += int(np.count_nonzero(rounded(x, bits, least) == y))
            total += y.size
        if same < AGREE * total:
            return False
    return total > 0


def rounded(values: Floats, bits: int, least: int) -> Floats:
    """`values` in a format with `bits` stored bits of mantissa and normal numbers from 2^least on, ties to even."""
    _, exponent = np.frexp(values)
    step = np.ldexp(np.float64(1.0), np.maximum(exponent - 1, least) - bits)
    return np.asarray(np.rint(values / step) * step, np.float32)
