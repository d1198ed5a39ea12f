"""A reference set for another party: what audits need and nothing else, or a sketch that no style can be made from.

A calibrated set holds, for every layer, the directions that its references use and how each artist's references lie in
them, signs and inputs included: with patience one can write a LoRA that goes the same way.  A sketch holds no direction
at all.  Layers are seen through random signs that anybody can draw again, outputs only and unsigned (covariances), and
of these only coordinates that tell artists apart.  docs/validity.md says what can and cannot be recovered.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.embedding.features import Bases, Factored, factor_all, held, sketch_bases
from auditor.embedding.fit import Settings
from auditor.errors import ReferenceSetError, UsageError
from auditor.lora import load_lora, read_artifact
from auditor.reference.build import denoiser, feature_rows
from auditor.reference.calibrate import build_views
from auditor.reference.features_name import FeaturesName
from auditor.reference.set import CONTROL, ReferenceSet, digest_of, locate, pack_view, write_arrays, write_manifest
from auditor.whole_file import make_folder

DIRECTIONS = 192
"""Random directions a layer, at most; narrower layers are seen whole."""
CELLS = 1500
"""Sums that a layer's covariance is thrown together in; with them a sketch is about as large as the default set."""


def export_set(folder: str | Path, output: str | Path) -> dict[str, Any]:
    """Copy what audits need: manifest, arrays and card, without the features of single references.

    Raises ReferenceSetError where the set is not calibrated, UsageError where the folder is not empty.
    """
    place, target = locate(folder), empty_folder(Path(output))
    ReferenceSet.load(place)
    names = [n for n in ("manifest.json", "arrays.npz", "card.json", "card.html") if (place / n).is_file()]
    for name in names:
        shutil.copyfile(place / name, target / name)
    return {"folder": str(target), "files": names, "sketch": False}


def export_sketch(
    folder: str | Path, loras: str | Path, output: str | Path, *, k: int = DIRECTIONS, cells: int = CELLS, seed: int = 0
) -> dict[str, Any]:
    """Write a sketch of a calibrated set, computed from the LoRA files it was made from.

    k: random directions a layer, at most; cells: sums a layer, at most; seed: of both, public.

    Raises ReferenceSetError where files are missing or are not the set's, UsageError where the folder is not empty.
    """
    reference, target = ReferenceSet.load(folder), empty_folder(Path(output))
    bases = sketch_bases(reference.shapes, k, cells, seed)
    rows = [factors(Path(loras), entry, bases) for entry in reference.manifest["references"]]
    manifest = public_manifest(reference, FeaturesName(("root-gram",), k, seed, cells))
    arrays = feature_rows(rows, bases)
    views = build_views(manifest, arrays, Settings(**reference.manifest["settings"]), bases=bases)
    kept: dict[str, NDArray[Any]] = {"fingerprints": arrays["fingerprints"]}
    kept |= {key: value.astype(np.float16) for key, value in arrays.items() if key.startswith(CONTROL)}
    for name, view in views.items():
        manifest["views"][name], more = pack_view(view)
        kept |= more
    write_arrays(target / "arrays.npz", kept)
    manifest["digest"] = digest_of(manifest, (target / "arrays.npz").read_bytes())
    write_manifest(target, manifest)
    return {"folder": str(target), "features": manifest["features"], "views": list(views), "sketch": True}


def empty_folder(target: Path) -> Path:
    """The folder to write to, made if need be.  Raises UsageError where something is in it."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is not an empty folder.", advice="Name a folder that does not exist yet with -o.")
    return make_folder(target, "Give another folder with -o.")


def factors(loras: Path, entry: dict[str, Any], bases: Bases) -> dict[str, Factored]:
    """The factored modules of one reference's own file.  Raises ReferenceSetError where it is another file."""
    path = loras / entry["file"]
    if not path.is_file() or read_artifact(path).tensor_sha256 != entry["tensor_sha256"]:
        raise ReferenceSetError(
            f"{path} is not the file that the set was made from.",
            advice="Give the folder of LoRAs that `audit refs import` read.",
        )
    weights = load_lora(path)
    return held(factor_all(weights, [p for p in denoiser(weights) if p in bases.out]))


def public_manifest(reference: ReferenceSet, features: FeaturesName) -> dict[str, Any]:
    """The set's manifest with numbered references: no file names, recipes or counts of pictures."""
    known = reference.manifest
    numbers: dict[str, int] = {}
    entries = []
    for entry in known["references"]:
        number = numbers[entry["artist"]] = numbers.get(entry["artist"], 0) + 1
        shown = {key: entry[key] for key in ("artist", "part", "tensor_sha256")}
        entries.append(shown | {"file": f"{entry['artist']}/{number:02d}", "recipe": "not told", "rank": None})
    carried = ("schema", "base", "artists", "modules", "settings", "seed")
    return {key: known[key] for key in carried if key in known} | {
        "name": f"{known['name']}-sketch",
        "features": str(features),
        "sketch_of": known["digest"],
        "references": entries,
        "skipped": [],
        "views": {},
    }
