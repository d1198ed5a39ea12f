"""Gang training: several LoRAs of one recipe share each pass through the frozen UNet.

Every member has its own seed, pictures, initial A and optimiser state, and ends with the weights that it would have
had if trained alone (up to the order of floating-point sums).  The low-rank products of all members are batched
matrix products; the members' batches are stacked along the batch axis, member by member.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel

from auditor.errors import TrainingError
from auditor.training.recipes import Recipe

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
FEED_FORWARD = ("ff.net.0.proj", "ff.net.2")
WHOLE = {"random": 0.0, "mixed": 1 / 3, "whole": 1.0}  # share of whole pictures; the rest are crops
Pairs = dict[str, tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Member:
    """One LoRA to be trained.

    latents: float32 (n, crops, 2·channels, h, w), mean and log-variance; states: float32 (n, tokens, width).
    """

    name: str
    seed: int
    latents: torch.Tensor
    states: torch.Tensor


@dataclass(frozen=True)
class Trained:
    """A finished LoRA: path → (A (rank, in), B (out, rank)), and the mean loss of its last 20 steps."""

    name: str
    factors: dict[str, tuple[np.ndarray, np.ndarray]]
    loss: float


def target_modules(unet: UNet2DConditionModel, targets: str) -> dict[str, torch.nn.Linear]:
    """The linear layers that `targets` ('attention' or 'attention+ff') names, by dotted path, in module order."""
    ends = ATTENTION + (FEED_FORWARD if targets == "attention+ff" else ())
    return {
        name: module
        for name, module in unet.named_modules()
        if isinstance(module, torch.nn.Linear) and "attentions" in name and name.endswith(ends)
    }


class Factors:
    """All A and B of a gang as views of one flat leaf (members, parameters), so that AdamW is a handful of calls."""

    def __init__(self, modules: dict[str, torch.nn.Linear], recipe: Recipe, members: list[Member]) -> None:
        self.shapes = [
            shape for m in modules.values() for shape in ((recipe.rank, m.in_features), (m.out_features, recipe.rank))
        ]
        rows = []
        for member in members:
            generator = torch.Generator().manual_seed(member.seed)
            parts = []
            for a_shape, b_shape in zip(self.shapes[::2], self.shapes[1::2], strict=True):
                parts += [initial_a(a_shape, recipe.initial, generator).flatten(), torch.zeros(math.prod(b_shape))]
            rows.append(torch.cat(parts))
        self.flat = torch.stack(rows).requires_grad_()
        self.paths = list(modules)

    def split(self) -> Pairs:
        """path → (A (members, rank, in), B (members, out, rank)), differentiable views."""
        pieces = torch.split(self.flat, [math.prod(s) for s in self.shapes], dim=1)
        shaped = [p.view(-1, *s) for p, s in zip(pieces, self.shapes, strict=True)]
        return dict(zip(self.paths, zip(shaped[::2], shaped[1::2], strict=True), strict=True))


def initial_a(shape: tuple[int, int], kind: str, generator: torch.Generator) -> torch.Tensor:
    """Initial A (rank, in) as the trainers draw it; see `Recipe.initial`."""
    if kind == "gaussian":
        return torch.randn(shape, generator=generator) / shape[0]
    return (torch.rand(shape, generator=generator) * 2 - 1) / math.sqrt(shape[1])


@contextmanager
def adapted(modules: dict[str, torch.nn.Linear], scale: float) -> Iterator[Pairs]:
    """While open, each linear layer adds scale · B A x of the member that a batch row belongs to."""
    current: Pairs = {}

    def hook(name: str) -> Callable[..., torch.Tensor]:
        def add(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            a, b = current[name]
            stacked = inputs[0].reshape(a.shape[0], -1, a.shape[2])
            low = torch.bmm(stacked, a.transpose(1, 2))
            flat = output.reshape(a.shape[0], -1, b.shape[1])
            return torch.baddbmm(flat, low, b.transpose(1, 2), alpha=scale).view_as(output)

        return add

    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    try:
        yield current
    finally:
        for handle in handles:
            handle.remove()


class AdamW:
    """AdamW on a flat (members, parameters) leaf with one gradient norm per member, clipped at 1."""

    def __init__(self, flat: torch.Tensor, weight_decay: float) -> None:
        self.flat, self.weight_decay, self.count = flat, weight_decay, 0
        self.first, self.second = torch.zeros_like(flat), torch.zeros_like(flat)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update with learning rate `rate`; clears the gradient."""
        gradient = self.flat.grad
        if gradient is None:
            raise TrainingError("No gradient reached the adapters.", advice="Call backward() before step().")
        norm = gradient.norm(dim=1, keepdim=True)
        gradient.mul_((1.0 / (norm + 1e-6)).clamp(max=1.0))
        self.count += 1
        self.first.lerp_(gradient, 0.1)
        self.second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        self.flat.mul_(1 - rate * self.weight_decay)
        denominator = self.second.sqrt().div_(math.sqrt(1 - 0.999**self.count)).add_(1e-8)
        self.flat.addcdiv_(self.first, denominator, value=-rate / (1 - 0.9**self.count))
        self.flat.grad = None


@dataclass
class Draws:
    """The random inputs of one member, from its own seed, whatever gang it is in."""

    member: Member
    recipe: Recipe

    def __post_init__(self) -> None:
        """Start the member's own generators."""
        self.numpy = np.random.default_rng([self.member.seed, 1])
        self.torch = torch.Generator().manual_seed(self.member.seed + 1)

    def batch(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """(latents, text states, noise, times) of one step."""
        count, crops = self.member.latents.shape[:2]
        rows = self.numpy.integers(0, count, self.recipe.batch)
        cuts = self.numpy.integers(1, crops, self.recipe.batch)
        cuts[self.numpy.random(self.recipe.batch) < WHOLE[self.recipe.crops]] = 0
        mean, logvar = self.member.latents[rows, cuts].chunk(2, 1)
        latents = mean + (0.5 * logvar).exp() * torch.randn(mean.shape, generator=self.torch)
        noise = torch.randn(mean.shape, generator=self.torch)
        offset = torch.randn((*mean.shape[:2], 1, 1), generator=self.torch) * self.recipe.noise_offset
        times = torch.randint(0, 1000, (self.recipe.batch,), generator=self.torch)
        return latents, self.member.states[rows], noise + offset, times


def rate_at(recipe: Recipe, step: int) -> float:
    """Learning rate of step 0…steps-1."""
    if recipe.schedule == "constant":
        return recipe.learning_rate
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))


def loss_weights(recipe: Recipe, scheduler: DDPMScheduler, times: torch.Tensor) -> torch.Tensor:
    """Weight of each row's squared error: 1, or min(SNR, gamma) / SNR (Hang et al. 2023, for noise prediction)."""
    if recipe.min_snr is None:
        return torch.ones(len(times))
    kept = scheduler.alphas_cumprod[times]
    snr = kept / (1 - kept)
    return snr.clamp(max=recipe.min_snr) / snr


def train_gang(
    unet: UNet2DConditionModel, scheduler: DDPMScheduler, scaling: float, recipe: Recipe, members: list[Member]
) -> list[Trained]:
    """Train `members` together; `unet` is frozen and unchanged afterwards.  float32, deterministic for one machine."""
    modules = target_modules(unet, recipe.targets)
    factors = Factors(modules, recipe, members)
    optimiser = AdamW(factors.flat, recipe.weight_decay)
    draws = [Draws(member, recipe) for member in members]
    recent: list[torch.Tensor] = []
    with adapted(modules, recipe.alpha / recipe.rank) as current:
        for step in range(recipe.steps):
            drawn = [d.batch() for d in draws]
            latents, states, noise, times = (torch.cat(part) for part in zip(*drawn, strict=True))
            current.update(factors.split())
            noisy = scheduler.add_noise(latents * scaling, noise, times)
            error = (unet(noisy, times, states, return_dict=False)[0] - noise).pow(2).mean((1, 2, 3))
            per_member = (error * loss_weights(recipe, scheduler, times)).view(len(members), -1).mean(1)
            per_member.sum().backward()
            optimiser.step(rate_at(recipe, step))
            recent = [*recent[-19:], per_member.detach()]
    losses = torch.stack(recent).mean(0).tolist()
    final = {path: (a.detach().numpy(), b.detach().numpy()) for path, (a, b) in factors.split().items()}
    return [
        Trained(m.name, {path: (a[i].copy(), b[i].copy()) for path, (a, b) in final.items()}, losses[i])
        for i, m in enumerate(members)
    ]
