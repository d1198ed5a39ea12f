"""Files on this machine: arguments of the command line → paths, in a fixed order."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from auditor.errors import UsageError
from auditor.lora.text import shown

ENDINGS = (".safetensors", ".pt", ".bin")
"""Endings of the files that are taken from a folder; a file named outright may have any."""


def expand(arguments: Sequence[str], stdin: Iterable[str]) -> Iterator[Path]:
    """Paths of files, in the order of the arguments; a folder gives its weight files, sorted, at any depth.

    '-' reads one path a line from `stdin`.  A path from a list need not exist: reading it will say so, and the others
    of the batch go on.  Raises UsageError for an argument that does not exist and for a folder without weights.
    """
    for argument in arguments:
        if argument == "-":
            yield from _listed(stdin)
            continue
        try:
            there = os.path.lexists(argument)
        except ValueError:
            there = False
        if not there:
            raise UsageError(f"{shown(argument)} does not exist.", advice="Name a LoRA file, a folder of them, or '-'.")
        path = Path(argument)
        if not os.path.isdir(argument):  # unlike Path.is_dir, it never raises: what cannot be looked at is no folder
            yield path
            continue
        found = _inside(path)
        if not found:
            raise UsageError(
                f"The folder {shown(argument)} holds no file that ends in {', '.join(ENDINGS)}.",
                advice="Name the folder with the LoRA files, or a file itself.",
            )
        yield from found


def _listed(lines: Iterable[str]) -> Iterator[Path]:
    """Paths of a list, one a line; empty lines are skipped, folders are expanded."""
    for line in lines:
        name = line.rstrip("\r\n")
        if not name.strip():
            continue
        path = Path(name)
        if os.path.isdir(name):
            yield from _inside(path)
        else:
            yield path


def _inside(folder: Path) -> list[Path]:
    """Weight files below `folder`, sorted; links to folders are not followed, so no loop can arise."""
    found = [
        Path(base) / name
        for base, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(ENDINGS) and not name.startswith(".")
    ]
    return sorted(found)
