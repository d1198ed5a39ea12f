"""Files of a dozen more trainers: `python benchmarks/trainers.py --base B --images I -o DIR` trains and prints a table.

Ways of making a LoRA that no reference knows, one at a time and not optimised for this base: other optimisers, a
difference of a fully trained model cut to rank 16, far too long, far too short, much dropout, rank 1 and 64, queries
and values alone, random crops, two artists' pictures together, and the starts PiSSA and OLoRA, which an audit must
refuse.  With --built, adapters of other structure: Kronecker products of three shapes, Hadamard products, feed-forward
layers or up blocks alone, an A that is never trained, pictures of 128 pixels.
Every file is audited as users audit it, by the whole set, which knows the works of its artists.  With --outside, IMAGES
holds artists who are not in the set: two recipes each, on all kinds but the refused starts and two artists.  Resumes.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny, DDPMScheduler, UNet2DConditionModel
from foreign import LINEAR, pixels
from peft import LoHaConfig, LoKrConfig, LoraConfig, PeftConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from study import Table, add_to_card, printed
from transformers import CLIPTextModel, CLIPTokenizer

import auditor
from auditor.reference.set import ReferenceSet
from auditor.training.default_set import OUTSIDERS
from auditor.training.pictures import read_pictures
from auditor.training.plan import split_works

ROUNDS, PICTURES = 5, 15
CROPS, SIDE, WIDE = 4, 64, 128
Tensors = dict[str, torch.Tensor]


class Lion(torch.optim.Optimizer):
    """Sign of an interpolated momentum (Chen et al. 2023), without weight decay."""

    def __init__(self, params: list[torch.nn.Parameter], rate: float) -> None:
        super().__init__(params, {"rate": rate})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One step."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                    p.add_((momentum * 0.9 + p.grad * 0.1).sign(), alpha=-group["rate"])
                    momentum.mul_(0.99).add_(p.grad, alpha=0.01)


@dataclass(frozen=True)
class Recipe:
    """What a trainer does.  adapter: arguments of PEFT's LoraConfig, or a configuration; None: the whole model."""

    adapter: dict[str, object] | Callable[[], PeftConfig] | None
    steps: int
    batch: int
    rate: float
    optimiser: str = "adamw"
    decay: float = 0.01
    crops: bool = False
    two: bool = False
    side: int = 64
    fixed: str = ""
    """Part of the names of weights that are not trained."""


def lora(rank: int, alpha: int, **more: object) -> dict[str, object]:
    """Arguments for an adapter of all linear layers."""
    return {"r": rank, "lora_alpha": alpha, "target_modules": LINEAR} | more


RECIPES = {
    "pissa": Recipe(lora(8, 8, init_lora_weights="pissa"), 200, 4, 5e-4),
    "olora": Recipe(lora(8, 8, init_lora_weights="olora"), 200, 4, 5e-4),
    "extracted": Recipe(None, 150, 4, 1e-4),
    "lion": Recipe(lora(16, 8), 250, 4, 3e-4, "lion"),
    "sgd": Recipe(lora(16, 16), 250, 4, 2.0, "sgd"),
    "overcooked": Recipe(lora(16, 16), 1200, 2, 2e-3),
    "weak": Recipe(lora(16, 8), 60, 2, 5e-4),
    "r64drop": Recipe(lora(64, 32, lora_dropout=0.1), 250, 4, 3e-4, decay=0.1),
    "r1": Recipe(lora(1, 1), 300, 4, 3e-3),
    "qv": Recipe(lora(8, 8, target_modules=["to_q", "to_v"]), 250, 4, 1e-3),
    "crop": Recipe(lora(8, 8), 250, 4, 1e-3, crops=True),
    "duo": Recipe(lora(16, 16), 300, 4, 1e-3, two=True),
}
UP = r".*up_blocks.*\.(to_q|to_k|to_v|to_out\.0|ff\.net\.0\.proj|ff\.net\.2)"
BUILT = {
    "lokr4": Recipe(lambda: LoKrConfig(r=16, alpha=16, decompose_factor=4, target_modules=LINEAR), 250, 4, 2e-3),
    "lokr16": Recipe(lambda: LoKrConfig(r=512, alpha=512, decompose_factor=16, target_modules=LINEAR), 250, 4, 1e-3),
    "lokrboth": Recipe(
        lambda: LoKrConfig(r=2, alpha=2, decompose_both=True, decompose_factor=-1, target_modules=LINEAR), 300, 4, 3e-3
    ),
    "loha2": Recipe(lambda: LoHaConfig(r=2, alpha=2, target_modules=LINEAR), 250, 4, 3e-3),
    "ff": Recipe(lora(8, 8, target_modules=["ff.net.0.proj", "ff.net.2"]), 250, 4, 1e-3),
    "up": Recipe(lora(8, 8, target_modules=UP), 250, 4, 1e-3),
    "fixedA": Recipe(lora(16, 16), 250, 4, 2e-3, fixed="lora_A"),
    "128px": Recipe(lora(16, 16), 150, 2, 5e-4, side=128),
}
EXTRACTED_RANK = 16


@dataclass(frozen=True)
class Job:
    """One file to make."""

    artists: tuple[str, ...]
    half: str
    recipe: str
    pictures: list[str]
    seed: int

    @property
    def path(self) -> Path:
        """Below the output."""
        return Path(self.artists[0]) / f"{'+'.join(self.artists)}--suspect-{self.half}-{self.recipe}.safetensors"


def jobs_of(images: Path) -> Iterator[Job]:
    """Every recipe on an artist of the set a round, the artists in turn, and in four rounds on one outsider."""
    works = split_works(read_pictures(images), 0)
    inside = [artist for artist in sorted(works) if artist not in OUTSIDERS]
    seed = 0
    for turn in range(ROUNDS):
        half = "ab"[turn % 2]
        for i, name in enumerate(RECIPES):
            at = turn * len(RECIPES) + 5 * i
            outsider = [OUTSIDERS[(turn + i) % len(OUTSIDERS)]] if turn < len(OUTSIDERS) else []
            for artist in [inside[at % len(inside)], *outsider]:
                seed += 1
                rng = np.random.default_rng([7, seed])
                artists = [artist, inside[(at + 23) % len(inside)]] if RECIPES[name].two else [artist]
                halves = [sorted(file for file, side in works[a].items() if side == half) for a in artists]
                some = [sorted(rng.permutation(files)[:PICTURES].tolist()) for files in halves]
                yield Job(tuple(artists), half, name, [*chain.from_iterable(some)], seed)


def jobs_outside(images: Path) -> Iterator[Job]:
    """Two recipes on every artist of a folder, one on each half of the works."""
    works = split_works(read_pictures(images), 0)
    names = [name for name, recipe in RECIPES.items() if not recipe.two and name not in ("pissa", "olora")]
    for i, artist in enumerate(sorted(works)):
        for k, half in enumerate("ab"):
            seed = 100_000 + 2 * i + k
            files = sorted(file for file, side in works[artist].items() if side == half)
            some = sorted(np.random.default_rng([7, seed]).permutation(files)[:PICTURES].tolist())
            yield Job((artist,), half, names[(2 * i + k) % len(names)], some, seed)


def jobs_built(images: Path) -> Iterator[Job]:
    """Every recipe of other structure on four artists of the set, the artists in turn, and on three outsiders."""
    works = split_works(read_pictures(images), 0)
    inside = [artist for artist in sorted(works) if artist not in OUTSIDERS]
    for turn in range(ROUNDS - 1):
        half = "ba"[turn % 2]
        for i, name in enumerate(BUILT):
            outsider = [OUTSIDERS[(turn + i) % len(OUTSIDERS)]] if turn else []
            for k, artist in enumerate([inside[(turn * len(BUILT) + 3 * i + 2) % len(inside)], *outsider]):
                seed = 200_000 + 2 * (turn * len(BUILT) + i) + k
                files = sorted(file for file, side in works[artist].items() if side == half)
                some = sorted(np.random.default_rng([7, seed]).permutation(files)[:PICTURES].tolist())
                yield Job((artist,), half, name, some, seed)


def latents_of(recipe: Recipe, base: Path, images: Path, files: list[str], rng: np.random.Generator) -> torch.Tensor:
    """Latents of the pictures and of their mirror images."""
    vae = AutoencoderTiny.from_pretrained(base / "vae").float().eval()
    seen = []
    for file in files:
        wide = pixels(images / file, WIDE if recipe.crops else recipe.side)
        for _ in range(CROPS if recipe.crops else 1):
            top, left = rng.integers(0, WIDE - SIDE + 1, 2) if recipe.crops else (0, 0)
            seen.append(wide[:, top : top + recipe.side, left : left + recipe.side])
    with torch.no_grad():
        stack = torch.stack(seen)
        found = torch.cat([vae.encode(stack).latents, vae.encode(stack.flip(3)).latents])
        return found * vae.config.scaling_factor


def optimiser_of(recipe: Recipe, trained: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """The recipe's."""
    made: dict[str, Callable[[], torch.optim.Optimizer]] = {
        "adamw": lambda: torch.optim.AdamW(trained, lr=recipe.rate, weight_decay=recipe.decay),
        "lion": lambda: Lion(trained, recipe.rate),
        "sgd": lambda: torch.optim.SGD(trained, lr=recipe.rate, momentum=0.9),
    }
    return made[recipe.optimiser]()


def train(base: Path, images: Path, job: Job) -> tuple[Tensors, dict[str, str]]:
    """Tensors and metadata of one file."""
    recipe, rng = (RECIPES | BUILT)[job.recipe], np.random.default_rng(job.seed)
    torch.manual_seed(job.seed)
    tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer")
    writer = CLIPTextModel.from_pretrained(base / "text_encoder").float()
    unet = UNet2DConditionModel.from_pretrained(base / "unet").float()
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    if recipe.adapter is not None:
        made = LoraConfig(**recipe.adapter) if isinstance(recipe.adapter, dict) else recipe.adapter()
        unet = get_peft_model(unet, made)
    scheduler = DDPMScheduler.from_pretrained(base / "scheduler")
    latents = latents_of(recipe, base, images, job.pictures, rng)
    ids = tokenizer(["a painting in sks style"], padding="max_length", truncation=True, return_tensors="pt").input_ids
    text = writer(ids)[0].detach().expand(recipe.batch, -1, -1)
    for name, weight in unet.named_parameters():
        if recipe.fixed and recipe.fixed in name:
            weight.requires_grad_(False)
    trained = [p for p in unet.parameters() if p.requires_grad]
    optimiser = optimiser_of(recipe, trained)
    unet.train()
    for _ in range(recipe.steps):
        clean = latents[rng.integers(0, len(latents), recipe.batch)]
        noise = torch.randn(clean.shape)
        when = torch.randint(0, scheduler.config.num_train_timesteps, (recipe.batch,))
        guess = unet(scheduler.add_noise(clean, noise, when), when, text).sample
        torch.nn.functional.mse_loss(guess, noise).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return extracted(unet, before) if recipe.adapter is None else adapted(unet, recipe)


def adapted(unet: torch.nn.Module, recipe: Recipe) -> tuple[Tensors, dict[str, str]]:
    """An adapter in diffusers' names, with the configuration that diffusers puts into the header."""
    state = get_peft_model_state_dict(unet)
    tensors = {f"unet.{key.removeprefix('base_model.model.')}": v.detach().contiguous() for key, v in state.items()}
    if not isinstance(recipe.adapter, dict):
        return tensors, {"format": "pt"}
    config = {f"unet.{key}": value for key, value in recipe.adapter.items()}
    return tensors, {"format": "pt", "lora_adapter_metadata": json.dumps(config)}


def extracted(unet: torch.nn.Module, before: Tensors) -> tuple[Tensors, dict[str, str]]:
    """The difference of two models, layer by layer cut to a rank, in kohya's names."""
    tensors: Tensors = {}
    for name, value in unet.state_dict().items():
        body = name.removesuffix(".weight")
        if body == name or value.ndim != 2 or not body.endswith(tuple(LINEAR)):
            continue
        u, s, vt = torch.linalg.svd(value - before[name], full_matrices=False)
        rank, place = min(EXTRACTED_RANK, len(s)), f"lora_unet_{body.replace('.', '_')}"
        tensors[f"{place}.lora_up.weight"] = (u[:, :rank] * s[:rank]).contiguous()
        tensors[f"{place}.lora_down.weight"] = vt[:rank].contiguous()
        tensors[f"{place}.alpha"] = torch.tensor(float(rank))
    return tensors, {"format": "pt"}


def rows_of(jobs: list[Job], output: Path, reference: ReferenceSet) -> Table:
    """What audits say, a row for each recipe and one for all that were audited."""
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for job in jobs:
        audit = auditor.check(output / job.path, reference)
        own = any(artist in reference.artists for artist in job.artists)
        first = audit.artists[0].artist if audit.artists else ""
        named = audit.verdict.label == "CONSISTENT"
        right = named and audit.verdict.artist in job.artists
        outcome = {"files": 1, "out of scope": audit.open_set is None, "own artists": own, "outsiders": not own}
        outcome |= {"first": own and first in job.artists, "found": right, "wrong": named and not right}
        outcome |= {"no match, own": own and audit.verdict.label == "NO_MATCH"}
        for row in (job.recipe, *(["all"] if audit.open_set else [])):
            found[row].append({name: float(value) for name, value in outcome.items()})
    names = [name for name in (*RECIPES, *BUILT, "all") if name in found]
    return [{"recipe": n} | {key: int(sum(o[key] for o in found[n])) for key in found[n][0]} for n in names]


def main() -> None:
    """Train what is missing, then audit all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--outside", action="store_true", help="no artist of IMAGES is in the set")
    parser.add_argument("--built", action="store_true", help="adapters of other structure")
    parser.add_argument("--refs", help="set to audit by; the default one if left out")
    parser.add_argument("--card", type=Path, help="card.json to add the table to")
    given = parser.parse_args()
    torch.set_num_threads(1)
    chosen = jobs_outside if given.outside else jobs_built if given.built else jobs_of
    jobs = list(chosen(given.images))
    for job in jobs:
        path = given.output / job.path
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            tensors, metadata = train(given.base, given.images, job)
            save_file(tensors, path.with_suffix(".part"), metadata)
            path.with_suffix(".part").rename(path)
            print(path.name, flush=True)
    rows = rows_of(jobs, given.output, ReferenceSet.load(given.refs))
    print(printed(rows))
    if given.card:
        note = "One file at a time, other settings; audited by the whole set. Wrong: another artist is named."
        kind = ", artists of another collection" if given.outside else ", adapters of other structure" * given.built
        title = f"Files of further trainers{kind}"
        add_to_card(given.card, title.lower(), title, note, rows)


if __name__ == "__main__":
    main()
