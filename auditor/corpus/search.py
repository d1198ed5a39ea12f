"""Nearest LoRAs by style in a scanned corpus, each with its p-value against the corpus.

The p-value of a hit.  H0: the suspect has no tie to the file found; it is one more file like those of the corpus, and
its cosine with its nearest file is exchangeable with that of a corpus file drawn at random (files of one creator
counting as one). Null: the cosines of NULL seeded corpus files with their nearest other file, copies left out.  As the
null is of *nearest* files, a p-value holds for the best hit although the whole corpus was looked through, and is
conservative for later hits and under filters.  A small p says: closer than unrelated uploads come to anyone.  It names
no artist.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.corpus.index import Corpus, nearest, open_corpus
from auditor.corpus.rows import at, coordinates, load_row
from auditor.corpus.store import parquet, settings_of
from auditor.errors import UsageError
from auditor.reference.set import ReferenceSet
from auditor.statistics.conformal import conformal_p, p_floor

SHOWN = [
    "path",
    "label",
    "artist",
    "nearest",
    "base_family",
    "creator",
    "title",
    "date",
    "p",
    "sha256",
    "tensor_sha256",
    "group",
]
H0 = (
    "H0: the suspect has no tie to this file; its cosine with its nearest file is exchangeable with that of a corpus "
    "file drawn at random (files of one creator count as one)."
)


@dataclass(frozen=True)
class Filters:
    """What hits must have; None: anything."""

    base: str | None = None
    creator: str | None = None
    since: str | None = None
    """ISO day, inclusive; files without a date are left out."""
    until: str | None = None

    def active(self) -> dict[str, str]:
        """The filters that were set."""
        return {key: value for key, value in vars(self).items() if value is not None}


def search(
    suspect: Path,
    corpus: Path,
    *,
    k: int = 10,
    filters: Filters | None = None,
    refs: str | None = None,
    approximate: bool = False,
) -> dict[str, Any]:
    """The k nearest files, JSON-able.

    Raises UsageError when the corpus was made with another set or other features, NotAuditable for a suspect without
    coordinates, AuditorError when a needed package is missing.
    """
    wanted = filters or Filters()
    settings = settings_of(corpus)
    reference = matching(ReferenceSet.load(refs), settings, corpus)
    artifact, placed, audit = load_row(suspect, reference)
    view = placed.view.name
    known = open_corpus(corpus, view)
    point = np.frombuffer(coordinates(reference, placed)[at(view)], "<f4")
    keep = kept_rows(known, wanted)
    find = graph_search(known) if approximate and keep is None else nearest
    found, cosines = find(known.points, point, k, keep)
    p = hit_p(known, cosines)
    details = [
        {"audit_p" if name == "p" else name: value for name, value in row.items()}
        for row in rows_at(corpus, known.rows[found])
    ]
    hits = [
        {"rank": rank, "cosine": float(c), "p": float(value)}
        | row
        | {"same_tensors": row["tensor_sha256"] == artifact.tensor_sha256}
        for rank, (c, value, row) in enumerate(zip(cosines, p, details, strict=True), start=1)
    ]
    return {
        "suspect": {"path": str(suspect), "sha256": artifact.sha256, "label": audit.verdict.label, "view": view},
        "corpus": {"path": str(corpus), "set": settings["set"]["name"], "digest": settings["set"]["digest"],
                   "files": len(known.points), "without_this_view": _rows(corpus) - len(known.points),
                   "looked_at": len(known.points) if keep is None else int(keep.sum())},
        "filters": wanted.active(),
        "search": "graph, re-scored exactly" if find is not nearest else "exact",
        "null": {"hypothesis": H0, "files": len(known.null), "p_min": p_floor(len(np.unique(known.null_group)))},
        "hits": hits,
    }  # fmt: skip


def matching(reference: ReferenceSet, settings: Mapping[str, Any], corpus: Path) -> ReferenceSet:
    """The set, if the corpus was scanned with it.  Raises UsageError."""
    made, manifest = settings["set"], reference.manifest
    for name in ("features", "digest"):
        if made[name] != manifest[name]:
            raise UsageError(
                f"{corpus} was scanned with the set {made['name']!r}, whose {name} is {made[name]!r}; the set "
                f"{manifest['name']!r} has {manifest[name]!r}. Coordinates of two sets cannot be compared.",
                advice="Name the set of the corpus with --refs, or scan the corpus again with this one.",
            )
    return reference


def hit_p(corpus: Corpus, cosines: NDArray[np.float32]) -> NDArray[np.float64]:
    """p-value of each hit; see the docstring of this file."""
    return conformal_p(cosines.astype(np.float64), corpus.null, corpus.null_group)


def kept_rows(corpus: Corpus, filters: Filters) -> NDArray[np.bool_] | None:
    """Which of the corpus' points pass the filters; None when none is set."""
    if not filters.active():
        return None
    with parquet().ParquetFile(corpus.path) as file:
        table = file.read(["base_family", "creator", "date"])
    keep = np.ones(table.num_rows, bool)

    def text(name: str) -> NDArray[np.str_]:
        return np.array(["" if v is None else v for v in table.column(name).to_pylist()])

    if filters.base is not None:
        keep &= text("base_family") == filters.base
    if filters.creator is not None:
        keep &= np.char.lower(text("creator")) == filters.creator.lower()
    if filters.since is not None:
        keep &= text("date") >= filters.since
    if filters.until is not None:
        keep &= (text("date") <= filters.until) & (text("date") != "")
    return keep[corpus.rows]


def rows_at(path: Path, numbers: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Some columns of the rows with these numbers, reading only their row groups."""
    found: dict[int, dict[str, Any]] = {}
    with parquet().ParquetFile(path) as file:
        start = 0
        for group in range(file.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            here = [int(n) for n in numbers if start <= n < end]
            if here:
                table = file.read_row_group(group, SHOWN).take([n - start for n in here])
                found |= dict(zip(here, table.to_pylist(), strict=True))
            start = end
    return [found[int(n)] for n in numbers]


def _rows(path: Path) -> int:
    with parquet().ParquetFile(path) as file:
        return int(file.metadata.num_rows)


def graph_search(corpus: Corpus) -> Any:
    """The approximate search; see `auditor.corpus.graph`."""
    from auditor.corpus.graph import graph_nearest

    return graph_nearest(corpus)
