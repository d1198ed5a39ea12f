"""The adapters of a gang: A and B of all members in one flat leaf, and their batched products in the base's layers.

A layer's input holds the members' rows one member after the other along the batch axis; linear layers and convolutions
of any model are covered.  Members may differ in rank: shorter factors are padded with zeros, and a zero row of A
beside a zero column of B has no gradient, so the padding stays zero under every optimiser here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from auditor.training.families import Base
from auditor.training.recipes import Recipe

Pairs = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""path → (A (members, rank, in), B (members, out, rank)); in = channels · height · width of a convolution."""
Update = dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
"""path → (A (rank, in) or (rank, channels, height, width), B (out, rank) or (out, rank, 1, 1)) of one LoRA."""
Adaptable = torch.nn.Linear | torch.nn.Conv2d


@dataclass(frozen=True)
class Starting:
    """What decides a member's initial factors."""

    seed: int
    recipe: Recipe


def target_modules(base: Base, targets: str) -> dict[str, Adaptable]:
    """The layers of the base's model that `targets` names (words joined by '+'), by dotted path, in module order."""
    words = [word for word in targets.split("+") if word in base.targets]
    endings = {word: base.targets[word] for word in words}
    found: dict[str, Adaptable] = {}
    for name, module in base.model.named_modules():
        if isinstance(module, Adaptable) and any(_named(name, word, endings[word], base.within) for word in words):
            found[name] = module
    return found


def _named(name: str, word: str, endings: tuple[str, ...], within: tuple[str, ...]) -> bool:
    """Whether a module's path is one that a target word means."""
    inside = word == "conv" or any(part in name for part in within)
    return inside and name.endswith(endings)


def sizes(module: Adaptable) -> tuple[int, int]:
    """(in, out) of a layer as a matrix."""
    return math.prod(module.weight.shape[1:]), module.weight.shape[0]


class Factors:
    """All A and B of a gang as views of one flat leaf (members, parameters): an optimiser is a few calls."""

    def __init__(self, modules: dict[str, Adaptable], members: Sequence[Starting], base: Base) -> None:
        """Each member's A from its own seed and recipe, at its own rank; B zero; on the base's device."""
        self.modules, self.ranks = modules, [member.recipe.rank for member in members]
        self.rank = max(self.ranks)
        self.shapes = [s for m in modules.values() for s in ((self.rank, sizes(m)[0]), (sizes(m)[1], self.rank))]
        self.flat = torch.stack([self._row(member) for member in members]).to(base.device, base.exact).requires_grad_()

    def _row(self, member: Starting) -> torch.Tensor:
        """One member's initial factors, flat."""
        generator, recipe = torch.Generator().manual_seed(member.seed), member.recipe
        parts = []
        for a_shape, b_shape in zip(self.shapes[::2], self.shapes[1::2], strict=True):
            a = initial_a((recipe.rank, a_shape[1]), recipe.initial, generator)
            parts += [F.pad(a, (0, 0, 0, self.rank - recipe.rank)).flatten(), torch.zeros(math.prod(b_shape))]
        return torch.cat(parts)

    def split(self, dtype: torch.dtype | None = None) -> Pairs:
        """Differentiable views, in `dtype` or as they are."""
        pieces = torch.split(self.flat.to(dtype or self.flat.dtype), [math.prod(s) for s in self.shapes], dim=1)
        shaped = [p.view(-1, *s) for p, s in zip(pieces, self.shapes, strict=True)]
        return dict(zip(self.modules, zip(shaped[::2], shaped[1::2], strict=True), strict=True))

    def updates(self) -> list[Update]:
        """Every member's factors at its own rank, convolutions in their own shape, on the CPU."""
        final = {path: (a.detach().cpu().numpy(), b.detach().cpu().numpy()) for path, (a, b) in self.split().items()}
        return [
            {path: self._shaped(path, a[i, :rank], b[i, :, :rank]) for path, (a, b) in final.items()}
            for i, rank in enumerate(self.ranks)
        ]

    def _shaped(
        self, path: str, a: NDArray[np.float32], b: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Copies of one member's A and B, with the axes of a convolution where the layer is one."""
        weight = self.modules[path].weight
        if weight.ndim == 2:
            return a.copy(), b.copy()
        return a.reshape(len(a), *weight.shape[1:]).copy(), b.reshape(*b.shape, 1, 1).copy()


def initial_a(shape: tuple[int, int], kind: str, generator: torch.Generator) -> torch.Tensor:
    """Initial A (rank, in) as the trainers draw it; see `Recipe.initial`."""
    if kind == "gaussian":
        return torch.randn(shape, generator=generator) / shape[0]
    return (torch.rand(shape, generator=generator) * 2 - 1) / math.sqrt(shape[1])


class AdaptedLinear(torch.autograd.Function):
    """x Wᵀ + b + scale · B A x of every member: (members · n, …, in) → (members · n, …, out), W and b frozen.

    What autograd makes of the three products goes over each layer's output and gradient several times more, to copy and
    to add; here a product is added to what lies there.
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scales: torch.Tensor,
    ) -> torch.Tensor:
        """a (members, rank, in), b (members, out, rank), scales (members, 1, 1); all of one type and device."""
        rows = inputs.reshape(len(a), -1, a.shape[2])
        low = torch.bmm(rows, a.transpose(1, 2)).mul_(scales)
        output = F.linear(rows, weight, bias).baddbmm_(low, b.transpose(1, 2))
        ctx.save_for_backward(rows, weight, a, b, low, scales)
        return output.view(*inputs.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of the input (where it has one), A and B."""
        rows, weight, a, b, low, scales = ctx.saved_tensors
        (gradient,) = gradients
        above = gradient.reshape(len(a), -1, b.shape[1])
        middle = torch.bmm(above, b).mul_(scales)
        of_a, of_b = torch.bmm(middle.transpose(1, 2), rows), torch.bmm(above.transpose(1, 2), low)
        if not ctx.needs_input_grad[0]:
            return None, None, None, of_a, of_b, None
        below = torch.matmul(above, weight).baddbmm_(middle, a)
        return below.view(*gradient.shape[:-1], -1), None, None, of_a, of_b, None


def convolved_low(inputs: torch.Tensor, a: torch.Tensor, layer: torch.nn.Conv2d) -> torch.Tensor:
    """A * x of every member by one grouped convolution: (members, n, rank, h, w) from (members · n, c, H, W)."""
    members, rank = a.shape[:2]
    stacked = inputs.view(members, -1, *inputs.shape[1:]).transpose(0, 1).flatten(1, 2)
    # In the layout of the base's own, or a compiled gang of one expects its gradient in another than it gets.
    weight = a.reshape(members * rank, *layer.weight.shape[1:]).contiguous(memory_format=torch.channels_last)
    low = F.conv2d(stacked, weight, None, layer.stride, layer.padding, layer.dilation, members)
    return low.view(len(stacked), members, rank, *low.shape[2:]).transpose(0, 1)


@contextmanager
def adapted(modules: dict[str, Adaptable], scales: torch.Tensor) -> Iterator[Pairs]:
    """While open, each layer adds scale · B A x of the member that a batch row belongs to.

    scales: alpha / rank of each member (members,), of the factors' type.  The caller puts the current factors into the
    yielded dict.
    """
    current: Pairs = {}
    scales = scales.view(-1, 1, 1)

    def linear(name: str, layer: torch.nn.Linear) -> Callable[[torch.Tensor], torch.Tensor]:
        def forward(inputs: torch.Tensor) -> torch.Tensor:
            a, b = current[name]
            return AdaptedLinear.apply(inputs.to(a.dtype), layer.weight, layer.bias, a, b, scales)  # type: ignore[no-any-return]

        return forward

    def convolution(name: str, layer: torch.nn.Conv2d) -> Callable[[torch.Tensor], torch.Tensor]:
        plain = layer.forward

        def forward(inputs: torch.Tensor) -> torch.Tensor:
            a, b = current[name]
            low = convolved_low(inputs.to(a.dtype), a, layer) * scales[..., None, None]
            members, n, _rank, height, width = low.shape
            high = torch.einsum("mnrx,mor->mnox", low.flatten(3), b)
            output = plain(inputs)
            return output + high.reshape(members * n, -1, height, width).to(output.dtype)

        return forward

    for name, module in modules.items():
        # On the instance, in front of the class's own: a hook would come too late to add where the layer writes.
        own = linear(name, module) if isinstance(module, torch.nn.Linear) else convolution(name, module)
        vars(module)["forward"] = own
    try:
        yield current
    finally:
        for module in modules.values():
            del vars(module)["forward"]
