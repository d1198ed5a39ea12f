"""A folder of LoRA files, one sub-folder per artist → a reference set's manifest and features, not yet calibrated."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.embedding.features import KINDS, KNOWN, Bases, Factored, factor_all, features, fit_bases, held
from auditor.embedding.sketches import controls, fingerprint
from auditor.errors import NotAuditable, OutOfScope, ReferenceSetError, UsageError
from auditor.lora import LoraWeights, load_lora, read_artifact
from auditor.lora.weights import require_change
from auditor.reference.features_name import FeaturesName
from auditor.reference.set import CONTROL, SCHEMA, UNKNOWN_PART, read_table, works_told, write_arrays, write_manifest

SUFFIXES = {".safetensors", ".pt", ".bin"}
DIRECTIONS = 32


@dataclass(frozen=True)
class Read:
    """One reference file: what it is, and its factored modules."""

    entry: dict[str, Any]
    factored: dict[str, Factored]
    base_family: str


def require_folder(loras: Path) -> None:
    """Refuse what is no folder of LoRAs, or cannot be looked at.  Raises ReferenceSetError."""
    if not os.path.isdir(loras):  # Path.is_dir may raise
        raise ReferenceSetError(f"{loras} is no folder.", advice="Give a folder with one folder of LoRAs per artist.")


def read_plan(folder: Path) -> tuple[str, dict[str, dict[str, Any]]]:
    """Base digest and job by file stem from plan.json, where the trainer left one.  Raises ReferenceSetError."""
    path = folder / "plan.json"
    if not os.path.isfile(path):
        return "", {}
    stored = read_table(path)
    try:
        return str(stored.get("base", "")), {job["name"]: dict(job) for job in stored["jobs"]}
    except (KeyError, TypeError, ValueError) as problem:
        raise ReferenceSetError(
            f"{path} is no plan of a training: it lacks a list of jobs, each with a name.",
            advice="Give the folder that `audit refs train` wrote, or take the file away.",
        ) from problem


def read_genres(folder: Path) -> dict[str, dict[str, Any]]:
    """Optional artists.json: {artist: {genre, died, …}}.  Raises ReferenceSetError."""
    path = folder / "artists.json"
    known = read_table(path) if os.path.isfile(path) else {}
    if not all(isinstance(row, dict) for row in known.values()):
        raise ReferenceSetError(
            f"{path} does not hold a table for each artist.", advice='Write {"ada-alder": {"genre": "portrait"}, …}.'
        )
    return known


def denoiser(weights: LoraWeights) -> list[str]:
    """Paths of the denoiser's modules; text encoders say more about captions than about style and are left out."""
    return [path for path in weights.modules if not path.startswith("text_encoder")]


def read_reference(path: Path, artist: str, job: dict[str, Any], number: int) -> Read:
    """Read one file; raises NotAuditable."""
    weights = load_lora(path)
    paths = denoiser(weights)
    if not paths:
        raise OutOfScope(
            "This LoRA adapts text encoders alone.",
            advice="Give files that change the image model: they hold the style.",
        )
    require_change(weights, paths)
    artifact = read_artifact(path)
    entry = {
        "file": f"{artist}/{path.name}",
        "artist": artist,
        "part": str(job.get("half", f"{UNKNOWN_PART}{number % 2}")),
        "recipe": str(job.get("recipe", "unknown")),
        "images": len(job.get("pictures", [])) or None,
        "rank": int(np.median([m.rank for m in weights.modules.values()])),
        "tensor_sha256": artifact.tensor_sha256,
    }
    return Read(entry, held(factor_all(weights, paths)), weights.base_family)


def read_folder(folder: Path, tag: str | None = None) -> Iterator[Read | tuple[str, str]]:
    """Every LoRA below `folder`/<artist>/ in sorted order, or (file, reason) where it cannot be used.

    tag: where plan.json names files with '--tag-', as the trainer's does, only these are read.
    """
    _, jobs = read_plan(folder)
    for place in sorted(p for p in folder.iterdir() if p.is_dir()):
        files = sorted(p for p in place.iterdir() if p.suffix.lower() in SUFFIXES)
        if any(f"--{tag}-" in name for name in jobs):
            files = [p for p in files if f"--{tag}-" in p.stem]
        for number, path in enumerate(files):
            try:
                yield read_reference(path, place.name, jobs.get(path.stem, {}), number)
            except NotAuditable as problem:
                yield f"{place.name}/{path.name}", str(problem)


def import_folder(
    loras: Path,
    output: Path,
    *,
    tag: str | None = "ref",
    k: int = DIRECTIONS,
    seed: int = 0,
    name: str | None = None,
    features_name: str | None = None,
) -> dict[str, Any]:
    """Read all references, fit the feature bases, write manifest.json and features.npz into `output`.

    Raises ReferenceSetError if fewer than three artists with two references each are left, or if bases mix.
    """
    kinds = tuple(features_name.split("+")) if features_name else KINDS
    if unknown := set(kinds) - set(KNOWN):
        raise UsageError(f"Unknown features: {', '.join(sorted(unknown))}.", advice=f"Known: {', '.join(KNOWN)}.")
    require_folder(loras)
    read: list[Read] = []
    skipped: list[tuple[str, str]] = []
    first: dict[str, str] = {}
    for one in read_folder(loras, tag):
        if not isinstance(one, Read):
            skipped.append(one)
        elif (same := first.setdefault(one.entry["tensor_sha256"], one.entry["file"])) != one.entry["file"]:
            skipped.append((one.entry["file"], f"its tensors are those of {same}"))
        else:
            read.append(one)
    if not read and not any(os.path.isdir(loras / name) for name in os.listdir(loras)):
        raise ReferenceSetError(
            f"{loras} holds no folders.", advice="Put each artist's LoRA files into a folder of its own."
        )
    families = sorted({r.base_family for r in read})
    artists = sorted({r.entry["artist"] for r in read})
    few = [a for a in artists if sum(r.entry["artist"] == a for r in read) < 2]
    if len(families) > 1:
        raise mixed_bases(read)
    if not families or len(artists) - len(few) < 3:
        raise ReferenceSetError(
            f"{loras} gives {len(artists)} artists ({len(few)} with a single reference).{first_skipped(skipped)}",
            advice="A set needs at least three artists with two or more references each.",
        )
    read = [r for r in read if r.entry["artist"] not in few]
    skipped += [(a, "only one reference: it cannot be held out") for a in few]
    require_one_shape(read)
    if "paper" in kinds:
        require_one_rank(read)
    digest, _ = read_plan(loras)
    known = read_genres(loras)
    manifest = {
        "schema": SCHEMA,
        "name": name or output.name,
        "base": {"family": families[0], "digest": digest},
        "features": str(FeaturesName(kinds, k, seed)),
        "seed": seed,
        "artists": [{"name": a, "genre": ""} | known.get(a, {}) for a in artists if a not in few],
        "references": [r.entry for r in read],
        "skipped": [{"file": f, "reason": why} for f, why in skipped],
    }
    if "paper" in kinds:
        manifest["raw_rank"] = read[0].entry["rank"]
    write_features(output, manifest, [r.factored for r in read], k, seed, kinds)
    told = {"artists": len(artists) - len(few), "references": len(read), "works": works_told(manifest)}
    return told | {"skipped": manifest["skipped"]}


def mixed_bases(read: Sequence[Read]) -> ReferenceSetError:
    """References of several bases, with how many of each and one of the fewest by name."""
    count = Counter(one.base_family for one in read)
    least = min(count, key=lambda family: count[family])
    odd = next(one.entry["file"] for one in read if one.base_family == least)
    told = ", ".join(f"{n} for '{family}'" for family, n in count.most_common())
    return ReferenceSetError(
        f"The files are LoRAs for several bases: {told} ({odd}, for one).",
        advice="A set has one base: import the files of each into a set of their own.",
    )


def first_skipped(skipped: Sequence[tuple[str, str]]) -> str:
    """What was left out, by its first file, as a sentence with a space before it; empty where nothing was."""
    return f" Left out: {len(skipped)}, the first of them {skipped[0][0]}: {skipped[0][1]}" if skipped else ""


def require_one_shape(read: list[Read]) -> None:
    """References of one base agree in every module's shape.  Raises ReferenceSetError where they do not."""
    shapes: dict[str, tuple[int, int]] = {}
    for one in read:
        for path, f in one.factored.items():
            own = f.shape
            if shapes.setdefault(path, own) != own:
                raise ReferenceSetError(
                    f"{one.entry['file']} has shape {own} in {path}; other references have {shapes[path]}.",
                    advice="Keep LoRAs of different bases in different sets.",
                )


def require_one_rank(read: list[Read]) -> None:
    """The paper's features compare A and B entry by entry.  Raises ReferenceSetError where ranks differ."""
    ranks = sorted({r.entry["rank"] for r in read})
    if len(ranks) > 1:
        raise ReferenceSetError(
            f"The paper's features need one rank; these references have ranks {', '.join(map(str, ranks))}.",
            advice="Import references of one rank only, or use the default features, which do not depend on rank.",
        )


def kinds_and_directions(name: str) -> tuple[tuple[str, ...], int]:
    """Kinds of features and directions a side, to fit such features again.  Raises ReferenceSetError for a sketch's."""
    named = FeaturesName.parse(name)
    named.require_fitted()
    return named.kinds, named.directions


def feature_rows(factored: Sequence[dict[str, Factored]], bases: Bases) -> dict[str, NDArray[Any]]:
    """The arrays of features.npz that have a row for each file: features, present, fingerprints and every control.

    Features and fingerprints in half precision, controls as they were computed.
    """
    seen = [features(one, bases) for one in factored]
    arrays: dict[str, NDArray[Any]] = {
        "features": np.stack([row for row, _ in seen]).astype(np.float16),
        "present": np.stack([present for _, present in seen]),
        "fingerprints": np.stack([fingerprint(one) for one in factored]).astype(np.float16),
    }
    recipes = [controls(one, bases.paths) for one in factored]
    return arrays | {f"{CONTROL}{kind}": np.stack([r[kind] for r in recipes]) for kind in recipes[0]}


def write_features(
    output: Path,
    manifest: dict[str, Any],
    factored: list[dict[str, Factored]],
    k: int,
    seed: int,
    kinds: tuple[str, ...],
) -> None:
    """Fit bases, compute features, fingerprints and controls, write everything."""
    bases = fit_bases(factored, k, seed, kinds)
    arrays = feature_rows(factored, bases)
    arrays |= {key: rows.astype(np.float32) for key, rows in arrays.items() if key.startswith(CONTROL)}
    for path in bases.paths:
        arrays[f"out/{path}"] = bases.out[path].astype(np.float16)
        arrays[f"in/{path}"] = bases.into[path].astype(np.float16)
    write_arrays(output / "features.npz", arrays)
    write_manifest(output, manifest)
