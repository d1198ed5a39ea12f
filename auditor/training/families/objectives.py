"""What a base learns to predict: noise, velocity, or the flow from picture to noise.

Each draws its times from a member's own generator, makes the noisy latents and the target, and weighs the error.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler

from auditor.errors import TrainingError


class Objective(Protocol):
    """One way to make training pairs."""

    def draw_times(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """`count` time indices, int64."""

    def pair(
        self, clean: torch.Tensor, noise: torch.Tensor, times: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(noisy latents, what the model should predict, times as the model takes them)."""

    def weights(self, times: torch.Tensor, min_snr: float | None) -> torch.Tensor:
        """Weight of each row's squared error."""


class Diffusion:
    """Noise ('epsilon') or velocity ('v_prediction') prediction on a discrete schedule, uniform times."""

    def __init__(self, scheduler: DDPMScheduler) -> None:
        """scheduler: its betas and prediction type count."""
        self.scheduler, self.kind = scheduler, scheduler.config.prediction_type
        if self.kind not in ("epsilon", "v_prediction"):
            raise TrainingError(
                f"The base's scheduler predicts {self.kind!r}.", advice="Known are 'epsilon' and 'v_prediction'."
            )

    def draw_times(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Uniform over the schedule."""
        return torch.randint(0, self.scheduler.config.num_train_timesteps, (count,), generator=generator)

    def pair(
        self, clean: torch.Tensor, noise: torch.Tensor, times: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Noisy latents and noise or velocity (Salimans & Ho 2022)."""
        noisy = self.scheduler.add_noise(clean, noise, times)
        return noisy, noise if self.kind == "epsilon" else self.scheduler.get_velocity(clean, noise, times), times

    def weights(self, times: torch.Tensor, min_snr: float | None) -> torch.Tensor:
        """1, or min(SNR, gamma) / SNR, for velocity / (SNR + 1) (Hang et al. 2023)."""
        if min_snr is None:
            return torch.ones(len(times), device=times.device)
        kept = self.scheduler.alphas_cumprod.to(times.device)[times]
        snr = kept / (1 - kept)
        return snr.clamp(max=min_snr) / (snr if self.kind == "epsilon" else snr + 1)


class Flow:
    """Rectified flow: the model predicts noise - picture on the line between them; logit-normal times (SD3 paper)."""

    def __init__(self, scheduler: FlowMatchEulerDiscreteScheduler) -> None:
        """scheduler: its sigmas count, shift included where it is a constant."""
        self.sigmas, self.timesteps = scheduler.sigmas.cpu(), scheduler.timesteps.cpu()

    def draw_times(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Indices of sigmas, a standard normal through the logistic function."""
        return (torch.randn(count, generator=generator).sigmoid() * len(self.timesteps)).long()

    def pair(
        self, clean: torch.Tensor, noise: torch.Tensor, times: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The point on the line, its direction, and 1000 · sigma."""
        self.sigmas, self.timesteps = self.sigmas.to(clean.device), self.timesteps.to(clean.device)
        sigma = self.sigmas[times].view(-1, 1, 1, 1)
        return (1 - sigma) * clean + sigma * noise, noise - clean, self.timesteps[times]

    def weights(self, times: torch.Tensor, min_snr: float | None) -> torch.Tensor:
        """1; Min-SNR weights are for diffusion only.  Raises TrainingError when asked for."""
        if min_snr is not None:
            raise TrainingError("min_snr has no meaning for a flow model.", advice="Leave it out of the recipe.")
        return torch.ones(len(times), device=times.device)


def load_objective(folder: Path) -> Objective:
    """The objective that a base's scheduler/ folder declares.  Raises TrainingError."""
    try:
        declared = json.loads((folder / "scheduler_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise TrainingError(
            f"The base's scheduler cannot be read: {problem}.", advice="Give a whole base in the diffusers layout."
        ) from problem
    if "Flow" in declared.get("_class_name", ""):
        return Flow(FlowMatchEulerDiscreteScheduler.from_pretrained(folder))
    return Diffusion(DDPMScheduler.from_pretrained(folder))
