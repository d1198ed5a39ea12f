"""The option --refs → an opened reference set, wherever it lies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from auditor.sources import Network

if TYPE_CHECKING:
    from auditor.reference import ReferenceSet


@contextmanager
def opened(name: str | None, network: Network) -> Iterator[ReferenceSet]:
    """A set by name, folder or hf://…; a set from the hub is checked against its digest and not kept.

    Raises ReferenceSetError, UsageError.
    """
    with found(name, network) as (reference, _):
        yield reference


@contextmanager
def found(name: str | None, network: Network) -> Iterator[tuple[ReferenceSet, str | None]]:
    """The set as from `opened`, and where on the hub it lies, pinned to a commit; None for one of this machine."""
    from auditor.reference import ReferenceSet

    if name is None or not name.lower().startswith("hf://"):
        yield ReferenceSet.load(name), None
        return
    from auditor.sources.sets import pull

    with TemporaryDirectory(prefix="audit-refs-") as folder:
        place = Path(folder) / "set"
        pulled = pull(name, place, offline=network.offline)
        yield ReferenceSet.load(place), str(pulled["set"])
