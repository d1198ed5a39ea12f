"""A folder of artists' works → which pictures there are, what they show, which cannot be used and why.

In:  ``DIR/<artist>/…`` pictures, or a ``metadata.jsonl`` / ``metadata.csv`` (``file_name``, optionally ``text`` and
     ``artist``) in DIR or in an artist's folder; captions also from ``.txt`` files beside pictures and from
     ``CATALOGUE.csv``.  Out: `Works`, one row per usable picture.
Nothing is kept in memory but a hash: pixels are read when they are encoded.  What was learnt about a file is kept in
``pictures.jsonl`` of a cache folder, by size and time of change, so that a second start reads no picture.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.errors import UsageError
from auditor.lora.text import shown
from auditor.training.log import append_line, read_lines
from auditor.training.metadata import METADATA, metadata_rows, safe_name
from auditor.training.pictures import (
    Unreadable,
    centre_square,
    difference_hash,
    read_titles,
    read_upright,
    why_unreadable,
)
from auditor.training.tree import NAMED, Tree, read_tree, remark

ENLARGED = 2.0
"""A picture is skipped when it would have to be enlarged more than this: the blur would be learnt as style."""
MOST = 8
"""Artists that one remark names."""
LOOK = 2
"""Of how pictures become pixels: what was learnt about a file before a change of it is learnt again."""
FOREIGN = "its name, or its folder's, is not UTF-8: rename it"
Rows = dict[str, dict[str, str]]
"""The text and artist that metadata gives a picture, by its path below the folder."""


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
    tree, rows = read_tree(folder), metadata_of(folder)
    titles, untitled = titles_of(folder)
    named = captioned(folder, listed(tree, rows), titles)
    known = {row.get("path"): row for row in read_lines(cache)} if cache else {}
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(lambda work: look(folder, work, known.get(work.path)), named))
    if cache:
        for row in seen:
            if row != known.get(row["path"]):
                append_line(cache, row)
    works = [described(work, row, side) for work, row in zip(named, seen, strict=True)]
    usable = [work for work in works if not work.problem]
    unread = [(work.file, work.problem) for work in works if work.problem]
    unread += [(shown(path), FOREIGN) for path in tree.foreign]
    if not usable:
        first = f" The first problem: {unread[0][0]}: {unread[0][1]}." if unread else ""
        raise UsageError(
            f"{folder} holds no picture that can be used.{first}",
            advice="Give a folder with one folder of pictures per artist, or a metadata.jsonl with an 'artist' column.",
        )
    passed_over = [*tree.remarks(), *left_out(folder, tree, rows, named), *untitled]
    remarks = [*passed_over, *blurred(usable, side), *shared_pictures(usable)]
    return Works(folder, usable, unread, remarks)


def metadata_of(folder: Path) -> Rows:
    """Rows of all metadata files by the picture's path below `folder`.  Raises UsageError."""
    rows: Rows = {}
    for place in (folder, *sorted(p for p in folder.iterdir() if p.is_dir())):
        for path in (place / name for name in METADATA if (place / name).is_file()):
            rows |= {path_below(folder, place / name): row for name, row in metadata_rows(path)}
    return rows


def path_below(folder: Path, path: Path) -> str:
    """A picture's path relative to `folder`, whichever of them is absolute; it begins with '..' if it lies outside."""
    found = ""
    for whole in (os.path.abspath, os.path.realpath):  # as it is written, then by where links lead
        found = Path(os.path.relpath(whole(path), whole(folder))).as_posix()
        if not found.startswith("../"):
            return found
    return found


def left_out(folder: Path, tree: Tree, rows: Rows, works: list[Work]) -> list[str]:
    """Remarks on pictures of no artist, on rows of the metadata without a picture, and on artists taken for one."""
    strays = sorted({path for path in tree.pictures if "/" not in path} - {work.path for work in works})
    outside = [path for path in rows if path.startswith("../")]
    lost = [path for path in rows if path not in outside and not os.path.isfile(folder / path)]
    nobody, gone = "in no artist's folder, and no metadata names their artist", "named by the metadata"
    return [
        *remark(strays, f"picture lies {nobody}", f"pictures lie {nobody}"),
        *remark(lost, f"picture is {gone} but is not there", f"pictures are {gone} but are not there"),
        *remark(outside, f"picture is {gone} but lies elsewhere", f"pictures are {gone} but lie elsewhere"),
        *remark(taken_for_one(rows), "artist's name stands for several", "artists' names stand for several"),
    ]


def taken_for_one(rows: Rows) -> list[str]:
    """Artists whom the metadata writes in several ways that make one folder's name."""
    spelt: dict[str, set[str]] = {}
    for row in rows.values():
        spelt.setdefault(safe_name(row["artist"]), set()).add(row["artist"])
    return [f"{name} ({', '.join(sorted(ways)[:NAMED])})" for name, ways in spelt.items() if len(ways) > 1]


def listed(tree: Tree, rows: Rows) -> list[Work]:
    """Every picture with its artist and the caption of its metadata file, sorted by artist and name."""
    found = {}
    for path in sorted(map(Path, tree.pictures)):
        row = rows.get(path.as_posix(), {})
        artist = safe_name(row.get("artist", "")) or (path.parts[0] if len(path.parts) > 1 else "")
        if artist:
            inner = path.parts[1:] if path.parts[0] == artist else path.parts
            name = f"{artist}/{'--'.join(inner)}"
            found[name] = Work(name, path.as_posix(), artist, row.get("text", ""))
    return [found[name] for name in sorted(found)]


def titles_of(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Titles from CATALOGUE.csv, and a remark where it cannot be used: the parent folder's may be of something else."""
    try:
        return read_titles(folder), []
    except UsageError as problem:
        return {}, [f"no titles are taken from the catalogue: {problem}"]


def captioned(folder: Path, works: list[Work], titles: dict[str, str]) -> list[Work]:
    """Captions: a `.txt` file beside the picture, else the metadata's text, else the title in CATALOGUE.csv."""
    done = []
    for work in works:
        beside = (folder / work.path).with_suffix(".txt")
        text = beside.read_text(encoding="utf-8", errors="replace").strip() if beside.is_file() else ""
        caption = " ".join((text or work.caption or titles.get(work.file, "")).split())
        done.append(Work(work.file, work.path, work.artist, caption))
    return done


def look(folder: Path, work: Work, known: dict[str, Any] | None) -> dict[str, Any]:
    """What a picture file is: {path, look, bytes, changed, digest, hash, shorter, problem}; `known` if still the same.

    A problem is not kept: rights, memory or another Pillow may have mended it.
    """
    path = folder / work.path
    row: dict[str, Any] = {"path": work.path, "look": LOOK}
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
