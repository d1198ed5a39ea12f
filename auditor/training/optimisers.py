"""Optimisers on a flat (members, parameters) leaf: each member with its own rate, decay, betas and clipping."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from auditor.errors import TrainingError
from auditor.training.recipes import Recipe


def rate_at(recipe: Recipe, step: int) -> float:
    """Learning rate of step 0…steps-1: linear warm-up, then constant, half a cosine or a line down to 0."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    shape = {"constant": 1.0, "cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done}
    return recipe.learning_rate * shape[recipe.schedule]


class Optimiser:
    """What AdamW and Lion share: columns of settings, and one gradient norm per member."""

    def __init__(self, flat: torch.Tensor, recipes: Sequence[Recipe]) -> None:
        """flat: the leaf; recipes: one a member."""
        self.flat, self.recipes, self.count = flat, recipes, 0
        self.clip = self.column([recipe.clip for recipe in recipes])
        self.decay = self.column([recipe.weight_decay for recipe in recipes])
        self.beta1 = self.column([recipe.betas[0] for recipe in recipes])
        self.beta2 = self.column([recipe.betas[1] for recipe in recipes])
        self.first = torch.zeros_like(flat)
        # All steps at once: a copy to the device in every step would make it wait.
        self.rates = self.table([[rate_at(recipe, step) for recipe in recipes] for step in range(recipes[0].steps)])

    def column(self, values: Sequence[float]) -> torch.Tensor:
        """One number a member, (members, 1)."""
        return torch.tensor(values, dtype=self.flat.dtype).to(self.flat.device)[:, None]

    def table(self, rows: Sequence[Sequence[float]]) -> torch.Tensor:
        """One number a step and member, (steps, members, 1)."""
        return torch.tensor(rows, dtype=self.flat.dtype).to(self.flat.device)[..., None]

    @torch.no_grad()
    def step(self) -> None:
        """One update of every member; clears the gradient.  Raises TrainingError where there is none."""
        gradient = self.flat.grad
        if gradient is None:
            raise TrainingError("No gradient reached the adapters.", advice="Call backward() before step().")
        gradient.mul_((self.clip / (gradient.norm(dim=1, keepdim=True) + 1e-6)).clamp(max=1.0))
        rate = self.rates[self.count]
        self.count += 1
        self.flat.mul_(1 - rate * self.decay)
        self.move(gradient, rate)
        self.flat.grad = None

    def move(self, gradient: torch.Tensor, rate: torch.Tensor) -> None:
        """Change `flat` in place."""
        raise NotImplementedError


class AdamW(Optimiser):
    """Loshchilov & Hutter 2019, as torch.optim.AdamW; epsilon 1e-8."""

    def __init__(self, flat: torch.Tensor, recipes: Sequence[Recipe]) -> None:
        """See `Optimiser`."""
        super().__init__(flat, recipes)
        self.second = torch.zeros_like(flat)
        counts = range(1, recipes[0].steps + 1)
        self.roots = self.table([[math.sqrt(1 - recipe.betas[1] ** n) for recipe in recipes] for n in counts])
        self.biases = self.table([[1 - recipe.betas[0] ** n for recipe in recipes] for n in counts])

    def move(self, gradient: torch.Tensor, rate: torch.Tensor) -> None:
        """Both moments, their bias corrected."""
        self.first.mul_(self.beta1).add_(gradient * (1 - self.beta1))
        self.second.mul_(self.beta2).add_(gradient.square().mul_(1 - self.beta2))
        root, bias = self.roots[self.count - 1], self.biases[self.count - 1]
        self.flat.addcdiv_(self.first * (-rate / bias), self.second.sqrt().div_(root).add_(1e-8))


class Lion(Optimiser):
    """Chen et al. 2023: the sign of an interpolated momentum."""

    def move(self, gradient: torch.Tensor, rate: torch.Tensor) -> None:
        """Move by the sign, then let the momentum follow."""
        direction = (self.first * self.beta1 + gradient * (1 - self.beta1)).sign_()
        self.flat.sub_(direction.mul_(rate))
        self.first.mul_(self.beta2).add_(gradient * (1 - self.beta2))


KINDS: dict[str, type[Optimiser]] = {"adamw": AdamW, "lion": Lion}
