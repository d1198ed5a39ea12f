"""What a search needs of a corpus, beside its Parquet file: coordinates as a plain array that is mapped, not read.

    OUT.parquet.search/ key.json · <view>.npy (n, d) float32 unit rows · <view>.rows.npy (n,) row in OUT ·
    <view>.null.npz

Made once for each OUT and made again when OUT changes; everything in it can be deleted.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.corpus.store import parquet, settings_of
from auditor.errors import AuditorError, UsageError

BLOCK = 65_536
"""Rows that are compared at a time: 14 MB at 55 numbers a row, which stays in a core's cache."""
NULL = 1000
"""Corpus files whose nearest neighbour makes the null."""
COPY = 0.9999
"""Cosine from which two rows count as one content in the null."""
VERSION = 1
Floats32 = NDArray[np.float32]


@dataclass(frozen=True)
class Corpus:
    """One view of a scanned corpus."""

    path: Path
    settings: dict[str, Any]
    points: Floats32
    """(n, d) unit coordinates, mapped."""
    rows: NDArray[np.int64]
    """(n,) number of each in the Parquet file."""
    null: NDArray[np.float64]
    """(m,) cosine of each sampled file with its nearest other file, copies left out."""
    null_group: NDArray[np.int64]
    """(m,) creator of each sampled file, a file of unknown creator its own."""


def open_corpus(path: Path, view: str, seed: int = 0) -> Corpus:
    """A view of the corpus, from its index or from OUT.  Raises UsageError where OUT has no file with that view."""
    settings = settings_of(path)
    folder = path.with_name(path.name + ".search")
    key = {"version": VERSION, "seed": seed, "bytes": path.stat().st_size, "changed": path.stat().st_mtime_ns}
    if not _is_of(folder, key):
        if folder.exists():
            shutil.rmtree(folder)
        build(path, folder, key, seed)
    if not (folder / f"{view}.npy").is_file():
        raise UsageError(
            f"No file of {path} has coordinates in the view '{view}' of the set.",
            advice="Scan files of the set's base.",
        )
    with np.load(folder / f"{view}.null.npz", allow_pickle=False) as null:
        kept = null["cosines"], null["groups"]
    points = np.load(folder / f"{view}.npy", mmap_mode="r", allow_pickle=False)
    return Corpus(path, settings, points, np.load(folder / f"{view}.rows.npy", allow_pickle=False), *kept)


def _is_of(folder: Path, key: dict[str, Any]) -> bool:
    """Whether the index in `folder` was made of this OUT."""
    try:
        return bool(json.loads((folder / "key.json").read_text(encoding="utf-8")) == key)
    except (OSError, ValueError):
        return False


def build(path: Path, folder: Path, key: dict[str, Any], seed: int) -> None:
    """Write the index beside its place and rename it."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        with parquet().ParquetFile(path) as file:
            views = [name.removeprefix("at_") for name in file.schema_arrow.names if name.startswith("at_")]
        for view in views:
            _write_view(path, partial, view, seed)
        (partial / "key.json").write_text(json.dumps(key), encoding="utf-8")
        partial.replace(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise AuditorError(
            f"The index {folder} cannot be written: {error.strerror}.", advice="Copy the corpus to a writable folder."
        ) from error


def _write_view(path: Path, folder: Path, view: str, seed: int) -> None:
    """Coordinates of the rows that have them, their numbers, and the null; nothing for a view that no file has."""
    blocks, rows, creators, start = [], [], [], 0
    with parquet().ParquetFile(path) as file:
        for batch in file.iter_batches(columns=[f"at_{view}", "creator"], batch_size=BLOCK):
            column = batch.column(f"at_{view}")
            there = np.asarray(column.is_valid().to_numpy(zero_copy_only=False))
            width = column.type.list_size
            values = column.values.slice(column.offset * width, len(column) * width).to_numpy(zero_copy_only=False)
            blocks.append(values.reshape(len(column), width)[there].astype(np.float32))
            rows.append(start + np.flatnonzero(there))
            creators += [name for name, here in zip(batch.column("creator").to_pylist(), there, strict=True) if here]
            start += len(column)
    points = np.concatenate(blocks) if blocks else np.zeros((0, 1), np.float32)
    if not len(points):
        return
    np.save(folder / f"{view}.npy", points)
    np.save(folder / f"{view}.rows.npy", np.concatenate(rows).astype(np.int64))
    sampled = np.sort(np.random.default_rng(seed).permutation(len(points))[:NULL])
    groups = [hash_of(creators[i]) if creators[i] else -int(i) - 1 for i in sampled]
    np.savez(folder / f"{view}.null.npz", cosines=nearest_cosines(points, sampled), groups=np.array(groups, np.int64))


def hash_of(name: str) -> int:
    """A creator as a number ≥ 0, the same on every machine."""
    import hashlib

    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")


def nearest_cosines(points: Floats32, sampled: NDArray[np.intp]) -> NDArray[np.float64]:
    """Largest cosine (m,) of each sampled row with any other that is no copy of it; -1 where there is none."""
    best = np.full(len(sampled), -1.0)
    for start in range(0, len(points), BLOCK // 8):
        cosines = points[sampled] @ points[start : start + BLOCK // 8].T
        cosines[cosines >= COPY] = -1.0
        best = np.maximum(best, cosines.max(1))
    return best


Keep = NDArray[np.bool_] | None


def nearest(points: Floats32, query: Floats32, k: int, keep: Keep = None) -> tuple[NDArray[np.intp], Floats32]:
    """Exactly the k rows of greatest cosine with `query` (d,), best first: (indices, cosines).

    keep (n,): rows to look at.  One product a block of rows; of each block the k best stay.
    """
    found_at, found = [], []
    for start in range(0, len(points), BLOCK):
        cosines = points[start : start + BLOCK] @ query
        if keep is not None:
            cosines[~keep[start : start + BLOCK]] = -np.inf
        best = np.argpartition(cosines, -k)[-k:] if len(cosines) > k else np.arange(len(cosines))
        found_at.append(start + best)
        found.append(cosines[best])
    at, cosine = np.concatenate(found_at), np.concatenate(found)
    order = np.lexsort((at, -cosine))[:k]
    order = order[cosine[order] > -np.inf]
    return at[order], cosine[order]


Search = Callable[[Floats32, Floats32, int, Keep], tuple[NDArray[np.intp], Floats32]]
