"""Dialects of tensor names: each module of this folder holds one `DIALECT`; adding a dialect is adding a file.

In:  a tensor's name.  Out: `Key`, the canonical path of the module it belongs to and its role there.
The tables behind are `_paths` (where a module is) and `_roles` (what a tensor is to it).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple


class Key(NamedTuple):
    """A tensor's name, understood."""

    body: str
    """What stands for the module in the file.  Untrusted text."""
    path: str | None
    """Canonical path, or None when the module is of no image model we know."""
    role: str
    """'down', 'up', 'alpha', 'hada_w1_a', …; roles that begin with 'other:' are recognised but not read."""


@dataclass(frozen=True, eq=False)
class Dialect:
    """A way of naming tensors."""

    name: str
    order: int
    """Dialects are asked in this order, ascending; the first to know a name has it."""
    split: Callable[[str], Key | None]
    caution: str = ""
    """A warning that every file of this dialect deserves."""


@cache
def dialects() -> tuple[Dialect, ...]:
    """Every dialect of this folder, in the order in which they are asked."""
    names = [info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_")]
    found: list[Dialect] = [importlib.import_module(f"{__name__}.{name}").DIALECT for name in names]
    return tuple(sorted(found, key=lambda dialect: (dialect.order, dialect.name)))
