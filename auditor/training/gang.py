"""Gang training: several LoRAs share each pass through the frozen base.

Every member has its own seed, pictures, recipe, initial A and optimiser state, and ends with the weights that it would
have had if trained alone (up to the order of floating-point sums).  The members' batches are stacked along the batch
axis, member by member; the low-rank products of all members are batched matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch

from auditor.errors import TrainingError
from auditor.training.adapters import Factors, Update, adapted, target_modules
from auditor.training.families import Base
from auditor.training.optimisers import KINDS
from auditor.training.recipes import Recipe

RECENT = 20
WHOLE = {"random": 0.0, "mixed": 1 / 3, "whole": 1.0}
"""Share of whole pictures by `Recipe.crops`; the rest are crops."""


@dataclass(frozen=True)
class Member:
    """One LoRA to be trained.

    latents: (pictures, views, 2·channels, h, w), mean and log-variance of the whole picture and of its crops;
    by_picture, by_view: further inputs of the model by name, (pictures, …) and (pictures, views, …).
    """

    name: str
    seed: int
    recipe: Recipe
    latents: torch.Tensor
    by_picture: dict[str, torch.Tensor]
    by_view: dict[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """A finished LoRA, and the mean loss of its last 20 steps."""

    name: str
    factors: Update
    loss: float


class Draws:
    """The random inputs of one member, from its own seed, whatever gang and process it is in."""

    def __init__(self, member: Member, base: Base) -> None:
        """Start the member's own generators."""
        self.member, self.recipe, self.base = member, member.recipe, base
        self.numpy = np.random.default_rng([member.seed, 1])
        self.torch = torch.Generator().manual_seed(member.seed + 1)

    def batch(self) -> dict[str, torch.Tensor]:
        """latents, noise, times and the model's other inputs of one step, on the CPU."""
        member, recipe = self.member, self.recipe
        count, views = member.latents.shape[:2]
        rows = self.numpy.integers(0, count, recipe.batch)
        cuts = self.numpy.integers(min(1, views - 1), views, recipe.batch)
        cuts[self.numpy.random(recipe.batch) < WHOLE[recipe.crops]] = 0
        mean, logvar = member.latents[rows, cuts].float().chunk(2, 1)
        latents = mean + (0.5 * logvar).exp() * torch.randn(mean.shape, generator=self.torch)
        noise = torch.randn(mean.shape, generator=self.torch)
        offset = torch.randn((*mean.shape[:2], 1, 1), generator=self.torch) * recipe.noise_offset
        times = self.base.objective.draw_times(recipe.batch, self.torch)
        factor, shift = self.base.scaling
        drawn = {"latents": (latents - shift) * factor, "noise": noise + offset, "times": times}
        drawn |= {name: value[rows] for name, value in member.by_picture.items()}
        return drawn | {name: value[rows, cuts] for name, value in member.by_view.items()}


def stacked(draws: Sequence[Draws], base: Base) -> dict[str, torch.Tensor]:
    """One batch of every member, member after member, on the base's device; the model's inputs in its precision."""
    drawn = [draw.batch() for draw in draws]
    whole = {name: torch.cat([d[name] for d in drawn]) for name in drawn[0]}
    if base.device.type == "cuda":  # only from pinned memory does a copy not wait for the device
        whole = {name: value.pin_memory().to(base.device, non_blocking=True) for name, value in whole.items()}
    # Sizes and places of crops are not whole numbers in half precision.
    types = {"latents": base.exact, "noise": base.exact, "times": torch.int64, "time_ids": base.exact}
    return {name: value.to(base.device, types.get(name, base.dtype)) for name, value in whole.items()}


def member_losses(base: Base, recipes: Sequence[Recipe], batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Weighted mean squared error of each member, (members,), in the base's `exact` type."""
    conditions = {name: value for name, value in batch.items() if name not in ("latents", "noise", "times")}
    noisy, target, times = base.objective.pair(batch["latents"], batch["noise"], batch["times"])
    error = (base.predict(noisy.to(base.dtype), times, conditions).to(base.exact) - target).pow(2).mean((1, 2, 3))
    per = len(error) // len(recipes)
    parts = [base.objective.weights(t, r.min_snr) for t, r in zip(batch["times"].split(per), recipes, strict=True)]
    return (error * torch.cat(parts).to(error)).view(len(recipes), per).mean(1)


def train_gang(
    base: Base,
    members: Sequence[Member],
    *,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    each_step: Callable[[int], None] = lambda step: None,
) -> list[Trained]:
    """Train `members` together; the base's model is frozen and unchanged afterwards.

    Their recipes share `Recipe.gang_key`.  Deterministic for one machine.  each_step: called with 1…steps.
    A member whose loss is not finite does not touch the others.  Raises TrainingError where recipes do not fit together
    or name no layer of the base.
    """
    recipes = [member.recipe for member in members]
    if len({recipe.gang_key for recipe in recipes}) != 1:
        raise TrainingError("A gang needs recipes of one kind.", advice="See Recipe.gang_key.")
    modules = target_modules(base, recipes[0].targets)
    if not modules:
        raise TrainingError(f"The base has no layer that {recipes[0].targets!r} names.", advice="Choose other targets.")
    factors = Factors(modules, members, base)
    optimiser = KINDS[recipes[0].optimiser](factors.flat, recipes)
    draws = [Draws(member, base) for member in members]
    recent: list[torch.Tensor] = []
    scales = torch.tensor([recipe.alpha / recipe.rank for recipe in recipes], dtype=base.dtype, device=base.device)
    with adapted(modules, scales) as current:
        for step in range(recipes[0].steps):
            current.update(factors.split(base.dtype))
            with autocast():
                losses = member_losses(base, recipes, stacked(draws, base))
            losses.sum().backward()
            optimiser.step()
            recent = [*recent[1 - RECENT :], losses.detach()]
            each_step(step + 1)
    final = torch.stack(recent).mean(0).tolist()
    return [Trained(m.name, u, loss) for m, u, loss in zip(members, factors.updates(), final, strict=True)]
