"""A reference set on disk: manifest.json and arrays.npz, with a digest over both.

The folder holds no LoRA weights and no image: per view the bases of the features, the projection, the references'
coordinates, and the held-out scores from which p-values and likelihood ratios are made.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shlex
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.embedding.features import Bases, sketch_bases
from auditor.embedding.points import Labels, centroids, unit
from auditor.embedding.projection import Projection
from auditor.embedding.scores import Normaliser, fit_normaliser, impostor_scores, lead
from auditor.errors import NoSuchSet, ReferenceSetError, UsageError
from auditor.lora.text import shown
from auditor.reference.features_name import FeaturesName
from auditor.statistics.conformal import left_out_p
from auditor.statistics.likelihood import LogisticCalibration
from auditor.whole_file import whole_file, writable, write_whole

Floats = NDArray[np.float64]
SCHEMA = "audit-reference-set/1"
DEFAULT = "default"
REQUIRED = ("mean", "scale", "steps", "points", "rows", "artist", "null", "genuine")
"""Arrays that every view has."""
CONTROL = "control/"
"""Beginning of the names of arrays that hold a control."""
MORE_RATIOS = ("other_works", "asked", "asked_other_works")
"""Calibrations that older sets do not have, named as in `View`, in its order."""
SUBNETWORKS = {"ff": r"\.ff\.", "self_attention": r"\.attn1\.", "cross_attention": r"\.attn2\."}


@dataclass(frozen=True)
class View:
    """One way to look at a LoRA: a list of modules, with everything fitted on references that adapt all of them."""

    name: str
    """'all', 'attention' or 'feed_forward'."""
    bases: Bases
    projection: Projection
    points: Floats
    """Coordinates (n, d) of the view's references in the final fit."""
    rows: Labels
    """(n,) index of each of them in the manifest's references."""
    artist: Labels
    """(n,) artist index of each."""
    null: Floats
    """(n, C) cosines with the own artist left out of the fit; own column NaN."""
    genuine: Floats
    """(n, C) cosines with the own part (half of the works) left out of the fit."""
    calibration: LogisticCalibration
    parts: dict[str, Floats]
    """Sub-network → coordinates (n, d) of the references from its modules alone."""
    other_works: LogisticCalibration | None = None
    """As `calibration`, for a file that is certainly on other works than the references; None in older sets."""
    asked: LogisticCalibration | None = None
    """Of the lead of an artist who is tested for alone, and who need not come first; None in older sets."""
    asked_other_works: LogisticCalibration | None = None
    """The same for a file that is certainly on other works than the references."""

    @cached_property
    def ends(self) -> list[int]:
        """Where each module's features end in the feature vector."""
        return [int(end) for end in np.cumsum([self.bases.width(path) for path in self.bases.paths])]

    def shares(self, vector: Floats) -> Floats:
        """What each module of a file with features (D,) gives to its coordinates (modules, d), whose sum they are."""
        return self.projection.shares(vector, self.ends)

    @cached_property
    def centres(self) -> Floats:
        """Mean unit direction of each artist's references (C, d)."""
        return centroids(self.points, self.artist, self.null.shape[1], np.ones(len(self.artist), bool))

    @cached_property
    def normaliser(self) -> Normaliser:
        """Score normalisation from the null."""
        return fit_normaliser(self.null, self.artist)

    @cached_property
    def null_scores(self) -> Floats:
        """Normalised scores (n, C) of impostors; own column NaN."""
        return impostor_scores(self.null, self.artist)

    def statistic(self, cosine: Floats) -> Floats:
        """The open-set statistic (n,) of files from their cosines with the artists (n, C): how far the first leads."""
        return lead(self.normaliser(cosine))

    @cached_property
    def null_statistic(self) -> Floats:
        """The open-set statistic of each reference (n,), its artist left out: the null of the open-set test."""
        return lead(self.null_scores)

    @cached_property
    def left_out_p(self) -> Floats:
        """Open-set p-value (n,) of each reference by the set without its artist, who is in no null then."""
        return left_out_p(self.null_statistic, self.artist)

    @cached_property
    def member_best(self) -> Floats:
        """The best normalised score of each reference among all artists (n,), its own part left out."""
        return np.asarray(np.nanmax(self.normaliser(self.genuine), axis=1))

    @cached_property
    def genuine_scores(self) -> Floats:
        """Normalised score (n,) of each reference with its own artist, its own part left out."""
        scores = self.normaliser(self.genuine)
        return np.asarray(scores[np.arange(len(self.artist)), self.artist])


UNKNOWN_PART = "part-"
"""Beginning of the parts of references of which nobody said which works they were trained on."""


def works_split(manifest: Mapping[str, Any]) -> bool:
    """See `ReferenceSet.works_split`."""
    parts: dict[str, set[str]] = {}
    for entry in manifest["references"]:
        parts.setdefault(entry["artist"], set()).add(str(entry["part"]))
    return all(len(own) > 1 and not any(p.startswith(UNKNOWN_PART) for p in own) for own in parts.values())


def works_told(manifest: Mapping[str, Any]) -> str:
    """What is known of the works behind the references, for people."""
    unknown = sum(str(entry["part"]).startswith(UNKNOWN_PART) for entry in manifest["references"])
    if works_split(manifest):
        return "of two parts or more of every artist's"
    which = f"not known of {unknown} of {len(manifest['references'])} references" if unknown else "not split in parts"
    return f"{which}: the set rules nobody out"


class Views(Mapping[str, View]):
    """The views of a set by name, each unpacked when it is first asked for: an audit looks through one of them."""

    def __init__(self, specs: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], folder: Path) -> None:
        """specs: the manifest's entries; arrays: of all views; folder: for messages.

        Raises KeyError where an array is missing.
        """
        self.specs, self._arrays, self._folder = specs, arrays, folder
        self._unpacked: dict[str, View] = {}
        missing = [f"{name}/{key}" for name in specs for key in REQUIRED if f"{name}/{key}" not in arrays]
        if missing:
            raise KeyError(missing[0])

    def __getitem__(self, name: str) -> View:
        """One view.  Raises KeyError, and ReferenceSetError where its arrays are damaged."""
        if name not in self._unpacked:
            spec = self.specs[name]
            with readable(self._folder):
                self._unpacked[name] = unpack_view(name, spec, self._arrays)
        return self._unpacked[name]

    def __iter__(self) -> Iterator[str]:
        """Names, in the order of the manifest."""
        return iter(self.specs)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.specs)

    def modules(self, name: str) -> list[str]:
        """Module paths of a view, sorted, as in its bases; the view is not unpacked for them."""
        return list(self.specs[name]["modules"])


SAME_WORKS = "same works, other recipe"
"""The kind of suspect on the references' very works, as validity cards name it."""


def headline_figures(card: Mapping[str, Any]) -> dict[str, Any]:
    """A card's headline; where it is of other works than the references', with `same_works` beside each figure."""
    headline = dict(card.get("headline", {}))
    if not str(card.get("headline_of", "")).startswith("other works"):
        return headline
    same = dict(card.get("conditions", {}).get(SAME_WORKS, {}))
    same |= card.get("likelihood", {}).get(SAME_WORKS, {}).get("figures", {})
    same |= {f"asked_{name}": figure for name, figure in card.get("asked", {}).get(SAME_WORKS, {}).items()}
    return {name: figure | ({"same_works": same[name]} if name in same else {}) for name, figure in headline.items()}


def certificate_of(card: Mapping[str, Any]) -> tuple[bool | None, list[str]]:
    """Whether a card certifies its set, and its reasons against it; None where it does not say."""
    found = card.get("certificate")
    if not isinstance(found, Mapping) or not isinstance(found.get("certified"), bool):
        return None, []
    reasons = found.get("reasons")
    return found["certified"], [str(reason) for reason in reasons] if isinstance(reasons, list) else []


@dataclass(frozen=True)
class ReferenceSet:
    """References by artist on one base, with their calibration."""

    folder: Path
    manifest: dict[str, Any]
    views: Views
    fingerprints: NDArray[np.float32]
    """(N, 256) seeded linear sketch of each reference's ΔW: recognises copies, says nothing about style."""
    controls: dict[str, Floats]
    """name → (N, …) features of the recipe alone, of each reference."""

    @property
    def artists(self) -> list[str]:
        """Artists' names by index."""
        return [a["name"] for a in self.manifest["artists"]]

    @property
    def genres(self) -> list[str]:
        """Genre of each artist, '' where unknown."""
        return [a.get("genre", "") for a in self.manifest["artists"]]

    @cached_property
    def works_split(self) -> bool:
        """Whether every artist's references are of two or more parts of the works, as `audit refs train` makes them.

        Only then do held-out references stand for files on other works.
        """
        return works_split(self.manifest)

    @property
    def artist_of(self) -> Labels:
        """(N,) artist index of each reference."""
        index = {name: i for i, name in enumerate(self.artists)}
        return np.array([index[r["artist"]] for r in self.manifest["references"]], dtype=np.intp)

    @classmethod
    def load(cls, name: str | Path | None = None, *, trusted: bool = False) -> ReferenceSet:
        """A set by folder or installed name; None is the default set.  Raises ReferenceSetError.

        A set whose files do not fit its digest is refused, since every audit cites the digest as what it was made by;
        trusted: whoever asks checks that himself.
        """
        folder = locate(name)
        manifest = read_manifest(folder)
        if not manifest.get("views"):
            raise ReferenceSetError(
                f"The reference set in {folder} is not calibrated.", advice="Run `audit refs calibrate` on it."
            )
        FeaturesName.parse(str(manifest.get("features", "")))  # of another version: its numbers are not ours
        with readable(folder):
            arrays = Arrays(folder / "arrays.npz")
            if not trusted and digest_of(manifest, arrays.content) != manifest.get("digest"):
                raise ReferenceSetError(
                    f"The reference set in {folder} was changed after it was made: its files do not fit its digest.",
                    advice="Install it again, or make it anew with `audit refs calibrate`.",
                )
            views = Views(manifest["views"], arrays, folder)
            fingerprints = arrays["fingerprints"].astype(np.float32)
            controls = {k.removeprefix(CONTROL): arrays[k].astype(float) for k in arrays if k.startswith(CONTROL)}
        return cls(folder, manifest, views, fingerprints, controls)

    def validity(self) -> dict[str, Any]:
        """Headline figures of the card, as it was when first asked for; empty if the set was never evaluated."""
        return dict(self._headline)

    def certificate(self) -> tuple[bool | None, list[str]]:
        """Whether the card certifies the set, and its reasons against it; (None, []) if it was never evaluated."""
        return self._card[1]

    @cached_property
    def _headline(self) -> dict[str, Any]:
        return self._card[0]

    @cached_property
    def _card(self) -> tuple[dict[str, Any], tuple[bool | None, list[str]]]:
        """Headline and certificate, read once: every audit of a scan tells them, and the card is long."""
        card = self.folder / "card.json"
        if not card.is_file():
            return {}, (None, [])
        known = read_table(card)
        return headline_figures(known), certificate_of(known)

    @cached_property
    def directions(self) -> Floats:
        """`fingerprints` (N, 256) of unit length."""
        return unit(self.fingerprints.astype(np.float64))

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Which reference has a tensor digest; the first where several have one."""
        digests = [entry["tensor_sha256"] for entry in self.manifest["references"]]
        return {digest: number for number, digest in reversed(list(enumerate(digests)))}

    @cached_property
    def modules(self) -> list[str]:
        """Every module that any reference adapts, sorted: the columns of the controls."""
        return sorted(self.manifest["modules"])

    @cached_property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """(out, in) of each module."""
        return {path: (int(shape[0]), int(shape[1])) for path, shape in self.manifest["modules"].items()}

    def asked(self, artists: Sequence[str], independent: bool = False) -> tuple[int, ...]:
        """Indices of artists who are asked about, ascending; () where none or all are.

        Names as in the set; people's spelling of them ('Anders Zorn') does as well.  independent: they were chosen
        independently of the file, which says nothing of all.  Raises UsageError.
        """
        known = {spelt(name): number for number, name in enumerate(self.artists)}
        for name in artists:
            if spelt(name) not in known:
                near = " or ".join(alike(spelt(name), list(known)))
                listed = f"`audit refs show {shlex.quote(called(self.folder))}` lists the set's artists."
                advice = f"Did you mean {near}?" if near else listed
                raise UsageError(f"'{shown(name)}' is not in the reference set.", advice=advice)
        found = sorted({known[spelt(name)] for name in artists})
        some = () if len(found) == len(known) else tuple(found)
        if independent and not some:
            who = "everybody in the set" if found else "nobody in particular"
            raise UsageError(f"--independent, but {who} is asked about.", advice="Name some artists with --artist.")
        return some

    def require_features(self, name: str | None) -> None:
        """Refuse a feature extractor that this set was not made with.  Raises UsageError."""
        if name is None:
            return
        own = FeaturesName.parse(self.manifest["features"])
        if name not in (str(own), own.family):
            raise UsageError(
                f"The set {self.manifest['name']!r} was made with {str(own)!r}, not {name!r}.",
                advice=f"Build a set with `audit refs import … --features {name}`, or leave --features out.",
            )


def spelt(name: str) -> str:
    """An artist's name without its capital letters, accents, blanks and underscores: 'Ito Jakuchū' → 'ito-jakuchu'."""
    plain = unicodedata.normalize("NFKD", name.strip().lower())
    kept = "".join(c for c in plain if not unicodedata.combining(c))
    return re.sub(r"[\s_-]+", "-", kept)


def alike(name: str, known: Sequence[str]) -> list[str]:
    """Up to three names that somebody may have meant who wrote `name`, or a part of theirs; best first."""
    from difflib import SequenceMatcher  # for who misspells a name

    def likeness(other: str) -> float:
        return max(SequenceMatcher(None, name, part).ratio() for part in (other, *other.split("-")))

    near = sorted(known, key=likeness, reverse=True)[:3]
    return [other for other in near if likeness(other) >= 0.7]


def sub_modules(bases: Bases, name: str) -> NDArray[np.bool_]:
    """Which modules of the bases (modules,) belong to a sub-network."""
    return np.array([bool(re.search(SUBNETWORKS[name], path)) for path in bases.paths])


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """A block that reads arrays of the set in `folder`: whatever is wrong with them is a ReferenceSetError."""
    try:
        yield
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as problem:
        raise ReferenceSetError(
            f"The arrays of the reference set {folder} cannot be read: {problem}.",
            advice="Install the set again, or rebuild it with `audit refs calibrate`.",
        ) from problem


class Arrays(Mapping[str, NDArray[Any]]):
    """The arrays of an .npz file by name, each decoded anew when it is asked for; nothing is ever unpickled.

    The file's bytes are held and the file is closed, so that it may be replaced meanwhile.  Raises OSError, ValueError
    and zipfile.BadZipFile where it is no such file; a damaged array does when it is asked for.
    """

    def __init__(self, path: Path) -> None:
        """Read the file."""
        self.content = path.read_bytes()
        packed = io.BytesIO(self.content)
        if not zipfile.is_zipfile(packed):
            raise ValueError("this is no archive of arrays")
        packed.seek(0)
        self._packed = np.load(packed, allow_pickle=False)
        self._names = frozenset(self._packed.files)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """One array.  Raises KeyError."""
        return np.asarray(self._packed[name])

    def __contains__(self, name: object) -> bool:
        """Whether there is such an array; it is not decoded."""
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        """Names, in the order of the file."""
        return iter(self._packed.files)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._names)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays, not compressed: half-precision numbers shrink by 8 %, and every audit would undo it first.

    Raises AuditorError.
    """
    with writable(path), whole_file(path) as partial, partial.open("wb") as out:
        np.savez(out, **arrays)  # type: ignore[arg-type]


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write manifest.json.  Raises AuditorError."""
    write_whole(folder / "manifest.json", json.dumps(manifest, indent=1))


def unpack_view(name: str, spec: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> View:
    """A view from its manifest entry and arrays; half-precision arrays come back as float64."""

    def get(key: str) -> Floats:
        return np.asarray(arrays[f"{name}/{key}"], dtype=np.float64)

    return View(
        name,
        unpack_bases(spec, get),
        Projection(get("mean"), get("scale"), arrays[f"{name}/steps"]),
        get("points"),
        arrays[f"{name}/rows"].astype(np.intp),
        arrays[f"{name}/artist"].astype(np.intp),
        get("null"),
        get("genuine"),
        LogisticCalibration(*spec["calibration"]),
        {part: get(f"part/{part}") for part in spec["parts"]},
        *(LogisticCalibration(*spec[name]) if name in spec else None for name in MORE_RATIOS),
    )


def unpack_bases(spec: dict[str, Any], get: Callable[[str], Floats]) -> Bases:
    """The bases of a view: read, or drawn again where they are a sketch's."""
    sketch = spec.get("sketch")
    if sketch is not None:
        shapes = {path: (int(rows), int(across)) for path, (rows, across) in sketch["shapes"].items()}
        return sketch_bases(shapes, int(sketch["k"]), int(sketch["cells"]), int(sketch["seed"]))
    sides = []
    for side in ("out", "in"):
        if "shapes" in spec:
            sides.append(split(get(side), spec["modules"], spec["shapes"][side]))
        else:  # sets made before all modules shared an array
            sides.append({path: get(f"{side}/{path}") for path in spec["modules"]})
    return Bases(sides[0], sides[1], tuple(spec["kinds"]))


def split(flat: Floats, paths: Sequence[str], shapes: Sequence[Sequence[int]]) -> dict[str, Floats]:
    """The matrices, (n, k) each, that lie one behind the other in `flat`.  Raises ValueError where they do not fit."""
    ends = np.cumsum([rows * k for rows, k in shapes])
    if flat.shape != (ends[-1],) or len(paths) != len(shapes):
        raise ValueError(f"{flat.size} numbers are not the bases of {len(paths)} modules")
    pieces = np.split(flat, ends[:-1])
    return {p: piece.reshape(rows, k) for p, piece, (rows, k) in zip(paths, pieces, shapes, strict=True)}


def pack_bases(bases: Bases) -> tuple[dict[str, Any], dict[str, Floats]]:
    """What unpacks to `bases`: entries of the view's spec, and arrays; a sketch needs no arrays.

    The modules of a side lie in one array one behind the other: two hundred small ones open slower than they read.
    """
    if bases.sketch is None:
        sides = {"out": [bases.out[p] for p in bases.paths], "in": [bases.into[p] for p in bases.paths]}
        shapes = {side: [list(b.shape) for b in have] for side, have in sides.items()}
        return {"shapes": shapes}, {side: np.concatenate([b.ravel() for b in have]) for side, have in sides.items()}
    drawn = {p: [len(bases.out[p]), len(bases.into[p])] for p in bases.paths}
    k = max(b.shape[1] for b in bases.out.values())
    return {"sketch": {"seed": bases.sketch, "k": k, "cells": bases.cells, "shapes": drawn}}, {}


def pack_view(view: View) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Manifest entry and arrays of a view."""
    spec: dict[str, Any] = {
        "modules": view.bases.paths,
        "kinds": list(view.bases.kinds),
        "parts": sorted(view.parts),
        "calibration": list(astuple(view.calibration)),
    }
    spec |= {name: list(astuple(known)) for name in MORE_RATIOS if (known := getattr(view, name)) is not None}
    half: dict[str, Floats] = {f"part/{name}": points for name, points in view.parts.items()}
    half |= {"mean": view.projection.mean, "scale": view.projection.scale, "points": view.points}
    more, stored = pack_bases(view.bases)
    spec |= more
    half |= stored
    arrays: dict[str, NDArray[Any]] = {f"{view.name}/{k}": v.astype(np.float16) for k, v in half.items()}
    arrays |= {f"{view.name}/{k}": v.astype(np.float32) for k, v in (("null", view.null), ("genuine", view.genuine))}
    arrays[f"{view.name}/steps"] = view.projection.steps
    arrays |= {f"{view.name}/rows": view.rows.astype(np.int32), f"{view.name}/artist": view.artist.astype(np.int32)}
    return spec, arrays


def digest_of(manifest: dict[str, Any], arrays: bytes) -> str:
    """SHA-256 over the manifest (its own digest aside) and the bytes of arrays.npz."""
    plain = {key: value for key, value in manifest.items() if key != "digest"}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    found = hashlib.sha256(text.encode() + b"\0")
    found.update(arrays)
    return found.hexdigest()


def read_table(path: Path) -> dict[str, Any]:
    """A JSON file beside a set or its LoRAs that holds one table.  Raises ReferenceSetError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ReferenceSetError(f"{path} cannot be read: {problem}.", advice="Repair it, or take it away.") from problem
    if not isinstance(found, dict):
        raise ReferenceSetError(f"{path} holds no table.", advice="Repair it, or take it away.")
    return found


def read_manifest(folder: Path) -> dict[str, Any]:
    """manifest.json of a set, checked for its schema.  Raises ReferenceSetError."""
    path = folder / "manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ReferenceSetError(
            f"No readable reference set in {folder}: {problem}.", advice="`audit refs list` shows what is installed."
        ) from problem
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA:
        raise ReferenceSetError(
            f"The reference set in {folder} has schema {schema!r}; this version reads {SCHEMA!r}.",
            advice="Rebuild the set with `audit refs calibrate`, or install the version of audit that made it.",
        )
    return manifest


def places() -> list[Path]:
    """Folders that hold installed sets: inside the installed package, or in a source checkout beside it."""
    package = Path(__file__).resolve().parent.parent
    return [p for p in (package / "reference_sets", package.parent / "reference_sets") if p.is_dir()]


def installed() -> list[tuple[str, Path]]:
    """Name and folder of every installed set."""
    folders = [f for place in reversed(places()) for f in sorted(place.iterdir())]
    found = {folder.name: folder for folder in folders if (folder / "manifest.json").is_file()}
    return sorted(found.items())


def locate(name: str | Path | None) -> Path:
    """Folder of a set given by path or installed name; None is the default set."""
    wanted = DEFAULT if name is None else str(name)
    if name is not None and os.path.isfile(os.path.join(name, "manifest.json")):  # Path.is_file may raise
        return Path(name)
    known = dict(installed())
    if wanted in known:
        return known[wanted]
    meant = alike(wanted, list(known)) or _sets_in(wanted)
    raise NoSuchSet(
        f"There is no reference set '{shown(wanted)}'.",
        advice=f"Did you mean {shown(' or '.join(meant))}?"
        if meant
        else f"Give a folder with a manifest.json, or one of: {', '.join(known) or 'none installed'}.",
    )


def called(folder: Path) -> str:
    """The name by which the set in a folder can be had: an installed one's, else the folder."""
    return next((name for name, place in installed() if place == folder), str(folder))


def _sets_in(folder: str) -> list[str]:
    """Up to three sets that lie in a folder which is none itself."""
    try:
        inside = sorted(os.listdir(folder))
    except (OSError, ValueError):
        return []
    places = (os.path.join(folder, name) for name in inside)
    return [place for place in places if os.path.isfile(os.path.join(place, "manifest.json"))][:3]


def verify(folder: str | Path) -> list[str]:
    """Problems of a set: wrong digest, coordinates of the wrong shape or not finite.  Empty = sound.

    Raises ReferenceSetError where it cannot be read at all.
    """
    place = locate(folder)
    loaded, problems = ReferenceSet.load(place, trusted=True), []
    if digest_of(loaded.manifest, (place / "arrays.npz").read_bytes()) != loaded.manifest.get("digest"):
        problems.append("the digest in manifest.json does not fit the files: the set was changed after it was made")
    for view in loaded.views.values():
        if len(view.points) != len(view.rows) or view.null.shape != (len(view.rows), len(loaded.artists)):
            problems.append(f"view {view.name}: arrays do not fit each other")
        if not np.isfinite(unit(view.points)).all():
            problems.append(f"view {view.name}: coordinates are not finite")
    return problems


def describe(folder: str | Path | None) -> dict[str, Any]:
    """What a set contains, JSON-able: the manifest without its list of files, and the card's headline."""
    loaded = ReferenceSet.load(folder)
    counts = np.bincount(loaded.artist_of, minlength=len(loaded.artists))
    shown = {k: v for k, v in loaded.manifest.items() if k not in ("references", "views", "artists")}
    shown["artists"] = [a | {"references": int(n)} for a, n in zip(loaded.manifest["artists"], counts, strict=True)]
    shown["views"] = {name: len(loaded.views.modules(name)) for name in loaded.views}
    shown["works"] = works_told(loaded.manifest)
    return shown | {"folder": str(loaded.folder), "validity": loaded.validity()}
