"""Every algorithm whose ΔW needs no base weights, rewritten as ΔW = scale · up @ down.

In:  the tensors of one module by role.  Out: `LoraModule`, exact up to float32.  Formulas follow the LyCORIS reference
(lycoris/functional) and PEFT; the rewritings keep ΔW:

    LoCon with a core   up (mid · down)                            rank unchanged
    LoHa                (B₁A₁) ∘ (B₂A₂) = rows of B₁⊗B₂ times rows of A₁⊗A₂    rank r²
    LoKr                W₁ ⊗ W₂ = (B₁⊗B₂)(A₁⊗A₂)                  rank r₁ r₂, or kept as W₁, W₂ where that is full
    full difference     ΔW · 1
    GLoRA               W a₁a₂ + b₁b₂: the second half            rank r
    AdaLoRA             B diag(E) A                               rank unchanged
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auditor.errors import MalformedFile
from auditor.lora.weights import LoraModule, Matrix
from auditor.lora.whole import KroneckerModule, WholeModule

MAX_ELEMENTS = 2**25
"""Most numbers of one rewritten module's factors, or of the dense form that is made of it for a moment; 128 MiB."""

MAX_REWRITTEN = 2**27
"""Most numbers that all rewritten modules of a file may hold together; 512 MiB."""

MAX_FOLDING = 2**35
"""Most multiplications that taking one core into its factor may need; no trained core needs a hundredth of it."""

Tensors = Mapping[str, NDArray[np.float32]]
Fault = Callable[[str, str], MalformedFile]
"""(role, what is wrong) → the error that names the file and the tensor."""


class TooLarge(Exception):
    """The module is well-formed, but its rewriting would not fit in memory."""


@dataclass(frozen=True)
class Scaling:
    """What a configuration beside the weights says about a module's scale."""

    alpha: float | None = None
    rslora: bool = False
    rank: int | None = None
    """Declared rank; counts where the tensors do not show it (a Kronecker product of whole matrices)."""
    peft: bool = False
    """Whether PEFT wrote the file, which scales a Kronecker product of whole matrices too."""


def build_module(path: str, tensors: Tensors, scaling: Scaling, fault: Fault) -> LoraModule | None:
    """The module, or None when `tensors` hold nothing that makes a ΔW.

    Raises MalformedFile (through `fault`) for missing partners, shapes that do not fit, a rank of 0, or a module given
    in two ways, of which some programs apply one, some the other and some both; and TooLarge.
    """
    given = {build: role for first, build in BUILDERS for role in tensors if role.startswith(first)}
    if len(given) > 1:
        one, other, *_ = sorted(given.values())
        raise fault(other, f"gives its module a second time, beside {one}; programs differ in which of them they apply")
    return next((build(path, tensors, scaling, fault) for build in given), None)


def _lora(path: str, tensors: Tensors, scaling: Scaling, fault: Fault) -> LoraModule:
    """LoRA, LoCon (kernels flattened, optional core `mid`) and the direction part of DoRA."""
    down, up = _need(tensors, "down", fault), _need(tensors, "up", fault)
    for role, array in (("down", down), ("up", up)):
        if array.ndim < 2 or array.size == 0:
            raise fault(role, f"has the shape {list(array.shape)}, which is no factor of a matrix")
    if math.prod(up.shape[2:]) != 1:
        raise fault("up", f"has the shape {list(up.shape)}; only its first two sizes may differ from 1")
    convolution = down.ndim > 2 and math.prod(down.shape[2:]) > 1
    left = up.reshape(up.shape[0], -1)
    if "middle" in tensors:
        return _adalora(path, tensors, scaling, fault)
    if "mid" in tensors:
        mid = tensors["mid"]
        if mid.ndim < 3 or math.prod(down.shape[2:]) != 1 or mid.shape[:2] != (left.shape[1], down.shape[0]):
            raise fault("mid", f"has the shape {list(mid.shape)}, which fits neither side")
        down, convolution = _fold(mid, down.reshape(down.shape[0], -1)), True
    right = down.reshape(down.shape[0], -1)
    if left.shape[1] != right.shape[0]:
        raise fault("up", f"has rank {left.shape[1]} while its partner has rank {right.shape[0]}")
    scale, source = _scale(tensors, right.shape[0], scaling, fault)
    name = "dora" if "dora" in tensors else "locon" if convolution else "lora"
    return LoraModule(path, _own(left), _own(right), scale, source, name, int(right.shape[0]))


def _adalora(path: str, tensors: Tensors, scaling: Scaling, fault: Fault) -> LoraModule:
    """AdaLoRA: B diag(E) A · alpha / (number of ranks kept), as PEFT computes it."""
    down, up, middle = tensors["down"], tensors["up"], tensors["middle"].reshape(-1)
    if down.ndim != 2 or up.ndim != 2 or not len(middle) == down.shape[0] == up.shape[1]:
        raise fault("middle", f"has {len(middle)} numbers, which fit neither side")
    kept = float(tensors["ranknum"].reshape(-1)[0]) if "ranknum" in tensors and tensors["ranknum"].size else len(middle)
    alpha = float(len(middle)) if scaling.alpha is None else scaling.alpha
    scale = alpha / (kept + 1e-5) if kept > 0 else 0.0
    source = "none" if scaling.alpha is None else "config"
    return LoraModule(path, _own(up), _own(down * middle[:, None]), scale, source, "lora", len(middle))


def _glora(path: str, tensors: Tensors, scaling: Scaling, fault: Fault) -> LoraModule:
    """The half of GLoRA that needs no base weights: b₁ b₂, or b₂ b₁ in files of old LyCORIS."""
    one, two = (_need(tensors, f"glora_b{n}", fault) for n in "12")
    if min(one.ndim, two.ndim) < 2 or 0 in (one.size, two.size):
        raise fault("glora_b1", "and its partner are no matrices")
    left, right = (two, one) if old_glora(one.shape, two.shape) else (one, two)
    left, right = left.reshape(left.shape[0], -1), right.reshape(right.shape[0], -1)
    if left.shape[1] != right.shape[0]:
        raise fault("glora_b1", f"has the shape {list(one.shape)}, which does not fit its partner's {list(two.shape)}")
    scale, source = _scale(tensors, right.shape[0], scaling, fault)
    return LoraModule(path, _own(left), _own(right), scale, source, "glora", int(right.shape[0]))


def old_glora(one: tuple[int, ...], two: tuple[int, ...]) -> bool:
    """Whether a half of GLoRA is stored as old LyCORIS did, as the factors of two · one, by the shapes of the two.

    In a square layer both orders fit, and only the right one makes the rank the smaller side.  Raises IndexError for
    shapes of less than two dimensions.
    """
    new, old = one[1] == two[0], one[0] == two[1]
    return old and (not new or one[0] < one[1])


def _loha(path: str, tensors: Tensors, scaling: Scaling, fault: Fault) -> LoraModule:
    """LoHa: the entrywise product of two low-rank matrices, as one factorisation of rank r₁ r₂."""
    pairs = []
    for half in ("1", "2"):
        left, right = (_need(tensors, f"hada_w{half}_{side}", fault) for side in "ab")
        core = tensors.get(f"hada_t{half}")
        pairs.append(_hada_pair(left, right, core, half, fault))
    (left1, right1), (left2, right2) = pairs
    if left1.shape[0] != left2.shape[0] or right1.shape[1] != right2.shape[1]:
        raise fault("hada_w2_a", "makes a matrix of another shape than its partner hada_w1")
    rank = int(left1.shape[1])
    out, across = left1.shape[0], right1.shape[1]
    scale, source = _scale(tensors, rank, scaling, fault)
    if rank * left2.shape[1] * (out + across) >= out * across:
        _check_size(out * across)
        return WholeModule(path, (_own((left1 @ right1) * (left2 @ right2)),), scale, source, "loha", rank)
    up = np.einsum("oa,ob->oab", left1, left2).reshape(out, -1)
    down = np.einsum("ai,bi->abi", right1, right2).reshape(-1, across)
    return _rewritten(path, up, down, (scale, source), "loha", rank)


def _hada_pair(
    left: Matrix, right: Matrix, core: NDArray[np.float32] | None, half: str, fault: Fault
) -> tuple[Matrix, Matrix]:
    """One of LoHa's two matrices as (out, r) and (r, in·kernel); with a core, w_a is (r, out) and w_b (r, in)."""
    if left.ndim != 2 or right.ndim != 2 or 0 in (*left.shape, *right.shape):
        raise fault(f"hada_w{half}_a", "and its partner are no matrices")
    if core is None:
        if left.shape[1] != right.shape[0]:
            raise fault(f"hada_w{half}_a", f"has rank {left.shape[1]} while its partner has rank {right.shape[0]}")
        return left, right
    if core.ndim < 3 or core.shape[:2] != (left.shape[0], right.shape[0]):
        raise fault(f"hada_t{half}", f"has the shape {list(core.shape)}, which fits neither side")
    return left.T, _fold(core, right)


def _lokr(path: str, tensors: Tensors, scaling: Scaling, fault: Fault) -> LoraModule:
    """LoKr: a Kronecker product of two matrices, each whole or factored, as one factorisation."""
    left1, right1, rank1 = _lokr_side(tensors, "1", fault)
    left2, right2, rank2 = _lokr_side(tensors, "2", fault)
    out, across = left1.shape[0] * left2.shape[0], right1.shape[1] * right2.shape[1]
    rank = left1.shape[1] * left2.shape[1]
    declared = rank2 or rank1 or ((scaling.rank or 0) if scaling.peft else 0)
    scale, source = _scale(tensors, declared, scaling, fault) if declared else (1.0, "none")
    if rank * (out + across) >= out * across:
        _check_size(out * across // 2)
        factors = (_own(left1 @ right1), _own(left2 @ right2))
        return KroneckerModule(path, factors, scale, source, "lokr", declared or min(out, across))
    up, down = np.kron(left1, left2), np.kron(right1, right2)
    return _rewritten(path, up, down, (scale, source), "lokr", declared or rank)


def _lokr_side(tensors: Tensors, half: str, fault: Fault) -> tuple[Matrix, Matrix, int]:
    """W₁ or W₂ as (left, right, rank); rank 0 when the file stores the matrix whole."""
    name = f"lokr_w{half}"
    if name in tensors:
        whole = tensors[name]
        if whole.ndim < 2 or whole.size == 0:
            raise fault(name, f"has the shape {list(whole.shape)}, which is no matrix")
        left, right = _split_dense(whole.reshape(whole.shape[0], -1))
        return left, right, 0
    left, right = _need(tensors, f"{name}_a", fault), _need(tensors, f"{name}_b", fault)
    if left.ndim != 2 or right.ndim < 2 or left.size == 0 or right.size == 0:
        raise fault(f"{name}_a", "and its partner are no matrices")
    core = tensors.get(f"lokr_t{half}")
    if core is not None:
        if core.ndim < 3 or right.ndim != 2 or core.shape[:2] != (left.shape[0], right.shape[0]):
            raise fault(f"lokr_t{half}", f"has the shape {list(core.shape)}, which fits neither side")
        return left.T, _fold(core, right), int(right.shape[0])
    right = right.reshape(right.shape[0], -1)
    if left.shape[1] != right.shape[0]:
        raise fault(f"{name}_a", f"has rank {left.shape[1]} while its partner has rank {right.shape[0]}")
    return left, right, int(right.shape[0])


def _full(path: str, tensors: Tensors, scaling: Scaling, fault: Fault) -> LoraModule:
    """A full difference; its scale is 1 by convention."""
    diff = tensors["diff"]
    if diff.ndim < 2 or diff.size == 0:
        raise fault("diff", f"has the shape {list(diff.shape)}, which is no matrix")
    matrix = diff.reshape(diff.shape[0], -1)
    _check_size(matrix.size)
    return WholeModule(path, (_own(matrix),), 1.0, "none", "full", min(matrix.shape))


BUILDERS = (
    ("down", _lora),
    ("up", _lora),
    ("hada", _loha),
    ("lokr", _lokr),
    ("diff", _full),
    ("glora_b1", _glora),
    ("glora_b2", _glora),
)
"""How roles begin that make a ΔW, and what makes it of them."""


def _rewritten(
    path: str, up: NDArray[np.float32], down: NDArray[np.float32], scale: tuple[float, str], algorithm: str, rank: int
) -> LoraModule:
    """A module in up @ down form, after the last check of its size."""
    _check_size(up.size + down.size)
    return LoraModule(path, _own(up), _own(down), *scale, algorithm, rank)


def _fold(core: NDArray[np.float32], right: Matrix) -> Matrix:
    """Σⱼ core[i, j, …] right[j, x] → (i, x·kernel): the core of a Tucker decomposition taken into the right factor."""
    _check_size(core.shape[0] * right.shape[1] * math.prod(core.shape[2:]))
    work = core.size * right.shape[1]
    if work > MAX_FOLDING:
        raise TooLarge
    flat = core.reshape(*core.shape[:2], -1)
    folded: Matrix = np.einsum("ijk,jx->ixk", flat, right, optimize=work > 2**30).reshape(core.shape[0], -1)
    return folded


def _split_dense(matrix: NDArray[np.float32]) -> tuple[Matrix, Matrix]:
    """(up, down) with up @ down = matrix, one of them the identity of the smaller side."""
    out, across = matrix.shape
    if out <= across:
        return np.eye(out, dtype=np.float32), matrix
    return matrix, np.eye(across, dtype=np.float32)


def _check_size(elements: int) -> None:
    """Raise TooLarge above `MAX_ELEMENTS`."""
    if elements > MAX_ELEMENTS:
        raise TooLarge


def _own(array: NDArray[np.float32]) -> Matrix:
    """A contiguous, read-only float32 array."""
    made = np.ascontiguousarray(array, np.float32)
    made.flags.writeable = False
    return made


def _need(tensors: Tensors, role: str, fault: Fault) -> NDArray[np.float32]:
    """Tensor `role`, or the error that its partner stands alone."""
    if role not in tensors:
        raise fault(next(iter(tensors)), f"has no partner '{role}' in the same module")
    return tensors[role]


def _scale(tensors: Tensors, rank: int, scaling: Scaling, fault: Fault) -> tuple[float, str]:
    """(scale, its source): a stored scale, else alpha / rank (alpha / √rank for rank-stabilised LoRA), else 1."""
    for role in ("scale", "alpha"):
        if role in tensors:
            array = tensors[role]
            if array.size != 1:
                raise fault(role, f"has the shape {list(array.shape)} and should be one number")
            value = float(array.reshape(-1)[0])
            return (value, "scale") if role == "scale" else (value / rank, "alpha")
    if scaling.alpha is None:
        return 1.0, "none"
    if scaling.rslora:
        return scaling.alpha / math.sqrt(rank), "rslora"
    return scaling.alpha / rank, "config"
