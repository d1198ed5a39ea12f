"""A folder of artists' works → which pictures there are, what they show, which cannot be used and why.

In:  ``DIR/<artist>/…`` pictures, or a ``metadata.jsonl`` / ``metadata.csv`` (``file_name``, optionally ``text`` and
     ``artist``) in DIR or in an artist's folder; captions also from ``.txt`` files beside pictures and from
     ``CATALOGUE.csv``.  Out: `Works`, one row per usable picture.
Nothing is kept in memory but a hash: pixels are read when they are encoded.  What was learnt about a file is kept in
``pictures.jsonl`` of a cache folder, by size and time of change, so that a second start reads no picture.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.errors import UsageError
from auditor.training.log import append_line, read_lines
from auditor.training.pictures import (
    SUFFIXES,
    Unreadable,
    centre_square,
    difference_hash,
    read_titles,
    read_upright,
    why_unreadable,
)

ENLARGED = 2.0
"""A picture is skipped when it would have to be enlarged more than this: the blur would be learnt as style."""
MOST = 8
"""Artists that one remark names."""
METADATA = ("metadata.jsonl", "metadata.csv")


@dataclass(frozen=True)
class Work:
    """One picture file."""

    file: str
    """'artist/name', its name in plans; unique."""
    path: str
    """Relative to the images folder."""
    artist: str
    caption: str
    """As given by the user; '' where nothing was."""
    digest: str = ""
    """SHA-256 of the file."""
    hash: str = ""
    """Perceptual hash, 16 hexadecimal digits."""
    shorter: int = 0
    """Shorter side in pixels."""
    problem: str = ""
    """Why the file cannot be used; '' if it can."""


@dataclass(frozen=True)
class Works:
    """All usable pictures of a folder, sorted by artist and file; what could not be used, and remarks."""

    folder: Path
    works: list[Work]
    unread: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def artist(self) -> list[str]:
        """Artist of each picture."""
        return [work.artist for work in self.works]

    @property
    def file(self) -> list[str]:
        """'artist/name' of each picture."""
        return [work.file for work in self.works]

    @property
    def hashes(self) -> NDArray[np.bool_]:
        """Perceptual hash of each picture, (n, 64)."""
        raw = bytes.fromhex("".join(work.hash for work in self.works))
        return np.unpackbits(np.frombuffer(raw, np.uint8)).reshape(-1, 64).astype(bool)

    def of(self, artist: str) -> list[Work]:
        """The pictures of one artist."""
        return [work for work in self.works if work.artist == artist]


def read_works(folder: Path, side: int, cache: Path | None = None) -> Works:
    """Look at every picture under `folder`, for training at `side` pixels; see the module's docstring.

    Raises UsageError when the folder holds no picture that can be used, or a metadata file is broken.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder.", advice="Give a folder with one folder of pictures per artist.")
    named = captioned(folder, listed(folder))
    known = {row["path"]: row for row in read_lines(cache)} if cache else {}
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(lambda work: look(folder, work, known.get(work.path)), named))
    if cache:
        for row in seen:
            if row != known.get(row["path"]):
                append_line(cache, row)
    works = [described(work, row, side) for work, row in zip(named, seen, strict=True)]
    usable = [work for work in works if not work.problem]
    unread = [(work.file, work.problem) for work in works if work.problem]
    if not usable:
        first = f" The first problem: {unread[0][0]}: {unread[0][1]}." if unread else ""
        raise UsageError(
            f"{folder} holds no picture that can be used.{first}",
            advice="Give a folder with one folder of pictures per artist, or a metadata.jsonl with an 'artist' column.",
        )
    remarks = [*left_out(folder, named), *blurred(usable, side), *shared_pictures(usable)]
    return Works(folder, usable, unread, remarks)


def metadata_of(folder: Path) -> dict[str, dict[str, str]]:
    """Rows of all metadata files by the picture's path below `folder`.  Raises UsageError."""
    rows: dict[str, dict[str, str]] = {}
    for place in (folder, *sorted(p for p in folder.iterdir() if p.is_dir())):
        for path in (place / name for name in METADATA if (place / name).is_file()):
            rows |= {(place / name).relative_to(folder).as_posix(): row for name, row in metadata_rows(path)}
    return rows


def left_out(folder: Path, works: list[Work]) -> list[str]:
    """Remarks on pictures that belong to no artist, and on metadata rows without a picture."""
    here = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file() and p.name[0] != ".")
    strays = sorted(set(here) - {work.path for work in works})
    lost = sorted(path for path in metadata_of(folder) if not (folder / path).is_file())
    told = {
        "lie in no artist's folder, and no metadata names their artist": strays,
        "are named by the metadata but are not there": lost,
    }
    return [f"{len(names)} pictures {what}: {', '.join(names[:3])}" for what, names in told.items() if names]


def listed(folder: Path) -> list[Work]:
    """Every picture with its artist and the caption of its metadata file, sorted by artist and name."""
    rows = metadata_of(folder)
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()):
        relative = path.relative_to(folder)
        row = rows.get(relative.as_posix(), {})
        artist = safe_name(row["artist"]) if row.get("artist") else relative.parts[0] if len(relative.parts) > 1 else ""
        if artist and not any(part.startswith(".") for part in relative.parts):
            inner = relative.parts[1:] if relative.parts[0] == artist else relative.parts
            name = f"{artist}/{'--'.join(inner)}"
            found[name] = Work(name, relative.as_posix(), artist, row.get("text", ""))
    return [found[name] for name in sorted(found)]


def metadata_rows(path: Path) -> list[tuple[str, dict[str, str]]]:
    """(file name, {text, artist}) of an imagefolder's metadata.jsonl or metadata.csv.  Raises UsageError."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".csv":
            entries: list[Any] = list(csv.DictReader(text.splitlines()))
        else:
            entries = [json.loads(line) for line in text.splitlines() if line.strip()]
        return [(entry["file_name"], {"text": _text(entry), "artist": entry.get("artist") or ""}) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise UsageError(
            f"{path} is no metadata of an image folder: {type(problem).__name__} {problem}.",
            advice="Each line needs a file_name, and may have a text and an artist.",
        ) from problem


def _text(entry: dict[str, Any]) -> str:
    """The caption of a metadata row under any of its usual names."""
    return next((str(entry[name]).strip() for name in ("text", "caption", "prompt") if entry.get(name)), "")


def safe_name(name: str) -> str:
    """An artist's name as a folder name: letters, digits, dots and dashes."""
    return re.sub(r"[^\w.]+", "-", name.strip()).strip("-.") or "unnamed"


def captioned(folder: Path, works: list[Work]) -> list[Work]:
    """Captions: a `.txt` file beside the picture, else the metadata's text, else the title in CATALOGUE.csv."""
    titles = read_titles(folder)
    done = []
    for work in works:
        beside = (folder / work.path).with_suffix(".txt")
        text = beside.read_text(encoding="utf-8", errors="replace").strip() if beside.is_file() else ""
        caption = " ".join((text or work.caption or titles.get(work.file, "")).split())
        done.append(Work(work.file, work.path, work.artist, caption))
    return done


def look(folder: Path, work: Work, known: dict[str, Any] | None) -> dict[str, Any]:
    """What a picture file is: {path, bytes, changed, digest, hash, shorter, problem}; `known` if it has not changed.

    A problem is not kept: rights, memory or another Pillow may have mended it.
    """
    path = folder / work.path
    row: dict[str, Any] = {"path": work.path}
    try:
        state = path.stat()
        row |= {"bytes": state.st_size, "changed": state.st_mtime_ns}
        if known and "problem" not in known and {k: known.get(k) for k in row} == row:
            return known
        row["digest"] = hashlib.sha256(path.read_bytes()).hexdigest()
        picture = read_upright(path)
        row["hash"] = np.packbits(difference_hash(centre_square(picture)[None])[0]).tobytes().hex()
        row["shorter"] = min(picture.size)
    except (OSError, Unreadable) as problem:
        row["problem"] = why_unreadable(problem)
    return row


def described(work: Work, row: dict[str, Any], side: int) -> Work:
    """A work with what `look` found, and a problem if it is too small for `side`."""
    fitting = {name: row[name] for name in ("digest", "hash", "shorter", "problem") if name in row}
    seen = Work(**asdict(work) | fitting)
    if not seen.problem and seen.shorter * ENLARGED < side:
        problem = f"too small: its shorter side has {seen.shorter} pixels, {int(side / ENLARGED)} are needed"
        return Work(**asdict(seen) | {"problem": problem})
    return seen


def blurred(works: list[Work], side: int) -> list[str]:
    """A remark on the pictures that have to be enlarged, with the artists that have most of them."""
    counts = Counter(work.artist for work in works if work.shorter < side)
    most = ", ".join(f"{artist} {count}" for artist, count in counts.most_common(MOST))
    return [f"{counts.total()} pictures are smaller than {side} px and are enlarged: {most}"] * bool(counts)


def shared_pictures(works: list[Work]) -> list[str]:
    """A remark on each picture that lies under two artists: references that share pictures cannot be told apart."""
    first: dict[str, Work] = {}
    remarks = []
    for work in works:
        other = first.setdefault(work.hash, work)
        if other.artist != work.artist:
            remarks.append(f"{other.file} and {work.file} look the same but lie under two artists")
    return remarks
