"""Bases, pictures, recipes and the trainer of reference LoRAs.  The only room that imports torch, diffusers, peft."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.errors import TrainingError, UsageError
from auditor.extras import needing
from auditor.sources.hub import SCHEME
from auditor.training.hub import base_from_hub, stay_offline

# Advice of a library on import, about parts that are not used here.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

if TYPE_CHECKING:
    from auditor.training.families import Base
    from auditor.training.plan import Job, Splits
    from auditor.training.references import Settings
    from auditor.training.works import Works

FEW = 16
"""Pictures of an artist below which halves are small."""
MOST_UNEVEN = 2
"""So many times as many pictures in one half as in the other are remarked."""
PRECISIONS = {"no": "float32", "bf16": "bfloat16"}
"""What accelerate's words mean."""
ARTISTS = {3: "a reference set", 10: "a set's validity card", 20: "naming one of them at α = 0.05"}
"""How many artists things need, see auditor.reference and `OpenSet.names_from`."""


def train(
    base: Path | str,
    images: Path,
    output: Path,
    *,
    recipes: list[str] | None = None,
    seed: int = 0,
    gang: int = 16,
    workers: int = 1,
    parts: tuple[str, ...] = ("a", "b"),
    repeats: int = 1,
    checkpoint: str = "",
    side: int | None = None,
    caption: str = "given",
    device: str | None = None,
    precision: str | None = None,
    compiled: bool = False,
    checkpointing: bool = False,
    only_plan: bool = False,
    offline: bool = False,
    quiet: bool = False,
    progress: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train reference LoRAs for every artist of `images`; see docs/factory.md.

    checkpoint: the name of a base that is another checkpoint of the one that the other LoRAs in `output` were trained
    on; it goes into the names of files and recipes.
    Resumes: a LoRA whose file exists is not trained again.  Returns {planned, trained, kept, failed, unread}, and
    `elsewhere`, how many are with processes of another run, if some are; with `only_plan` what would be trained and how
    long it would take; {} in all but the first of several launched processes.
    Raises AuditorError where the training extra is missing, UsageError where an option is wrong, TrainingError where
    training cannot go on.
    """
    with needing("train", "training references"):
        from accelerate import PartialState
        from filelock import FileLock

        from auditor.training import recipes as known
        from auditor.training import references
        from auditor.training.captions import require_source
        from auditor.training.devices import require_device
        from auditor.training.families import family_of
        from auditor.training.plan import target_file
    if offline:
        stay_offline()
    folder = find_base(base)
    wanted = known.chosen(recipes or [], family_of(folder).family)
    check_recipes(wanted, family_of(folder).family, progress)
    if checkpoint:
        wanted = [known.on_checkpoint(recipe, checkpoint) for recipe in wanted]
    settings = references.Settings(
        folder, images, output, gang, side, caption, device, precision, compiled, checkpointing, quiet
    )
    require_device(device)
    require_source(caption)
    state = PartialState(cpu=device == "cpu")
    say = progress if state.is_main_process else references.silent
    if only_plan:
        jobs, works = prepare(settings, wanted, seed, parts, repeats, checkpoint, say, record=False)
        return what_it_takes(settings, jobs, works, wanted, workers) if state.is_main_process else {}
    try:
        output.mkdir(parents=True, exist_ok=True)
        # A lock, no barrier: looking at many pictures takes longer than process groups wait for each other.
        with FileLock(output / ".plan.lock"):
            jobs, works = prepare(settings, wanted, seed, parts, repeats, checkpoint, say, record=True)
    except OSError as problem:  # pictures that cannot be read do not come here
        raise TrainingError(
            f"Nothing can be planned in {output}: {problem.strerror or problem}.",
            advice="Make room, or give a folder that can be written to, and run the same command again.",
        ) from problem
    before = sum(target_file(output, job).is_file() for job in jobs)
    say(f"{len(jobs)} LoRAs planned, {before} already there")
    by_name = {recipe.name: recipe for recipe in wanted}
    failed = references.run(settings, jobs, workers if state.num_processes == 1 else 1, by_name)
    if not state.is_main_process:
        return {}
    after = sum(target_file(output, job).is_file() for job in jobs)
    found = {"planned": len(jobs), "trained": after - before, "kept": before, "failed": failed, "unread": works.unread}
    elsewhere = len(jobs) - after - len(failed)
    return found | ({"elsewhere": elsewhere} if elsewhere > 0 else {})


def check_recipes(recipes: list[Any], family: str, tell: Callable[[str], None]) -> None:
    """Refuse recipes that cannot be written for the family, warn of those made for another.  Raises UsageError."""
    from auditor.training.export import check_dialect

    if not recipes:
        raise UsageError(f"There are no recipes for this base ({family}).", advice="Give --recipe with a .toml file.")
    for recipe in recipes:
        check_dialect(recipe, family)
        if recipe.bases and family not in recipe.bases:
            tell(f"{recipe.name} was made for {', '.join(recipe.bases)}; this base is {family}")


def prepare(
    settings: Settings,
    recipes: list[Any],
    seed: int,
    parts: tuple[str, ...],
    repeats: int,
    checkpoint: str,
    tell: Callable[[str], None],
    *,
    record: bool,
) -> tuple[list[Job], Works]:
    """Look at the pictures and plan; with `record` write plan.json."""
    from auditor.training.captions import GIVEN, NAMES
    from auditor.training.families import load_base
    from auditor.training.families.interface import require_whole
    from auditor.training.plan import check_pictures, check_plan, plan, read_plan, split_works, write_plan
    from auditor.training.works import read_works

    base = load_base(settings.base)
    require_whole(settings.base, base.part)
    fit_base(recipes, base, tell)
    options = {"seed": seed, "side": settings.side or base.side, "caption": settings.caption}
    check_plan(settings.output, base.digest, recipes, options, checkpoint)
    cache = settings.output / "cache" / "pictures.jsonl" if record else None
    works = read_works(settings.images, options["side"], cache)
    digests = {work.file: work.digest for work in works.works}
    check_pictures(settings.output, digests)
    for file, reason in works.unread:
        tell(f"skipped {file}: {reason}")
    for remark in [*works.remarks, *too_few(works.artist)]:
        tell(remark)
    uncaptioned = sum(not work.caption for work in works.works)
    if uncaptioned and not record and settings.caption not in (GIVEN, NAMES):
        tell(f"{settings.caption} is to caption up to {uncaptioned} pictures; the time for it is not in the plan")
    known = read_plan(settings.output).get("splits", {})
    splits = split_works(works, seed, known)
    for remark in one_sided(splits):
        tell(remark)
    late = sum(len(works.of(artist)) - len(files) for artist, files in splits.items())
    if late:
        tell(f"{late} pictures came after {settings.output} was planned and are left out; a new folder takes them")
    jobs = []
    for tag, some in by_purpose(recipes).items():
        jobs += plan(works, some, seed, parts, tag, repeats=repeats, splits=splits)
    if record:
        write_plan(settings.output, jobs, base.digest, recipes, splits, options, checkpoint, digests)
    return jobs, works


def fit_base(recipes: list[Any], base: Base, tell: Callable[[str], None]) -> None:
    """Refuse recipes whose loss the base does not have, and remark targets that it lacks.  Raises TrainingError."""
    import torch

    for recipe in recipes:
        base.objective.weights(torch.zeros(1, dtype=torch.int64), recipe.min_snr)
        lacking = [word for word in recipe.targets.split("+") if word not in base.targets]
        if lacking:
            tell(f"{recipe.name} names {' and '.join(lacking)} layers, which this base does not have")


def by_purpose(recipes: list[Any]) -> dict[str, list[Any]]:
    """Recipes by what the names of their files say: references, and the suspects that only validity cards try."""
    found: dict[str, list[Any]] = {"ref": [], "suspect": []}
    for recipe in recipes:
        found["ref" if recipe.role == "reference" else "suspect"].append(recipe)
    return found


def one_sided(splits: Splits) -> list[str]:
    """Remarks on artists whose works can hardly be split, since most are near-duplicates of one another."""
    remarks = []
    for artist, side in splits.items():
        halves = Counter(side.values())
        small, large = sorted((halves["a"], halves["b"]))
        if large > MOST_UNEVEN * max(1, small):
            remarks.append(f"{artist}: halves of {large} and {small} pictures, for near-duplicates stay on one side")
    return remarks


def too_few(artist: list[str]) -> list[str]:
    """Remarks on a folder that is small for a reference set; artist: of each picture."""
    from auditor.training.works import MOST

    counts = Counter(artist)
    small = [name for name, count in counts.items() if count < FEW]
    remarks = [f"{len(counts)} artists: {what} needs at least {n}" for n, what in ARTISTS.items() if len(counts) < n]
    if small:
        shown = ", ".join(small[:MOST]) + (f" and {len(small) - MOST} more" if len(small) > MOST else "")
        remarks.insert(0, f"fewer than {FEW} pictures, so that halves are small: {shown}")
    return remarks


def what_it_takes(
    settings: Settings, jobs: list[Job], works: Works, recipes: list[Any], workers: int
) -> dict[str, Any]:
    """What the jobs that are not done would take, from steps measured as one of so many processes takes them."""
    import torch
    from accelerate import PartialState

    from auditor.training.devices import default_precision, precision_dtype, share_cores
    from auditor.training.estimate import costs, measure_encoding
    from auditor.training.families import load_base
    from auditor.training.plan import target_file
    from auditor.training.progress import duration

    precision = settings.precision or default_precision(settings.device)
    device = torch.device(settings.device) if settings.device else PartialState().device
    if device.type == "cpu":
        share_cores(workers)
    base = load_base(settings.base, device, precision_dtype(precision))
    side = settings.side or base.side
    todo = [job for job in jobs if not target_file(settings.output, job).is_file()]
    found = costs(base, todo, {recipe.name: recipe for recipe in recipes}, settings.gang, side)
    role = {recipe.name: recipe.role for recipe in recipes}
    seen = {(job.artist, role[job.recipe]) for job in todo}  # all pictures of an artist are encoded, for each role anew
    pictures = sum(len(works.of(artist)) for artist, _ in seen)
    encoding = measure_encoding(base, side) * pictures
    machines = max(1, workers if device.type == "cpu" else min(workers, torch.cuda.device_count()))
    total = (encoding + sum(cost.seconds for cost in found)) / machines
    return {
        "base": {"folder": str(settings.base), "family": base.family, "side": side, "precision": PRECISIONS[precision]},
        "device": str(device),
        "artists": len({job.artist for job in jobs}),
        "planned": len(jobs),
        "already_there": len(jobs) - len(todo),
        "gangs": [
            {
                "recipes": ", ".join(cost.recipes),
                "loras": cost.loras,
                "gang": cost.gang,
                "steps": cost.steps,
                "seconds_a_step": round(cost.seconds_a_step, 4),
                "takes": duration(cost.seconds),
            }
            for cost in found
        ],
        "encoding": {"pictures": pictures, "takes": duration(encoding)},
        "mebibytes": round(sum(cost.bytes for cost in found) / 2**20, 1),
        "seconds": round(total, 1),
        "takes": duration(total),
    }


def find_base(base: Path | str) -> Path:
    """The folder of a base: a path, a name in the source checkout's ``bases/``, ``owner/name`` or ``hf://…``.

    Raises UsageError when there is none, TrainingError when the hub does not give it.
    """
    text = Path(base).as_posix()
    if text.startswith("hf:/"):  # a Path has lost one of the two
        return base_from_hub(text.replace("hf:/", SCHEME, 1))
    shipped = Path(__file__).resolve().parents[2] / "bases" / base
    for folder in (Path(base), shipped):
        if (folder / "unet").is_dir() or (folder / "transformer").is_dir():
            return folder
    if len(Path(base).parts) == 2 and not Path(base).exists():
        return base_from_hub(f"{SCHEME}{text}")
    raise UsageError(
        f"There is no base {text!r}.",
        advice="Give a folder in the diffusers layout (unet/, vae/, …), or owner/name of the hub; 'audit-mini' comes "
        "with the source checkout.",
    )


__all__ = ["find_base", "stay_offline", "train"]
