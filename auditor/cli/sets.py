"""The option --refs → an opened reference set, wherever it lies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from auditor.errors import ReferenceSetError, SourceError, UsageError
from auditor.sources import Network

if TYPE_CHECKING:
    from auditor.reference import ReferenceSet


@contextmanager
def opened(name: str | None, network: Network) -> Iterator[ReferenceSet]:
    """A set by name, folder or hf://…; a set from the hub is checked against its digest and not kept.

    Raises ReferenceSetError, UsageError.
    """
    from auditor.reference import ReferenceSet, verify

    if name is None or not name.lower().startswith("hf://"):
        yield ReferenceSet.load(name)
        return
    if network.offline:
        raise UsageError(f"--refs {name} lies on the network.", advice="Pull it first with `audit refs pull`.")
    with TemporaryDirectory(prefix="audit-refs-") as folder:
        from auditor.sources.hub import pull_set

        try:
            pull_set(name, Path(folder))
        except SourceError as problem:
            raise ReferenceSetError(problem.message, advice=problem.advice) from problem
        if problems := verify(folder):
            raise ReferenceSetError(f"{name}: {problems[0]}.", advice="Ask its owner, or use another revision.")
        yield ReferenceSet.load(folder)
