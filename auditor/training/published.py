"""Configurations of the published models, so that tests and benchmarks can build them with random weights, offline.

Facts of the models' own config.json files: Stable Diffusion 1.5, 2.1 and XL base 1.0, Flux.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import FluxTransformer2DModel, UNet2DConditionModel

CROSS = ("CrossAttnDownBlock2D",) * 3
LEVELS = (320, 640, 1280, 1280)
SD15: dict[str, Any] = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": (*CROSS, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
    "block_out_channels": LEVELS,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
SD21: dict[str, Any] = SD15 | {
    "sample_size": 96,
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
SDXL: dict[str, Any] = {
    "sample_size": 128,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (320, 640, 1280),
    "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20),
    "transformer_layers_per_block": (1, 2, 10),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
FLUX: dict[str, Any] = {"guidance_embeds": True}  # the class's own defaults are Flux.1's

BUILDERS: dict[str, Callable[[], torch.nn.Module]] = {
    "sd15": lambda: UNet2DConditionModel(**SD15),
    "sd2": lambda: UNet2DConditionModel(**SD21),
    "sdxl": lambda: UNet2DConditionModel(**SDXL),
    "flux": lambda: FluxTransformer2DModel(**FLUX),
}


def build(name: str, device: str = "cpu", dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """A published model with random weights; device 'meta' costs no memory."""
    with torch.device(device):
        return BUILDERS[name]().to(dtype)
