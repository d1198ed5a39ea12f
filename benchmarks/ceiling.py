"""What would the pictures allow?  `python benchmarks/ceiling.py LORAS --images IMAGES --base BASE --model MODEL`.

A network of photographs looks at the very pictures that each LoRA was trained on (its job in plan.json), a LoRA's row
is the mean over its pictures, and these rows go through the protocol and the statistic of the card in place of weights.
Row by row less of the pictures is left: whole at 192 pixels, at the base's side, in crops from near and far as
trainings see them, each also through the base's autoencoder and back.  The last row is the LoRAs themselves.  So the
table says where the style is lost: before any LoRA, or in it.  MODEL: SqueezeNet 1.1 as .npz, or any TorchScript
module, by path.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openset
import torch
from numpy.typing import NDArray
from study import Table, add_to_card, printed

from auditor.embedding.scores import fit_normaliser, lead
from auditor.reference.build import DIRECTIONS
from auditor.reference.calibrate import VIEWS, view_modules
from auditor.reference.protocol import (
    Fold,
    Matrix,
    all_modules,
    complete,
    embedding_matrix,
    kind_of_recipe,
    make_fold,
    read_corpus,
)
from auditor.reference.trials import trial_cosines
from auditor.training.families import load_base
from auditor.training.pictures import SIDE, cut, even_boxes, read_square, resize, to_float
from auditor.training.plan import read_plan
from auditor.training.vision import Model, load_model

CROPS = 4
TOGETHER = 16
KINDS = ("other works", "other works, reference", "same works, other", "same works, foreign")

Look = Callable[[NDArray[np.uint8], np.random.Generator], torch.Tensor]
"""uint8 (n, SIDE, SIDE, 3) → float32 (n, views, 3, h, w) in [-1, 1]."""


def whole(side: int) -> Look:
    """The whole picture."""
    return lambda pixels, rng: resize(to_float(pixels), side)[:, None]


def crops(side: int) -> Look:
    """Crops from near and far, as trainings see them."""

    def look(pixels: NDArray[np.uint8], rng: np.random.Generator) -> torch.Tensor:
        boxes = even_boxes(SIDE, len(pixels), CROPS, rng, min(side, SIDE * 2 // 3))
        return torch.stack([cut(pixels, *box, side) for box in boxes], 1)

    return look


@dataclass(frozen=True)
class Eyes:
    """A network that looks, and an autoencoder that may stand before it."""

    model: Model
    vae: torch.nn.Module

    def features(self, images: Path, files: list[str], look: Look, decoded: bool) -> dict[str, NDArray[np.float32]]:
        """Mean over the views of every picture."""
        found, rng = {}, np.random.default_rng(0)  # the same crops in every row
        for begin in range(0, len(files), TOGETHER):
            part = files[begin : begin + TOGETHER]
            views = look(np.stack([read_square(images / file) for file in part]), rng)
            flat = views.flatten(0, 1)
            if decoded:
                with torch.no_grad():
                    flat = self.vae.decode(self.vae.encode(flat).latents).sample.clamp(-1, 1)
            seen = self.model(flat.add(1).div(2).numpy()).reshape(*views.shape[:2], -1).mean(1)
            found |= dict(zip(part, seen.astype(np.float32), strict=True))
        return found


def picture_matrix(pictures: dict[str, list[str]], seen: dict[str, NDArray[np.float32]]) -> Matrix:
    """Features of the protocol: mean over the pictures that a LoRA was trained on, scaled on the references."""

    def build(fold: Fold, modules: list[str]) -> tuple[np.ndarray, list[slice]]:
        jobs = [Path(one.entry["file"]).stem for one in [*fold.references, *fold.suspects]]
        rows = np.stack([np.mean([seen[file] for file in pictures[job]], 0) for job in jobs]).astype(float)
        n = len(fold.references)
        scaled = (rows - rows[:n].mean(0)) / (rows[:n].std(0) + 1e-6)
        return scaled, [slice(0, scaled.shape[1])]

    return build


def row_of(name: str, folds: list[Fold], matrix: Matrix, modules: list[str]) -> dict[str, str | float]:
    """One row of the table: the card's statistic on these features."""
    trials = []
    for fold in folds:
        x, columns = matrix(fold, modules)
        cosines = trial_cosines(x, columns, fold.reference_artist, fold.suspect_artist, openset.SETTINGS)
        trials.append(openset.Asked(fold, *cosines))
    statistic = openset.of_scores(fit_normaliser, lead)
    row: dict[str, str | float] = {"what is compared": name}
    everybody = np.arange(len(folds[0].artists))
    for kind in KINDS:
        one = openset.outcome(statistic, trials, *openset.KINDS[kind])
        row[kind] = openset.shown(*one.shares(everybody))
        if kind == KINDS[0]:
            row |= {"named": float(one.named.mean()), "AUC": one.auc}
    return row


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("loras", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--card", type=Path, help="card.json to add the table to")
    given = parser.parse_args()
    corpus = [one for one in read_corpus(given.loras) if kind_of_recipe(one) != "far"]
    modules = view_modules(all_modules(corpus), VIEWS["all"])
    corpus = [one for one in corpus if complete(one, modules)]
    folds = [make_fold(corpus, half) for half in "ab"]
    pictures = {job["name"]: job["pictures"] for job in read_plan(given.loras)["jobs"]}
    files = sorted({file for one in corpus for file in pictures[Path(one.entry["file"]).stem]})
    base = load_base(given.base)
    eyes = Eyes(load_model(given.model), base.vae.float())
    side = base.side
    looks: list[tuple[str, Look, bool]] = [(f"whole pictures, {SIDE} px", whole(SIDE), False)]
    for decoded, after in ((False, ""), (True, ", by the base's autoencoder and back")):
        looks += [(f"whole pictures, {s} px{after}", whole(s), decoded) for s in (2 * side, side)]
        looks += [(f"crops from near and far, {side} px{after}", crops(side), decoded)]
    rows: Table = []
    for name, look, decoded in looks:
        seen = eyes.features(given.images, files, look, decoded)
        rows.append(row_of(name, folds, picture_matrix(pictures, seen), modules))
        print(name, rows[-1], flush=True)
    rows.append(row_of("LoRAs, the default features", folds, embedding_matrix(k=DIRECTIONS), modules))
    print(printed(rows))
    if given.card:
        note = "The same files of the same plan; suspects that adapt all layers.  Found at .05, false attribution in "
        note += "brackets; named and AUC of the first column."
        add_to_card(given.card, "ceiling", "What the pictures would allow", note, rows)


if __name__ == "__main__":
    main()
