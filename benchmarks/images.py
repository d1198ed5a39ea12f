"""Do files on more pictures tell more?  `python benchmarks/images.py LORAS [--suspects DIR]` prints a table.

The protocol of the card, suspects on other works by every recipe, the other half's references among them, in groups by
the number of pictures that each was trained on (its job in plan.json).  Artists with few works have no files on many
pictures: the second part of the table keeps to artists who have files in the first group and in the last.  With
--suspects, a folder with a plan.json of its own, its suspects alone are tried, a row for every number of pictures.
`--train DIR --base BASE --images IMAGES` trains such suspects: of every half with enough works, on nested subsets.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import openset
from study import Table, add_to_card, printed

from auditor.embedding.scores import fit_normaliser, lead
from auditor.reference.build import read_plan
from auditor.reference.calibrate import VIEWS, view_modules
from auditor.reference.protocol import all_modules, complete, is_reference, kind_of_recipe, make_fold, read_corpus

GROUPS = ((8, 10), (11, 13), (14, 16), (17, 20))
NESTED, RECIPE = (5, 10, 20, 38), "suspect-r32-all"
STATISTIC = openset.of_scores(fit_normaliser, lead)


def row_of(label: str, some: openset.Outcome) -> dict[str, str | float]:
    """Figures of some suspects."""
    row: dict[str, str | float] = {"pictures": label, "files": len(some.file), "artists": len(np.unique(some.artist))}
    found = openset.shown(float(some.found.mean()), float(some.wrong.mean()))
    return row | {"named": float(some.named.mean()), "AUC": some.auc, "found at .05": found}


def train(loras: Path, base: Path, images: Path, output: Path) -> None:
    """Suspects of one recipe on `NESTED` pictures of every half that has so many; resumes."""
    from auditor.training.default_set import default_jobs, write_genres
    from auditor.training.references import Settings, load_base, run, write_plan

    works: dict[tuple[str, str], set[str]] = {}
    for job in read_plan(loras)[1].values():
        works.setdefault((job["artist"], job["half"]), set()).update(job["pictures"])
    jobs = []
    for job in default_jobs(images, 0):
        files = sorted(works[job.artist, job.half])
        if job.recipe != "diffusers-r8-all" or len(files) < max(NESTED):
            continue
        order = np.random.default_rng(len(jobs)).permutation(files).tolist()
        name = job.name.replace("--ref-", "--suspect-").replace(job.recipe, RECIPE)
        for n in NESTED:
            chosen = sorted(order[:n])
            jobs.append(replace(job, name=f"{name}-n{n}", recipe=RECIPE, seed=job.seed + n, pictures=chosen))
    write_plan(output, jobs, load_base(base).digest)
    write_genres(images, output)
    run(Settings(base, images, output), jobs, workers=2)


def main() -> None:
    """Print the table, or train suspects for one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("loras", type=Path)
    parser.add_argument("--suspects", type=Path, help="folder of suspects to try in place of those of LORAS")
    parser.add_argument("--card", type=Path, help="card.json to add the table to")
    parser.add_argument("--train", type=Path, help="folder to train suspects into, and do nothing else")
    parser.add_argument("--base", type=Path)
    parser.add_argument("--images", type=Path)
    given = parser.parse_args()
    if given.train:
        return train(given.loras, given.base, given.images, given.train)
    folders = [given.loras, *([given.suspects] if given.suspects else [])]
    counts = {j["name"]: len(j["pictures"]) for folder in folders for j in read_plan(folder)[1].values()}
    corpus = [one for one in read_corpus(given.loras) if kind_of_recipe(one) != "far"]
    if given.suspects:
        corpus = [one for one in corpus if is_reference(one)] + read_corpus(given.suspects)
    modules = view_modules(all_modules(corpus), VIEWS["all"])
    corpus = [one for one in corpus if complete(one, modules)]
    halves = [make_fold(corpus, half, crossed=not given.suspects) for half in "ab"]
    trials = [openset.asked(fold, modules) for fold in halves]
    recipes = ("other",) if given.suspects else ("reference", "other")
    every = openset.together([openset.outcome(STATISTIC, trials, "other", recipe) for recipe in recipes])
    pictures = np.array([counts[Path(file).stem] for file in every.file])
    groups = [(n, n) for n in np.unique(pictures).tolist()] if given.suspects else GROUPS
    inside = [(pictures >= low) & (pictures <= high) for low, high in groups]
    both = np.isin(every.artist, np.intersect1d(every.artist[inside[0]], every.artist[inside[-1]]))
    rows: Table = []
    for kept, whose in ((np.ones(len(both), bool), ""), (both, ", artists with few and many")):
        for (low, high), group in zip(groups, inside, strict=True):
            rows.append(row_of(f"{low} to {high}{whose}" if high > low else f"{low}", every.of(group & kept)))
        if given.suspects:
            break
    print(printed(rows))
    if given.card:
        note = "Suspects on other works that adapt all layers.  In brackets false attribution.  "
        note += "One recipe." if given.suspects else "By the set's recipes and others."
        title = "How many pictures a suspect was trained on" + (", more of them" if given.suspects else "")
        add_to_card(given.card, title.lower(), title, note, rows)


if __name__ == "__main__":
    main()
