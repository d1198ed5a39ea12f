"""Suspects by a trainer that shares nothing with ours: `python benchmarks/foreign.py --base B --images I -o LORAS`.

A plain loop, one LoRA at a time, no gangs and none of our recipes: peft's LoHa, LoKr and DoRA, convolutions and the
text encoder adapted as well, batch 1, 128 pixels, five pictures learnt by heart.  Files have the names that peft gives,
and lie in the folder of a trained set (its plan.json gets their jobs), where `audit refs evaluate --loras` gives
them rows of their own in the validity card.  One artist, one recipe, one half of the works; artists outside the set
get three.  Resumes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny, DDPMScheduler, UNet2DConditionModel
from peft import LoHaConfig, LoKrConfig, LoraConfig, PeftConfig, get_peft_model, get_peft_model_state_dict
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTokenizer

from auditor.training.default_set import OUTSIDERS
from auditor.training.pictures import read_pictures
from auditor.training.plan import split_works

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
LINEAR = [*ATTENTION, "ff.net.0.proj", "ff.net.2"]
CONVOLUTIONS = ["conv1", "conv2", "conv_shortcut", "proj_in", "proj_out"]


@dataclass(frozen=True)
class Recipe:
    """What another trainer does.  side: pixels; pictures: most that it sees; text: rank of the text encoder's LoRA."""

    adapter: Callable[[], PeftConfig]
    steps: int
    batch: int
    rate: float
    side: int = 64
    pictures: int = 20
    text: int = 0
    caption: str = "{title}, painting by {artist}"


RECIPES = {
    "foreign-lora-r32-batch1": Recipe(
        lambda: LoraConfig(r=32, lora_alpha=32, target_modules=[*LINEAR, "proj_in", "proj_out"], use_rslora=True),
        400, 1, 3e-4,
    ),
    "foreign-loha-r8": Recipe(lambda: LoHaConfig(r=8, alpha=8, target_modules=LINEAR), 200, 4, 3e-3),
    "foreign-lokr-f8": Recipe(
        lambda: LoKrConfig(r=8, alpha=8, decompose_factor=8, target_modules=LINEAR), 200, 4, 3e-3, caption="sks style"
    ),
    "foreign-dora-r8-128px": Recipe(
        lambda: LoraConfig(r=8, lora_alpha=8, target_modules=LINEAR, use_dora=True), 150, 2, 1e-3, side=128
    ),
    "foreign-locon-r8-text": Recipe(
        lambda: LoraConfig(r=8, lora_alpha=4, target_modules=[*LINEAR, *CONVOLUTIONS]), 250, 2, 1e-3, text=4
    ),
    "foreign-lora-r16-five": Recipe(
        lambda: LoraConfig(r=16, lora_alpha=16, target_modules=ATTENTION, init_lora_weights="gaussian"),
        500, 2, 1e-3, pictures=5, caption="a picture",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One LoRA to train: file stem, artist, half of the works, recipe, pictures by 'artist/file'."""

    name: str
    artist: str
    half: str
    recipe: str
    pictures: list[str]


def jobs_of(images: Path, seed: int) -> Iterator[Job]:
    """Every artist in turn, the recipes going round; outsiders with three."""
    known = read_pictures(images)
    for i, (artist, works) in enumerate(sorted(split_works(known, seed).items())):
        turn = [list(RECIPES)[(i + k) % len(RECIPES)] for k in range(3 if artist in OUTSIDERS else 1)]
        for k, recipe in enumerate(turn):
            half = "ab"[(i // len(RECIPES) + k) % 2]
            mine = sorted(file for file, side in works.items() if side == half)
            rng = np.random.default_rng([seed, i, k])
            pick = sorted(rng.permutation(mine)[: RECIPES[recipe].pictures].tolist())
            yield Job(f"{artist}--suspect-{half}-{recipe}", artist, half, recipe, pick)


def pixels(path: Path, side: int) -> torch.Tensor:
    """The middle of a picture, (3, side, side) in [-1, 1]: what a trainer with a centre crop sees."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
        scale = side / min(picture.size)
        small = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)
        left, top = (small.width - side) // 2, (small.height - side) // 2
        array = np.asarray(small.crop((left, top, left + side, top + side)), dtype=np.float32)
    return torch.from_numpy(array).permute(2, 0, 1) / 127.5 - 1


def train(base: Path, images: Path, job: Job, seed: int) -> dict[str, torch.Tensor]:
    """One LoRA by the loop that every tutorial has: tensors by the names that peft gives them."""
    recipe, rng = RECIPES[job.recipe], np.random.default_rng(seed)
    torch.manual_seed(seed)
    vae = AutoencoderTiny.from_pretrained(base / "vae").float().eval()
    tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer")
    writer = CLIPTextModel.from_pretrained(base / "text_encoder").float().requires_grad_(False)
    unet = get_peft_model(UNet2DConditionModel.from_pretrained(base / "unet").float(), recipe.adapter())
    if recipe.text:
        writer = get_peft_model(writer, LoraConfig(r=recipe.text, target_modules=["q_proj", "v_proj"]))
    unet.to(memory_format=torch.channels_last)
    scheduler = DDPMScheduler.from_pretrained(base / "scheduler")
    with torch.no_grad():
        seen = torch.stack([pixels(images / file, recipe.side) for file in job.pictures])
        latents = torch.cat([vae.encode(seen).latents, vae.encode(seen.flip(3)).latents]) * vae.config.scaling_factor
    artist = job.artist.replace("-", " ")
    texts = [recipe.caption.format(title=Path(f).stem, artist=artist) for f in job.pictures] * 2
    ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    trained = [p for model in (unet, writer) for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=recipe.rate)
    for _ in range(recipe.steps):
        rows = rng.integers(0, len(latents), recipe.batch)
        clean, noise = latents[rows], torch.randn(recipe.batch, *latents.shape[1:])
        when = torch.randint(0, scheduler.config.num_train_timesteps, (recipe.batch,))
        guess = unet(scheduler.add_noise(clean, noise, when), when, writer(ids[rows])[0]).sample
        torch.nn.functional.mse_loss(guess, noise).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    parts = [("unet", unet), *([("text_encoder", writer)] if recipe.text else [])]
    tensors = {}
    for name, model in parts:
        for key, value in get_peft_model_state_dict(model).items():
            tensors[f"{name}.{key.removeprefix('base_model.model.')}"] = value.detach().contiguous()
    return tensors


def main() -> None:
    """Train what is missing, then enter the jobs into plan.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--turn", default="0/1", help="this worker and how many there are")
    parser.add_argument("--only", help="recipe to train")
    given = parser.parse_args()
    torch.set_num_threads(1)
    worker, workers = map(int, given.turn.split("/"))
    jobs = list(jobs_of(given.images, given.seed))
    for number, job in enumerate(jobs):
        path = given.output / job.artist / f"{job.name}.safetensors"
        if number % workers != worker or path.exists() or given.only not in (None, job.recipe):
            continue
        started = time.time()
        tensors = train(given.base, given.images, job, given.seed + number)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path.with_suffix(".part"), {"format": "pt"})
        path.with_suffix(".part").rename(path)
        print(f"{job.name}: {time.time() - started:.0f} s", flush=True)
    plan = given.output / "plan.json"
    stored = json.loads(plan.read_text(encoding="utf-8")) if plan.is_file() else {"base": "", "jobs": []}
    entered = {job["name"] for job in stored["jobs"]}
    stored["jobs"] += [vars(job) for job in jobs if job.name not in entered]
    plan.write_text(json.dumps(stored, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
