"""Recipes: how a LoRA is trained.  A nuisance for the audit, so the reference grid crosses many of them.

Each recipe follows the conventions of a real trainer: initial A, alpha, targets, schedule, captions, crops.
``REFERENCE`` recipes make reference sets; ``SUSPECT`` recipes differ from all of them and only make validation
suspects, so that the card's figures are figures on files of another make.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Recipe:
    """One way to train a LoRA."""

    name: str
    dialect: Literal["diffusers", "kohya"]
    rank: int
    alpha: float
    learning_rate: float
    """Peak AdamW learning rate of A and B."""
    steps: int
    targets: Literal["attention", "attention+ff"]
    initial: Literal["gaussian", "kaiming"] = "kaiming"
    """Initial A: 'gaussian' N(0, 1/rank²) as in diffusers' scripts, 'kaiming' uniform ±1/√in as in peft and kohya."""
    schedule: Literal["constant", "cosine"] = "constant"
    caption: Literal["title", "painting", "trigger", "none"] = "title"
    """'title' alone, 'a painting of {title}', one fixed trigger phrase, or no caption."""
    crops: Literal["random", "whole", "mixed"] = "random"
    """Random crops at several scales, the whole picture, or both."""
    batch: int = 4
    min_snr: float | None = None
    """Min-SNR-gamma loss weight; None = plain mean squared error."""
    noise_offset: float = 0.0
    weight_decay: float = 1e-2


REFERENCE = (
    Recipe("diffusers-r4-attn", "diffusers", 4, 4, 1e-3, 200, "attention", initial="gaussian"),
    Recipe("diffusers-r8-all", "diffusers", 8, 8, 1.5e-3, 200, "attention+ff", crops="mixed"),
    Recipe("kohya-r16-all", "kohya", 16, 8, 2e-3, 200, "attention+ff", schedule="cosine", min_snr=5.0),
    Recipe("kohya-r8-a1", "kohya", 8, 1, 8e-3, 200, "attention+ff", caption="painting", noise_offset=0.05),
    Recipe("peft-r4-whole", "diffusers", 4, 8, 1e-3, 200, "attention+ff", crops="whole", schedule="cosine"),
    Recipe("peft-r16-trigger", "diffusers", 16, 16, 1.5e-3, 200, "attention+ff", caption="trigger", crops="mixed"),
)

SUSPECT = (
    Recipe("suspect-r6-all", "kohya", 6, 3, 2.5e-3, 260, "attention+ff", schedule="cosine", caption="painting"),
    Recipe("suspect-r12-attn", "diffusers", 12, 12, 1.5e-3, 260, "attention", crops="mixed", caption="none"),
    Recipe("suspect-r32-all", "diffusers", 32, 32, 1e-3, 160, "attention+ff", initial="gaussian", crops="whole"),
)

BY_NAME = {recipe.name: recipe for recipe in REFERENCE + SUSPECT}
