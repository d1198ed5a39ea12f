"""The flow transformers: Stable Diffusion 3 and Flux.1, with two CLIP text encoders or one, and T5."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import FluxPipeline, FluxTransformer2DModel, SD3Transformer2DModel
from transformers import AutoTokenizer, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel

from auditor.training.families.interface import Base, Conditions
from auditor.training.families.stable_diffusion import clip_tokens

T5_TOKENS = 256
"""Of T5's states; longer captions are cut.  They are kept in half precision, for they fill disks."""
GUIDANCE = 1.0
"""Guidance that a guidance-distilled Flux is trained at: its own prediction, not a guided one."""


class FlowTransformer(Base):
    """What both have in common."""

    part = "transformer"
    within = ("transformer_blocks",)

    def load_encoders(self, kinds: tuple[Any, ...], names: tuple[str, ...]) -> list[torch.nn.Module]:
        """Text encoders of the given kinds; T5, which is large, in the model's precision."""
        types = [self.dtype if kind is T5EncoderModel else torch.float32 for kind in kinds]
        parts = zip(kinds, names, types, strict=True)
        return [kind.from_pretrained(self.folder / name, torch_dtype=dtype) for kind, name, dtype in parts]

    @torch.no_grad()
    def t5_states(self, texts: list[str], encoder: torch.nn.Module, folder: str) -> torch.Tensor:
        """T5's states (n, tokens, width), float16."""
        tokenizer = AutoTokenizer.from_pretrained(self.folder / folder)
        length = min(T5_TOKENS, tokenizer.model_max_length)
        ids = tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt").input_ids
        return encoder(ids.to(self.device))[0].clamp(-6e4, 6e4).half().cpu()


class StableDiffusion3(FlowTransformer):
    """A base that `StableDiffusion3Pipeline` loads, with its third text encoder."""

    family = "sd3"
    targets = {  # noqa: RUF012 - declared ClassVar by Base
        "attention": (
            *(".to_q", ".to_k", ".to_v", ".to_out.0"),
            *(".add_q_proj", ".add_k_proj", ".add_v_proj", ".to_add_out"),
        ),
        "ff": (".ff.net.0.proj", ".ff.net.2", ".ff_context.net.0.proj", ".ff_context.net.2"),
    }

    def load_model(self) -> torch.nn.Module:
        """The transformer."""
        return SD3Transformer2DModel.from_pretrained(self.folder / "transformer", torch_dtype=self.dtype)

    def load_text_encoders(self) -> list[torch.nn.Module]:
        """Two CLIP text models with projections, and T5."""
        kinds = (CLIPTextModelWithProjection, CLIPTextModelWithProjection, T5EncoderModel)
        names = ("text_encoder", "text_encoder_2", "text_encoder_3")
        return self.load_encoders(kinds, names)

    @torch.no_grad()
    def encode_texts(self, texts: list[str]) -> Conditions:
        """states: CLIP's, padded to T5's width, then T5's; pooled: both CLIP projections."""
        states, pooled = [], []
        for encoder, name in zip(self.text_encoders, ("tokenizer", "tokenizer_2"), strict=False):
            ids = clip_tokens(CLIPTokenizer.from_pretrained(self.folder / name), texts).to(self.device)
            out = encoder(ids, output_hidden_states=True)
            states.append(out.hidden_states[-2])
            pooled.append(out[0])
        clip = torch.cat(states, -1).cpu().half()
        long = self.t5_states(texts, self.text_encoders[2], "tokenizer_3")
        clip = F.pad(clip, (0, long.shape[-1] - clip.shape[-1]))
        return {"states": torch.cat([clip, long], 1), "pooled": torch.cat(pooled, -1).float().cpu()}

    def predict(self, noisy: torch.Tensor, times: torch.Tensor, conditions: Conditions) -> torch.Tensor:
        """The flow."""
        return self.model(noisy, conditions["states"], conditions["pooled"], times, return_dict=False)[0]


class Flux(FlowTransformer):
    """A base that `FluxPipeline` loads."""

    family = "flux"
    targets = {  # noqa: RUF012 - declared ClassVar by Base
        "attention": StableDiffusion3.targets["attention"],
        "ff": (*StableDiffusion3.targets["ff"], ".proj_mlp", ".proj_out"),
    }

    def load_model(self) -> torch.nn.Module:
        """The transformer."""
        return FluxTransformer2DModel.from_pretrained(self.folder / "transformer", torch_dtype=self.dtype)

    def load_text_encoders(self) -> list[torch.nn.Module]:
        """CLIP's text model and T5."""
        return self.load_encoders((CLIPTextModel, T5EncoderModel), ("text_encoder", "text_encoder_2"))

    @torch.no_grad()
    def encode_texts(self, texts: list[str]) -> Conditions:
        """states: T5's (n, tokens, width); pooled: CLIP's pooled state."""
        clip, t5 = self.text_encoders
        ids = clip_tokens(CLIPTokenizer.from_pretrained(self.folder / "tokenizer"), texts).to(self.device)
        pooled = clip(ids).pooler_output.float().cpu()
        return {"states": self.t5_states(texts, t5, "tokenizer_2"), "pooled": pooled}

    def predict(self, noisy: torch.Tensor, times: torch.Tensor, conditions: Conditions) -> torch.Tensor:
        """The flow; latents are packed in 2 × 2 patches and back."""
        n, c, h, w = noisy.shape
        packed = FluxPipeline._pack_latents(noisy, n, c, h, w)
        places = FluxPipeline._prepare_latent_image_ids(n, h // 2, w // 2, noisy.device, noisy.dtype)
        states = conditions["states"]
        guided = self.model.config.guidance_embeds
        flow = self.model(
            hidden_states=packed,
            timestep=times / 1000,
            guidance=torch.full((n,), GUIDANCE, device=noisy.device) if guided else None,
            pooled_projections=conditions["pooled"],
            encoder_hidden_states=states,
            txt_ids=torch.zeros(states.shape[1], 3, device=noisy.device, dtype=noisy.dtype),
            img_ids=places,
            return_dict=False,
        )[0]
        return flow.view(n, h // 2, w // 2, c, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(n, c, h, w)
