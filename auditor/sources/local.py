"""Files on this machine: arguments of the command line → paths, in a fixed order."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from auditor.errors import MalformedFile, NotAuditable, UsageError
from auditor.lora.text import shown
from auditor.sources.interface import Local, Unresolved

ENDINGS = (".safetensors", ".pt", ".bin")
"""Endings of the files that are taken from a folder; a file named outright may have any."""


def name_in(line: str) -> str:
    """The name that a line of a list holds; some programs begin their files with a mark of the byte order."""
    return line.removeprefix("\ufeff").rstrip("\r\n")


def expand(arguments: Sequence[str], stdin: Iterable[str]) -> Iterator[Path]:
    """Paths of files, in the order of the arguments; a folder gives its weight files, sorted, at any depth.

    '-' reads one path a line from `stdin`.  What is no file, or cannot be looked into, stands there by its own path:
    reading it will say so, and the others go on.  Raises UsageError for an argument that does not exist and for a
    folder without weights.
    """
    for argument in arguments:
        if argument == "-":
            names = map(name_in, stdin)
            yield from (Path(one.name) for name in names if name.strip() for one in suspects(name))
            continue
        try:
            there = os.path.lexists(argument)
        except ValueError:
            there = False
        if not there:
            raise UsageError(f"{shown(argument)} does not exist.", advice="Name a LoRA file, a folder of them, or '-'.")
        yield from (Path(one.name) for one in suspects(argument, alone=True))


def suspects(name: str, *, alone: bool = False) -> list[Local | Unresolved]:
    """The file of that name, which need not exist, or the weight files below the folder; never empty.

    A folder without any, and one that cannot be read, is a row with its reason; alone: a folder without any is all
    that was asked for, which raises UsageError.
    """
    if not os.path.isdir(name):  # unlike Path.is_dir, it never raises: what cannot be looked at is no folder
        return [Local(Path(name))]
    if found := _inside(name):
        return found
    message = f"The folder {shown(name)} holds no file that ends in {', '.join(ENDINGS)}."
    advice = "Name the folder with the LoRA files, or a file itself."
    if alone:
        raise UsageError(message, advice=advice)
    return [Unresolved(name, NotAuditable(message, advice=advice))]


def _inside(folder: str) -> list[Local | Unresolved]:
    """Weight files below `folder`, sorted, among folders that cannot be read; links to folders are not followed, so no
    loop can arise."""
    shut: list[OSError] = []
    found: list[Local | Unresolved] = [
        Local(Path(base) / name)
        for base, _, names in os.walk(folder, onerror=shut.append)
        for name in names
        if name.lower().endswith(ENDINGS) and not name.startswith(".")
    ]
    return sorted(found + [_unread(error) for error in shut], key=lambda one: Path(one.name))


def _unread(error: OSError) -> Unresolved:
    """A folder into which nobody could look."""
    name = str(error.filename)
    reason = f"The folder {shown(name)} cannot be read: {error.strerror or error}."
    return Unresolved(name, MalformedFile(reason, advice="Give the right to read it, or name the files elsewhere."))
