"""A folder of artists' folders → the picture files in it, and what is passed over and why.  Links are followed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from auditor.lora.text import shown
from auditor.training.pictures import SUFFIXES

BESIDE = {".txt", ".caption", ".csv", ".json", ".jsonl", ".md", ".xmp", ".yaml", ".toml", ".ini", ".db"}
"""Files beside pictures that nobody takes for one: captions, metadata, notes, thumbnails."""
NAMED = 3
"""Files that one remark names."""
Identity = tuple[int, int]


@dataclass(frozen=True)
class Tree:
    """What lies in a folder; paths are relative to it, with slashes.  Hidden files and folders are not looked at."""

    pictures: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    """Pictures whose path is not UTF-8: neither plans nor safetensors' files can name them."""
    unknown: list[str] = field(default_factory=list)
    """Files of no known picture type that are no text either."""
    dangling: list[str] = field(default_factory=list)
    """Links that lead nowhere."""
    closed: list[str] = field(default_factory=list)
    """Folders that cannot be read."""
    empty: list[str] = field(default_factory=list)
    """Artists' folders without any picture."""

    def remarks(self) -> list[str]:
        """One line for each kind of thing that is passed over."""
        return [
            *remark(self.unknown, "file is of no known picture type", "files are of no known picture type"),
            *remark(self.dangling, "link leads nowhere", "links lead nowhere"),
            *remark(self.closed, "folder cannot be read", "folders cannot be read"),
            *remark(self.empty, "artist's folder holds no picture", "artists' folders hold no picture"),
        ]


def remark(names: list[str], one: str, more: str) -> list[str]:
    """'2 links lead nowhere: a, b', with the first few names; nothing where there are none."""
    first = ", ".join(shown(name) for name in sorted(names)[:NAMED])
    return [f"{len(names)} {one if len(names) == 1 else more}: {first}"] * bool(names)


def read_tree(folder: Path) -> Tree:
    """All that lies under `folder`; what lies directly in it belongs to no artist's folder."""
    tree, root = Tree(), identity(folder)
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if not entry.is_dir():
            sort_file(tree, folder, entry)
            continue
        before = len(tree.pictures) + len(tree.foreign)
        for path in files_below(entry, {root}, lambda place: tree.closed.append(below(folder, place))):
            sort_file(tree, folder, path)
        if len(tree.pictures) + len(tree.foreign) == before and below(folder, entry) not in tree.closed:
            tree.empty.append(below(folder, entry))
    return tree


def files_below(top: Path, walked: set[Identity], closed: Callable[[Path], None]) -> Iterator[Path]:
    """Every file of one artist.  Links to folders come last, so that what can be named without them is.

    walked: folders not to go into (again), so that links in circles end.  closed: told each folder that cannot be read.
    """
    waiting = [top]
    while waiting:
        for place, folders, files in os.walk(waiting.pop(0), onerror=lambda error: closed(Path(error.filename))):
            here = identity(Path(place))
            if here in walked:
                folders.clear()
                continue
            walked.add(here)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            waiting += [path for path in (Path(place, name) for name in folders) if path.is_symlink()]
            yield from (Path(place, name) for name in sorted(files) if not name.startswith("."))


def sort_file(tree: Tree, folder: Path, path: Path) -> None:
    """Put a file on the list it belongs on."""
    name, suffix = below(folder, path), path.suffix.lower()
    if path.is_symlink() and not path.exists():
        tree.dangling.append(name)
    elif not path.is_file():
        return  # a socket or the like
    elif suffix not in SUFFIXES:
        if suffix not in BESIDE:
            tree.unknown.append(name)
    elif is_utf8(name):
        tree.pictures.append(name)
    else:
        tree.foreign.append(name)


def below(folder: Path, path: Path) -> str:
    """The path relative to `folder`, with slashes."""
    return path.relative_to(folder).as_posix()


def identity(folder: Path) -> Identity:
    """The same for a folder and all links to it."""
    state = folder.stat()
    return state.st_dev, state.st_ino


def is_utf8(name: str) -> bool:
    """Whether a file's name is text; bytes that are none come as lone surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)
