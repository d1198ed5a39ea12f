"""What a file holds beside ΔW, as matrices: rotations and scalings of the base's weights, biases, norms.

None of it is a change of weights that could be known without the base, so none of it is evidence of style.  It is read
for `compare` alone: two files that share it are related whatever the base.  Formulas: lycoris/functional/diag_oft.py,
lycoris/modules/{boft,ia3,glora,norms}.py, peft/tuners/{oft,boft,ia3}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from auditor.lora.algorithms import Fault, old_glora
from auditor.lora.weights import LoraModule
from auditor.lora.whole import WholeModule

Array = NDArray[np.float32]
MAX_BLOCK = 1024
"""Largest rotation block that is inverted; larger ones are compared by their generators."""


def beside(path: str, tensors: Mapping[str, Array], fault: Fault) -> Iterator[LoraModule]:
    """The parts of one module that make no ΔW, each under ``path (what it is)``.

    tensors: by role; `fault` names one that does not fit.
    """
    for role, build in _BUILDERS.items():
        if role in tensors:
            matrix = build(tensors, fault)
            flat = np.ascontiguousarray(matrix.reshape(matrix.shape[0], -1), np.float32)
            yield WholeModule(f"{path} ({_MEANING[role]})", (flat,), 1.0, "none", _MEANING[role], 0)


def _rotation(tensors: Mapping[str, Array], fault: Fault) -> Array:
    """R - I of every block, stacked: R the Cayley transform of Q = B - Bᵀ, its norm held to alpha · out as in training.

    Blocks (k, n, n) for Diag-OFT, (m, k, n, n) for BOFT.
    """
    blocks = tensors["oft_blocks"]
    if blocks.ndim < 3 or blocks.shape[-1] != blocks.shape[-2] or blocks.size == 0:
        raise fault("oft_blocks", f"has the shape {list(blocks.shape)}, which is no stack of square blocks")
    n = blocks.shape[-1]
    skew = blocks.reshape(-1, n, n).astype(np.float64)
    skew = skew - skew.transpose(0, 2, 1)
    if n > MAX_BLOCK:
        return skew.reshape(-1, n).astype(np.float32)
    if "alpha" in tensors and tensors["alpha"].size == 1 and blocks.ndim == 3:
        limit = float(tensors["alpha"].reshape(-1)[0]) * blocks.shape[0] * n
        size = float(np.linalg.norm(skew)) + 1e-8
        if 0 < limit < size:
            skew = skew * (limit / size)
    eye = np.eye(n)
    turned = np.stack([(eye + q) @ np.linalg.inv(eye - q) - eye for q in skew])
    return turned.reshape(-1, n).astype(np.float32)


def _column(role: str, less: float = 0.0) -> Callable[[Mapping[str, Array], Fault], Array]:
    """A builder that takes tensor `role`, less what it is without any training, as one column."""

    def build(tensors: Mapping[str, Array], fault: Fault) -> Array:
        if tensors[role].size == 0:
            raise fault(role, "is empty")
        return tensors[role].reshape(-1, 1) - np.float32(less)

    return build


def _input_half(tensors: Mapping[str, Array], fault: Fault) -> Array:
    """a₁ a₂ of GLoRA (a₂ a₁ in files of old LyCORIS), which multiplies the base's weights from the right."""
    one, two = tensors["glora_a1"], tensors.get("glora_a2")
    if two is None or min(one.ndim, two.ndim) < 2 or 0 in (one.size, two.size):
        raise fault("glora_a1", "has no partner of two dimensions")
    left, right = (two, one) if old_glora(one.shape, two.shape) else (one, two)
    if left.shape[1] != right.shape[0]:
        raise fault("glora_a1", f"has the shape {list(one.shape)}, which does not fit its partner's {list(two.shape)}")
    if left.shape[0] > 2**13 or right.reshape(right.shape[0], -1).shape[1] > 2**13:
        raise fault("glora_a1", "makes a matrix too large to build")
    return left.reshape(left.shape[0], -1) @ right.reshape(right.shape[0], -1)


_BUILDERS: dict[str, Callable[[Mapping[str, Array], Fault], Array]] = {
    "beside:oft_blocks": lambda t, f: _rotation({k.removeprefix("beside:"): v for k, v in t.items()}, f),
    "beside:rescale": _column("beside:rescale", 1.0),
    "beside:oft_R": _column("beside:oft_R"),
    "beside:oft_r": _column("beside:oft_r"),
    "beside:boft_R": _column("beside:boft_R"),
    "beside:boft_s": _column("beside:boft_s", 1.0),
    "beside:whole": _column("beside:whole"),
    "beside:ia3": _column("beside:ia3", 1.0),
    "glora_a1": _input_half,
    "beside:norm": _column("beside:norm"),
    "beside:bias": _column("beside:bias"),
}
_MEANING = {
    "beside:oft_blocks": "rotation", "beside:rescale": "rescaling", "beside:oft_R": "rotation",
    "beside:oft_r": "rotation", "beside:boft_R": "rotation", "beside:boft_s": "rescaling", "beside:whole": "scaling",
    "beside:ia3": "scaling", "glora_a1": "input half", "beside:norm": "norm", "beside:bias": "bias",
}  # fmt: skip
