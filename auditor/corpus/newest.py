"""One row a file: of several rows of one path the newest stays, for the file was replaced or touched in between.

In: a scan's Parquet files, oldest first.  Out: the same, or one file with the rows that stay.  Where an audited row
goes, the first copy of its content that stays takes its audit over, so that no copy is left without one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.corpus.store import Columns, Row, arrow, audited_rows, fill, plain_groups, read_rows, write_tables


def only_newest(sources: Sequence[Path], target: Path, columns: Columns) -> list[Path]:
    """`sources` where each path has one row, else `target` alone, which is written with the rows that stay."""
    keep = newest(sources)
    if keep.all():
        return list(sources)
    taken = heirs(sources, keep)
    audits = audited_rows(sources, set(taken.values()), columns)
    write_tables(target, _kept(sources, keep, taken, audits, columns), columns.schema())
    return [target]


def newest(sources: Sequence[Path]) -> NDArray[np.bool_]:
    """Which of all rows (n,) is the last one of its path; 16 bytes a row are held."""
    rows = (row for source in sources for row in read_rows(source, ["path", "path_raw"]))
    keys = np.fromiter((_key(row) for row in rows), "S16")
    _, from_end = np.unique(keys[::-1], return_index=True)
    keep = np.zeros(len(keys), bool)
    keep[len(keys) - 1 - from_end] = True
    return keep


def _key(row: Row) -> bytes:
    """A path in 16 bytes."""
    name = row["path_raw"] if row["path_raw"] is not None else row["path"].encode()
    return hashlib.blake2b(name, digest_size=16).digest()


def heirs(sources: Sequence[Path], keep: NDArray[np.bool_]) -> dict[int, str]:
    """Number of a row that stays → the content whose audit it takes over from one that goes."""
    gone: set[str] = set()
    stay: set[str] = set()
    copies: dict[str, int] = {}
    rows = (row for source in sources for row in read_rows(source, ["content", "same_as"]))
    for number, row in enumerate(rows):
        if row["same_as"] and keep[number]:
            copies.setdefault(row["same_as"], number)
        elif row["content"] and not row["same_as"]:
            (stay if keep[number] else gone).add(row["content"])
    return {number: content for content, number in copies.items() if content in gone and content not in stay}


def _kept(
    sources: Sequence[Path],
    keep: NDArray[np.bool_],
    taken: Mapping[int, str],
    audits: Mapping[str, Row],
    columns: Columns,
) -> Iterator[Any]:
    """Tables of the rows that stay, audits taken over filled in."""
    pa, names, start = arrow(), columns.schema().names, 0
    for table in plain_groups(sources):
        end = start + table.num_rows
        given = {number - start: audits[taken[number]] for number in taken if start <= number < end}
        if given:
            table = fill(pa, table, given, columns)
            own = [None if i in given else key for i, key in enumerate(table.column("same_as").to_pylist())]
            table = table.set_column(table.schema.get_field_index("same_as"), "same_as", pa.array(own, pa.string()))
        yield table.filter(pa.array(keep[start:end])).select(names).cast(columns.schema())
        start = end
