"""Arguments of `audit scan` → names of files, one after the other: nothing here holds a whole corpus in memory.

A name is a path of this machine, or an address: a file or repository of the hub (hf://), or what fsspec knows (s3://,
gs://, …), a file or a folder.  Remote files are copied to a temporary one while they are read.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from auditor.errors import NotAuditable, SourceError, UsageError
from auditor.extras import need
from auditor.lora.config import SIDECAR
from auditor.lora.text import shown
from auditor.sources import is_address
from auditor.sources.local import ENDINGS, name_in

LISTS = (".txt", ".lst", ".list")
"""Endings of files that are taken for lists of names, one a line."""
HUB = "hf://"
LARGEST_COPY = 16 * 2**30
"""Bytes of a remote file that is copied."""
Told = Callable[[str], None]


def expand(arguments: Sequence[str], stdin: Iterable[str], told: Told = lambda sentence: None) -> Iterator[str]:
    """Names in the order of the arguments: files, folders (any depth, sorted), lists, '-' for a list on `stdin`.

    Raises UsageError for an argument that does not exist.  A name from a list need not exist: its row will say so.
    told: is given a sentence for each folder that gives no file, or cannot be read.
    """
    for argument in arguments:
        if argument == "-":
            yield from _listed(stdin, told)
        elif is_address(argument):
            yield from beyond(argument)
        elif os.path.isdir(argument):
            yield from below(argument, told)
        elif argument.lower().endswith(LISTS):
            yield from _listed_file(argument, told)
        elif os.path.lexists(argument):
            yield argument
        else:
            raise UsageError(
                f"{shown(argument)} does not exist.",
                advice="Name LoRA files, folders of them, a list (.txt, one name a line), or '-' for a list on stdin.",
            )


def below(folder: str, told: Told = lambda sentence: None) -> Iterator[str]:
    """Weight files below `folder`, folder by folder in sorted order; links to folders are not followed.

    told: as for `expand`.  Such a folder is no row: rows stay, and a folder may be filled or opened until next time.
    """

    def shut(error: OSError) -> None:
        told(f"Passed over: the folder {shown(error.filename)} cannot be read: {error.strerror}.")

    found = False
    for base, folders, names in os.walk(folder, onerror=shut):
        folders.sort()
        for name in sorted(names):
            if name.lower().endswith(ENDINGS) and not name.startswith("."):
                found = True
                yield os.path.join(base, name)
    if not found:
        told(f"The folder {shown(folder)} gave no file that ends in {', '.join(ENDINGS)}.")


def beyond(address: str) -> Iterator[str]:
    """Files behind an address: itself, those of a hub's repository pinned to its commit, or those below a folder.

    An address that cannot be listed stands for itself: its row will say why.
    """
    if address.lower().endswith(ENDINGS):
        yield address
        return
    if address.lower().startswith(HUB):
        from auditor.sources.hub import resolve

        try:
            found = [remote.name for remote in resolve(address, most=math.inf)]
        except NotAuditable:
            found = [address]
        yield from found
        return
    fsspec = need("fsspec", "scale", "reading object storage")
    try:
        system, path = fsspec.core.url_to_fs(address)
        found = [system.unstrip_protocol(name) for name in sorted(system.find(path)) if name.lower().endswith(ENDINGS)]
    except (OSError, ValueError, ImportError, RuntimeError):
        found = []
    yield from found or [address]


def _listed_file(path: str, told: Told) -> Iterator[str]:
    """The names in a list file."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as lines:
            yield from _listed(lines, told)
    except OSError as error:
        raise UsageError(f"{shown(path)} cannot be read: {error.strerror}.", advice="Give a readable list.") from error


def _listed(lines: Iterable[str], told: Told) -> Iterator[str]:
    """One name a line; empty lines are skipped, folders expanded."""
    for line in lines:
        name = name_in(line)
        if not name.strip():
            continue
        if is_address(name):
            try:
                yield from beyond(name)
            except UsageError:  # of an argument it ends the scan, of a line its row will say why
                yield name
        elif "\0" not in name and os.path.isdir(name):
            yield from below(name, told)
        else:
            yield name


def version(name: str) -> str:
    """128-bit hex key of a name and, for a local file, its size and time of change: what a resumed scan goes by.

    A configuration beside the file may give its scales, and counts as a part of it.
    """
    state = b""
    if not is_address(name):
        state = _state(name) or b"missing"
        beside = _state(os.path.join(os.path.dirname(name), SIDECAR))
        state += b"|" + beside if beside else b""
    return hashlib.blake2b(os.fsencode(name) + b"\0" + state, digest_size=16).hexdigest()


def _state(path: str) -> bytes:
    """Size and time of change of a file; nothing where it cannot be looked up."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return b""
    return f"{found.st_size}|{found.st_mtime_ns}".encode()


@contextmanager
def fetched(name: str) -> Iterator[str]:
    """`name` as a local path; a copy of a remote file is gone afterwards.  Raises NotAuditable."""
    if not is_address(name):
        yield name
        return
    if name.lower().startswith(HUB):
        with _from_hub(name) as path:
            yield path
        return
    fsspec = need("fsspec", "scale", "reading object storage")
    with tempfile.TemporaryDirectory(prefix="audit-scan-") as folder:
        copy = Path(folder) / "suspect"
        try:
            with fsspec.open(name, "rb") as source, copy.open("wb") as target:
                if (getattr(source, "size", None) or 0) > LARGEST_COPY:
                    raise ValueError(f"it is larger than {LARGEST_COPY // 2**30} GiB")
                shutil.copyfileobj(source, target, 4 * 2**20)
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            raise SourceError(
                f"{shown(name)} cannot be fetched: {shown(error, 200)}.",
                advice="Check the address, the credentials in the environment, and the fsspec package for it.",
            ) from error
        yield str(copy)


@contextmanager
def _from_hub(name: str) -> Iterator[str]:
    """One file of the hub, header first as `audit check` fetches it.  Raises NotAuditable."""
    from auditor.sources.hub import resolve

    try:
        found = resolve(name)
    except UsageError as error:
        raise SourceError(error.message, advice=error.advice) from error
    if len(found) != 1:
        raise SourceError(
            f"{shown(name)} stands for {len(found)} files.", advice="Name one: hf://owner/repo/file.safetensors."
        )
    with found[0].fetched() as path:
        yield str(path)
