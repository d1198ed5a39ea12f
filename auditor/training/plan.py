"""Which LoRAs will be trained, on which pictures, with which recipe and seed; and the record of it, ``plan.json``.

The split of an artist's works is fixed when it is first planned: a later run with more pictures or recipes keeps it,
for otherwise a picture could move to the other side of a set that is half trained.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from auditor.errors import UsageError
from auditor.training.recipes import Recipe
from auditor.whole_file import whole_file

NEAR = 6
"""Perceptual hashes that differ in at most this many of 64 bits are near-duplicates."""
MIRRORED = 3
"""The same for pictures seen in a mirror: from 5 on, pairs of paintings that have nothing to do with each other do."""
BLOCK = 512
"""Pictures that are compared with all others at once."""
Splits = dict[str, dict[str, str]]
"""artist → picture → 'a' or 'b'."""


class Collection(Protocol):
    """Pictures of several artists, row by row."""

    @property
    def artist(self) -> list[str]: ...
    @property
    def file(self) -> list[str]: ...
    @property
    def hashes(self) -> NDArray[np.bool_]: ...


@dataclass(frozen=True)
class Job:
    """One LoRA to train.  half: 'a' or 'b' of the artist's works, or 'all'; pictures: file names 'artist/name'."""

    name: str
    artist: str
    half: str
    recipe: str
    seed: int
    pictures: list[str]


def seed_of(*parts: object) -> int:
    """A 31-bit seed from anything printable, the same on every machine."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big") >> 1


def mirrored(hashes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Hashes (n, 64) of the same pictures seen in a mirror: a bit says which of two cells side by side is lighter."""
    return ~hashes.reshape(-1, 8, 8)[:, :, ::-1].reshape(-1, 64)


def near_duplicates(hashes: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Group number of each picture (n,); near-duplicates, mirrored ones too, and their near-duplicates, share one."""
    signs, turned = (np.where(bits, 1, -1).astype(np.float32) for bits in (hashes, mirrored(hashes)))
    group, most = np.arange(len(hashes)), hashes.shape[1]
    for start in range(0, len(hashes), BLOCK):
        block = slice(start, start + BLOCK)  # products count agreeing bits less differing ones
        near = (signs[block] @ signs.T >= most - 2 * NEAR) | (turned[block] @ signs.T >= most - 2 * MIRRORED)
        for i, row in enumerate(near, start=start):
            later = np.flatnonzero(row[i + 1 :]) + i + 1
            if len(later):
                group[np.isin(group, group[later])] = group[i]
    return group


def halves(hashes: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Split one artist's pictures in two (True = 'a'); near-duplicates stay on one side."""
    group = near_duplicates(hashes)
    side = np.zeros(len(hashes), bool)
    for g in rng.permutation(np.unique(group)):
        side[group == g] = side.sum() < (len(hashes) - (group == g).sum() + 1) // 2
    return side


def split_works(pictures: Collection, seed: int, known: Splits | None = None) -> Splits:
    """The half of every picture; artists in `known` keep theirs, without pictures that came later."""
    splits: Splits = {}
    names, hashes = np.array(pictures.artist), pictures.hashes
    for artist in sorted(set(pictures.artist)):
        index = np.flatnonzero(names == artist)
        files = [pictures.file[i] for i in index]
        if known and artist in known:
            splits[artist] = {file: known[artist][file] for file in files if file in known[artist]}
            continue
        side = halves(hashes[index], np.random.default_rng([seed, seed_of(artist)]))
        splits[artist] = {file: "a" if first else "b" for file, first in zip(files, side, strict=True)}
    return splits


def plan(
    pictures: Collection,
    recipes: Sequence[Recipe],
    seed: int,
    parts: tuple[str, ...] = ("a", "b"),
    tag: str = "ref",
    repeats: int = 1,
    splits: Splits | None = None,
) -> list[Job]:
    """`repeats` LoRAs per artist, part of the works and recipe, each with its own seed and picture subset.

    The subsets (8–20 pictures) of a part are drawn so that together they span it.
    """
    jobs = []
    for artist, side in sorted((splits or split_works(pictures, seed)).items()):
        files = list(side)
        for part in parts:
            own = [i for i, file in enumerate(files) if part in ("all", side[file])]
            rng = np.random.default_rng([seed, seed_of(artist, part, tag)])
            order, start = rng.permutation(np.array(own, np.int64)), 0
            for recipe, turn in [(recipe, turn) for turn in range(repeats) for recipe in recipes]:
                count = min(len(own), int(rng.integers(8, 21)))
                if not count:
                    continue
                chosen = sorted(np.take(order, np.arange(start, start + count), mode="wrap"))
                start += max(count, len(own) // (len(recipes) * repeats) + 1)
                name = f"{artist}--{tag}-{part}-{recipe.name}" + (f"-{turn + 1}" if turn else "")
                jobs.append(Job(name, artist, part, recipe.name, seed_of(seed, name), [files[i] for i in chosen]))
    return jobs


def target_file(output: Path, job: Job) -> Path:
    """Where a job's LoRA lies."""
    return output / job.artist / f"{job.name}.safetensors"


def read_plan(output: Path) -> dict[str, Any]:
    """What an output folder was planned for: {base, jobs, splits, recipes, …}; {} if it is new.  Raises UsageError."""
    path = output / "plan.json"
    if not path.is_file():
        return {}
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        document.setdefault("splits", _splits_of(document["jobs"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise UsageError(f"{path} cannot be read: {problem}.", advice="Train into a new folder.") from problem
    return document


def _splits_of(jobs: list[dict[str, Any]]) -> Splits:
    """The halves that the jobs of an older plan.json were drawn from."""
    splits: Splits = {}
    for job in jobs:
        if job["half"] in ("a", "b"):
            splits.setdefault(job["artist"], {}).update(dict.fromkeys(job["pictures"], job["half"]))
    return splits


def check_plan(
    output: Path, base_digest: str, recipes: Sequence[Recipe], options: dict[str, Any], checkpoint: str = ""
) -> None:
    """Refuse to mix two bases under one name, two meanings of a recipe's name, or two settings.  Raises UsageError.

    checkpoint: the name of a base that is another checkpoint of the folder's own; '': it is the folder's own.
    """
    known = read_plan(output)
    advice = "Train into a new folder, or give the same command as before."
    own, others = known.get("base") or base_digest, known.get("checkpoints", {})
    if not checkpoint and own != base_digest:
        raise UsageError(
            f"{output} holds LoRAs of another base.",
            advice=f"{advice} With --checkpoint NAME it takes LoRAs of another checkpoint of that base.",
        )
    if checkpoint and others.get(checkpoint, base_digest) != base_digest:
        raise UsageError(f"{output} holds LoRAs of another checkpoint of the name {checkpoint!r}.", advice=advice)
    if checkpoint and known.get("base") == base_digest:
        raise UsageError(
            f"{checkpoint} is no other checkpoint: the other LoRAs in {output} were trained on it.",
            advice="Leave --checkpoint out, or give another base.",
        )
    for recipe in recipes:
        if known.get("recipes", {}).get(recipe.name, plain(recipe)) != plain(recipe):
            raise UsageError(f"{output} holds LoRAs of another recipe of the name {recipe.name!r}.", advice=advice)
    for name, value in options.items():
        if known.get("options", {}).get(name, value) != value:
            raise UsageError(f"{output} was planned with {name} = {known['options'][name]}.", advice=advice)


def check_pictures(output: Path, digests: dict[str, str]) -> None:
    """Refuse pictures that are not those which the folder was planned with under their names.  Raises UsageError.

    A file under another one's name could stand on both sides of a split, and records would tell of the wrong picture.
    digests: SHA-256 by file name, see `Work`.
    """
    known = read_plan(output).get("digests", {})
    other = sorted(file for file, digest in digests.items() if known.get(file, digest) != digest)
    if other:
        more = f" and {len(other) - 1} more" if len(other) > 1 else ""
        raise UsageError(
            f"{output} was planned with another picture under the name {other[0]}{more}.",
            advice="Give pictures that are new or changed names of their own, or train into a new folder.",
        )


def plain(recipe: Recipe) -> dict[str, Any]:
    """A recipe as JSON holds it."""
    return dict(json.loads(json.dumps(asdict(recipe))))


def write_plan(
    output: Path,
    jobs: Sequence[Job],
    base_digest: str,
    recipes: Sequence[Recipe] = (),
    splits: Splits | None = None,
    options: dict[str, Any] | None = None,
    checkpoint: str = "",
    digests: dict[str, str] | None = None,
) -> None:
    """Record what every file is trained on, beside what the folder already holds; finished files keep their record.

    checkpoint: the base's name where it is not the folder's own, see `check_plan`; digests: see `check_pictures`.
    """
    known = read_plan(output)
    old = {j["name"]: j for j in known.get("jobs", [])}
    new = {j.name: asdict(j) for j in jobs if j.name not in old or not target_file(output, j).is_file()}
    document: dict[str, Any] = {
        "base": known.get("base", "") if checkpoint else base_digest,
        "checkpoints": known.get("checkpoints", {}) | ({checkpoint: base_digest} if checkpoint else {}),
        "options": known.get("options", {}) | (options or {}),
        "recipes": known.get("recipes", {}) | {recipe.name: plain(recipe) for recipe in recipes},
        "splits": known.get("splits", {}) | (splits or {}),
        "digests": known.get("digests", {}) | (digests or {}),
        "jobs": list((old | new).values()),
    }
    with whole_file(output / "plan.json", only_writer=True) as partial:
        partial.write_text(json.dumps(document, indent=1), encoding="utf-8")
