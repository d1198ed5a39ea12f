"""Stable Diffusion 1.x and 2.x, and every small base with their layout: one CLIP text encoder, cross-attention UNet."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from auditor.training.families.interface import UNET_TARGETS, Base, Conditions


class StableDiffusion(Base):
    """A base that `StableDiffusionPipeline` loads."""

    family = "mini"
    part = "unet"
    targets = UNET_TARGETS
    within = ("attentions",)

    def load_model(self) -> torch.nn.Module:
        """The UNet."""
        return UNet2DConditionModel.from_pretrained(self.folder / "unet", torch_dtype=self.dtype)

    def load_text_encoders(self) -> list[torch.nn.Module]:
        """CLIP's text model."""
        return [CLIPTextModel.from_pretrained(self.folder / "text_encoder", torch_dtype=torch.float32)]

    @torch.no_grad()
    def encode_texts(self, texts: list[str]) -> Conditions:
        """states: the last hidden states, (n, tokens, width)."""
        tokenizer = CLIPTokenizer.from_pretrained(self.folder / "tokenizer")
        ids = clip_tokens(tokenizer, texts).to(self.device)
        return {"states": self.text_encoders[0](ids)[0].float().cpu()}

    def predict(self, noisy: torch.Tensor, times: torch.Tensor, conditions: Conditions) -> torch.Tensor:
        """Noise or velocity."""
        return self.model(noisy, times, conditions["states"], return_dict=False)[0]


class StableDiffusion1(StableDiffusion):
    """Text width 768."""

    family = "sd15"


class StableDiffusion2(StableDiffusion):
    """Text width 1024; 2.1 at 768 px predicts velocity."""

    family = "sd2"


def clip_tokens(tokenizer: CLIPTokenizer, texts: list[str]) -> torch.Tensor:
    """Token numbers (n, tokens), padded and cut to the tokenizer's length."""
    return tokenizer(
        texts, padding="max_length", truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt"
    ).input_ids
