"""A reference set's working folder and its LoRA files, for benchmarks: sets without some artists, and suspects."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import launder
import numpy as np

from auditor.embedding.features import features
from auditor.embedding.fit import Settings
from auditor.reference.build import read_plan
from auditor.reference.calibrate import ENOUGH, VIEWS, bases_of, calibrate_view, load_features, view_modules
from auditor.reference.features_name import FeaturesName
from auditor.reference.set import View, read_manifest
from auditor.report.card import render_card

FOLDS = 4
PARTIAL = "attn$|^far-"
"""Recipes that adapt some modules only, or hardly train."""


@dataclass(frozen=True)
class Suspect:
    """A validation suspect that adapts every module."""

    path: Path
    artist: str
    half: str


class Study:
    """Features of all references in the set's bases; suspects are read when needed."""

    def __init__(self, folder: Path, loras: Path) -> None:
        """folder: a calibrated set with its features.npz; loras: the files and plan.json it was made from."""
        manifest, arrays = read_manifest(folder), load_features(folder)
        self.settings = Settings(**manifest["settings"])
        self.bases = bases_of(arrays, FeaturesName.parse(manifest["features"]).kinds)
        complete = arrays["present"].mean(1) >= ENOUGH
        self.x = arrays["features"][complete].astype(np.float64)
        entries = [e for e, ok in zip(manifest["references"], complete, strict=True) if ok]
        self.artist, self.half = np.array([e["artist"] for e in entries]), np.array([e["part"] for e in entries])
        self.names = [a["name"] for a in manifest["artists"]]
        self.suspects = list(self._suspects(loras))

    def _suspects(self, loras: Path) -> list[Suspect]:
        """Files of the plan whose recipe adapts every module, by artists of the set."""
        _, jobs = read_plan(loras)
        named = [j for j in jobs.values() if "--suspect-" in j["name"] and not re.search(PARTIAL, j["recipe"])]
        return [
            Suspect(loras / j["artist"] / f"{j['name']}.safetensors", j["artist"], j["half"])
            for j in named
            if j["artist"] in self.names and (loras / j["artist"] / f"{j['name']}.safetensors").is_file()
        ]

    def features(self, lora: launder.Lora) -> np.ndarray:
        """Features (D,) in the set's bases."""
        return features(launder.factored(launder.only(lora, self.bases.out.__contains__)), self.bases)[0]

    def seen_by(self, view: View, row: np.ndarray) -> np.ndarray:
        """The part of the features that a view uses."""
        return row[self.bases.columns(view.bases.paths)]

    def without_fold(self, fold: int | None, halves: str = "ab", view: str = "all") -> tuple[list[str], View]:
        """Names and view of the set without every fourth artist; None: all artists.  halves: of the references."""
        bases = self.bases.only(view_modules(self.bases.paths, VIEWS[view]))
        inside = self.bases.columns(bases.paths)
        names = [a for i, a in enumerate(self.names) if i % FOLDS != fold]
        rows = np.flatnonzero(np.isin(self.artist, names) & np.isin(self.half, list(halves)))
        artist = np.array([names.index(a) for a in self.artist[rows]], np.intp)
        second = self.half[rows] == "b" if len(halves) > 1 else np.arange(len(rows)) % 2
        parts = np.unique(2 * artist + second, return_inverse=True)[1]
        return names, calibrate_view(view, self.x[rows][:, inside], rows, artist, parts, bases, self.settings)


Table = list[dict[str, str | float]]
"""Rows of a table; all have the same columns."""


def printed(rows: Table) -> str:
    """A table as Markdown."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    return "\n".join(lines + ["| " + " | ".join(shown(v) for v in row.values()) + " |" for row in rows])


def shown(value: str | float) -> str:
    """A cell: shares with two decimals, counts whole, nothing for NaN."""
    if isinstance(value, str | int):
        return str(value)
    return "–" if np.isnan(value) else f"{value:.2f}"


def add_to_card(card: Path, key: str, title: str, note: str, rows: Table) -> None:
    """Put a table into a validity card and write its page again."""
    known = json.loads(card.read_text(encoding="utf-8"))
    cells = [[shown(v) for v in row.values()] for row in rows]
    known.setdefault("measured", {})[key] = {"title": title, "note": note, "columns": list(rows[0]), "rows": cells}
    card.write_text(json.dumps(known, indent=1, allow_nan=False), encoding="utf-8")
    card.with_suffix(".html").write_text(render_card(known), encoding="utf-8")
