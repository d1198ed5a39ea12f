"""Finished rows, safe against kill -9: an append-only journal, cut into Parquet parts as it grows.

    OUT.parquet.parts/ part-000000.parquet … part-000007.parquet   rows 0 … 39,999
                       journal-000008.jsonl                        the rows since, one JSON line each
                       settings.json                               what the scan asks; another scan is refused

A row counts as finished when its line was written; a torn last line is cut off on resuming.  A part is written beside
its place, flushed to disk and renamed, and only then its journal is removed.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from auditor.corpus.rows import Row
from auditor.corpus.store import Columns, differences, write_rows
from auditor.errors import AuditorError, UsageError
from auditor.whole_file import make_folder, writable, write_whole

PART = 5000
"""Rows of a part."""


class Journal:
    """The parts folder of one scan.  Use as a context manager; only one process may hold it."""

    def __init__(self, folder: Path, settings: dict[str, Any], columns: Columns, part: int = PART) -> None:
        """Open or resume.

        Raises UsageError when the folder belongs to a scan with other settings, AuditorError when it cannot be made.
        """
        self._folder, self._columns, self._part = folder, columns, part
        make_folder(folder)
        with writable(folder):
            self._lock = _locked(folder / "lock")
        try:
            self._check(settings)
        except BaseException:
            self._lock.close()
            raise
        self._number = len(self.parts)
        self._remove_done()
        self._pending = self._recover()
        self._file: IO[bytes] | None = self._path.open("ab", buffering=0)

    def __enter__(self) -> Journal:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files; the rows stay."""
        if self._file:
            self._file.close()
        self._lock.close()

    @property
    def parts(self) -> list[Path]:
        """The finished parts in order."""
        return sorted(self._folder.glob("part-*.parquet"))

    @property
    def _path(self) -> Path:
        return self._folder / f"journal-{self._number:06d}.jsonl"

    def append(self, row: Row) -> None:
        """One finished row."""
        if self._file is None:
            raise AuditorError("The journal is closed.", advice="Open it again.")
        self._file.write(encode(row))
        self._pending.append(row)
        if len(self._pending) >= self._part:
            self.flush()

    def pending(self, names: list[str]) -> Iterator[Row]:
        """Some columns of the rows that are in no part yet."""
        return ({name: row.get(name) for name in names} for row in self._pending)

    def flush(self) -> None:
        """Turn the journal into a part."""
        if not self._pending or self._file is None:
            return
        write_rows(self._folder / f"part-{self._number:06d}.parquet", self._pending, self._columns)
        self._file.close()
        self._path.unlink()
        self._pending = []
        self._number += 1
        self._file = self._path.open("ab", buffering=0)

    def remove(self) -> None:
        """Delete everything: the final file holds it now."""
        if self._file:
            self._file.close()
            self._file = None
        for path in self._folder.iterdir():
            path.unlink()
        self._folder.rmdir()

    def _check(self, settings: dict[str, Any]) -> None:
        """The settings must be those with which the folder was begun."""
        path = self._folder / "settings.json"
        if path.is_file():
            begun = json.loads(path.read_text(encoding="utf-8"))
            if begun != settings:
                raise UsageError(
                    f"{self._folder} holds an unfinished scan with other options ({differences(begun, settings)}).",
                    advice="Resume with the same set and options, give another -o, or delete that folder.",
                )
            return
        write_whole(path, json.dumps(settings))

    def _remove_done(self) -> None:
        """Delete what a kill left between two steps: a journal whose part exists, half-written parts."""
        for path in self._folder.glob("journal-*.jsonl"):
            if int(path.stem.partition("-")[2]) < self._number:
                path.unlink()
        for path in self._folder.glob(".*.part"):
            path.unlink()

    def _recover(self) -> list[Row]:
        """The rows of the journal; a torn last line is cut off."""
        if not self._path.is_file():
            return []
        raw = self._path.read_bytes()
        whole = raw.rfind(b"\n") + 1
        if whole < len(raw):
            with self._path.open("r+b") as file:
                file.truncate(whole)
        return [decode(line) for line in raw[:whole].splitlines()]


def encode(row: Row) -> bytes:
    """A row as one line."""
    plain = {k: {"b": base64.b64encode(v).decode()} if isinstance(v, bytes) else v for k, v in row.items()}
    return json.dumps(plain, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> Row:
    """The row of a line."""
    return {k: base64.b64decode(v["b"]) if isinstance(v, dict) else v for k, v in json.loads(line).items()}


def _locked(path: Path) -> IO[bytes]:
    """An open file that only this process holds; the lock ends with the process, however it ends."""
    file = path.open("ab")
    if os.name == "posix":
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise UsageError(
                f"Another scan is writing to {path.parent}.", advice="Wait for it, or give another -o."
            ) from error
    return file
