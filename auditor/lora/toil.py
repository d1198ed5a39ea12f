"""How long the decomposition of a module would take, and which modules of a file are worth it.

A LoRA of usual rank costs time in proportion to its bytes.  A whole matrix, a Kronecker product of whole matrices that
was cut inside its blocks, or a rank in the thousands costs far more: a file of 30 MB could ask for minutes.  Such
modules share what one file may take, the cheapest first; the others are left out and counted in a warning.  Work is
counted in multiplications and not in seconds, so that the same file is covered the same everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from auditor.lora.weights import LoraModule
from auditor.lora.whole import KroneckerModule, WholeModule

MOST = 4e10
"""Multiplications that the dear modules of one file may take: about two seconds of one core."""
NOT_COVERED = "not covered"
"""How warnings say that a module was left out."""
USUAL_RANK = 512
"""Rank up to which a module is never dear; four times the highest that is common."""
MOST_NUMBERS = 2**25
"""Numbers of both factors of one module beyond which it is never decomposed: they and their copies take a gigabyte in
double precision.  The largest layer known, at rank 512, has half of that."""
WHOLE = 10.0
"""Multiplications of a dense singular value decomposition, in k² (m + n): measured as time beside those of `LOW`."""
LOW = 3.0
"""The same of a product of two factors."""


def affordable(modules: Mapping[str, LoraModule]) -> list[str]:
    """Paths, in the order of `modules`, of those that may be decomposed: dear ones cheapest first, up to `MOST`."""
    costs = {path: toil(module) for path, module in modules.items()}
    left, spent = set(), 0.0
    for path in sorted(costs, key=lambda path: (costs[path], path)):
        spent += costs[path]
        if spent > MOST:
            left.add(path)
    return [path for path in modules if path not in left]


def toil(module: LoraModule) -> float:
    """Multiplications that a module takes beyond what its bytes justify; 0 for LoRA of usual rank."""
    if isinstance(module, KroneckerModule) and module.factors is not None:
        return sum(_dense(*factor.shape) for factor in module.factors)
    if isinstance(module, WholeModule):
        return _dense(*module.shape)
    if module.held_numbers > MOST_NUMBERS:
        return math.inf
    short = min(module.rank, *module.shape)
    if module.rank <= USUAL_RANK and module.rank == short:
        return 0.0
    return LOW * module.rank * short * sum(module.shape)


def _dense(rows: int, columns: int) -> float:
    """Multiplications of the thin singular value decomposition of a dense matrix."""
    return WHOLE * min(rows, columns) ** 2 * (rows + columns)
