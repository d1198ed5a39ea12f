"""Reference sets on the move: from and to a folder or the hub, always verified, never with the features behind them."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from auditor.errors import ReferenceSetError, SourceError, UsageError
from auditor.reference import verify
from auditor.reference.set import readable
from auditor.sources.hub import SCHEME, SET_FILES, pull_set, push_set
from auditor.whole_file import make_folder, writable, write_whole

ELSEWHERE = "Name another folder, or make room."


def pull(source: str, output: Path, *, offline: bool = False) -> dict[str, Any]:
    """Copy the set behind `source` (a folder or hf://…) into the new or empty folder `output`; {set, files, folder}.

    Raises ReferenceSetError when it cannot be had or its digest is wrong, UsageError when `output` is not empty,
    AuditorError when it cannot be written.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output} is not empty.", advice="Name a new folder; a set is never written over another.")
    make_folder(output.parent, ELSEWHERE)
    with writable(output, ELSEWHERE):
        beside = TemporaryDirectory(prefix=".audit-set-", dir=output.parent)
    with beside as scratch:
        place = Path(scratch) / "set"
        if _remote(source, offline):
            try:
                found = pull_set(source, place)
            except SourceError as problem:
                raise ReferenceSetError(problem.message, advice=problem.advice) from problem
        else:
            found = _copy(Path(source), place)
        _sound(place, source)
        with writable(output, ELSEWHERE):
            if output.exists():
                output.rmdir()
            place.rename(output)
    return found | {"folder": str(output)}


def push(folder: Path, target: str, *, message: str, offline: bool = False) -> dict[str, Any]:
    """Publish the set in `folder` to a folder or hf://…; {set, files}.  Raises ReferenceSetError for an unsound set."""
    _sound(folder, str(folder))
    if not _remote(target, offline):
        return pull(str(folder), Path(target))
    try:
        return push_set(folder, target, message)
    except SourceError as problem:
        raise ReferenceSetError(problem.message, advice=problem.advice) from problem


def _remote(name: str, offline: bool) -> bool:
    """Whether a name is one of the hub; raises UsageError where it is and must not be."""
    remote = name.lower().startswith(SCHEME)
    if remote and offline:
        raise UsageError(f"{name} lies on the network, and --offline forbids it.", advice="Give a folder.")
    return remote


def _copy(source: Path, place: Path) -> dict[str, Any]:
    """The set's files, copied; nothing else of its folder."""
    files = [name for name in SET_FILES if os.path.isfile(source / name)]
    if not {"manifest.json", "arrays.npz"} <= set(files):
        raise ReferenceSetError(
            f"{source} is no calibrated reference set.", advice="Give a folder with manifest.json and arrays.npz."
        )
    make_folder(place, ELSEWHERE)
    for name in files:
        with readable(source):
            content = (source / name).read_bytes()
        write_whole(place / name, content, ELSEWHERE)
    return {"set": str(source), "files": files}


def _sound(folder: Path, name: str) -> None:
    """Refuse a set whose digest or arrays are wrong."""
    if problems := verify(folder):
        raise ReferenceSetError(f"{name}: {problems[0]}.", advice="Get it again, or calibrate it again.")
