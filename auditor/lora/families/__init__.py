"""Families of image transformers: each module of this folder holds one `FAMILY`; adding a family is adding a file.

A family's canonical names are those of diffusers.  Other trainers name the same layers otherwise, or keep several in
one matrix (query, key and value in ``qkv``); `aliases` says which canonical layers such a name stands for, so that one
model trained by two trainers meets on the same modules.  In templates ``#`` stands for any number, a digit for itself.

In:  names and shapes of a file's modules.  Out: `recognise`, the family with its grounds; `Family.parts`, the canonical
layers behind a name.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property

NUMBER = re.compile(r"[0-9]+")
Shapes = Mapping[str, tuple[int, int]]
"""Module path → (out, in)."""


@dataclass(frozen=True)
class Part:
    """One canonical layer behind a name."""

    target: str
    """Template (or, once resolved, name) of the layer."""
    share: int = 1
    """Its share of the rows of the matrix that holds it."""
    swap: bool = False
    """Whether the halves of the rows change places in a matrix of twice as many rows as columns: the last modulation
    of a model gives shift and scale, and trainers differ in their order."""
    turned: bool = False
    """Whether they change places whatever the shape: a gated feed-forward, whose gate comes first or second."""


def one(target: str, *, swap: bool = False) -> tuple[Part, ...]:
    """A name that stands for one canonical layer."""
    return (Part(target, swap=swap),)


def fused(*targets: str, shares: Iterable[int] = ()) -> tuple[Part, ...]:
    """A name whose matrix holds the rows of several canonical layers, one below the other."""
    counts = tuple(shares) or (1,) * len(targets)
    return tuple(Part(target, share) for target, share in zip(targets, counts, strict=True))


@dataclass(frozen=True)
class Family:
    """One architecture."""

    name: str
    """'flux', 'sd3', …: what reports call it."""
    title: str
    """In words."""
    order: int
    """Families are asked in this order, ascending; the first that recognises a file has it."""
    modules: tuple[str, ...]
    """Templates of the canonical layers, as diffusers names them."""
    aliases: Mapping[str, tuple[Part, ...]]
    """Templates of other trainers and the canonical layers behind them."""
    recognise: Callable[[Shapes], str | None]
    """Layers by canonical name, and by the file's own where that differs, with their shapes → grounds, or None."""
    claims: re.Pattern[str] = field(default_factory=lambda: re.compile(r"(?!)"))
    """What declared metadata say of a LoRA of this family."""
    text_parts: Mapping[str, str] = field(default_factory=dict)
    """Text encoders that trainers number otherwise than diffusers: their part → the canonical part."""

    @cached_property
    def table(self) -> dict[str, list[tuple[tuple[str | None, ...], tuple[Part, ...]]]]:
        """Template with every number masked → (the numbers it asks for, canonical layers)."""
        found: dict[str, list[tuple[tuple[str | None, ...], tuple[Part, ...]]]] = {}
        both = [(name, one(name)) for name in self.modules]
        for template, parts in [*self.aliases.items(), *both]:
            wanted = tuple(None if n == "#" else n for n in re.findall(r"#|[0-9]+", template))
            found.setdefault(NUMBER.sub("#", template), []).append((wanted, parts))
        return found

    def parts(self, body: str) -> tuple[Part, ...]:
        """Canonical layers behind a dotted name without its part's prefix; () when the family knows no such layer."""
        numbers = NUMBER.findall(body)
        for wanted, parts in self.table.get(NUMBER.sub("#", body), ()):
            if all(want in (None, number) for want, number in zip(wanted, numbers, strict=True)):
                free = [number for want, number in zip(wanted, numbers, strict=True) if want is None]
                return tuple(replace(part, target=_filled(part.target, free)) for part in parts)
        return ()


def _filled(template: str, numbers: list[str]) -> str:
    """`template` with its ``#`` replaced by `numbers`, in order."""
    rest = iter(numbers)
    return "".join(next(rest) if c == "#" else c for c in template)


@cache
def families() -> tuple[Family, ...]:
    """Every family of this folder, in the order in which they are asked."""
    names = [info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_")]
    found: list[Family] = [importlib.import_module(f"{__name__}.{name}").FAMILY for name in names]
    return tuple(sorted(found, key=lambda family: (family.order, family.name)))


@cache
def templates() -> tuple[str, ...]:
    """Every template of every family, numbers masked."""
    return tuple({masked: None for family in families() for masked in family.table})


def recognise(shapes: Shapes) -> tuple[Family, str] | None:
    """(family, grounds) of the transformer whose layers `shapes` lists without their part's prefix, or None.

    A family is asked only when it knows at least nine in ten of the names.
    """
    masked = Counter(NUMBER.sub("#", body) for body in shapes)
    for family in families():
        if sum(count for name, count in masked.items() if name not in family.table) * 10 > len(shapes):
            continue
        known: dict[str, tuple[int, int]] = dict(shapes)
        missing = 0
        for body, (out, across) in shapes.items():
            parts = family.parts(body)
            missing += not parts
            total = sum(part.share for part in parts)
            known.update({part.target: (out * part.share // total, across) for part in parts})
        if missing * 10 <= len(shapes):
            grounds = family.recognise(known)
            if grounds is not None:
                return family, grounds
    return None


def naming(shapes: Shapes) -> Family | None:
    """The family whose names these are, whatever the sizes; None when none knows them all and their proportions fit.

    Families of one original code share names; the last asked has them, which is the most published.
    """
    for family in reversed(families()):
        if all(_fits(family.parts(body), shape) for body, shape in shapes.items()):
            return family
    return None


def _fits(parts: tuple[Part, ...], shape: tuple[int, int]) -> bool:
    """Whether a matrix of `shape` can hold `parts`: the first of several (a query or key) is square."""
    total = sum(part.share for part in parts)
    return len(parts) == 1 or (len(parts) > 1 and shape[0] * parts[0].share == shape[1] * total)


def blocks(shapes: Shapes, stem: str) -> int:
    """One more than the highest number of a block ``stem.N.``; 0 when there is none."""
    found = re.compile(rf"{re.escape(stem)}\.([0-9]+)\.")
    return max((int(match[1]) + 1 for name in shapes if (match := found.match(name))), default=0)


def width(shapes: Shapes, endings: tuple[str, ...] = (".to_q", ".add_q_proj")) -> int:
    """Channels that the layers with these endings read; 0 when there are none or they disagree."""
    found = {across for name, (_, across) in shapes.items() if name.endswith(endings)}
    return found.pop() if len(found) == 1 else 0
