"""Files trained on a checkpoint that was made from the set's base: `python benchmarks/derived.py SET LORAS NAME=DIR …`.

Most LoRAs in the wild are trained on somebody's checkpoint of a base, and references on the base itself.  DIR holds the
default plan's suspects that adapt all layers, same pictures and seeds, trained on a derived checkpoint; LORAS holds
the set's references and the twins of these files on the set's base, which make the table's first row.

    python -m auditor.training.base --start BASE --images PICTURES -o CHECKPOINT --unet-steps 400 --rate 4e-4 --crops 24
    python benchmarks/derived.py --blend BASE CHECKPOINT -o HALFWAY
    python -m auditor.training.base --images PICTURES -o OTHER --unet-steps 1000 --seed 7    # another base; copy the
                                                                    # folders vae and tokenizer of BASE to OTHER first
    python benchmarks/derived.py --train CHECKPOINT --images IMAGES -o DIR   # resumes

Columns: how far the checkpoint lies from the set's base, norm of the difference over norm of the weights, if a file
`checkpoint` in DIR says where it is; other works, in the protocol of the card (found at .05, in brackets false
attribution); then audits by the whole set: the artist found among files on the references' works; NO_MATCH, which is
wrong, for these and for files on works that the set does not know; attributed among files by artists outside the set;
the least that a file has of what all references share (`Coverage.in_common`; NO_MATCH asks for 5).
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import openset
from no_match import half_out_scores
from safetensors.numpy import load_file, save_file
from study import Table, add_to_card, printed

import auditor
from auditor.embedding.features import features
from auditor.embedding.scores import fit_normaliser, lead
from auditor.evidence.in_common import in_common
from auditor.evidence.membership import member_p
from auditor.policy import LEAST_IN_COMMON
from auditor.reference.build import Read
from auditor.reference.calibrate import VIEWS, view_modules
from auditor.reference.protocol import all_modules, complete, is_reference, make_fold, read_corpus
from auditor.reference.set import ReferenceSet

ALPHA = 0.05
RECIPES = "suspect-r6-all", "suspect-r32-all"
STATISTIC = openset.of_scores(fit_normaliser, lead)
UNET, TEXT = "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"
WHERE = "checkpoint"


def distance(base: Path, checkpoint: Path) -> float:
    """Norm of the difference of two UNets' matrices over the norm of the first's."""
    a, b = load_file(base / UNET), load_file(checkpoint / UNET)
    weights = [name for name, value in a.items() if value.ndim > 1]
    apart = sum(np.sum((b[n].astype(np.float64) - a[n]) ** 2) for n in weights)
    return float(np.sqrt(apart / sum(np.sum(a[n].astype(np.float64) ** 2) for n in weights)))


def blend(base: Path, checkpoint: Path, output: Path) -> None:
    """The mean of two checkpoints, in the layout of the second."""
    shutil.copytree(checkpoint, output)
    for part in (UNET, TEXT):
        a, b = load_file(base / part), load_file(checkpoint / part)
        mean = {name: ((a[name].astype(np.float32) + b[name]) / 2).astype(a[name].dtype) for name in a}
        save_file(mean, output / part, metadata={"format": "pt"})


def train(checkpoint: Path, images: Path, output: Path) -> None:
    """The default plan's suspects of `RECIPES`, on another base."""
    from auditor.training.default_set import default_jobs
    from auditor.training.references import Settings, load_base, run, write_plan

    jobs = [job for job in default_jobs(images, 0) if job.recipe in RECIPES]
    write_plan(output, jobs, load_base(checkpoint).digest)
    (output / WHERE).write_text(str(checkpoint.resolve()), encoding="utf-8")
    run(Settings(checkpoint, images, output), jobs, workers=2)


def other_works(corpus: list[Read], modules: list[str]) -> openset.Outcome:
    """The corpus' suspects on other works, both ways round."""
    trials = [openset.asked(make_fold(corpus, half, crossed=False), modules) for half in "ab"]
    return openset.outcome(STATISTIC, trials, "other", "other")


def row_of(name: str, folder: Path, suspects: list[Read], references: list[Read], reference: ReferenceSet) -> dict:
    """One checkpoint's row; suspects: of `folder`, those that adapt all modules."""
    corpus, view = [*references, *suspects], reference.views["all"]
    found = other_works(corpus, view_modules(all_modules(references), VIEWS["all"]))
    told = openset.shown(float(found.found.mean()), float(found.wrong.mean()))
    row: dict[str, str | float] = {"trained on": name, "files": len(suspects), "other works: named": found.named.mean()}
    row |= {"AUC": found.auc, "found": told}
    inside, outside = [], []
    for one in suspects:
        audit = auditor.check(folder / one.entry["file"], reference)
        (inside if one.entry["artist"] in reference.artists else outside).append((one.entry["artist"], audit))
    right = [audit.verdict.label == "CONSISTENT" and audit.verdict.artist == own for own, audit in inside]
    lost = sum(audit.verdict.label == "NO_MATCH" for _, audit in inside)
    fold, scores = half_out_scores(view, reference.artists, corpus)
    shared = np.array([in_common(view, *features(one.factored, view.bases)) for one in fold.suspects], float)
    unknown = (member_p(view, scores.max(1)) <= ALPHA) & ~(shared < LEAST_IN_COMMON)
    row |= {"references' works: found": float(np.mean(right)), "NO_MATCH": f"{lost} of {len(inside)}"}
    row |= {"NO_MATCH, unknown works": f"{int(unknown.sum())} of {len(unknown)}"}
    accused = sum(audit.verdict.label == "CONSISTENT" for _, audit in outside)
    row |= {"outsiders attributed": f"{accused} of {len(outside)}"}
    return row | {"least in common": f"{min(a.coverage.in_common for _, a in [*inside, *outside]):.0f}"}


def table(reference: ReferenceSet, loras: Path, base: Path, folders: dict[str, Path]) -> Table:
    """A row for the set's base and one for every folder."""
    corpus = read_corpus(loras)
    references = [one for one in corpus if is_reference(one)]
    modules = view_modules(all_modules(references), VIEWS["all"])
    rows: Table = []
    for name, folder in {"the set's base": loras, **folders}.items():
        some = corpus if folder == loras else read_corpus(folder)
        suspects = [one for one in some if one.entry["recipe"] in RECIPES and complete(one, modules)]
        where = folder / WHERE
        apart = distance(base, Path(where.read_text(encoding="utf-8"))) if where.is_file() else float("nan")
        row = row_of(name, folder, suspects, references, reference)
        rows.append({"trained on": name, "distance": 0.0 if folder == loras else apart} | row)
        print(printed(rows[-1:]).splitlines()[-1], flush=True)
    return rows


def main() -> None:
    """Print the table, or make what it needs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path, nargs="?")
    parser.add_argument("loras", type=Path, nargs="?")
    parser.add_argument("folders", nargs="*", metavar="NAME=DIR")
    parser.add_argument("--base", type=Path, default=Path("bases/audit-mini"), help="of the set")
    parser.add_argument("--card", type=Path, help="card.json to add the table to")
    parser.add_argument("--train", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--blend", type=Path, nargs=2, metavar=("BASE", "CHECKPOINT"))
    parser.add_argument("--images", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    if given.blend:
        return blend(*given.blend, given.output)
    if given.train:
        return train(given.train, given.images, given.output)
    folders = {name: Path(folder) for name, _, folder in (pair.partition("=") for pair in given.folders)}
    rows = table(ReferenceSet.load(given.set), given.loras, given.base, folders)
    print(printed(rows))
    if given.card:
        note = "Suspects that adapt all layers, same pictures and seeds in every row.  Distance: of the checkpoint's "
        note += (
            "from the base's, over their norm.  Found at .05, in brackets false attribution; NO_MATCH is wrong here.  "
        )
        note += "Unknown works: the artist's half of the works left out of the whole set."
        add_to_card(given.card, "derived checkpoints", "Files trained on a checkpoint made from the base", note, rows)


if __name__ == "__main__":
    main()
