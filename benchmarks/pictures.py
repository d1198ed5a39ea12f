"""Pictures by every LoRA of a folder, for the image baseline: `python benchmarks/pictures.py BASE LORAS -o PICTURES`.

The same prompts and noise for all, so that LoRAs differ in nothing else.  Needs the extra "train".
"""

from __future__ import annotations

import argparse
from pathlib import Path

import launder
import torch
from diffusers import StableDiffusionPipeline

PROMPTS = ("a painting", "a portrait", "a landscape", "a painting of people")


def steer(pipe: StableDiffusionPipeline, lora: launder.Lora, strength: float) -> None:
    """Add strength · ΔW to the base's weights."""
    modules = dict(pipe.unet.named_modules())
    for path, (up, down) in lora.items():
        weight = modules[path.removeprefix("unet.")].weight
        weight.data += strength * torch.from_numpy(up @ down).reshape(weight.shape).to(weight)


def paint(pipe: StableDiffusionPipeline, count: int, steps: int, side: int, target: Path) -> None:
    """`count` pictures for every prompt."""
    prompts = [p for p in PROMPTS for _ in range(count)]
    noise = [torch.Generator().manual_seed(i) for i in range(len(prompts))]
    made = pipe(prompts, num_inference_steps=steps, guidance_scale=2.0, height=side, width=side, generator=noise)
    target.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(made.images):
        image.save(target / f"{i:02d}.png")


def main() -> None:
    """Paint what is not painted yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", type=Path)
    parser.add_argument("loras", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=2, help="pictures for each of four prompts")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--side", type=int, default=64)
    given = parser.parse_args()
    pipe = StableDiffusionPipeline.from_pretrained(given.base, safety_checker=None, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    before = {name: value.clone() for name, value in pipe.unet.state_dict().items()}
    for path in sorted(given.loras.glob("*/*.safetensors")):
        target = given.output / path.parent.name / path.stem
        if not target.is_dir():
            steer(pipe, launder.read(path), 1.0)
            paint(pipe, given.count, given.steps, given.side, target)
            pipe.unet.load_state_dict(before)


if __name__ == "__main__":
    main()
