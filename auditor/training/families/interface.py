"""What the trainer needs of a base: encode pictures and texts, say what the model predicts, and predict it.

A base is a folder in the diffusers layout.  Its parts load when they are first used, so that a run with full caches
never loads an autoencoder or a text encoder.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from auditor.errors import TrainingError
from auditor.training.families.objectives import Objective

Conditions = dict[str, torch.Tensor]
"""Inputs of the model beside latents and times, by name; the first axis is the row of the batch."""


class Base(ABC):
    """A frozen base on one device."""

    family: ClassVar[str]
    part: ClassVar[str]
    """'unet' or 'transformer': the model's folder, and the prefix of a LoRA's keys."""
    targets: ClassVar[dict[str, tuple[str, ...]]]
    """What each word of `Recipe.targets` names: endings of module paths."""
    within: ClassVar[tuple[str, ...]]
    """Words of which one must be in the path of every adapted module but a convolution."""

    def __init__(self, folder: Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> None:
        """folder: in the diffusers layout; dtype: of the model (autoencoder and text encoders stay in float32)."""
        self.folder, self.device, self.dtype = folder, torch.device(device), dtype

    @classmethod
    def of(cls, model: torch.nn.Module, objective: Objective) -> Self:
        """A base of a model in memory: it trains, but has nothing to encode with."""
        base = cls(Path())
        base.__dict__ |= {"model": model.eval().requires_grad_(False), "objective": objective, "scaling": (1.0, 0.0)}
        parameter = next(model.parameters())
        base.device, base.dtype = parameter.device, parameter.dtype
        return base

    @property
    def exact(self) -> torch.dtype:
        """The type of adapters, optimiser and loss: float32, or float64 for a base in float64 (to test with)."""
        return torch.promote_types(self.dtype, torch.float32)

    @abstractmethod
    def load_model(self) -> torch.nn.Module:
        """The denoiser in `dtype`."""

    @abstractmethod
    def load_text_encoders(self) -> list[torch.nn.Module]:
        """The text encoders in their order."""

    @abstractmethod
    def encode_texts(self, texts: list[str]) -> Conditions:
        """What the model takes of each text, on the CPU, one row a text."""

    @abstractmethod
    def predict(self, noisy: torch.Tensor, times: torch.Tensor, conditions: Conditions) -> torch.Tensor:
        """The model's output for noisy latents (n, c, h, w) at the objective's `model_times`."""

    @cached_property
    def objective(self) -> Objective:
        """What the model learns to predict, by its scheduler."""
        from auditor.training.families.objectives import load_objective

        return load_objective(self.folder / "scheduler")

    @cached_property
    def model(self) -> torch.nn.Module:
        """The denoiser, frozen, on the device."""
        model = self.load_model().eval().requires_grad_(False).to(self.device)
        if self.part == "unet":
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.4 × faster on CPUs
        return model

    @cached_property
    def vae(self) -> AutoencoderKL | AutoencoderTiny:
        """The autoencoder, frozen, float32: SDXL's overflows in half precision."""
        kind = AutoencoderTiny if self.config("vae")["_class_name"] == "AutoencoderTiny" else AutoencoderKL
        return kind.from_pretrained(self.folder / "vae", torch_dtype=torch.float32).eval().requires_grad_(False)

    @cached_property
    def text_encoders(self) -> list[torch.nn.Module]:
        """The text encoders, frozen."""
        return [encoder.eval().requires_grad_(False) for encoder in self.load_text_encoders()]

    @cached_property
    def scaling(self) -> tuple[float, float]:
        """(factor, shift): the model sees factor · (latents - shift)."""
        config = self.config("vae")
        return float(config.get("scaling_factor") or 1.0), float(config.get("shift_factor") or 0.0)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the weights of all parts."""
        return base_digest(self.folder)

    @property
    def vae_factor(self) -> int:
        """Pixels per latent along a side."""
        config = self.config("vae")
        return int(2 ** (len(config.get("encoder_block_out_channels") or config["block_out_channels"]) - 1))

    @property
    def side(self) -> int:
        """Picture side in pixels that the model was made for."""
        return int(self.config(self.part).get("sample_size") or 1024 // self.vae_factor) * self.vae_factor

    def config(self, part: str) -> dict[str, Any]:
        """config.json of a part.  Raises TrainingError."""
        return read_config(self.folder / part / "config.json")

    @contextmanager
    def encoders(self) -> Iterator[None]:
        """While open, autoencoder and text encoders are on the device; afterwards the model has it for itself."""
        modules = [self.vae, *self.text_encoders]
        for module in modules:
            module.to(self.device)
        try:
            yield
        finally:
            for module in modules:
                module.to("cpu")

    @torch.no_grad()
    def encode_pictures(self, batch: torch.Tensor) -> torch.Tensor:
        """Mean and log-variance (n, 2c, h, w) of (n, 3, H, W) in [-1, 1]; a Tiny autoencoder has no variance."""
        encoded = self.vae.encode(batch.to(self.device))
        if hasattr(encoded, "latent_dist"):
            return encoded.latent_dist.parameters.cpu()
        return torch.cat([encoded.latents, torch.full_like(encoded.latents, -30.0)], 1).cpu()

    def view_conditions(self, shorter: NDArray[Any], corner: NDArray[Any], side: int) -> Conditions:
        """What the model takes of each view: shorter (n,) original pixels, corner (n, 2) top and left of its crop."""
        return {}


def read_config(path: Path) -> dict[str, Any]:
    """A part's config.json.  Raises TrainingError."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict) or not config:
            raise ValueError("it holds no table")
        return config
    except (OSError, ValueError) as problem:
        raise TrainingError(
            f"{path} cannot be read: {problem}.", advice="Give a whole base in the diffusers layout."
        ) from problem


def require_whole(folder: Path, part: str) -> None:
    """Refuse a base that training would only find incomplete or damaged in the middle.  Raises TrainingError."""
    advice = "Give a whole base in the diffusers layout, with its weights as .safetensors; fetch it again."
    for place in (part, "vae"):
        weights = [path for path in (folder / place).glob("*.safetensors") if ".fp16." not in path.name]
        if not weights:
            raise TrainingError(f"{folder / place} holds no weights in full precision.", advice=advice)
    if not (folder / "tokenizer").is_dir():
        raise TrainingError(f"{folder} has no folder 'tokenizer'.", advice=advice)
    for path in sorted(folder.rglob("*.safetensors")):
        try:
            with safe_open(path, "numpy"):
                pass
        except (SafetensorError, OSError) as problem:
            raise TrainingError(f"{path} is damaged: {problem}.", advice=advice) from problem


def base_digest(folder: Path) -> str:
    """SHA-256 over the .safetensors files of a base, names included."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        with path.open("rb") as handle:
            inner = hashlib.file_digest(handle, "sha256").digest()
        digest.update(path.relative_to(folder).as_posix().encode() + inner)
    return digest.hexdigest()


UNET_TARGETS = {
    "attention": (".to_q", ".to_k", ".to_v", ".to_out.0"),
    "ff": (".ff.net.0.proj", ".ff.net.2"),
    "proj": (".proj_in", ".proj_out"),
    "conv": (".conv1", ".conv2", ".conv_shortcut", ".time_emb_proj", "samplers.0.conv"),
}
