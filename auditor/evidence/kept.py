"""What is worked out once for a view of a set, because no suspect changes it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from auditor.reference.set import View

Made = TypeVar("Made")
MISSING = object()  # None is an answer: no statistic of a small set may reach a threshold
KEPT = 500  # things that are kept of a view: some 10 kB each, but for the sub-networks' matrices


def kept(view: View, key: Hashable, make: Callable[[], Made]) -> Made:
    """What `make` gives for this view, made once: no suspect changes it, and a scan asks for it with every file.

    Only the last `KEPT` are kept, since what is left without some artists is a thing of its own for each choice.
    """
    had: dict[Hashable, Any] = view.__dict__.setdefault("_kept", {})
    found: Any = had.pop(key, MISSING)
    if found is MISSING:
        found = make()
    had[key] = found  # at the end: the oldest stand first
    if len(had) > KEPT:
        had.pop(next(iter(had)), None)
    made: Made = found
    return made
