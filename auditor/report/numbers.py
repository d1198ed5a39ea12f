"""Numbers, names and times as documents print them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import lru_cache

from auditor.report.untrusted import show
from auditor.texts import MONTHS, PARTS, say
from auditor.words import decimals, pretty

MINUS, DASH, NARROW = "\u2212", "–", "\u202f"


def number(value: float | None, digits: int = 2) -> str:
    """A plain decimal with a true minus sign; a dash for what is missing or not finite."""
    if value is None or not math.isfinite(value):
        return DASH
    text = f"{abs(value):.{digits}f}"
    return MINUS + text if value < 0 and float(text) != 0 else text


def probability(value: float | None, alpha: float | None = None) -> str:
    """A p-value with two significant digits, never shown as 0 or rounded up to 1.

    alpha: a level that it is compared with; then with as many digits as show on which side of it it lies.
    """
    if value is None or not math.isfinite(value):
        return DASH
    if value >= 0.995:
        return "1.00" if value >= 1 else "> 0.99"
    if value < 0.0001:
        return "< 0.0001"
    digits = 2 if value >= 0.1 else 3 if value >= 0.01 else 4
    return f"{value:.{digits}f}" if alpha is None else decimals(value, alpha, digits)


def between(low: float, high: float) -> str:
    """A range of p-values; its ends, unlike a p-value, may be 0."""
    return say("range", low=probability(low) if low > 0 else "0", high=probability(high))


def percent(value: float | None) -> str:
    """A share in whole per cent, never rounded up to 100 % or down to 0 %."""
    if value is None or not math.isfinite(value):
        return DASH
    if 0 < value < 0.01:
        return f"< 1{NARROW}%"
    return f"{99 if 0.99 < value < 1 else round(100 * value)}{NARROW}%"


def count(value: float | None) -> str:
    """A whole number in groups of three."""
    return DASH if value is None else f"{int(value):,}".replace(",", NARROW)


def size(value: int | None) -> str:
    """A file's size, rounded and exact."""
    if value is None:
        return say("unknown")
    step = min(int(math.log(value, 1024)), 3) if value > 0 else 0
    exact = say("size.bytes", n=count(value))
    unit = ("B", "KiB", "MiB", "GiB")[step]
    return say("size", n=f"{value / 1024**step:.1f}", unit=unit, exact=exact) if step else exact


def ratio(log10_lr: float | None) -> str:
    """A likelihood ratio written as people say it: 12, or 1/12 when it speaks against."""
    if log10_lr is None or not math.isfinite(log10_lr):
        return DASH
    value = 10 ** min(abs(log10_lr), 300.0)
    text = f"{value:.1f}" if value < 9.95 else count(round(value, 1 - int(math.log10(value))))
    return text if log10_lr >= 0 or text == "1.0" else f"1/{text}"


def date(stamp: str) -> str:
    """An RFC 3339 time as people write it, in UTC; anything else as it is."""
    try:
        at = datetime.fromisoformat(stamp).astimezone(UTC)
    except (ValueError, OverflowError):
        return show(stamp, 80)
    return say("date", day=at.day, month=MONTHS[at.month - 1], year=at.year, time=f"{at:%H:%M}")


def person(artist: object, limit: int = 200) -> str:
    """An artist as people write the name: a set's folder name `anders-zorn` becomes Anders Zorn, all else stays."""
    return _person(str(artist), limit)


@lru_cache(maxsize=4096)
def _person(artist: str, limit: int) -> str:
    """The same, remembered: a report writes the same names again and again."""
    return pretty(show(artist, limit))


def part(name: str) -> str:
    """The reader's name of a part of the network."""
    return PARTS.get(name, show(name.replace("_", " ").capitalize(), 60))
