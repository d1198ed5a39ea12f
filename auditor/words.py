"""How names, shares and p-values read in sentences for people."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from auditor.texts import plain

MOST_NAMED = 5
"""Artists asked about who are named in sentences."""

PARTICLES = frozenset(
    ("van", "von", "der", "den", "de", "da", "di", "du", "del", "della", "dei", "degli", "dos", "das", "af", "ter", "y")
)
"""Parts of names that people write small; French Le and La are not."""

_SLUG = re.compile(r"[a-z0-9]+([-_][a-z0-9]+)*")
"""A folder's name for an artist."""


def pretty(artist: str) -> str:
    """'anders-zorn' → 'Anders Zorn', 'anthony-van-dyck' → 'Anthony van Dyck', 'mcneill' → 'McNeill'; no slug stays."""
    if not _SLUG.fullmatch(artist):
        return artist
    first, *others = artist.replace("_", "-").split("-")
    return " ".join([_large(first), *(o if o in PARTICLES else _large(o) for o in others)])


def _large(name: str) -> str:
    """One part of a name with its capital letters."""
    stem = name.removeprefix("mc")
    return f"Mc{stem.capitalize()}" if stem != name and len(stem) > 1 else name.capitalize()


def whom(asked: Sequence[str]) -> str:
    """'Anders Zorn', 'Anders Zorn or Canaletto', 'one of these 7 artists'; '' of nobody."""
    named = [pretty(name) for name in asked]
    return plain("whom.or").join(named) if len(named) <= MOST_NAMED else plain("whom.several", n=len(named))


def listed(lookalikes: Sequence[Mapping[str, Any]]) -> str:
    """The first three of `OpenSet.lookalikes`, with their shares."""
    return ", ".join(f"{pretty(a['artist'])} ({share(a['share'])})" for a in lookalikes[:3])


def decimals(p: float, alpha: float, least: int = 3) -> str:
    """A p-value to `least` decimals, or as many as show on which side of alpha it is: .0504, not “.050 > .05”."""
    shown = (f"{p:.{digits}f}" for digits in range(least, 12))
    return next((text for text in shown if (float(text) <= alpha) == (p <= alpha)), f"{p}")


def at_least(p: float) -> str:
    """A p-value to three decimals, rounded up: a level that it does not exceed."""
    return f"{math.ceil(1000 * p) / 1000:.3f}"


def share(p: float) -> str:
    """'about 2 in 100': an estimate; its range stands beside it in every report."""
    n = of_hundred(p)
    return plain("in100.few") if n == 0 else plain("in100.all") if n == 100 else plain("in100", n=n)


def of_hundred(p: float) -> int:
    """How many of a hundred, to the nearest whole number; 0 where that is none."""
    return math.floor(100 * p + 0.5)
