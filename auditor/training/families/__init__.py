"""The bases that can be trained, a class each; `load_base` finds the one for a folder."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from auditor.errors import TrainingError
from auditor.training.families.interface import Base, base_digest, read_config
from auditor.training.families.stable_diffusion import StableDiffusion, StableDiffusion1, StableDiffusion2
from auditor.training.families.stable_diffusion_xl import StableDiffusionXL
from auditor.training.families.transformers import Flux, StableDiffusion3

__all__ = ["Base", "base_digest", "family_of", "load_base"]


def family_of(folder: Path) -> type[Base]:
    """The class for a base's folder, by its model's configuration.  Raises TrainingError."""
    if (folder / "transformer").is_dir():
        declared = read_config(folder / "transformer" / "config.json").get("_class_name")
        kinds: dict[str | None, type[Base]]
        kinds = {"FluxTransformer2DModel": Flux, "SD3Transformer2DModel": StableDiffusion3}
        if declared in kinds:
            return kinds[declared]
        raise TrainingError(f"{folder} holds a {declared}.", advice="Known transformers: SD3, SD3.5 and Flux.1.")
    if not (folder / "unet").is_dir():
        raise TrainingError(
            f"{folder} is no base in the diffusers layout: it has no folder 'unet' or 'transformer'.",
            advice="Give the folder that holds unet/ or transformer/, vae/, text_encoder/, tokenizer/ and scheduler/.",
        )
    unet = read_config(folder / "unet" / "config.json")
    if unet.get("addition_embed_type") == "text_time":
        return StableDiffusionXL
    by_width: dict[int, type[Base]] = {768: StableDiffusion1, 1024: StableDiffusion2}
    return by_width.get(unet.get("cross_attention_dim", 0), StableDiffusion)


def load_base(folder: Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> Base:
    """The base in a folder; its parts load when they are first used.  Raises TrainingError."""
    hush()
    return family_of(folder)(folder, device, dtype)


def hush() -> None:
    """Silence the progress bars and advice of the libraries that load models: our own lines say what happens."""
    import diffusers.utils.logging as of_diffusers
    import transformers.utils.logging as of_transformers

    # `torch_dtype` has another name since version 0.40; both are understood until 1.0, which we do not allow.
    warnings.filterwarnings("ignore", "`torch_dtype` is deprecated", FutureWarning)
    for library in (of_diffusers, of_transformers):
        library.set_verbosity_error()
        library.disable_progress_bar()
