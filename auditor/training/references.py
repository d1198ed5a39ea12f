"""Artists' folders of pictures → reference LoRAs: the plan, the caches, the gangs, the files.

In:  a base (diffusers folder), ``DIR/<artist>/*.jpg``, recipes.  Out: ``OUT/<artist>/<name>.safetensors`` and
``OUT/plan.json`` (what every file was trained on), ``OUT/log.jsonl``.  Files are written atomically and a file that
exists is never trained again, so a killed run resumes with the loss of the running gang only.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DDPMScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from transformers import CLIPTextModel, CLIPTokenizer

from auditor.errors import TrainingError
from auditor.training.export import write_lora
from auditor.training.gang import Member, train_gang
from auditor.training.pictures import Pictures, random_crops, read_pictures, resize, to_float
from auditor.training.recipes import BY_NAME, Recipe

CROPS = 16  # random crops of each picture, cached after the whole picture


@dataclass(frozen=True)
class Job:
    """One LoRA to train.  half: 'a' or 'b' of the artist's works, or 'all'; pictures: file names 'artist/name'."""

    name: str
    artist: str
    half: str
    recipe: str
    seed: int
    pictures: list[str]


@dataclass(frozen=True)
class Base:
    """A frozen base in float32 and the digest of its files."""

    vae: AutoencoderKL | AutoencoderTiny
    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    unet: UNet2DConditionModel
    scheduler: DDPMScheduler
    digest: str

    @property
    def side(self) -> int:
        """Picture side in pixels that the UNet was made for."""
        levels = getattr(self.vae.config, "block_out_channels", None) or self.vae.config.encoder_block_out_channels
        return int(self.unet.config.sample_size) * 2 ** (len(levels) - 1)


def load_base(folder: Path) -> Base:
    """A Stable-Diffusion-layout pipeline folder, loaded part by part, frozen, float32."""
    if not (folder / "unet").is_dir():
        raise TrainingError(
            f"{folder} is no base in the diffusers layout: it has no folder 'unet'.",
            advice="Give the folder that holds unet/, vae/, text_encoder/, tokenizer/ and scheduler/.",
        )
    declared = json.loads((folder / "vae" / "config.json").read_text())["_class_name"]
    vae_kind = AutoencoderTiny if declared == "AutoencoderTiny" else AutoencoderKL
    parts = [
        kind.from_pretrained(folder / name, torch_dtype=torch.float32).eval().requires_grad_(False)
        for kind, name in ((vae_kind, "vae"), (CLIPTextModel, "text_encoder"), (UNet2DConditionModel, "unet"))
    ]
    parts[2].to(memory_format=torch.channels_last)  # 1.4 × faster on CPUs
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(path.relative_to(folder).as_posix().encode() + hashlib.sha256(path.read_bytes()).digest())
    return Base(
        parts[0],
        CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        parts[1],
        parts[2],
        DDPMScheduler.from_pretrained(folder / "scheduler"),
        digest.hexdigest(),
    )


def seed_of(*parts: object) -> int:
    """A 31-bit seed from anything printable, the same on every machine."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big") >> 1


def difference_hash(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """64-bit perceptual hash of each picture (n, h, w, 3): is a cell brighter than its right neighbour? (n, 64)."""
    grey = resize(to_float(pixels).mean(1, keepdim=True), 9)[:, 0, :8, :].numpy()
    return (grey[:, :, 1:] > grey[:, :, :-1]).reshape(len(pixels), 64)


def halves(pictures: Pictures, index: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Split one artist's pictures in two; near-duplicates (≤ 6 of 64 hash bits differ) stay on one side."""
    hashes = difference_hash(pictures.pixels[index])
    near = (hashes[:, None] != hashes[None]).sum(2) <= 6
    group = np.arange(len(index))
    for i, j in zip(*np.nonzero(np.triu(near, 1)), strict=True):
        group[group == group[j]] = group[i]
    side = np.zeros(len(index), bool)
    for g in rng.permutation(np.unique(group)):
        side[group == g] = side.sum() < (len(index) - (group == g).sum() + 1) // 2
    return side


def plan(
    pictures: Pictures, recipes: tuple[Recipe, ...], seed: int, parts: tuple[str, ...] = ("a", "b"), tag: str = "ref"
) -> list[Job]:
    """One LoRA per artist, part of the works and recipe; the picture subsets (8–20) of a part together span it."""
    jobs = []
    for artist in sorted(set(pictures.artist)):
        index = np.flatnonzero(np.array(pictures.artist) == artist)
        side = halves(pictures, index, np.random.default_rng([seed, seed_of(artist)]))
        for part in parts:
            own = index if part == "all" else index[side == (part == "a")]
            rng = np.random.default_rng([seed, seed_of(artist, part, tag)])
            order, start = rng.permutation(own), 0
            for recipe in recipes:
                count = min(len(own), int(rng.integers(8, 21)))
                chosen = sorted(np.take(order, np.arange(start, start + count), mode="wrap"))
                start += max(count, len(own) // len(recipes) + 1)
                name = f"{artist}--{tag}-{part}-{recipe.name}"
                files = [pictures.file[i] for i in chosen]
                jobs.append(Job(name, artist, part, recipe.name, seed_of(seed, name), files))
    return jobs


def encode(vae: AutoencoderKL | AutoencoderTiny, batch: torch.Tensor) -> torch.Tensor:
    """Latent mean and log-variance (n, 2c, h, w) of pictures (n, 3, H, W); a Tiny autoencoder has no variance."""
    encoded = vae.encode(batch)
    if hasattr(encoded, "latent_dist"):
        return encoded.latent_dist.parameters
    return torch.cat([encoded.latents, torch.full_like(encoded.latents, -30.0)], 1)


def encode_artist(base: Base, pixels: NDArray[np.uint8], artist: str) -> torch.Tensor:
    """Latent (mean, log-variance) of the whole picture and of `CROPS` random crops: (n, 1 + CROPS, 2c, h, w)."""
    rng = np.random.default_rng(seed_of("crops", artist))
    index = np.arange(len(pixels))
    views = [resize(to_float(pixels), base.side)]
    views += [random_crops(pixels, index, base.side, rng) for _ in range(CROPS)]
    with torch.no_grad():
        rows = [encode(base.vae, part) for view in views for part in view.split(32)]
    return torch.cat(rows).view(1 + CROPS, len(pixels), *rows[0].shape[1:]).transpose(0, 1).contiguous()


def caption_of(recipe: Recipe, title: str) -> str:
    """The training caption of a picture; see `Recipe.caption`."""
    return {
        "title": title,
        "painting": f"a painting of {title}" if title else "a painting",
        "trigger": "a painting in the style of zxq",
        "none": "",
    }[recipe.caption]


def encode_texts(base: Base, texts: list[str]) -> torch.Tensor:
    """Text encoder states, float32 (n, tokens, width)."""
    ids = base.tokenizer(
        texts, padding="max_length", truncation=True, max_length=base.tokenizer.model_max_length, return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        return base.text_encoder(ids)[0].float()


class Cache:
    """Latents per artist, on disk under `folder` by base, artist and pictures; text states in memory."""

    def __init__(self, base: Base, pictures: Pictures, folder: Path) -> None:
        self.base, self.pictures, self.folder = base, pictures, folder
        self.row = {name: i for i, name in enumerate(pictures.file)}

    def artist(self, artist: str) -> tuple[torch.Tensor, dict[str, int]]:
        """Latents of one artist and the row of each file; computed once, then read."""
        index = [i for i, a in enumerate(self.pictures.artist) if a == artist]
        pixels = self.pictures.pixels[index]
        key = hashlib.sha256(self.base.digest.encode() + pixels.tobytes() + str(CROPS).encode()).hexdigest()[:24]
        path = self.folder / f"{artist}-{key}.npy"
        if not path.is_file():
            write_atomically(path, encode_artist(self.base, pixels, artist).half().numpy())
        rows = {self.pictures.file[i]: k for k, i in enumerate(index)}
        return torch.from_numpy(np.load(path)).float(), rows

    def member(self, job: Job) -> Member:
        """The training inputs of one job."""
        latents, rows = self.artist(job.artist)
        recipe = BY_NAME[job.recipe]
        texts = [caption_of(recipe, self.pictures.title[self.row[f]]) for f in job.pictures]
        return Member(job.name, job.seed, latents[[rows[f] for f in job.pictures]], encode_texts(self.base, texts))


def write_atomically(path: Path, array: NDArray[np.float16]) -> None:
    """Write an .npy file so that a reader sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.part")
    with partial.open("wb") as handle:
        np.save(handle, array)
    partial.replace(path)


def target_file(output: Path, job: Job) -> Path:
    """Where a job's LoRA lies."""
    return output / job.artist / f"{job.name}.safetensors"


def gangs(jobs: list[Job], size: int) -> Iterator[list[Job]]:
    """Jobs of one recipe in groups of at most `size`, recipe by recipe: a run cut short still spans all artists."""
    for recipe in dict.fromkeys(job.recipe for job in jobs):
        queue = [job for job in jobs if job.recipe == recipe]
        yield from (queue[i : i + size] for i in range(0, len(queue), size))


def write_plan(output: Path, jobs: list[Job], base_digest: str) -> None:
    """Record what every file is trained on, adding to what the folder already holds."""
    path = output / "plan.json"
    known = json.loads(path.read_text())["jobs"] if path.is_file() else []
    merged = {j["name"]: j for j in known} | {j.name: asdict(j) for j in jobs}
    output.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps({"base": base_digest, "jobs": list(merged.values())}, indent=1))
    partial.replace(path)


def run(base_folder: Path, images: Path, output: Path, jobs: list[Job], gang: int = 16, workers: int = 1) -> None:
    """Train all jobs whose file does not exist yet, `workers` processes side by side.

    Raises TrainingError if a worker fails; what was finished stays.
    """
    todo = [job for job in jobs if not target_file(output, job).is_file()]
    context = get_context("spawn")
    processes = [
        context.Process(target=work, args=(base_folder, images, output, list(gangs(todo, gang))[k::workers]))
        for k in range(workers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    failed = [p.exitcode for p in processes if p.exitcode]
    if failed:
        raise TrainingError(
            f"{len(failed)} of {workers} training processes ended with codes {failed}.",
            advice="The message above says why; run the same command again, finished LoRAs are kept.",
        )


def work(base_folder: Path, images: Path, output: Path, todo: list[list[Job]]) -> None:
    """Train gangs one after the other in this process."""
    torch.set_num_threads(max(1, int(os.environ.get("AUDIT_TRAIN_THREADS", "1"))))
    base = load_base(base_folder)
    cache = Cache(base, read_pictures(images, sorted({j.artist for g in todo for j in g})), output / "cache")
    for group in todo:
        started = time.time()
        members = [cache.member(job) for job in group]
        recipe = BY_NAME[group[0].recipe]
        trained = train_gang(base.unet, base.scheduler, base.vae.config.scaling_factor, recipe, members)
        for job, lora in zip(group, trained, strict=True):
            write_lora(target_file(output, job), lora.factors, recipe)
            row = {"name": job.name, "loss": round(lora.loss, 5), "gang": len(group)}
            row["s"] = round((time.time() - started) / len(group), 2)
            with (output / "log.jsonl").open("a") as handle:
                handle.write(json.dumps(row) + "\n")
