"""Add LoRA files to a reference set's working folder, or take an artist or a reference out; calibrated again after.

New files are looked at in the directions that the set already has, as every suspect is.  Those directions were chosen
without them, so a set that grew by much should be imported afresh.  The validity card speaks of the old set and goes.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.embedding.features import Bases
from auditor.embedding.fit import Settings
from auditor.errors import ReferenceSetError
from auditor.reference.build import Read, feature_rows, read_folder, read_genres, require_folder
from auditor.reference.calibrate import SETTINGS, bases_of, calibrate, load_features
from auditor.reference.features_name import FeaturesName
from auditor.reference.set import CONTROL, read_manifest, spelt, write_manifest
from auditor.whole_file import whole_file, writable

LEAST_ARTISTS, LEAST_REFERENCES = 3, 2


def add_folder(folder: Path, loras: Path, *, tag: str | None = "ref") -> dict[str, Any]:
    """Add the files below `loras`/<artist>/ to the set in `folder`; {added, new_artists, skipped, artists, references}.

    Files whose tensors the set holds already are skipped, and new artists with a single file.  Raises ReferenceSetError
    when nothing can be added, or when `folder` lacks the features of its references.
    """
    manifest, arrays = read_manifest(folder), load_features(folder)
    require_folder(loras)
    bases = bases_of(arrays, FeaturesName.parse(manifest["features"]).kinds)
    known = {entry["tensor_sha256"] for entry in manifest["references"]}
    added: list[Read] = []
    skipped: list[dict[str, str]] = []
    for one in read_folder(loras, tag):
        file, why = (one.entry["file"], _unfit(one, manifest, bases, known)) if isinstance(one, Read) else one
        if isinstance(one, Read) and why is None:
            known.add(one.entry["tensor_sha256"])
            added.append(one)
        else:
            skipped.append({"file": file, "reason": str(why)})
    names, genres = {a["name"] for a in manifest["artists"]}, read_genres(loras)
    files_of = Counter(one.entry["artist"] for one in added)
    single = {name for name, files in files_of.items() if name not in names and files < LEAST_REFERENCES}
    skipped += [{"file": name, "reason": "only one reference: it cannot be held out"} for name in sorted(single)]
    added = [one for one in added if one.entry["artist"] not in single]
    if not added:
        raise ReferenceSetError(
            f"{loras} gives no reference to add. {reasons(skipped)}",
            advice="Give LoRA files of the set's base that are not in it yet, one folder per artist.",
        )
    manifest["references"] += [one.entry for one in added]
    new = sorted({one.entry["artist"] for one in added} - names)
    manifest["artists"] += [{"name": name, "genre": ""} | genres.get(name, {}) for name in new]
    for key, rows in feature_rows([one.factored for one in added], bases).items():
        arrays[key] = np.vstack([arrays[key], rows.astype(arrays[key].dtype)])
    _finish(folder, manifest, arrays)
    return {"added": [one.entry["file"] for one in added], "new_artists": new, "skipped": skipped} | _counts(manifest)


def reasons(skipped: list[dict[str, str]]) -> str:
    """Why files were left out, each reason once with how many files and the first of them."""
    first: dict[str, list[str]] = {}
    for one in skipped:
        first.setdefault(one["reason"].rstrip("."), []).append(one["file"])
    told = [
        f"{files[0]}{f' and {len(files) - 1} more' if len(files) > 1 else ''}: {why}." for why, files in first.items()
    ]
    return " ".join(told) or "It holds no LoRA file."


def remove(folder: Path, names: list[str]) -> dict[str, Any]:
    """Take artists ('claude-monet') or references ('claude-monet/3.safetensors') out of the set in `folder`.

    Raises ReferenceSetError for an unknown name, and when fewer than three artists, or an artist with a single
    reference, would remain.
    """
    manifest, arrays = read_manifest(folder), load_features(folder)
    artists = {spelt(a["name"]): a["name"] for a in manifest["artists"]}
    files = {r["file"] for r in manifest["references"]}
    names = [name if name in files else artists.get(spelt(name), name) for name in names]
    unknown = set(names) - set(artists.values()) - files
    if unknown:
        raise ReferenceSetError(
            f"The set holds no {', '.join(sorted(unknown))}.",
            advice="`audit refs show` lists the artists, and manifest.json in the set's folder the references.",
        )
    gone = [r["artist"] in names or r["file"] in names for r in manifest["references"]]
    keep = np.flatnonzero(~np.array(gone))
    removed = [r["file"] for r, out in zip(manifest["references"], gone, strict=True) if out]
    manifest["references"] = [manifest["references"][i] for i in keep]
    manifest["artists"] = [a for a in manifest["artists"] if a["name"] not in names]
    for key, rows in _rows(arrays).items():
        arrays[key] = rows[keep]
    _finish(folder, manifest, arrays)
    return {"removed": removed} | _counts(manifest)


def _unfit(one: Read, manifest: dict[str, Any], bases: Bases, known: set[str]) -> str | None:
    """Why a file cannot join the set, or None."""
    if one.entry["tensor_sha256"] in known:
        return "the set holds these tensors already"
    if one.base_family != manifest["base"]["family"]:
        return f"it is a LoRA for '{one.base_family}', and the set is for '{manifest['base']['family']}'"
    if manifest.get("raw_rank") not in (None, one.entry["rank"]):
        return f"it has rank {one.entry['rank']}, and the set's features compare files of rank {manifest['raw_rank']}"
    shared = [path for path in bases.paths if path in one.factored]
    if not shared:
        return "it adapts no module that the set looks at"
    for path in shared:
        f = one.factored[path]
        own, expected = f.shape, (len(bases.out[path]), len(bases.into[path]))
        if own != expected:
            return f"it has shape {own} in {path}, and the set has {expected}"
    return None


def _rows(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays with one row per reference."""
    names = ("features", "present", "fingerprints")
    return {key: value for key, value in arrays.items() if key in names or key.startswith(CONTROL)}


def _counts(manifest: dict[str, Any]) -> dict[str, int]:
    return {"artists": len(manifest["artists"]), "references": len(manifest["references"])}


def _finish(folder: Path, manifest: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    """Write the working folder and calibrate it; checked before anything is written."""
    counts = {a["name"]: 0 for a in manifest["artists"]}
    for entry in manifest["references"]:
        counts[entry["artist"]] += 1
    few = sorted(name for name, count in counts.items() if count < LEAST_REFERENCES)
    if few or len(counts) < LEAST_ARTISTS:
        raise ReferenceSetError(
            f"The set would have {len(counts)} artists, {len(few)} of them with fewer than two references"
            f"{': ' + ', '.join(few) if few else ''}.",
            advice="A set needs at least three artists with two or more references each; nothing was changed.",
        )
    settings = Settings(**manifest["settings"]) if "settings" in manifest else SETTINGS
    features = folder / "features.npz"
    with writable(features), whole_file(features) as partial:
        with partial.open("wb") as out:
            np.savez(out, **arrays)  # type: ignore[arg-type]
        (folder / "card.json").unlink(missing_ok=True)
        write_manifest(folder, manifest)
    calibrate(folder, seed=int(manifest.get("seed", 0)), settings=settings)
