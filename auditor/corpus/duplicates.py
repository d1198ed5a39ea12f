"""Near-duplicates over a whole corpus: re-uploads, re-saves, resizes, checkpoints of one run, merges.

    hashes ─► copies          sketches ─► candidates (nearest few above a cosine) ─► `auditor.lora.relation.compare` ─►
    pairs, groups

Candidates are a file's nearest NEIGHBOURS sketches above LEAST: found by exact products up to EXACT files, by hashing
(`auditor.corpus.nearby`) beyond, so the work is the number of files and of candidates, times a constant.  Hashing sees
low cosines less often; the lesser source of a merge is therefore looked for again in what the greater one leaves of it,
for sketches are linear and the rest is that source alone.  What is reported was compared in full, by weights.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.corpus.names import fetched
from auditor.corpus.nearby import Places, inner, near
from auditor.corpus.sketch import SIZE
from auditor.corpus.store import Row, parquet, read_rows, write_pairs
from auditor.corpus.workers import Limits, Lost, Pool
from auditor.errors import NotAuditable
from auditor.limits import SAME_SOURCE, UNRELATED
from auditor.lora import LoraWeights, load_lora
from auditor.lora.relation import DERIVED, Name, compare

LEAST = 0.2
"""Least cosine of sketches of a candidate: unrelated files have 0 ± .044, files of one run at least .28."""
NEIGHBOURS = 16
"""Candidates a file at most; groups of more are held together through their members."""
EXACT = 50_000
"""Files up to which products of all pairs are quicker than hashing (docs/scale.md)."""
COPY = 0.97
"""Cosine of sketches from which a file is no merge of two."""
SOURCE = 0.5
"""Least cosine of a merge with its greatest source: two equal ones have .71, three .58."""
LEFT = 0.6
"""Least cosine of what that source leaves of it with another source."""
LEFT_TABLES = 8
"""Tables for these: two sources leave a cosine near 1."""
EXPLAINED = 0.9
"""Share of a file that two others must make together for a merge."""
BLOCK = 2048
CELLS = 8_000_000
"""Products that are held at a time."""
CACHE = 4
"""Files that a comparing worker keeps in memory."""


@dataclass(frozen=True)
class Sketched:
    """The distinct contents of a corpus: path, key and unit sketch (n, SIZE), zero where there is none."""

    paths: list[str]
    contents: list[str]
    sketches: NDArray[np.float32]


SAME: frozenset[Name] = frozenset({"same_file", "same_tensors", "same_update"})
"""Relations of files that are one LoRA, saved or scaled anew."""


@dataclass(frozen=True)
class Kin:
    """Which contents of a corpus belong together, by numbers."""

    groups: dict[str, int]
    """Of every content that has relatives: merges, checkpoints and resized files too."""
    updates: dict[str, int]
    """Of every content that is the same update as another one."""


def find(sources: Sequence[Path], out: Path, workers: int, limits: Limits) -> Kin:
    """Write the pairs beside `out`; what belongs together."""
    pairs = list(copies(sources))
    corpus = read_sketches(sources)
    groups, updates = Groups(), Groups()
    for pair in pairs:
        one, other = pair.pop("content_a"), pair.pop("content_b")
        groups.join(one, other)
        updates.join(one, other)
    found = list(compared(corpus, candidates(corpus.sketches), workers, limits))
    name_merges(found, corpus)
    for i, j, row in found:
        if row["relation"] in DERIVED:
            groups.join(corpus.contents[i], corpus.contents[j])
        if row["relation"] in SAME:
            updates.join(corpus.contents[i], corpus.contents[j])
        if row["relation"] not in ("unrelated", "not_comparable", "no_effect"):
            pairs.append(row)
    pairs.sort(key=lambda pair: (pair["a"], pair["b"]))
    write_pairs(pairs_file(out), pairs)
    return Kin(groups.numbered(), updates.numbered())


def pairs_file(out: Path) -> Path:
    """Where the pairs of `out` are written."""
    return out.with_name(f"{out.stem}.duplicates.parquet")


def copies(sources: Sequence[Path]) -> Iterator[Row]:
    """Pairs that hashes settle: each further file of a tensor section or content, with the first one."""
    first: dict[str, Row] = {}
    names = ["path", "content", "header_sha256", "tensor_sha256"]
    for row in (row for source in sources for row in read_rows(source, names)):
        if not row["content"]:
            continue
        known = first.setdefault(row["tensor_sha256"], row)
        if known is row:
            continue
        same = "same_file" if row["header_sha256"] == known["header_sha256"] else "same_tensors"
        words = "The files are the same, byte for byte." if same == "same_file" else "Only the headers differ."
        keys = {"content_a": known["content"], "content_b": row["content"]}
        yield {"a": known["path"], "b": row["path"], "relation": same, "reasons": words} | keys


def read_sketches(sources: Sequence[Path]) -> Sketched:
    """Sketches of distinct tensor sections."""
    paths, contents, blocks = [], [], []
    seen: set[str] = set()
    for source in sources:
        with parquet().ParquetFile(source) as file:
            for batch in file.iter_batches(
                columns=["path", "path_raw", "content", "tensor_sha256", "same_as", "sketch"]
            ):
                vectors = batch.column("sketch")
                values = np.asarray(vectors.values.to_numpy(zero_copy_only=False), np.float32)
                values = values.reshape(-1, SIZE)[: len(vectors)]
                plain = batch.drop_columns(["sketch"]).to_pylist()
                kept = []
                for i, (row, there) in enumerate(zip(plain, vectors.is_valid().to_pylist(), strict=True)):
                    if there and not row["same_as"] and row["tensor_sha256"] not in seen:
                        seen.add(row["tensor_sha256"])
                        kept.append(i)
                        paths.append(row["path"] if row["path_raw"] is None else os.fsdecode(row["path_raw"]))
                        contents.append(row["content"])
                blocks.append(values[kept])
    return Sketched(paths, contents, np.concatenate(blocks) if blocks else np.zeros((0, SIZE), np.float32))


def candidates(sketches: NDArray[np.float32], exact: int = EXACT) -> list[tuple[int, int, float]]:
    """(i, j, cosine) with i < j, sorted: each file's nearest few above LEAST; none of no files."""
    if not len(sketches):
        return []
    norms = np.linalg.norm(sketches, axis=1, keepdims=True)
    unit = np.divide(sketches, norms, out=np.zeros_like(sketches), where=norms > 0)
    nearest = _by_products(unit) if len(unit) <= exact else _by_keys(unit)
    found = {(min(i, j), max(i, j)): cos for i, j, cos in nearest if i != j and cos >= LEAST}
    return [(i, j, cos) for (i, j), cos in sorted(found.items())]


def _by_products(unit: NDArray[np.float32]) -> Iterator[tuple[int, int, float]]:
    """All pairs, block by block."""
    block = max(1, min(BLOCK, CELLS // len(unit)))
    for start in range(0, len(unit), block):
        cosines = unit[start : start + block] @ unit.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -1.0
        if len(unit) > NEIGHBOURS:
            top = np.argpartition(cosines, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS:]
        else:
            top = np.broadcast_to(np.arange(len(unit)), cosines.shape)
        values = np.take_along_axis(cosines, top, 1)
        for r, c in zip(*np.nonzero(values >= LEAST), strict=True):
            yield start + int(r), int(top[r, c]), float(values[r, c])


def _by_keys(unit: NDArray[np.float32]) -> Iterator[tuple[int, int, float]]:
    """Pairs that meet by their hashes, and the other sources of what may be merges."""
    i, j, cosines = near(unit, LEAST, NEIGHBOURS)
    yield from zip(i.tolist(), j.tolist(), cosines.tolist(), strict=True)
    files, rests = _rests(unit, np.concatenate([i, j]), np.concatenate([j, i]), np.tile(cosines, 2))
    source, asked, _ = near(unit, LEFT, NEIGHBOURS, rests, LEFT_TABLES)
    file = files[asked - len(unit)]
    yield from zip(file.tolist(), source.tolist(), inner(unit, file, source).tolist(), strict=True)


def _rests(
    unit: NDArray[np.float32], one: Places, other: Places, cosines: NDArray[np.float32]
) -> tuple[Places, NDArray[np.float32]]:
    """(files, unit vectors): what the nearest relative of each file that is no copy leaves of it."""
    may_be = np.flatnonzero((cosines >= SOURCE) & (cosines < COPY))
    order = may_be[np.lexsort((-cosines[may_be], one[may_be]))]
    best = order[np.flatnonzero(np.diff(one[order], prepend=-1))]
    rest = unit[one[best]] - cosines[best, None] * unit[other[best]]
    return one[best], rest / np.linalg.norm(rest, axis=1, keepdims=True)


class Comparer:
    """In a worker: two paths → how they are related, by weights; the last few files stay in memory."""

    def __init__(self) -> None:
        """Nothing loaded yet."""
        self._kept: OrderedDict[str, LoraWeights] = OrderedDict()

    def __call__(self, task: tuple[str, str], _: Any) -> Row:
        """Relation, figures and reasons."""
        try:
            found = compare(self._load(task[0]), self._load(task[1]))
        except NotAuditable as problem:
            return {"relation": "failed", "reasons": problem.message}
        figures = {key: found.figures[key] for key in ("cos_delta_w", "cos_output", "coverage")}
        return {"relation": found.relation, "reasons": " ".join(found.reasons)} | figures

    def _load(self, name: str) -> LoraWeights:
        if name not in self._kept:
            with fetched(name) as path:
                self._kept[name] = load_lora(path)
            while len(self._kept) > CACHE:
                self._kept.popitem(last=False)
        self._kept.move_to_end(name)
        return self._kept[name]


def compared(
    corpus: Sketched, found: Sequence[tuple[int, int, float]], workers: int, limits: Limits
) -> Iterator[tuple[int, int, Row]]:
    """Every candidate pair with its relation."""
    if not found:
        return
    at = {(corpus.paths[i], corpus.paths[j]): (i, j, cos) for i, j, cos in found}
    with Pool(Comparer, min(workers, len(at)), limits) as pool:
        for task, said in pool.run(iter(at), lambda _: False):
            i, j, cos = at[task]
            row = {"relation": "failed", "reasons": said.reason} if isinstance(said, Lost) else said
            yield i, j, {"a": task[0], "b": task[1], "cos_sketch": cos} | row


def name_merges(found: Sequence[tuple[int, int, Row]], corpus: Sketched) -> None:
    """Call 'merge' the relations of a file that two files, unrelated to each other, explain together.

    One pair alone cannot tell a merge that was cut to a lower rank from a checkpoint of one run; the two sources can:
    the share of ‖ΔW‖² in their span is (c₁² + c₂² - 2 c₁ c₂ c₁₂) / (1 - c₁₂²), with the cosines of the three files.
    """
    exact = {(i, j): float(row["cos_delta_w"]) for i, j, row in found if "cos_delta_w" in row}
    relatives: dict[int, dict[int, tuple[float, Row]]] = {}
    for i, j, row in found:
        if (i, j) in exact:
            relatives.setdefault(i, {})[j] = relatives.setdefault(j, {})[i] = (exact[i, j], row)
    for others in relatives.values():
        for a, b in combinations(sorted(others), 2):
            between = exact.get((a, b), float(corpus.sketches[a] @ corpus.sketches[b]))
            (one, row_a), (other, row_b) = others[a], others[b]
            share = (one**2 + other**2 - 2 * one * other * between) / max(1e-9, 1 - between**2)
            if abs(between) < SAME_SOURCE and min(abs(one), abs(other)) > UNRELATED and share >= EXPLAINED:
                for row, partner in ((row_a, b), (row_b, a)):
                    if row["relation"] in ("same_run", "unrelated", "resized"):
                        words = f"With {corpus.paths[partner]} it makes {share:.0%} of one change: a merge of two."
                        row |= {"relation": "merge", "reasons": words}


class Groups:
    """Connected components."""

    def __init__(self) -> None:
        """No one is joined."""
        self._up: dict[str, str] = {}

    def join(self, a: str, b: str) -> None:
        """Put two members into one group."""
        self._up[self._top(b)] = self._top(a)

    def _top(self, member: str) -> str:
        path = [member]
        while self._up.setdefault(path[-1], path[-1]) != path[-1]:
            path.append(self._up[path[-1]])
        for passed in path:
            self._up[passed] = path[-1]
        return path[-1]

    def numbered(self) -> dict[str, int]:
        """Member → number of its group, in the order of joining."""
        numbers: dict[str, int] = {}
        return {member: numbers.setdefault(self._top(member), len(numbers)) for member in list(self._up)}


def pairs(path: Path) -> list[Row]:
    """The pairs that a scan wrote."""
    return list(
        read_rows(path, ["a", "b", "relation", "reasons", "cos_sketch", "cos_delta_w", "cos_output", "coverage"])
    )


__all__ = ["candidates", "find", "pairs", "pairs_file"]
