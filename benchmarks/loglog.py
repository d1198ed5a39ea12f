"""Cost against size on log-log axes, as an SVG that needs nothing else: a straight line of slope 1 is linear growth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

Series = Mapping[str, Sequence[tuple[float, float]]]
"""Name → (size, cost) pairs."""
COLOURS = ("#1b6ca8", "#b5482a", "#3c7d3c", "#7a5195", "#8a6d1d", "#4a4a4a")
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720, 420, 70, 40, 215, 50


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least-squares exponent of cost ∝ size^slope."""
    xs, ys = ([math.log10(p[i]) for p in points] for i in (0, 1))
    mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True)) / sum((x - mx) ** 2 for x in xs)


def decades(values: Sequence[float]) -> range:
    """Whole powers of ten around values."""
    return range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) - 1e-9) + 1)


def label(power: int) -> str:
    """10ⁿ as readers write it."""
    return (
        f"{10**power:g}"
        if -3 <= power <= 3
        else "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    )


def draw(path: Path, title: str, size: str, cost: str, series: Series) -> None:
    """Write the figure; `size` and `cost` name the axes with their units."""
    points = [p for rows in series.values() for p in rows]
    xs, ys = decades([p[0] for p in points]), decades([p[1] for p in points])

    def at(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - xs[0]) / max(1, xs[-1] - xs[0])
        up = (math.log10(y) - ys[0]) / max(1, ys[-1] - ys[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="12"><title>{escape(title)}</title>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
        f'<text x="{LEFT}" y="20" font-size="14">{escape(title)}</text>'
    ]
    for power in xs:
        x, y = at(10.0**power, 10.0 ** ys[0])
        parts.append(f'<path d="M{x:.1f} {y:.1f}V{TOP}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle">{label(power)}</text>')
    for power in ys:
        x, y = at(10.0 ** xs[0], 10.0**power)
        parts.append(f'<path d="M{x:.1f} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{x - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{label(power)}</text>')
    for i, (name, rows) in enumerate(series.items()):
        colour, places = COLOURS[i % len(COLOURS)], [at(*row) for row in rows]
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
        grown = f" (slope {slope(rows):.2f})" if len(rows) > 1 else ""
        y = TOP + 12 + 18 * i
        parts.append(f'<path d="M{WIDTH - RIGHT + 12} {y - 4}h16" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 32}" y="{y}" font-size="11">{escape(name + grown)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">{escape(size)}</text>')
    parts.append(f'<text x="18" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 18 {HEIGHT / 2})">')
    parts.append(f"{escape(cost)}</text></svg>\n")
    path.write_text("".join(parts), encoding="utf-8")
    print(f"figure: {path}")
