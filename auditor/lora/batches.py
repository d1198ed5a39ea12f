"""The singular value decompositions of many modules at once, as small turns of their factors.

In:  modules ΔW = scale · up @ down.  Out: `Turns` with (up @ left) @ (right @ down) = ΔW, in which the long sides never
appear.  Layers of one shape are worked on together, as much at a time as a processor's cache holds: a file of rank 4 is
a thousand tiny matrices, and calls cost more than numbers there.  float64; the same as `algebra.canonical` up to signs
and rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from auditor.lora.algebra import TRUNCATION, Array, thin_qr
from auditor.lora.weights import LoraModule
from auditor.lora.whole import WholeModule

Made = TypeVar("Made")
BATCH = 2**17
"""Numbers of one side's factors that are worked on together; 1 MiB."""
WELL_CONDITIONED = 1e3
"""Squared norm, per rank, of the inverse of a Cholesky factor up to which one round leaves no more than some 1e-13 of
error; a second round repairs more."""
REPAIRABLE = 1e-3
"""Distance from the identity of the second round's factor beyond which the first was too inaccurate to repair."""


@dataclass(frozen=True)
class Turns:
    """ΔW = (up @ left) @ (right @ down) with left (r, k), right (k, r) and singular values (k,), descending.

    up @ left has orthogonal columns of these lengths, right @ down orthonormal rows.
    """

    left: Array
    right: Array
    singular: Array


def turns(modules: Sequence[LoraModule]) -> list[Turns | None]:
    """One for each module, in order; None for whole matrices, whose decomposition is another."""
    return in_batches(modules, lambda module: not isinstance(module, WholeModule), _turns_alike)


def in_batches(
    modules: Sequence[LoraModule],
    suits: Callable[[LoraModule], bool],
    work: Callable[[list[LoraModule]], Sequence[Made | None]],
) -> list[Made | None]:
    """What `work` makes of each module that `suits`, in order, None for the others.

    `work` is given modules of one rank and shape, as many at a time as make `BATCH` numbers.
    """
    found: list[Made | None] = [None] * len(modules)
    groups: dict[tuple[int, int, int], list[int]] = {}
    for number, module in enumerate(modules):
        if suits(module):
            groups.setdefault((module.rank, *module.shape), []).append(number)
    for (rank, out, across), members in groups.items():
        step = max(1, BATCH // (rank * max(out, across)))
        for begin in range(0, len(members), step):
            part = members[begin : begin + step]
            for number, made in zip(part, work([modules[n] for n in part]), strict=True):
                found[number] = made
    return found


def _turns_alike(modules: Sequence[LoraModule]) -> list[Turns]:
    """`turns` of modules of one shape and rank; where one fails, the others are tried without it."""
    (out, across), rank = modules[0].shape, modules[0].rank
    if rank > min(out, across):
        return [_turns_apart(module) for module in modules]
    up, down = np.empty((len(modules), out, rank)), np.empty((len(modules), rank, across))
    for number, module in enumerate(modules):
        up[number], down[number] = module.up, module.down
    left, right = _whitened(up.transpose(0, 2, 1)), _whitened(down)
    if left is None or right is None:
        half = len(modules) // 2
        return [*_turns_alike(modules[:half]), *_turns_alike(modules[half:])] if half else [_turns_apart(modules[0])]
    scale = np.array([module.scale for module in modules])[:, None, None]
    u, s, vt = np.linalg.svd(scale * (left[1].transpose(0, 2, 1) @ right[1]))
    lefts, rights = left[0].transpose(0, 2, 1) @ (u * s[:, None, :]), vt @ right[0]
    kept = np.where(s[:, 0] > 0, (s > TRUNCATION * s[:, :1]).sum(1), 0)
    return [
        Turns(one[:, :count], two[:count], values[:count])
        for one, two, values, count in zip(lefts, rights, s, kept.tolist(), strict=True)
    ]


def _turns_apart(module: LoraModule) -> Turns:
    """`turns` of one module whose columns are dependent: more of them than a side, some zero, or nearly the same.

    With up = Q R and downᵀ = P T, and u, s, vᵀ of the core scale · R Tᵀ: up @ (scale · Tᵀ v) = Q u s = U S, and
    (scale · uᵀ R / s) @ down = vᵀ Pᵀ = Vᵀ, whatever the rank of R and T.
    """
    (_, left), (_, right) = thin_qr(module.up), thin_qr(module.down.T)
    u, s, vt = np.linalg.svd(module.scale * (left @ right.T), full_matrices=False)
    keep = s > TRUNCATION * s[0] if s[0] > 0 else np.zeros(len(s), bool)
    turned = module.scale * right.T @ vt[keep].T
    return Turns(turned, module.scale * (u[:, keep].T @ left) / s[keep, None], s[keep])


def _whitened(rows: Array) -> tuple[Array, Array] | None:
    """(white, root), both (n, r, r), for rows (n, r, d): white @ rows is orthonormal and root @ white the identity.

    Cholesky QR on rows of unit length, a second time where the first leaves an error (Yamamoto et al. 2015); None where
    that does not help.
    """
    gram = rows @ rows.transpose(0, 2, 1)
    norms = np.sqrt(np.einsum("nii->ni", gram))
    if not norms.all():
        return None
    try:
        lower = np.linalg.cholesky(gram / (norms[:, :, None] * norms[:, None, :]))
        inverse = np.linalg.inv(lower)
        white, root = inverse / norms[:, None, :], norms[:, :, None] * lower
        poor = np.einsum("nij,nij->n", inverse, inverse) > WELL_CONDITIONED * rows.shape[1]
        if poor.any():
            nearly = white[poor] @ rows[poor]
            lower = np.linalg.cholesky(nearly @ nearly.transpose(0, 2, 1))
            if not np.abs(lower - np.eye(rows.shape[1])).max() < REPAIRABLE:
                return None
            white[poor], root[poor] = np.linalg.inv(lower) @ white[poor], root[poor] @ lower
    except np.linalg.LinAlgError:
        return None
    return white, root
