"""Stable Diffusion XL: two text encoders, a pooled text vector, and the size and crop of each view ("time ids")."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from numpy.typing import NDArray
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from auditor.training.families.interface import UNET_TARGETS, Base, Conditions
from auditor.training.families.stable_diffusion import clip_tokens


class StableDiffusionXL(Base):
    """A base that `StableDiffusionXLPipeline` loads."""

    family = "sdxl"
    part = "unet"
    targets = UNET_TARGETS
    within = ("attentions",)

    def load_model(self) -> torch.nn.Module:
        """The UNet."""
        return UNet2DConditionModel.from_pretrained(self.folder / "unet", torch_dtype=self.dtype)

    def load_text_encoders(self) -> list[torch.nn.Module]:
        """CLIP-L's text model and CLIP-G's with its projection."""
        kinds = ((CLIPTextModel, "text_encoder"), (CLIPTextModelWithProjection, "text_encoder_2"))
        return [kind.from_pretrained(self.folder / name, torch_dtype=torch.float32) for kind, name in kinds]

    @torch.no_grad()
    def encode_texts(self, texts: list[str]) -> Conditions:
        """states: last but one hidden states of both, (n, tokens, w1 + w2); pooled: the second's projection (n, w2)."""
        states, pooled = [], torch.empty(0)
        for encoder, name in zip(self.text_encoders, ("tokenizer", "tokenizer_2"), strict=True):
            ids = clip_tokens(CLIPTokenizer.from_pretrained(self.folder / name), texts).to(self.device)
            out = encoder(ids, output_hidden_states=True)
            states.append(out.hidden_states[-2])
            pooled = out[0]
        return {"states": torch.cat(states, -1).float().cpu(), "pooled": pooled.float().cpu()}

    def view_conditions(self, shorter: NDArray[Any], corner: NDArray[Any], side: int) -> Conditions:
        """time_ids (n, 6): original size, top left of the crop, target size, as in the SDXL paper."""
        size = np.stack([shorter, shorter], 1)
        target = np.full((len(shorter), 2), side)
        return {"time_ids": torch.from_numpy(np.concatenate([size, corner, target], 1)).float()}

    def predict(self, noisy: torch.Tensor, times: torch.Tensor, conditions: Conditions) -> torch.Tensor:
        """Noise."""
        added = {"text_embeds": conditions["pooled"], "time_ids": conditions["time_ids"]}
        return self.model(noisy, times, conditions["states"], added_cond_kwargs=added, return_dict=False)[0]
