"""JSON lines on disk: written whole, read with tolerance for the torn last line of a killed process."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def append_line(path: Path, row: dict[str, Any]) -> None:
    """Append one row in a single write, on a line of its own even after a torn one.  Raises OSError (disk full)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(handle).st_size
        torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        os.write(handle, b"\n" * torn + json.dumps(row).encode() + b"\n")
    finally:
        os.close(handle)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All whole rows of a file; none if there is no file."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # torn by a kill; whoever wrote it will write it again
        if isinstance(row, dict):
            rows.append(row)
    return rows
