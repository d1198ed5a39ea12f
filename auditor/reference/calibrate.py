"""features.npz → everything that an audit needs: views with projection, held-out scores and score calibration."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.embedding.features import Bases, half
from auditor.embedding.fit import Fit, Settings, fit, left_out_cosines
from auditor.embedding.grams import Grams
from auditor.embedding.points import Labels
from auditor.embedding.projection import STEPS, Projection, in_steps
from auditor.embedding.scores import leads
from auditor.errors import ReferenceSetError
from auditor.reference.features_name import FeaturesName
from auditor.reference.set import (
    CONTROL,
    SUBNETWORKS,
    View,
    digest_of,
    pack_view,
    read_manifest,
    write_arrays,
    write_manifest,
)
from auditor.statistics.likelihood import LogisticCalibration
from auditor.statistics.pairs import PairTrials, fit_pairs
from auditor.statistics.ranked import SILENT, RankedTrials, fit_ranked

Floats = NDArray[np.float64]
SETTINGS = Settings()
VIEWS = {
    "all": r"",
    "attention": r"\.attn[12]\.",
    "feed_forward": r"\.ff\.",
}
ENOUGH = 0.95  # a reference belongs to a view if it adapts this share of the view's modules


def view_modules(paths: list[str], pattern: str) -> list[str]:
    """Paths that belong to a view."""
    return [path for path in paths if re.search(pattern, path)]


def covers(paths: Container[str], modules: Sequence[str]) -> bool:
    """Whether a file that adapts `paths` adapts (nearly) all of `modules`: a view's, say."""
    return bool(np.mean([module in paths for module in modules]) >= ENOUGH)


def load_features(folder: Path) -> dict[str, NDArray[Any]]:
    """features.npz of a set's working folder.  Raises ReferenceSetError."""
    path = folder / "features.npz"
    if not path.is_file():
        raise ReferenceSetError(
            f"{folder} holds no features.npz.",
            advice="Run `audit refs import LORAS -o DIR` first; shipped sets carry only their calibration.",
        )
    with np.load(path, allow_pickle=False) as packed:
        return {key: packed[key] for key in packed.files}


def bases_of(arrays: dict[str, NDArray[Any]], kinds: tuple[str, ...]) -> Bases:
    """The feature bases stored in features.npz."""
    out = {k.removeprefix("out/"): v.astype(np.float64) for k, v in arrays.items() if k.startswith("out/")}
    into = {k.removeprefix("in/"): v.astype(np.float64) for k, v in arrays.items() if k.startswith("in/")}
    return Bases(out, into, kinds)


def module_paths(arrays: dict[str, NDArray[Any]]) -> list[str]:
    """Every module that any reference adapts, sorted: the columns of the controls."""
    return sorted(key.removeprefix("out/") for key in arrays if key.startswith("out/"))


def parts_of(manifest: dict[str, Any], rows: Labels, artist: Labels) -> Labels:
    """Group label (n,) of artist and part; an artist with one part only is split file by file."""
    names = [f"{manifest['references'][r]['artist']}/{manifest['references'][r]['part']}" for r in rows]
    for a in np.unique(artist):
        mine = np.flatnonzero(artist == a)
        if len({names[i] for i in mine}) == 1:
            for i in mine:
                names[i] += f"/{i}"
    return np.asarray(np.unique(names, return_inverse=True)[1], dtype=np.intp)


def calibrate_view(
    name: str, x: Floats, rows: Labels, artist: Labels, parts: Labels, bases: Bases, settings: Settings
) -> View:
    """Fit one view on features x (n, D) of the references `rows`; parts (n,) nest in artists."""
    everything = np.ones(len(x), bool)
    columns = [block for _, _, block in bases.blocks()]
    grams = Grams(x, columns, artist, everything)
    fitted = fit(grams, everything, settings)
    bases, x, matrix = used_part(bases, x, fitted)
    projection = Projection(half(fitted.weight @ x), *in_steps(matrix))
    null, genuine = (left_out_cosines(grams, groups, settings) for groups in (artist, parts))
    points, parts_points = projection(x), part_points(bases, projection, x)
    view = View(name, bases, projection, points, rows, artist, null, genuine, SILENT, parts_points)
    alone = left_one_by_one(grams, artist, settings)
    return replace(
        view,
        calibration=ratios_of(view, view.genuine, alone),
        other_works=ratios_of(view, view.genuine),
        asked=ratios_when_asked(view, view.genuine, alone),
        asked_other_works=ratios_when_asked(view, view.genuine),
    )


def left_one_by_one(grams: Grams, artist: Labels, settings: Settings) -> Floats:
    """Cosines (n, C) of every reference with the artists, it alone left out of its artist's: same works, other seed.

    One file of every artist is left out at a time, the others of its artist stay.
    """
    turn = np.empty(len(artist), np.intp)
    for a in np.unique(artist):
        turn[artist == a] = np.arange(np.sum(artist == a))
    return left_out_cosines(grams, turn, settings)


def ratios_of(view: View, *own: Floats) -> LogisticCalibration:
    """Likelihood ratios of a view.

    H1: the file is one of those with cosines `own` (n, C), each kind counting alike: on other works of the artist
    (`View.genuine`), on the very works that references were trained on (`left_one_by_one`).  H2: it is by an artist
    outside the set.
    """
    kinds = [view.normaliser(cosine) for cosine in own]
    artist = np.tile(view.artist, len(kinds))
    first = np.concatenate([np.nanargmax(scores, axis=1) for scores in kinds]) == artist
    inside = np.concatenate([view.statistic(cosine) for cosine in own])
    outside = np.tile(view.null_statistic, len(kinds))
    return fit_ranked(RankedTrials(first, inside, outside, artist), view.null.shape[1])


def ratios_when_asked(view: View, *own: Floats) -> LogisticCalibration:
    """As `ratios_of`, for an artist tested for alone.  H2: it is by another artist, who is left out of the set."""
    every = np.arange(len(view.artist))
    kinds = [leads(view.normaliser(cosine))[every, view.artist] for cosine in own]
    strange = leads(view.null_scores)
    file, asked = np.nonzero(~np.isnan(strange))
    artist = np.tile(view.artist, len(kinds))
    trials = PairTrials(np.concatenate(kinds), artist, strange[file, asked], view.artist[file], asked)
    return fit_pairs(trials, strange.shape[1])


def part_points(bases: Bases, projection: Projection, x: Floats) -> dict[str, Floats]:
    """Coordinates (n, d) of the references from one sub-network's modules alone."""
    masks = {name: bases.columns(view_modules(bases.paths, pattern)) for name, pattern in SUBNETWORKS.items()}
    return {name: projection.part(x, m) for name, m in masks.items() if m.any()}


def used_part(bases: Bases, x: Floats, fitted: Fit) -> tuple[Bases, Floats, Floats]:
    """Bases, features and projection matrix without the modules whose blocks all have weight 0."""
    weights = dict.fromkeys(bases.paths, 0.0)
    for (path, _, _), weight in zip(bases.blocks(), fitted.blocks, strict=True):
        weights[path] += float(weight)
    kept = [path for path, weight in weights.items() if weight > 0]
    columns = bases.columns(kept)
    matrix = fitted.matrix(x, [block for _, _, block in bases.blocks()])
    largest = np.abs(matrix).max() / STEPS  # cosines do not mind a common factor, half precision does
    return bases.only(kept), x[:, columns], matrix[columns] / largest


def build_views(
    manifest: dict[str, Any],
    arrays: dict[str, NDArray[Any]],
    settings: Settings,
    names: list[str] | None = None,
    bases: Bases | None = None,
) -> dict[str, View]:
    """All views that the references support; a view with fewer than three complete artists is left out.

    bases: of the features, where they are not among the arrays.
    """
    bases = bases or bases_of(arrays, FeaturesName.parse(manifest["features"]).kinds)
    x, present = arrays["features"], arrays["present"]
    order = {a["name"]: i for i, a in enumerate(manifest["artists"])}
    artist_of = np.array([order[r["artist"]] for r in manifest["references"]], dtype=np.intp)
    views = {}
    for name in names or list(VIEWS):
        modules = view_modules(bases.paths, VIEWS[name])
        if not modules:
            continue
        inside = np.isin(bases.paths, modules)
        rows = np.flatnonzero(present[:, inside].mean(1) >= ENOUGH)
        counts = np.bincount(artist_of[rows], minlength=len(order))
        if (counts < 2).any() or len(order) < 3:
            continue
        some = bases.only(modules)
        artist = artist_of[rows]
        picked = x[rows][:, bases.columns(modules)].astype(np.float64)
        views[name] = calibrate_view(name, picked, rows, artist, parts_of(manifest, rows, artist), some, settings)
    return views


def no_view(manifest: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> ReferenceSetError:
    """No group of modules has two complete references of every artist: whose are not, by the most complete view."""
    paths, present = module_paths(arrays), arrays["present"]
    owner = np.array([r["artist"] for r in manifest["references"]])
    lacking: dict[str, list[str]] = {}
    for pattern in VIEWS.values():
        share = present[:, np.isin(paths, view_modules(paths, pattern))]
        whole = share.mean(1) >= ENOUGH if share.size else np.zeros(len(owner), bool)
        few = [a["name"] for a in manifest["artists"] if whole[owner == a["name"]].sum() < 2]
        if not lacking or len(few) < len(lacking):
            files = [r["file"] for r in manifest["references"]]
            lacking = {
                name: [f for f, w, o in zip(files, whole, owner, strict=True) if o == name and not w] for name in few
            }
    shown = "; ".join(f"{name} (lacks layers: {', '.join(files) or 'has one file'})" for name, files in lacking.items())
    return ReferenceSetError(
        f"No group of layers has two references of every artist that adapt all of it. Missing: {shown[:600]}.",
        advice="Add references of these artists that adapt the layers that all others do, or `audit refs remove` them.",
    )


def calibrate(folder: str | Path, *, seed: int = 0, settings: Settings = SETTINGS) -> dict[str, Any]:
    """Fit all views of a working folder and write arrays.npz and the manifest with its digest.

    seed is recorded; the fit itself draws nothing.  Raises ReferenceSetError.
    """
    place = Path(folder)
    manifest = read_manifest(place)
    arrays = load_features(place)
    views = build_views(manifest, arrays, settings)
    if not views:
        raise no_view(manifest, arrays)
    kept: dict[str, NDArray[Any]] = {"fingerprints": arrays["fingerprints"]}
    kept |= {key: value.astype(np.float16) for key, value in arrays.items() if key.startswith(CONTROL)}
    specs = {}
    for name, view in views.items():
        specs[name], more = pack_view(view)
        kept |= more
    write_arrays(place / "arrays.npz", kept)
    manifest["modules"] = {p: [len(arrays[f"out/{p}"]), len(arrays[f"in/{p}"])] for p in module_paths(arrays)}
    manifest |= {"views": specs, "settings": vars(settings), "seed": seed}
    manifest["digest"] = digest_of(manifest, (place / "arrays.npz").read_bytes())
    write_manifest(place, manifest)
    return {"artists": len(manifest["artists"]), "references": len(manifest["references"]), "views": list(views)}
