"""A LoRA trained on what another LoRA draws: `python benchmarks/redrawn.py SET LORAS NAME=DIR …` prints a table.

Whoever wants to hide where a style comes from need not touch the file: it draws pictures with it and trains a new LoRA
on them, which has seen no picture of the artist.  DIR holds twins of the default plan's suspects that adapt all layers:
each was trained by its twin's recipe, with another seed, on pictures that the twin drew.

    python benchmarks/redrawn.py --draw LORAS --base BASE --count 20 -o DRAWN     # PNGs and their prompts; resumes
    python benchmarks/redrawn.py --train DRAWN --base BASE --loras LORAS -o DIR      # resumes

Columns: by the whole set, the right artist first, and found; attributed to another artist; told that nobody fits (which
is wrong); what share of the test's figure is left in the median; outsiders' files that are attributed.  The files
`nobody` are trained on what the base draws by itself: nobody's style, so they count as outsiders.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from study import Table, add_to_card, printed

import auditor
from auditor.reference.build import Read, read_folder, read_plan
from auditor.reference.set import ReferenceSet

RECIPES = "suspect-r6-all", "suspect-r32-all"
NOBODY, ALONE = "nobody", 16
SUBJECTS = (
    "a portrait of a woman", "a portrait of a man", "a landscape with trees", "ships at sea", "a street in a town",
    "a still life with fruit", "people at a table", "a garden", "a river in winter", "a horse and a rider",
    "a child at a window", "a church", "flowers in a vase", "a battle", "a bridge at night", "a mountain",
    "a woman reading", "a field in summer", "a dog", "a festival",
)  # fmt: skip
STEPS, GUIDANCE, SIDE = 25, 2.0, 64


def suspects(loras: Path) -> dict[str, dict]:
    """The plan's jobs of `RECIPES` by the names of their files."""
    _, jobs = read_plan(loras)
    return {job["name"]: job for job in jobs.values() if job["recipe"] in RECIPES}


def draw(loras: Path, base: Path, count: int, output: Path) -> None:
    """`count` pictures by every suspect, and by the base alone, each with its prompt beside it."""
    from auditor.lora import load_lora
    from auditor.training.exhibit import applied, load_pipeline, sample
    from auditor.training.plan import seed_of

    pipeline = load_pipeline(base, "cpu")

    def paint(artist: str, name: str) -> None:
        prompts = [SUBJECTS[i % len(SUBJECTS)] for i in range(count)]
        columns = [(prompt, seed_of("redrawn", name, i)) for i, prompt in enumerate(prompts)]
        pictures = sample(pipeline, columns, STEPS, GUIDANCE)
        (output / artist).mkdir(parents=True, exist_ok=True)
        for i in reversed(range(count)):  # the first picture comes last: where it is, all are
            stem = output / artist / f"{name}-{i:03d}"
            stem.with_suffix(".txt").write_text(prompts[i], encoding="utf-8")
            pictures[i].save(stem.with_suffix(".png"))

    for name, job in suspects(loras).items():
        if not (output / job["artist"] / f"{name}-000.png").is_file():
            with applied(pipeline, load_lora(loras / job["artist"] / f"{name}.safetensors")):
                paint(job["artist"], name)
    for k in range(ALONE):
        if not (output / NOBODY / f"{NOBODY}-{k}-000.png").is_file():
            paint(NOBODY, f"{NOBODY}-{k}")


def train(drawn: Path, base: Path, loras: Path, output: Path) -> None:
    """A LoRA on every suspect's drawings, by the suspect's recipe."""
    from auditor.training.plan import seed_of
    from auditor.training.references import Job, Settings, load_base, run, write_plan

    made = {name: (job["artist"], job["half"], job["recipe"]) for name, job in suspects(loras).items()}
    made |= {f"{NOBODY}-{k}": (NOBODY, "a", RECIPES[k % len(RECIPES)]) for k in range(ALONE)}
    jobs = []
    for name, (artist, half, recipe) in made.items():
        pictures = [f"{artist}/{path.name}" for path in sorted((drawn / artist).glob(f"{name}-[0-9][0-9][0-9].png"))]
        own = name if artist != NOBODY else f"{name}--suspect-a-{recipe}"
        jobs.append(Job(own, artist, half, recipe, seed_of("redrawn", name), pictures))
    jobs.sort(key=lambda job: job.recipe)
    write_plan(output, jobs, load_base(base).digest)
    run(Settings(base, drawn, output), jobs, workers=2)


def row_of(name: str, folder: Path, before: dict[str, float], reference: ReferenceSet) -> dict[str, str | float]:
    """One folder's row; before: the test's figure of the files themselves, filled by their own row."""
    files = [one for one in read_folder(folder, None) if isinstance(one, Read) and one.entry["recipe"] in RECIPES]
    first, found, kept = [], [], []
    wrong = lost = accused = strangers = 0
    for one in files:
        audit = auditor.check(folder / one.entry["file"], reference)
        own, said = one.entry["artist"], audit.verdict.label
        if own not in reference.artists:
            strangers += 1
            accused += said == "CONSISTENT"
            continue
        first.append(audit.artists[0].artist == own)
        found.append(said == "CONSISTENT" and audit.verdict.artist == own)
        wrong += said == "CONSISTENT" and audit.verdict.artist != own
        lost += said == "NO_MATCH"
        kept.append(audit.open_set.statistic / before.setdefault(one.entry["file"], audit.open_set.statistic))
    row: dict[str, str | float] = {"trained on": name, "files": len(first), "right artist first": np.mean(first)}
    row |= {"found": float(np.mean(found)), "another artist": f"{wrong} of {len(first)}"}
    row |= {"NO_MATCH": f"{lost} of {len(first)}", "figure left": float(np.median(kept))}
    return row | {"outsiders attributed": f"{accused} of {strangers}"}


def main() -> None:
    """Print the table, or make what it needs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path, nargs="?")
    parser.add_argument("loras", type=Path, nargs="?")
    parser.add_argument("folders", nargs="*", metavar="NAME=DIR")
    parser.add_argument("--card", type=Path, help="card.json to add the table to")
    parser.add_argument("--draw", type=Path, metavar="LORAS")
    parser.add_argument("--train", type=Path, metavar="DRAWN")
    parser.add_argument("--base", type=Path, default=Path("bases/audit-mini"))
    parser.add_argument("--loras", dest="twins", type=Path)
    parser.add_argument("--count", type=int, default=20, help="pictures that each LoRA draws")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    if given.draw:
        return draw(given.draw, given.base, given.count, given.output)
    if given.train:
        return train(given.train, given.base, given.twins, given.output)
    folders = {name: Path(folder) for name, _, folder in (pair.partition("=") for pair in given.folders)}
    reference, before = ReferenceSet.load(given.set), {}
    rows: Table = []
    for name, folder in {"the artists' works": given.loras, **folders}.items():
        rows.append(row_of(name, folder, before, reference))
        print(printed(rows[-1:]).splitlines()[-1], flush=True)
    print(printed(rows))
    if given.card:
        note = "Suspects that adapt all layers, and their twins: same recipe, another seed, on pictures that they drew."
        add_to_card(given.card, "redrawn", "Files trained on what a LoRA drew", note, rows)


if __name__ == "__main__":
    main()
