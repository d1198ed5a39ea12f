"""Arguments → suspects, audits of them, and progress over many."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from auditor.cli.output import aside, remark
from auditor.errors import NotAuditable, SourceError, UsageError
from auditor.result import Audit
from auditor.sources import Local, Network, Source, Unresolved, is_remote, require_local, resolve
from auditor.sources.local import name_in

Item = TypeVar("Item")


def named(arguments: Sequence[str], network: Network) -> list[Source]:
    """All suspects in the order of the arguments; a missing file is kept, its audit says that it cannot be read."""
    alone = len(arguments) == 1
    suspects = [suspect for argument in arguments for suspect in _expanded(argument, network, alone)]
    if not suspects:
        raise UsageError(
            "No suspect is named.", advice="Name a LoRA file, a folder of them, or '-' for a list on stdin."
        )
    return suspects


def local(arguments: Sequence[str]) -> list[Local | Unresolved]:
    """The suspects behind arguments that may name files of this machine only.  Raises UsageError."""
    for name in arguments:
        require_local(name)
    return [one for one in named(arguments, Network(offline=True)) if isinstance(one, Local | Unresolved)]


def audited(
    suspect: Source, audit: Callable[[Path], Audit], not_audited: Callable[[str, NotAuditable], Audit]
) -> Audit:
    """The audit of one suspect under its own name; a file that cannot be had is an audit that says so."""
    if isinstance(suspect, Local):
        return audit(suspect.path)
    try:
        with suspect.fetched() as path:
            return audit(path).renamed(str(path), suspect.name)
    except NotAuditable as problem:
        return not_audited(suspect.name, problem)


def _expanded(argument: str, network: Network, alone: bool) -> Iterator[Source]:
    """The suspects behind one argument; alone: there is no other."""
    if argument == "-":
        for line in sys.stdin:
            yield from _one(name_in(line), network, listed=True, alone=False)
    else:
        yield from _one(argument, network, listed=False, alone=alone)


def _one(name: str, network: Network, listed: bool, alone: bool) -> Iterator[Source]:
    """The suspects behind one name; what exists under a name is a file, whatever else the name looks like.

    A line of a list that cannot be meant is a row with its reason; an argument is wrong usage.
    """
    from auditor.sources.local import suspects

    if not name.strip():
        return
    if not is_remote(name) or _exists(name):
        yield from suspects(name, alone=alone)
        return
    try:
        yield from resolve(name, network)
    except UsageError as error:
        if not listed:
            raise
        yield Unresolved(name, SourceError(error.message, advice=error.advice))


def _exists(argument: str) -> bool:
    try:
        return os.path.lexists(argument)
    except ValueError:
        return False


def followed(items: Sequence[Item], quiet: bool, name: Callable[[Item], str] = str) -> Iterable[Item]:
    """`items`, with progress on stderr when there are several: a bar on a terminal, else a line each."""
    if quiet or len(items) < 2:
        return items
    console = aside()
    if not console.is_terminal:
        return _told(items, name)
    from rich.progress import track

    return track(items, description="auditing", console=console, transient=True)


def _told(items: Sequence[Item], name: Callable[[Item], str]) -> Iterator[Item]:
    for number, item in enumerate(items, start=1):
        remark(f"auditing {number}/{len(items)}: {name(item)}")
        yield item
