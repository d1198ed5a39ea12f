"""What a plan will cost: gangs, hours and bytes, from steps and encodings that were measured on this machine."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from auditor.training.adapters import sizes, target_modules
from auditor.training.cache import CROPS
from auditor.training.families import Base
from auditor.training.gang import Member, train_gang
from auditor.training.memory import out_of_memory
from auditor.training.plan import Job
from auditor.training.recipes import Recipe

MEASURED = 3
"""Steps that are measured; the first, which warms up, does not count."""


@dataclass(frozen=True)
class Cost:
    """Of all LoRAs of one kind of gang."""

    recipes: list[str]
    loras: int
    gang: int
    steps: int
    seconds_a_step: float
    bytes: int

    @property
    def seconds(self) -> float:
        """Of all its gangs, one after the other."""
        return -(-self.loras // self.gang) * self.steps * self.seconds_a_step


def made_up(base: Base, recipe: Recipe, side: int, seed: int) -> Member:
    """A member with random latents in the shapes of real ones."""
    generator = torch.Generator().manual_seed(seed)
    channels, small = int(base.config("vae")["latent_channels"]), side // base.vae_factor
    latents = torch.randn(2, 2, 2 * channels, small, small, generator=generator) * 0.1
    texts = base.encode_texts(["a painting", "a painting of a river"])
    views = base.view_conditions(np.full(2, side), np.zeros((2, 2)), side)
    by_view = {name: value[:, None].repeat(1, 2, 1) for name, value in views.items()}
    return Member(f"made-up-{seed}", seed, recipe, latents, texts, by_view)


def measure_step(base: Base, recipes: Sequence[Recipe], side: int) -> float:
    """Seconds of one step of a gang with these recipes (they share their `gang_key`)."""
    short = [replace(recipe, steps=MEASURED, warmup=0) for recipe in recipes]
    with base.encoders():
        members = [made_up(base, recipe, side, k) for k, recipe in enumerate(short)]
    at: list[float] = []

    def each_step(step: int) -> None:
        if base.device.type == "cuda":
            torch.cuda.synchronize()
        at.append(time.perf_counter())

    train_gang(base, members, each_step=each_step)
    return float(np.median(np.diff(at)))


def measured(base: Base, recipes: Sequence[Recipe], gang: int, side: int) -> tuple[int, float]:
    """The largest gang of at most `gang` that memory allows, halved as training halves it, and seconds of its step."""
    try:
        return gang, measure_step(base, recipes[:gang], side)
    except (RuntimeError, MemoryError) as problem:
        if gang == 1 or not out_of_memory(problem):
            raise
    gc.collect()
    torch.cuda.empty_cache()
    return measured(base, recipes, gang // 2, side)


def measure_encoding(base: Base, side: int) -> float:
    """Seconds to encode all views of one picture."""
    pictures = torch.zeros(2, 3, side, side)
    with base.encoders():
        base.encode_pictures(pictures)  # the first time takes many times as long
        started = time.perf_counter()
        base.encode_pictures(pictures)
        return (time.perf_counter() - started) / 2 * (1 + CROPS)


def costs(base: Base, jobs: Sequence[Job], recipes: dict[str, Recipe], gang: int, side: int) -> list[Cost]:
    """One entry per kind of gang, in the order of the jobs."""
    kinds: dict[tuple[Any, ...], list[Job]] = {}
    for job in jobs:
        kinds.setdefault(recipes[job.recipe].gang_key, []).append(job)
    found = []
    for mine in kinds.values():
        own = [recipes[job.recipe] for job in mine]
        size = min(gang, len(mine))
        layers = target_modules(base, own[0].targets).values()
        width = sum(sum(sizes(layer)) for layer in layers)
        total = sum(2 * recipe.rank * width for recipe in own)
        size, step = measured(base, own, size, side)
        found.append(Cost(sorted({r.name for r in own}), len(mine), size, own[0].steps, step, total))
    return found
