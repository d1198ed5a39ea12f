"""Tables beside pictures → rows with the line they stand on: ``metadata.jsonl``, ``metadata.csv``, ``CATALOGUE.csv``.

Tables come from spreadsheets and scripts of all kinds: what is wrong with one is said with its file and line.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from pathlib import Path
from typing import Any

from auditor.errors import UsageError
from auditor.lora.text import shown

METADATA = ("metadata.jsonl", "metadata.csv")
SEPARATORS = ",;\t"
"""Spreadsheets write semicolons where the comma stands in numbers."""
CAPTIONS = ("text", "caption", "prompt")
"""Usual names of a caption, the first that has one counts."""
NEEDED = "Each row of an image folder's metadata needs a file_name, and may have a text and an artist."
CATALOGUE = "A catalogue has the columns file and title."
Numbered = list[tuple[int, dict[str, Any]]]


def metadata_rows(path: Path) -> list[tuple[str, dict[str, str]]]:
    """(file name, {text, artist}) of an imagefolder's metadata.jsonl or metadata.csv.  Raises UsageError."""
    rows = csv_rows(path, "file_name") if path.suffix == ".csv" else jsonl_rows(path)
    return [checked(path, line, row) for line, row in rows]


def checked(path: Path, line: int, row: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """(file name, {text, artist}) of one row.  Raises UsageError."""
    file = row.get("file_name")
    if file is None or file == "":
        raise broken(path, line, "there is no file_name")
    if not isinstance(file, str) or "\0" in file:
        raise broken(path, line, f"the file_name is {shown(json.dumps(file))}")
    artist = as_text(path, line, row, "artist")
    if artist and not safe_name(artist):
        raise broken(path, line, f"the artist {shown(artist)!r} has no letter or digit, which a folder's name needs")
    caption = next((text for text in (as_text(path, line, row, name) for name in CAPTIONS) if text), "")
    return file, {"text": caption, "artist": artist}


def as_text(path: Path, line: int, row: dict[str, Any], name: str) -> str:
    """A field that may be missing, a text or a number.  Raises UsageError."""
    value = row.get(name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise broken(path, line, f"the {name} is {shown(json.dumps(value))}")
    return str(value).encode("utf-8", "replace").decode().strip()  # JSON can hold halves of characters


def safe_name(name: str) -> str:
    """An artist's name as a folder name: letters, digits, dots and dashes; '' where there is none of them."""
    return re.sub(r"[^\w.]+", "-", name.strip()).strip("-.")


def jsonl_rows(path: Path) -> Numbered:
    """(line, object) of a JSON lines file.  Raises UsageError."""
    rows = []
    for line, text in enumerate(read_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except json.JSONDecodeError as problem:
            raise broken(path, line, f"no JSON: {problem.msg} (character {problem.colno})") from problem
        except (ValueError, RecursionError) as problem:
            raise broken(path, line, f"no JSON: {problem}") from problem
        if not isinstance(row, dict):
            raise broken(path, line, "no JSON object")
        rows.append((line, row))
    return rows


def csv_rows(path: Path, *needed: str) -> Numbered:
    """(line, row) of a CSV file with the columns `needed`; empty rows are left out.  Raises UsageError."""
    text = read_text(path)
    separator = max(SEPARATORS, key=text.split("\n", 1)[0].count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, restval="")
    try:
        columns = [shown(name) for name in reader.fieldnames or []]
        missing = [name for name in needed if name not in columns]
        if missing:
            raise broken(path, 1, f"no column {missing[0]!r}; the columns are: {', '.join(columns) or 'none'}")
        rows: Numbered = []
        for row in reader:
            if any(row.pop(None, [])):  # type: ignore[call-overload]  # DictReader's name for what is too much
                raise broken(path, reader.line_num, "more fields than columns; a text with a separator needs quotes")
            if any(row.values()):
                rows.append((reader.line_num, dict(row)))
    except csv.Error as problem:
        raise broken(path, reader.line_num, str(problem)) from problem
    return rows


def read_text(path: Path) -> str:
    """A UTF-8 file, with or without a byte order mark.  Raises UsageError: a guess of another encoding may be wrong."""
    try:
        raw = path.read_bytes().removeprefix(codecs.BOM_UTF8)
        return raw.decode("utf-8")
    except OSError as problem:
        raise UsageError(
            f"{named(path)} cannot be read: {problem.strerror or problem}.", advice="Mend its rights, or move it away."
        ) from problem
    except UnicodeDecodeError as problem:
        line = problem.object[: problem.start].count(b"\n") + 1
        raise UsageError(
            f"{named(path)}, line {line}: no UTF-8 text.", advice="Save it as UTF-8 (in Excel: 'CSV UTF-8')."
        ) from problem


def broken(path: Path, line: int, what: str) -> UsageError:
    """The error for one line of a table."""
    return UsageError(f"{named(path)}, line {line}: {what}.", advice=NEEDED if path.name in METADATA else CATALOGUE)


def named(path: Path) -> str:
    """A table's path for people, whatever bytes it is made of."""
    return shown(path, 1000)
