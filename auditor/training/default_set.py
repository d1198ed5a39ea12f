"""What the shipped set is made of: which artists stay outside, which LoRAs are trained, in which order.

The outsiders were named before any LoRA was trained, one of each of four genres.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

from auditor.training.pictures import read_pictures
from auditor.training.recipes import FAR, REFERENCE, SUSPECT
from auditor.training.references import Job, Settings, load_base, plan, run, write_plan
from auditor.whole_file import write_whole

OUTSIDERS = ("frans-hals", "pietro-longhi", "utagawa-kunisada", "willard-metcalf")
# Most telling first: a run that is cut short leaves every artist with fewer references, not some with none.
FIRST = ("diffusers-r8-all", "peft-r4-whole")
THEN = ("diffusers-r4-attn", "kohya-r16-all", "kohya-r8-a1")
MORE = ("peft-r16-trigger", "kohya-r32-batch2", "diffusers-r8-long")
ORDER = (*FIRST, *(recipe.name for recipe in SUSPECT), *THEN, *MORE, *(recipe.name for recipe in FAR))


def default_jobs(images: Path, seed: int) -> list[Job]:
    """References of both halves for every artist of the set; suspects of other recipes for all, outsiders included;
    suspects of far recipes for outsiders and every seventh artist."""
    pictures = read_pictures(images)
    # Planned with all recipes of the base, so that one recipe more or less changes no other one's pictures.
    recipes = [recipe for recipe in REFERENCE if "mini" in recipe.bases]
    jobs = [j for j in plan(pictures, recipes, seed) if j.artist not in OUTSIDERS and j.recipe in ORDER]
    suspects = plan(pictures, SUSPECT, seed, tag="suspect")
    artists = sorted(set(pictures.artist))
    for job in suspects:
        turn = (artists.index(job.artist) + (job.half == "b")) % len(SUSPECT)
        if job.artist in OUTSIDERS or SUSPECT[turn].name == job.recipe:
            jobs.append(job)
    for job in plan(pictures, FAR, seed, tag="suspect"):
        if job.artist in OUTSIDERS or (job.half == "a" and artists.index(job.artist) % 7 == 0):
            jobs.append(job)
    return sorted(jobs, key=lambda job: ORDER.index(job.recipe))


def write_genres(images: Path, output: Path) -> None:
    """artists.json for `audit refs import`: genre and year of death from the CATALOGUE.csv beside the folder of images.

    Its columns: file, artist, died, genre, …; without it, artists have no genre and the card no hard negatives.
    """
    catalogue = images.parent / "CATALOGUE.csv"
    if not catalogue.is_file():
        return
    with catalogue.open(encoding="utf-8", newline="") as opened:
        rows = [row for row in csv.DictReader(opened) if Path(row["file"]).parts[0] == images.name]
    known = {row["artist"]: {"genre": row["genre"], "died": int(row["died"])} for row in rows}
    write_whole(output / "artists.json", json.dumps(known, indent=1))


def main() -> None:
    """Train the default set's LoRAs into a folder; resumes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gang", type=int, default=16)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    jobs = default_jobs(options.images, options.seed)
    write_plan(options.output, jobs, load_base(options.base).digest)
    write_genres(options.images, options.output)
    run(Settings(options.base, options.images, options.output, options.gang), jobs, options.workers)


if __name__ == "__main__":
    main()
