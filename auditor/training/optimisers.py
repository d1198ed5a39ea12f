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
    """What AdamW and Lion share: each member's gradient clipped by itself, and its rate at each step.

    A gang's factors may fill gigabytes, and a tensor of their size that is made anew in every step costs the system
    more than the arithmetic does: nothing here allocates one after the first step.
    """

    def __init__(self, flat: torch.Tensor, recipes: Sequence[Recipe]) -> None:
        """flat: the leaf, (members, parameters); recipes: one a member."""
        self.flat, self.recipes, self.count = flat, recipes, 0
        self.clip = self.column([recipe.clip for recipe in recipes])

    def column(self, values: Sequence[float]) -> torch.Tensor:
        """One number a member, (members, 1)."""
        return torch.tensor(values, dtype=self.flat.dtype).to(self.flat.device)[:, None]

    @torch.no_grad()
    def step(self) -> None:
        """One update of every member; clears the gradient.  Raises TrainingError where there is none."""
        gradient = self.flat.grad
        if gradient is None:
            raise TrainingError("No gradient reached the adapters.", advice="Call backward() before step().")
        gradient.mul_((self.clip / (gradient.norm(dim=1, keepdim=True) + 1e-6)).clamp(max=1.0))
        self.move(gradient)
        self.count += 1
        self.flat.grad = None

    def move(self, gradient: torch.Tensor) -> None:
        """Change `flat` in place, by the rates of step `count`."""
        raise NotImplementedError


class AdamW(Optimiser):
    """torch's own, fused: one pass over the memory; a parameter group a recipe, a parameter a member."""

    def __init__(self, flat: torch.Tensor, recipes: Sequence[Recipe]) -> None:
        """See `Optimiser`."""
        super().__init__(flat, recipes)
        self.rows = list(flat.detach())
        mine = {recipe: [k for k, own in enumerate(recipes) if own == recipe] for recipe in dict.fromkeys(recipes)}
        groups = [
            {"params": [self.rows[k] for k in members], "betas": recipe.betas, "weight_decay": recipe.weight_decay}
            for recipe, members in mine.items()
        ]
        self.inner = torch.optim.AdamW(groups, lr=0.0, fused=True)
        self.groups = list(zip(mine, self.inner.param_groups, strict=True))

    def move(self, gradient: torch.Tensor) -> None:
        """Both moments, their bias corrected."""
        for recipe, group in self.groups:
            group["lr"] = rate_at(recipe, self.count)
        for row, own in zip(self.rows, gradient, strict=True):
            row.grad = own
        self.inner.step()
        self.inner.zero_grad()


class Lion(Optimiser):
    """Chen et al. 2023: the sign of an interpolated momentum."""

    def __init__(self, flat: torch.Tensor, recipes: Sequence[Recipe]) -> None:
        """See `Optimiser`."""
        super().__init__(flat, recipes)
        self.first, self.direction = torch.zeros_like(flat), torch.empty_like(flat)
        self.taken = [self.column([1 - recipe.betas[k] for recipe in recipes]) for k in (0, 1)]
        # All steps at once: a copy to the device in every step would make it wait.
        rates = [[rate_at(recipe, step) for recipe in recipes] for step in range(recipes[0].steps)]
        self.rates = torch.tensor(rates, dtype=flat.dtype).to(flat.device)[..., None]
        self.decay = self.column([recipe.weight_decay for recipe in recipes])

    def move(self, gradient: torch.Tensor) -> None:
        """Move by the sign, then let the momentum follow."""
        rate = self.rates[self.count]
        torch.lerp(self.first, gradient, self.taken[0], out=self.direction)
        self.flat.mul_(1 - rate * self.decay).sub_(self.direction.sign_().mul_(rate))
        self.first.lerp_(gradient, self.taken[1])


KINDS: dict[str, type[Optimiser]] = {"adamw": AdamW, "lion": Lion}
