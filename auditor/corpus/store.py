"""The scan's Parquet file: columns, atomic writing, reading, and what must hold over the whole batch.

Over the batch: q, Benjamini–Hochberg adjusted open-set p-values, one test for each distinct content (a copy adds a row
but no test).  Conformal p-values that share one null are positively dependent, for which the procedure controls the
false discovery rate (Bates et al. 2023, Ann. Statist. 51(1)).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.corpus.sketch import SIZE
from auditor.errors import UsageError
from auditor.extras import need
from auditor.lora.text import shown
from auditor.statistics.conformal import benjamini_hochberg
from auditor.whole_file import whole_file, writable

Row = dict[str, Any]
SCHEMA = "audit-scan/1"
KEY = b"audit"
TEXTS = (
    *("path", "version", "content", "same_as", "sha256", "header_sha256", "tensor_sha256"),
    *("status", "label", "artist", "sentence", "code", "reason", "advice", "warnings"),
    *("dialect", "algorithm", "base_family", "view", "nearest", "nearest_reference"),
    *("derivative_of", "derivative_relation", "creator", "title", "date"),
)
WHOLE = ("bytes", "modules", "rank_min", "rank_max")
NUMBERS = ("coverage", "p", "p_min", "p_member", "score", "nearest_p", "nearest_p_exclusion", "nearest_log10_lr")
COPIED = ("status", "label", "artist", "sentence", "code", "reason", "advice", "dialect", "algorithm", "base_family",
          "modules", "rank_min", "rank_max", "view", "nearest", "nearest_reference", "derivative_of",
          "derivative_relation", *NUMBERS)  # fmt: skip
"""What a file has in common with another of the same content."""

ORPHAN: Row = {
    "status": "failed",
    "label": "OUT_OF_SCOPE",
    "sentence": "Not audited: the audit of another file with the same content was lost.",
    "code": "worker",
    "reason": "the audit of another file with the same content was lost.",
    "advice": "Look at the file by itself with `audit inspect`; do not trust it.",
}
"""A copy of a file on which a worker was lost."""


@dataclass(frozen=True)
class Columns:
    """Vector columns by name: (numpy type, length)."""

    vectors: Mapping[str, tuple[str, int]]

    def schema(self, settings: Mapping[str, Any] | None = None, batch: bool = False) -> Any:
        """The Arrow schema; `batch`: with the columns that need all rows."""
        pa = arrow()
        fields = [(name, pa.string()) for name in TEXTS] + [("path_raw", pa.binary())]
        fields += [(name, pa.int64()) for name in WHOLE] + [(name, pa.float64()) for name in NUMBERS]
        kinds = {"<f8": pa.float64(), "<f4": pa.float32(), "<f2": pa.float16()}
        fields += [(name, pa.list_(kinds[kind], size)) for name, (kind, size) in self.vectors.items()]
        if batch:
            fields += [("q", pa.float64()), ("group", pa.int64())]
        schema = pa.schema(fields)
        return schema.with_metadata({KEY: json.dumps(settings).encode()}) if settings is not None else schema


def columns_of(artists: int, views: Mapping[str, int]) -> Columns:
    """The columns of a scan against a set with so many artists and views of such widths."""
    points = {f"at_{name}": ("<f4", width) for name, width in views.items()}
    return Columns({"scores": ("<f8", artists), **points, "sketch": ("<f2", SIZE)})


def arrow() -> Any:
    """The package pyarrow."""
    return need("pyarrow", "scale", "a corpus in Parquet")


def parquet() -> Any:
    """The module pyarrow.parquet."""
    return need("pyarrow.parquet", "scale", "a corpus in Parquet")


def table_of(rows: Sequence[Row], columns: Columns) -> Any:
    """Rows as an Arrow table."""
    pa = arrow()
    schema = columns.schema()
    arrays = []
    for field in schema:
        values = [_cell(row, field.name) for row in rows]
        if field.name in columns.vectors:
            arrays.append(_vectors(pa, values, *columns.vectors[field.name], field.type))
        else:
            arrays.append(pa.array(values, field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _cell(row: Row, name: str) -> Any:
    """A value as Arrow takes it: text that is no Unicode (file names of odd systems) made so, its bytes kept beside."""
    if name == "path_raw":
        return row.get(name) or (os.fsencode(row["path"]) if _odd(row["path"]) else None)
    value = row.get(name)
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _odd(text: str) -> bool:
    """Whether text holds lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _vectors(pa: Any, values: list[bytes | None], kind: str, size: int, type_: Any) -> Any:
    """A column of vectors, null where there is none."""
    width = size * np.dtype(kind).itemsize
    flat = np.frombuffer(b"".join(value or bytes(width) for value in values), kind)
    mask = pa.array([value is None for value in values])
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), type=type_, mask=mask)


def write_rows(path: Path, rows: Sequence[Row], columns: Columns) -> None:
    """A part: written beside its place, flushed to disk, renamed."""
    write_tables(path, [table_of(rows, columns)], columns.schema())


def write_tables(path: Path, tables: Iterable[Any], schema: Any) -> None:
    """Tables, one row group or more each, into one file that appears whole or not at all.  Raises AuditorError."""
    with writable(path), whole_file(path, only_writer=True) as partial, partial.open("wb") as file:
        with parquet().ParquetWriter(file, schema, compression="zstd") as writer:
            for table in tables:
                writer.write_table(table)
        file.flush()
        os.fsync(file.fileno())


def read_rows(path: Path, names: Sequence[str]) -> Iterator[Row]:
    """Some columns of a file, row by row."""
    with parquet().ParquetFile(path) as file:
        for batch in file.iter_batches(columns=list(names)):
            yield from batch.to_pylist()


def settings_of(path: str | Path) -> dict[str, Any]:
    """What a scan's file says about itself.  Raises UsageError for a file that no scan wrote."""
    pa = arrow()
    try:
        with parquet().ParquetFile(path) as file:
            packed = (file.schema_arrow.metadata or {}).get(KEY)
        settings = json.loads(packed) if packed else {}
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UsageError(
            f"{shown(path)} {_unread(error)}.",
            advice="Give what `audit scan -o` wrote.",
        ) from error
    if settings.get("schema") != SCHEMA:
        raise UsageError(
            f"{shown(path)} was not written by `audit scan` ({settings.get('schema')!r}, not {SCHEMA!r}).",
            advice="Give what `audit scan -o` wrote, or scan again.",
        )
    return dict(settings)


def _unread(error: Exception) -> str:
    """Why a file could not be read as Parquet."""
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return "is no Parquet file, or a damaged one"


def differences(begun: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """How the settings of a scan that was begun differ from those asked for, in words; '' where they do not."""
    old, new = ({**s, **s.get("options", {}), "set": _named(s.get("set", {}))} for s in (begun, now))
    changed = (key for key in old | new if key != "options" and old.get(key) != new.get(key))
    return shown(", ".join(f"{key}: {_told(old.get(key))}, now {_told(new.get(key))}" for key in changed), 400)


def _named(described: Mapping[str, Any]) -> str:
    """A set by name and the beginning of its digest."""
    return f"{described.get('name')} ({str(described.get('digest'))[:12]})"


def _told(value: Any) -> str:
    """A setting as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def finish(
    sources: Sequence[Path],
    out: Path,
    columns: Columns,
    settings: Mapping[str, Any],
    groups: Mapping[str, int],
    updates: Mapping[str, int] | None = None,
) -> NDArray[np.float64]:
    """Parts → the final file: verdicts of copies filled in, q over the batch, group of near-duplicates by content.

    updates: number of the update by content, of those that are one LoRA saved anew.  Returns the q-values of the tests.
    """
    pa = arrow()
    shared = copied_verdicts(sources, columns)
    q_by_row, q_by_test = false_discovery(sources, updates or {})
    schema = columns.schema(settings, batch=True)

    def tables() -> Iterator[Any]:
        start = 0
        for table in plain_groups(sources):
            keys = table.column("same_as").to_pylist()
            table = fill(pa, table, {i: shared.get(key, ORPHAN) for i, key in enumerate(keys) if key}, columns)
            end = start + table.num_rows
            q = pa.array(q_by_row[start:end], from_pandas=True)
            group = pa.array([groups.get(c) for c in table.column("content").to_pylist()], pa.int64())
            yield table.append_column("q", q).append_column("group", group).select(schema.names).cast(schema)
            start = end

    write_tables(out, tables(), schema)
    return q_by_test


def plain_groups(sources: Sequence[Path]) -> Iterator[Any]:
    """The tables of all row groups, without the columns that need all rows."""
    for source in sources:
        with parquet().ParquetFile(source) as file:
            for number in range(file.num_row_groups):
                table = file.read_row_group(number)
                yield table.drop_columns(["q", "group"]) if "q" in table.column_names else table


def copied_verdicts(sources: Sequence[Path], columns: Columns) -> dict[str, Row]:
    """Content key → the shared columns of its audited file, for every key that a copy waits for."""
    wanted: set[str] = set()
    for source in sources:
        wanted |= {row["same_as"] for row in read_rows(source, ["same_as"]) if row["same_as"]}
    return audited_rows(sources, wanted, columns)


def audited_rows(sources: Sequence[Path], wanted: Set[str], columns: Columns) -> dict[str, Row]:
    """Content key → the shared columns of its audited file, of these keys."""
    if not wanted:
        return {}
    found: dict[str, Row] = {}
    names = ["content", "same_as", *COPIED, *columns.vectors]
    for source in sources:
        for row in read_rows(source, names):
            if not row["same_as"] and row["content"] in wanted:
                found[row["content"]] = row
    return found


def fill(pa: Any, table: Any, given: Mapping[int, Row], columns: Columns) -> Any:
    """`table` with what a file has in common with its copies, as `given` by number of the row."""
    if not given:
        return table
    for name in (*COPIED, *columns.vectors):
        at = table.schema.get_field_index(name)
        values = table.column(name).to_pylist()
        for i, row in given.items():
            values[i] = row.get(name)
        table = table.set_column(at, table.schema.field(name), pa.array(values, table.schema.field(name).type))
    return table


def false_discovery(
    sources: Sequence[Path], updates: Mapping[str, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """q of every row, NaN without a p-value, and q of every test: one for each content, or for all of one update.

    Of files that are one LoRA saved anew, whose p-values rounding may part, the largest counts.
    """
    names = ["content", "same_as", "p"]
    tested = (row for source in sources for row in read_rows(source, names))
    test_of = {row["content"]: updates.get(row["content"], row["content"]) for row in tested if row["p"] is not None}
    p: dict[str | int, float] = {}
    for row in (row for source in sources for row in read_rows(source, names)):
        if row["p"] is not None:
            test = test_of[row["content"]]
            p[test] = max(row["p"], p.get(test, 0.0))
    adjusted = benjamini_hochberg(list(p.values())) if p else np.zeros(0)
    q = dict(zip(p, adjusted, strict=True))
    rows = (row["same_as"] or row["content"] for source in sources for row in read_rows(source, names[:2]))
    return np.fromiter((q[test_of[one]] if one in test_of else np.nan for one in rows), np.float64), adjusted


def write_pairs(path: Path, pairs: Sequence[Row]) -> None:
    """The table of near-duplicates: which two files, how related, with which figures."""
    pa = arrow()
    texts, numbers = ("a", "b", "relation", "reasons"), ("cos_sketch", "cos_delta_w", "cos_output", "coverage")
    schema = pa.schema([(name, pa.string()) for name in texts] + [(name, pa.float64()) for name in numbers])
    data = {name: [_cell(pair, name) for pair in pairs] for name in schema.names}
    write_tables(path, [pa.table(data, schema=schema)], schema)
