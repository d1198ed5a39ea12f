"""Bases, pictures, recipes and the trainer of reference LoRAs.  The only room that imports torch, diffusers, peft."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from auditor.errors import UsageError


def train(
    base: Path,
    images: Path,
    output: Path,
    *,
    recipes: list[str] | None = None,
    seed: int = 0,
    gang: int = 16,
    workers: int = 1,
    progress: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train reference LoRAs for every folder of `images`: half of the works each, every recipe once a half.

    Resumes: a LoRA whose file exists is not trained again.  Returns {planned, trained, unread}.  Raises UsageError
    where the training extra is missing or a recipe is unknown, TrainingError where training fails.
    """
    try:
        from auditor.training import recipes as known
        from auditor.training import references
        from auditor.training.pictures import read_pictures
    except ImportError as missing:
        raise UsageError(
            f"Training needs packages that are not installed ({missing.name}).",
            advice='Install them with: pip install "lora-style-audit[train]".',
        ) from missing
    wanted = recipes or [recipe.name for recipe in known.REFERENCE]
    unknown = [name for name in wanted if name not in known.BY_NAME]
    if unknown:
        raise UsageError(f"Unknown recipe: {', '.join(unknown)}.", advice=f"Known: {', '.join(known.BY_NAME)}.")
    if not images.is_dir():
        raise UsageError(f"{images} is no folder.", advice="Give a folder with one folder of pictures per artist.")
    base = find_base(base)
    pictures = read_pictures(images)
    for file, reason in pictures.unread:
        progress(f"skipped {file}: {reason}")
    few = sorted({a for a in pictures.artist if pictures.artist.count(a) < 16})
    for artist in few:
        progress(f"{artist} has fewer than 16 pictures: its halves will be small")
    jobs = references.plan(pictures, tuple(known.BY_NAME[name] for name in wanted), seed)
    todo = [job for job in jobs if not references.target_file(output, job).is_file()]
    progress(f"{len(jobs)} LoRAs planned, {len(jobs) - len(todo)} already there")
    references.write_plan(output, jobs, references.load_base(base).digest)
    references.run(base, images, output, jobs, gang, workers)
    return {"planned": len(jobs), "trained": len(todo), "unread": pictures.unread}


def find_base(base: Path) -> Path:
    """The folder of a base given by path, or by its name in the source checkout's ``bases/``.  Raises UsageError."""
    shipped = Path(__file__).resolve().parents[2] / "bases" / base
    for folder in (base, shipped):
        if (folder / "unet").is_dir():
            return folder
    raise UsageError(
        f"There is no base {str(base)!r}.",
        advice="Give a folder in the diffusers layout (unet/, vae/, …); 'audit-mini' comes with the source checkout.",
    )
