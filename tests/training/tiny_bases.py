"""Tiny random bases of every family, in the layout that diffusers writes, and folders of made-up pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertTokenizerFast,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from auditor.training.base import train_tokenizer

FAMILIES = ("mini", "sd15", "sd2", "sdxl", "sd3", "flux")
WIDTH = 32
TEXTS = ["a painting of horses", "a painting by somebody", "a river"] * 20


def write_base(family: str, folder: Path) -> Path:
    """A base whose `family_of` is `family`; 32 px (Flux and SD3: 32 px, latents 16 channels)."""
    torch.manual_seed(0)
    MAKERS[family](folder)
    return folder


def clip(tokenizer: CLIPTokenizer, width: int = WIDTH, projected: bool = False) -> torch.nn.Module:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=24,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def t5() -> tuple[T5EncoderModel, PreTrainedTokenizerFast]:
    words = ["<pad>", "</s>", "<unk>", "a", "painting", "of", "horses", "river", "by", "somebody"]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=12
    )
    config = T5Config(vocab_size=len(words), d_model=WIDTH, d_kv=8, d_ff=WIDTH, num_layers=1, num_heads=4)
    return T5EncoderModel(config), tokenizer


def kl(channels: int = 4, levels: int = 4) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(8,) * levels,
        norm_num_groups=4,
        latent_channels=channels,
        sample_size=32,
        shift_factor=0.1 if channels == 16 else None,
    )


def unet(width: int, **more: object) -> UNet2DConditionModel:
    settings: dict[str, object] = {
        "sample_size": 4,
        "in_channels": 4,
        "out_channels": 4,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "cross_attention_dim": width,
        "attention_head_dim": 2,
        "norm_num_groups": 8,
    }
    return UNet2DConditionModel(**settings | more)


def noise(prediction: str = "epsilon") -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        prediction_type=prediction,
    )


def stable_diffusion(
    folder: Path, width: int, vae: torch.nn.Module, prediction: str = "epsilon", **more: object
) -> None:
    tokenizer = train_tokenizer(TEXTS, folder / "tokenizer", 200)
    pipeline = StableDiffusionPipeline(
        vae,
        clip(tokenizer, width),
        tokenizer,
        unet(width, **more),
        noise(prediction),
        None,
        None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)


def mini(folder: Path) -> None:
    blocks = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
    vae = AutoencoderTiny(num_encoder_blocks=(0,) * 4, num_decoder_blocks=(0,) * 4, latent_channels=4, **blocks)
    stable_diffusion(folder, 128, vae)


def sd15(folder: Path) -> None:
    stable_diffusion(folder, 768, kl())


def sd2(folder: Path) -> None:
    stable_diffusion(folder, 1024, kl(), "v_prediction", use_linear_projection=True)


def sdxl(folder: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, folder / "tokenizer", 200)
    model = unet(
        2 * WIDTH,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=2,
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + WIDTH,
    )
    pipeline = StableDiffusionXLPipeline(
        kl(), clip(tokenizer), clip(tokenizer, projected=True), tokenizer, tokenizer, model, noise()
    )
    pipeline.save_pretrained(folder)


def sd3(folder: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, folder / "tokenizer", 200)
    encoder, words = t5()
    model = SD3Transformer2DModel(
        sample_size=4,
        patch_size=1,
        in_channels=16,
        out_channels=16,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=2 * WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=2 * WIDTH,
        pos_embed_max_size=8,
    )
    encoder = T5EncoderModel(T5Config(vocab_size=10, d_model=2 * WIDTH, d_kv=8, d_ff=WIDTH, num_layers=1, num_heads=4))
    pipeline = StableDiffusion3Pipeline(
        model,
        FlowMatchEulerDiscreteScheduler(shift=3.0),
        kl(16),
        clip(tokenizer, projected=True),
        tokenizer,
        clip(tokenizer, projected=True),
        tokenizer,
        encoder,
        words,
    )
    pipeline.save_pretrained(folder)


def flux(folder: Path, guidance: bool = True) -> None:
    tokenizer = train_tokenizer(TEXTS, folder / "tokenizer", 200)
    encoder, words = t5()
    model = FluxTransformer2DModel(
        patch_size=1,
        in_channels=64,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 4, 8),
    )
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    pipeline = FluxPipeline(scheduler, kl(16), clip(tokenizer), tokenizer, encoder, words, model)
    pipeline.save_pretrained(folder)


MAKERS = {"mini": mini, "sd15": sd15, "sd2": sd2, "sdxl": sdxl, "sd3": sd3, "flux": flux}


def write_captioner(folder: Path) -> list[str]:
    """A tiny random BLIP, as a folder that transformers loads by name; returns its words."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "mill", "river", "red", "blue"]
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"))
    tiny = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    text = tiny | ids | {"vocab_size": len(words), "encoder_hidden_size": 16, "max_position_embeddings": 64}
    torch.manual_seed(0)
    config = BlipConfig(text_config=text, vision_config=tiny | {"image_size": 32, "patch_size": 16}, projection_dim=16)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    BlipProcessor(BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)
    return words


def write_pictures(folder: Path, artists: int = 2, count: int = 18) -> Path:
    """Pictures of random blocks, a folder per artist."""
    rng = np.random.default_rng(0)
    for artist in range(artists):
        place = folder / f"artist-{artist}"
        place.mkdir(parents=True)
        for i in range(count):
            small = rng.integers(0, 255, (12, 12, 3)).astype(np.uint8)
            Image.fromarray(small).resize((96, 110), Image.Resampling.NEAREST).save(place / f"{i:03}.png")
    return folder
