"""The shipped base: a small latent-diffusion model in the diffusers pipeline layout, trained from nothing.

In:  a folder of background artists' pictures.  Out: a folder that ``StableDiffusionPipeline.from_pretrained`` loads.
Each stage writes a checkpoint, so that a killed run goes on where it stopped.  Architecture: AutoencoderTiny (f8, 12
channels), CLIPTextModel (2 layers), UNet2DConditionModel whose modules carry Stable Diffusion's names; 64 px.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny, DDIMScheduler, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import distributed
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from auditor.training.pictures import Pictures, colour_words, random_crops, read_pictures, read_titles

SIDE = 64
CHANNELS = 12
TOKENS = 24
TEXT_WIDTH = 128


def build_vae() -> AutoencoderTiny:
    """AutoencoderTiny, 64 px → 8×8×12 latents.

    It has no normalisation layers; a small AutoencoderKL, tried first, had lost most colour and brushwork after the
    same training time (L1 .09 against the figure in the card).
    """
    return AutoencoderTiny(
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        num_encoder_blocks=(0, 1, 2, 2),
        num_decoder_blocks=(2, 2, 1, 0),
        latent_channels=CHANNELS,
    )


def build_unet() -> UNet2DConditionModel:
    """UNet2DConditionModel with three cross-attention levels of 64, 128 and 192 channels, 11 M parameters."""
    return UNet2DConditionModel(
        sample_size=SIDE // 8,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        block_out_channels=(64, 128, 192),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def build_text_encoder(vocabulary: int, eos: int) -> CLIPTextModel:
    """CLIPTextModel of two layers, width 128, for prompts of at most 24 tokens."""
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        bos_token_id=eos - 1,
        eos_token_id=eos,
        pad_token_id=eos,
    )
    return CLIPTextModel(config)


def train_tokenizer(texts: list[str], folder: Path, vocabulary: int = 2048) -> CLIPTokenizer:
    """A CLIP byte-pair tokenizer fitted to `texts`, saved in `folder` and loaded again as users will load it."""
    start, end = "<|startoftext|>", "<|endoftext|>"
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    alphabet = list("abcdefghijklmnopqrstuvwxyz0123456789',.-")
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 42, end_of_word_suffix="</w>", initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator((t.lower() for t in texts), trainer)
    learned = json.loads(bpe.to_str())["model"]
    tokens = list(learned["vocab"])
    tokens += [c + "</w>" for c in alphabet if c + "</w>" not in learned["vocab"]]
    vocab = {token: i for i, token in enumerate([*tokens, start, end])}
    merges = [tuple(m) for m in learned["merges"]]
    tokenizer = CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=TOKENS, pad_token=end, unk_token=end)
    tokenizer.save_pretrained(folder)
    return CLIPTokenizer.from_pretrained(folder)


def learning_rate(step: int, steps: int, peak: float, warm: int = 100) -> float:
    """Linear warm-up, then a half cosine to 2 % of `peak`."""
    if step < warm:
        return peak * (step + 1) / warm
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))))


def train_vae(pictures: Pictures, steps: int, rng: np.random.Generator, log: Path, batch: int = 32) -> AutoencoderTiny:
    """Fit the autoencoder: L1 on pixels and on pixel differences (edges carry brushwork), a little noise on latents."""
    vae = build_vae().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(vae.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    started = time.time()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, steps, 2e-3, 50)
        index = rng.integers(0, len(pictures.pixels), batch)
        picture = random_crops(pictures.pixels, index, SIDE, rng).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            latents = vae.encode(picture).latents
            again = vae.decode(latents + 0.03 * torch.randn_like(latents)).sample
        error = again.float() - picture
        edges = (error[..., 1:] - error[..., :-1]).abs().mean() + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
        loss = error.abs().mean() + 0.5 * edges + 1e-4 * latents.float().pow(2).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        note(log, "vae", step, steps, loss.item(), started, l1=error.abs().mean().item())
    return vae.eval()


def note(log: Path, stage: str, step: int, steps: int, loss: float, started: float, **more: float) -> None:
    """One JSON line every 50 steps."""
    if step % 50 == 0 or step == steps - 1:
        row = {"stage": stage, "step": step, "of": steps, "loss": round(loss, 5), "s": round(time.time() - started, 1)}
        with log.open("a") as handle:
            handle.write(json.dumps(row | {k: round(v, 5) for k, v in more.items()}) + "\n")


def encode_crops(
    vae: AutoencoderTiny, pictures: Pictures, crops: int, rng: np.random.Generator
) -> tuple[torch.Tensor, list[str], np.ndarray]:
    """Latents of `crops` random crops of every picture, float16 (n·crops, channels, 8, 8).

    Also returns the colour words and the picture index of each row.
    """
    rows, words, owners = [], [], []
    for _ in range(crops):
        for begin in range(0, len(pictures.pixels), 64):
            index = np.arange(begin, min(begin + 64, len(pictures.pixels)))
            batch = random_crops(pictures.pixels, index, SIDE, rng)
            if rng.random() < 0.5:
                batch = batch.flip(3)
            with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
                rows.append(vae.encode(batch).latents.half())
            words += colour_words(batch)
            owners.append(index)
    return torch.cat(rows), words, np.concatenate(owners)


@dataclass(frozen=True)
class Budget:
    """How long the UNet is trained.  batch: samples a step over all workers; rate: peak learning rate."""

    steps: int
    batch: int
    rate: float
    crops: int
    """Random crops of every picture."""
    seed: int
    workers: int = 1


def train_unet(
    parts: tuple[AutoencoderTiny, CLIPTokenizer, CLIPTextModel, UNet2DConditionModel],
    pictures: Pictures,
    budget: Budget,
    folder: Path,
    worker: int = 0,
) -> None:
    """Noise prediction on cached latents, text encoder and UNet together; the saved weights are their moving average.

    Workers (processes of one thread each) share a step's batch and average their gradients: two are faster than two
    threads where other programs run beside, since no operation waits for a thread that was put aside.
    Captions: the painter's name (half the time) and colour words; 10 % empty (for guidance).
    """
    vae, tokenizer, text_encoder, unet = parts
    steps, batch = budget.steps, budget.batch // budget.workers
    latents, words, owner = encode_crops(vae, pictures, budget.crops, np.random.default_rng([budget.seed, 1000]))
    scheduler = noise_scheduler()
    unet.to(memory_format=torch.channels_last)  # 1.4 × faster on CPUs
    trained = torch.nn.ModuleList([unet, text_encoder])
    average = [p.detach().clone() for p in trained.parameters()]
    optimiser = torch.optim.AdamW(trained.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-3)
    started, begin = time.time(), 0
    checkpoint = folder / "unet-checkpoint.pt"
    if checkpoint.is_file():
        saved = torch.load(checkpoint, weights_only=True)
        trained.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        average, begin = saved["average"], saved["step"]
    rng = np.random.default_rng([budget.seed, worker, begin])
    torch_rng = torch.Generator().manual_seed(int(rng.integers(2**31)))
    for step in range(begin, steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, steps, budget.rate, 200)
        index = rng.integers(0, len(latents), batch)
        clean = latents[index].float() * vae.config.scaling_factor
        captions = [caption(pictures.artist[owner[i]], words[i], rng) for i in index]
        ids = tokenizer(captions, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt")
        noise = torch.randn(clean.shape, generator=torch_rng)
        times = torch.randint(0, 1000, (batch,), generator=torch_rng)
        states = text_encoder(ids.input_ids)[0]
        loss = F.mse_loss(unet(scheduler.add_noise(clean, noise, times), times, states).sample, noise)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        share_gradients(trained, budget.workers)
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimiser.step()
        decay = min(0.998, (step + 1) / (step + 10))
        torch._foreach_lerp_(average, [p.detach() for p in trained.parameters()], 1 - decay)
        if worker:
            continue
        note(folder / "log.jsonl", "unet", step, steps, loss.item(), started)
        if (step + 1) % 500 == 0 and step + 1 < steps:
            state = {"model": trained.state_dict(), "optimiser": optimiser.state_dict()}
            torch.save(state | {"average": average, "step": step + 1}, checkpoint)
    with torch.no_grad():
        for parameter, mean_value in zip(trained.parameters(), average, strict=True):
            parameter.copy_(mean_value)
    checkpoint.unlink(missing_ok=True)


def share_gradients(trained: torch.nn.Module, workers: int) -> None:
    """Replace every gradient by its mean over the workers."""
    if workers == 1:
        return
    gradients = [p.grad for p in trained.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    distributed.all_reduce(flat)
    for gradient, part in zip(gradients, flat.div_(workers).split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def noise_scheduler() -> DDPMScheduler:
    """Stable Diffusion's noise schedule (scaled linear 0.00085 → 0.012, 1000 steps, noise prediction)."""
    return DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)


def caption(artist: str, colours: str, rng: np.random.Generator) -> str:
    """A caption for base training; see `train_unet`."""
    draw = rng.random()
    if draw < 0.1:
        return ""
    if draw < 0.55:
        return f"a painting by {artist.replace('-', ' ')}, {colours}"
    return f"a painting, {colours}"


def latent_scale(vae: AutoencoderTiny, pictures: Pictures, rng: np.random.Generator) -> float:
    """1 / standard deviation of latents, so that the diffusion sees unit variance."""
    batch = random_crops(pictures.pixels, rng.integers(0, len(pictures.pixels), 256), SIDE, rng)
    with torch.no_grad():
        return float(1.0 / vae.encode(batch).latents.std())


def main() -> None:
    """Train the base: autoencoder, tokenizer, then text encoder and UNet; write the pipeline folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder per background artist")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="go on from this base: its autoencoder, tokenizer and weights")
    parser.add_argument("--vae-steps", type=int, default=3000)
    parser.add_argument("--unet-steps", type=int, default=2800)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=6e-4)
    parser.add_argument("--crops", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    budget = Budget(options.unet_steps, options.batch, options.rate, options.crops, options.seed, options.workers)
    options.output.mkdir(parents=True, exist_ok=True)
    pictures = read_pictures(options.images)
    if options.start is None and not (options.output / "tokenizer").is_dir():
        prepare(options.output, options.images, pictures, options.vae_steps, options.seed)
    arguments = (options.images, options.output, options.start, budget)
    if budget.workers == 1:
        train_parts(0, *arguments)
    else:
        torch.multiprocessing.spawn(train_parts, arguments, nprocs=budget.workers)


def prepare(folder: Path, images: Path, pictures: Pictures, steps: int, seed: int) -> None:
    """Autoencoder and tokenizer, into `folder`."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    vae = train_vae(pictures, steps, rng, folder / "log.jsonl")
    vae.register_to_config(scaling_factor=latent_scale(vae, pictures, rng))
    vae.save_pretrained(folder / "vae")
    artists = [a.replace("-", " ") for a in sorted(set(pictures.artist))]
    texts = [t for t in read_titles(images).values() if t] + [f"a painting by {a}" for a in artists * 20]
    train_tokenizer(texts, folder / "tokenizer")


def train_parts(worker: int, images: Path, folder: Path, start: Path | None, budget: Budget) -> None:
    """One worker's whole run: load or build the parts, train them; worker 0 writes the pipeline."""
    torch.manual_seed(budget.seed)
    if budget.workers > 1:
        torch.set_num_threads(1)
        distributed.init_process_group(
            "gloo", init_method=f"file://{(folder / 'meeting').resolve()}", rank=worker, world_size=budget.workers
        )
    home = start or folder
    vae = AutoencoderTiny.from_pretrained(home / "vae", torch_dtype=torch.float32).eval()
    tokenizer = CLIPTokenizer.from_pretrained(home / "tokenizer")
    if start is None:
        text_encoder, unet = build_text_encoder(len(tokenizer), tokenizer.eos_token_id), build_unet()
    else:
        text_encoder = CLIPTextModel.from_pretrained(start / "text_encoder", torch_dtype=torch.float32)
        unet = UNet2DConditionModel.from_pretrained(start / "unet", torch_dtype=torch.float32)
    train_unet((vae, tokenizer, text_encoder, unet), read_pictures(images), budget, folder, worker)
    if worker == 0:
        save(folder, vae, tokenizer, text_encoder, unet)
        (folder / "meeting").unlink(missing_ok=True)


def save(
    folder: Path,
    vae: AutoencoderTiny,
    tokenizer: CLIPTokenizer,
    text_encoder: CLIPTextModel,
    unet: UNet2DConditionModel,
) -> None:
    """Write the pipeline folder in float16."""
    scheduler = DDIMScheduler.from_config(noise_scheduler().config, clip_sample=False, set_alpha_to_one=False)
    pipeline = StableDiffusionPipeline(
        vae,
        text_encoder,
        tokenizer,
        unet,
        scheduler,
        None,
        None,
        requires_safety_checker=False,  # type: ignore[arg-type]
    )
    pipeline.to(dtype=torch.float16)
    pipeline.save_pretrained(folder, safe_serialization=True)


if __name__ == "__main__":
    main()
