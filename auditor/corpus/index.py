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
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from auditor.corpus.store import parquet, settings_of
from auditor.errors import AuditorError, UsageError

BLOCK = 2**20
"""Rows of one product."""
RUN = 512
"""Values whose maximum is taken before any are sorted."""
GEMM = 2048
"""Rows that all sampled files are compared with at a time: 8 MB of cosines."""
BATCH = 16_384
"""Rows that are read from Parquet at a time."""
NULL = 1000
"""Corpus files whose nearest neighbour makes the null."""
SEED = 0
"""Of their choice."""
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


def open_corpus(path: Path, view: str) -> Corpus:
    """A view of the corpus, from its index or from OUT.  Raises UsageError where OUT has no file with that view."""
    settings = settings_of(path)
    folder = path.with_name(path.name + ".search")
    key = {"version": VERSION, "bytes": path.stat().st_size, "changed": path.stat().st_mtime_ns}
    if not _is_of(folder, key):
        build(path, folder, key)
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


def build(path: Path, folder: Path, key: dict[str, Any]) -> None:
    """Write the index beside its place and rename it; an older one goes.  Raises AuditorError where that fails."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        if folder.exists():
            shutil.rmtree(folder)
        partial.mkdir(parents=True)
        with parquet().ParquetFile(path) as file:
            views = [name.removeprefix("at_") for name in file.schema_arrow.names if name.startswith("at_")]
        for view in views:
            _write_view(path, partial, view)
        (partial / "key.json").write_text(json.dumps(key), encoding="utf-8")
        partial.replace(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise AuditorError(
            f"The index {folder} cannot be written: {error.strerror}.", advice="Copy the corpus to a writable folder."
        ) from error


def _write_view(path: Path, folder: Path, view: str) -> None:
    """Coordinates of the rows that have them, their numbers, and the null; nothing for a view that no file has.

    Coordinates go to disk batch by batch: what is held does not grow with them.
    """
    place, rows, start, width = folder / f"{view}.npy", [np.zeros(0, np.int64)], 0, 0
    with parquet().ParquetFile(path) as file, place.open("w+b") as out:
        for batch in file.iter_batches(columns=[f"at_{view}"], batch_size=BATCH):
            column = batch.column(0)
            there = np.asarray(column.is_valid().to_numpy(zero_copy_only=False))
            if not width:
                width = column.type.list_size
                _begin(out, file.metadata.num_rows, width)
            values = column.values.slice(column.offset * width, len(column) * width).to_numpy(zero_copy_only=False)
            out.write(np.ascontiguousarray(values.reshape(len(column), width)[there], np.float32).data)
            rows.append(start + np.flatnonzero(there))
            start += len(column)
        numbers = np.concatenate(rows)
        out.seek(0)
        _begin(out, len(numbers), width)
    if not len(numbers):
        place.unlink()
        return
    np.save(folder / f"{view}.rows.npy", numbers)
    points = np.load(place, mmap_mode="r", allow_pickle=False)
    sampled = np.sort(np.random.default_rng(SEED).permutation(len(points))[:NULL])
    with parquet().ParquetFile(path) as file:
        creators = file.read(["creator"]).column(0).take(numbers[sampled]).to_pylist()
    groups = [hash_of(name) if name else -int(i) - 1 for i, name in zip(sampled, creators, strict=True)]
    np.savez(folder / f"{view}.null.npz", cosines=nearest_cosines(points, sampled), groups=np.array(groups, np.int64))


def _begin(out: BinaryIO, count: int, width: int) -> None:
    """The header of an array (count, width) of float32; it is as long for any count, so it can be written again."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (count, width)}
    np.lib.format.write_array_header_1_0(out, header)


def hash_of(name: str) -> int:
    """A creator as a number ≥ 0, the same on every machine."""
    import hashlib

    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")


def nearest_cosines(points: Floats32, sampled: NDArray[np.intp]) -> NDArray[np.float64]:
    """Largest cosine (m,) of each sampled row with any other that is no copy of it; -1 where there is none."""
    best = np.full(len(sampled), -1.0)
    for start in range(0, len(points), GEMM):
        cosines = points[sampled] @ points[start : start + GEMM].T
        cosines[cosines >= COPY] = -1.0
        best = np.maximum(best, cosines.max(1))
    return best


Keep = NDArray[np.bool_] | None


def nearest(points: Floats32, query: Floats32, k: int, keep: Keep = None) -> tuple[NDArray[np.intp], Floats32]:
    """Exactly the k rows of greatest cosine with `query` (d,), best first: (indices, cosines).

    keep (n,): rows to look at.  The cost is that of reading the points once.
    """
    cosines = np.empty(len(points), np.float32)
    for start in range(0, len(points), BLOCK):
        np.matmul(points[start : start + BLOCK], query, out=cosines[start : start + BLOCK])
    if keep is not None:
        cosines[~keep] = -np.inf
    best = largest(cosines, k)
    order = best[np.lexsort((best, -cosines[best]))]
    order = order[cosines[order] > -np.inf]
    return order, cosines[order]


def largest(values: Floats32, k: int) -> NDArray[np.intp]:
    """Indices of the k largest values (n,), in any order; all of them where n ≤ k.

    Only the k runs with the largest maxima can hold one of the k largest values, so the others are never sorted.
    """
    whole = len(values) // RUN * RUN
    if whole > 4 * k * RUN:
        runs = np.argpartition(values[:whole].reshape(-1, RUN).max(1), -k)[-k:]
        inside = (runs[:, None] * RUN + np.arange(RUN)).ravel()
        pool = np.concatenate([inside, np.arange(whole, len(values))])
    else:
        pool = np.arange(len(values))
    return pool[np.argpartition(values[pool], -k)[-k:]] if len(pool) > k else pool


Search = Callable[[Floats32, Floats32, int, Keep], tuple[NDArray[np.intp], Floats32]]
