"""Arguments → suspects' paths, and progress over many of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from auditor.cli.output import aside, remark
from auditor.errors import UsageError


def named(arguments: Sequence[str]) -> list[Path]:
    """All suspects in the order of the arguments; a missing file is kept, its audit says that it cannot be read."""
    paths = [path for argument in arguments for path in _expanded(argument)]
    if not paths:
        raise UsageError(
            "No suspect is named.", advice="Name a LoRA file, a folder of them, or '-' for a list on stdin."
        )
    return paths


def _expanded(argument: str) -> Iterator[Path]:
    """The files behind one argument."""
    from auditor.sources.local import expand

    if argument == "-" or _exists(argument):
        return expand([argument], sys.stdin)
    return expand(["-"], [argument])


def _exists(argument: str) -> bool:
    try:
        return os.path.lexists(argument)
    except ValueError:
        return False


def followed(paths: Sequence[Path], quiet: bool) -> Iterable[Path]:
    """`paths`, with progress on stderr when there are several: a bar on a terminal, else a line each."""
    if quiet or len(paths) < 2:
        return paths
    console = aside()
    if not console.is_terminal:
        return _told(paths)
    from rich.progress import track

    return track(paths, description="auditing", console=console, transient=True)


def _told(paths: Sequence[Path]) -> Iterator[Path]:
    for number, path in enumerate(paths, start=1):
        remark(f"auditing {number}/{len(paths)}: {path}")
        yield path
