"""Files that are there whole or not at all, whatever happens to the process that writes them."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from auditor.errors import AuditorError

ADVICE = "Make room, or give a folder that can be written to."


@contextmanager
def whole_file(path: Path, *, only_writer: bool = False) -> Iterator[Path]:
    """A path to write to, which becomes `path` at the end, or is removed when the block raises.  Raises OSError.

    It is an empty file beside `path`, of a name that nobody can guess and with the permissions of any new file.
    only_writer: no other process writes `path` meanwhile (a lock, a claim), so what a killed one left is removed first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stem = f".audit-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}"
    if only_writer:
        _remove_left(path.parent, stem)
    partial = path.with_name(f"{stem}-{secrets.token_hex(8)}.part")
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _remove_left(folder: Path, stem: str) -> None:
    """Delete what killed processes left of one file."""
    left = re.compile(re.escape(stem) + "-[0-9a-f]{16}[.]part")
    for other in folder.iterdir():
        if left.fullmatch(other.name):
            other.unlink(missing_ok=True)


@contextmanager
def writable(path: Path, advice: str = ADVICE) -> Iterator[None]:
    """A block that writes `path`: a full disk or a forbidden folder is an AuditorError."""
    try:
        yield
    except OSError as error:
        raise AuditorError(f"{path} could not be written: {error.strerror or error}.", advice=advice) from error


def write_whole(path: Path, content: str | bytes, advice: str = ADVICE) -> Path:
    """Write a file so that readers see the old or the new one, never a part of it.  Raises AuditorError."""
    data = content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")
    with writable(path, advice), whole_file(path) as partial:
        partial.write_bytes(data)
    return path


def make_folder(path: Path, advice: str = ADVICE) -> Path:
    """The folder, made where it is missing, before work is spent on what goes into it.  Raises AuditorError."""
    with writable(path, advice):
        path.mkdir(parents=True, exist_ok=True)
    return path
