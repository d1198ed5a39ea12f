"""The figures of a report as inline SVG: no scripts, no styles, no addresses, one mark for every datum.

Enters: the small views of `view.py`.  Leaves: `Markup` whose colours come from CSS classes, so that light, dark and
print are the stylesheet's business.  Every figure has a title and a description for readers who do not see it.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from itertools import count as counter

from markupsafe import Markup, escape

from auditor.report.numbers import number
from auditor.report.view import MOST_DOTS, ArtistRow, CoverageView, Dot, MapView, NullView, PartsView, ValidityRow
from auditor.texts import say

WIDTH = 720
MOST_TICKS = 200
"""Other artists drawn as ticks in one part of the network."""
GENRES = 8
"""Pairs of colour and shape; further genres share the last."""


# ---------------------------------------------------------------------------------------------- elements


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """`<name attributes>children</name>`, everything escaped; `class_` and `aria_label` lose or change their `_`."""
    given = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _short(value))
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(escape(child) for child in children)
    return Markup(f"<{name}{given}>{inner}</{name}>") if inner else Markup(f"<{name}{given}/>")  # noqa: S704


def _short(value: object) -> str:
    """Coordinates to a tenth of a unit, all else as text."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def svg(key: str, height: float, title: str, desc: str, marks: Iterable[Markup], width: float = WIDTH) -> Markup:
    """The frame of a figure with its title and description."""
    ids = f"{key}-t {key}-d"
    heads = [tag("title", title, id=f"{key}-t"), tag("desc", desc, id=f"{key}-d")]
    box = f"0 0 {_short(float(width))} {_short(float(height))}"
    return tag("svg", *heads, *marks, viewBox=box, role="img", aria_labelledby=ids, class_=f"figure {key}")


def alt(figure: Markup) -> str:
    """Title and description of a figure as plain text."""
    found = re.findall(r"<(?:title|desc) id=[^>]*>(.*?)</(?:title|desc)>", str(figure), re.DOTALL)
    return ": ".join(html.unescape(text).strip().rstrip(".") for text in found) + "."


def ticks(low: float, high: float, wanted: int = 6) -> list[float]:
    """Round numbers between `low` and `high`, about `wanted` of them."""
    span = (high - low) or 1.0
    unit = 10.0 ** math.floor(math.log10(span / wanted))
    step = next(unit * m for m in (1, 2, 5, 10) if span / (unit * m) <= wanted)
    first = math.ceil(low / step - 1e-9)
    return [step * i for i in range(first, math.floor(high / step + 1e-9) + 1)]


class Scale:
    """A straight line from data to units of the drawing."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        """`low` lies at `start`, `high` at `end`."""
        self.low, self.high, self.start = low, high, start
        self.unit = (end - start) / ((high - low) or 1.0)

    def __call__(self, value: float) -> float:
        """Where `value` lies."""
        return self.start + (value - self.low) * self.unit


def _text(x: float, y: float, text: str, class_: str, anchor: str = "middle") -> Markup:
    return tag("text", text, x=x, y=y, class_=class_, text_anchor=anchor)


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def _axis(scale: Scale, y: float, label: str) -> list[Markup]:
    """A horizontal axis with its numbers."""
    values = ticks(scale.low, scale.high)
    digits = (
        0 if all(v == round(v) for v in values) else 1 if all(abs(v * 10 - round(v * 10)) < 1e-6 for v in values) else 2
    )
    marks = [_line(scale(scale.low), y, scale(scale.high), y, "axis")]
    for value in values:
        marks += [
            _line(scale(value), y, scale(value), y + 5, "axis"),
            _text(scale(value), y + 22, number(value, digits), "num"),
        ]
    return [*marks, _text((scale(scale.low) + scale(scale.high)) / 2, y + 46, label, "quiet")]


# ---------------------------------------------------------------------------------------------- null


def null_figure(null: NullView) -> Markup:
    """The suspect's statistic among the null: one dot per LoRA, or bars where there are too many."""
    seen = [*null.values, null.statistic, *([] if null.threshold is None else [null.threshold])]
    pad = 0.06 * ((max(seen) - min(seen)) or 1.0)
    bars = len(null.values) > MOST_DOTS
    scale = Scale(min(seen) - pad, max(seen) + pad, 40 if bars else 16, WIDTH - 16)
    floor, top = 300.0, 74.0
    draw = _null_bars if bars else _null_dots
    marks = [*draw(null, scale, floor, top), *_axis(scale, floor + 4, null.axis)]
    if null.threshold is not None:
        side = scale(null.threshold) < scale(null.statistic)
        marks += _flag(scale(null.threshold), 56, floor + 4, null.flag, "alpha", left=side)
    marks += _flag(scale(null.statistic), 24, floor + 4, say("null.suspect", value=number(null.statistic)), "suspect")
    marks.append(star(scale(null.statistic), floor + 4, 9, "suspect"))
    values = {"low": number(min(seen)), "high": number(max(seen)), "statistic": number(null.statistic)}
    desc = say("null.desc", total=len(null.values), beyond=null.beyond, **values)
    return svg("null", floor + 58, null.title, desc, marks)


def _flag(x: float, y: float, floor: float, label: str, class_: str, left: bool | None = None) -> list[Markup]:
    """An upright line with its label on the `left` or right if there is room, else on the other side.

    Room for the larger letters of narrow pages: a label that does not fit on either side goes where there is more.
    """
    width = 13.0 * len(label)
    left = x > WIDTH / 2 if left is None else left
    left = x > WIDTH / 2 if max(x, WIDTH - x) < width else (left or x + width > WIDTH) and x > width
    text = _text(x + (-8 if left else 8), y, label, f"flag {class_}", "end" if left else "start")
    return [_line(x, y - 12, x, floor, f"mark {class_}"), text]


def _reaches(null: NullView, value: float) -> bool:
    """Whether a value counts towards p."""
    return value <= null.statistic if null.below else value >= null.statistic


def bins(values: Sequence[float], low: float, high: float, n: int) -> list[list[float]]:
    """`values` in `n` equal bins of [low, high]."""
    out: list[list[float]] = [[] for _ in range(n)]
    for value in values:
        out[min(n - 1, max(0, int((value - low) / (high - low) * n)))].append(value)
    return out


def _null_dots(null: NullView, scale: Scale, floor: float, top: float) -> list[Markup]:
    """Stacked dots, as large as fit."""
    width, height = scale(scale.high) - scale(scale.low), floor - top
    for n in range(36, 181, 4):
        stacks, d = bins(null.values, scale.low, scale.high, n), width / n
        if max(map(len, stacks), default=0) * d <= height:
            break
    d = min(d, height / max(1, max(map(len, stacks), default=1)))
    marks = []
    for i, stack in enumerate(stacks):
        x = scale(scale.low) + (i + 0.5) * width / n
        for level, value in enumerate(sorted(stack)):
            kind = "datum beyond" if _reaches(null, value) else "datum"
            marks.append(
                tag("circle", cx=x, cy=floor - (level + 0.5) * d, r=0.42 * d, class_=kind, data_tip=number(value))
            )
    return marks


def _null_bars(null: NullView, scale: Scale, floor: float, top: float) -> list[Markup]:
    """A plain histogram."""
    n = 48
    stacks, width = bins(null.values, scale.low, scale.high, n), (scale(scale.high) - scale(scale.low)) / n
    most = max(map(len, stacks))
    unit = (floor - top) / most
    marks = []
    for height in ticks(0, most, 4)[1:]:
        marks += [
            _line(scale(scale.low), floor - height * unit, scale(scale.high), floor - height * unit, "grid"),
            _text(scale(scale.low) - 5, floor - height * unit + 5, number(height, 0), "num", "end"),
        ]
    marks.append(_text(0, top - 14, say("null.count"), "quiet", "start"))
    for i, stack in enumerate(stacks):
        if stack:
            h, kind = len(stack) * unit, "datum beyond" if all(_reaches(null, v) for v in stack) else "datum"
            x = scale(scale.low) + i * width + 0.5
            about = say("null.tip", low=number(min(stack)), high=number(max(stack)), n=len(stack))
            marks.append(tag("rect", x=x, y=floor - h, width=width - 1, height=h, class_=kind, data_tip=about))
    return marks


def null_table(null: NullView, n: int = 12) -> list[tuple[str, str, int]]:
    """The figure as rows: from, to, number of LoRAs."""
    low, high = min(null.values, default=0.0), max(null.values, default=1.0)
    high = high if high > low else low + 1.0
    step = (high - low) / n
    counts = [len(b) for b in bins(null.values, low, high, n)]
    return [(number(low + i * step), number(low + (i + 1) * step), c) for i, c in enumerate(counts)]


# ---------------------------------------------------------------------------------------------- map


def star(x: float, y: float, r: float, class_: str) -> Markup:
    """A five-pointed star."""
    turn = [(r if i % 2 == 0 else 0.42 * r, math.pi * (i / 5 - 0.5)) for i in range(10)]
    points = " ".join(f"{x + s * math.cos(a):.1f},{y + s * math.sin(a):.1f}" for s, a in turn)
    return tag("polygon", points=points, class_=f"star {class_}")


def shape(kind: int, x: float, y: float, r: float, class_: str, tip: str | None = None) -> Markup:
    """The mark of genre number `kind`: circle, square, triangle, diamond, …"""
    if kind == 0:
        return tag("circle", cx=x, cy=y, r=r, class_=class_, data_tip=tip)
    points = " ".join(f"{x + r * cx:.1f},{y + r * cy:.1f}" for cx, cy in corners(kind))
    return tag("polygon", points=points, class_=class_, data_tip=tip)


def corners(kind: int) -> list[tuple[float, float]]:
    """Corners of a shape around the origin, of about the same area for all kinds."""
    a, b, w = 0.88, 1.25, 0.42
    plus = [(-w, -b), (w, -b), (w, -w), (b, -w), (b, w), (w, w), (w, b), (-w, b), (-w, w), (-b, w), (-b, -w), (-w, -w)]
    turned = [((x - y) * 0.7071, (x + y) * 0.7071) for x, y in plus]
    hexagon = [(1.1 * math.cos(i * math.pi / 3), 1.1 * math.sin(i * math.pi / 3)) for i in range(6)]
    return {
        1: [(-a, -a), (a, -a), (a, a), (-a, a)],
        2: [(0, -b), (1.15, 0.85), (-1.15, 0.85)],
        3: [(0, -b), (b, 0), (0, b), (-b, 0)],
        4: [(0, b), (1.15, -0.85), (-1.15, -0.85)],
        5: plus,
        6: turned,
        7: hexagon,
    }[kind]


def genres(dots: Sequence[Dot]) -> dict[str, int]:
    """Genre → its colour and shape, in alphabetical order; from the eighth on they share one."""
    return {g: min(i, GENRES - 1) for i, g in enumerate(sorted({d.genre for d in dots}))}


def map_figure(view: MapView) -> Markup:
    """The set in two dimensions, one mark per artist, the suspect as a star."""
    height, kinds = 470.0, genres(view.dots)
    place = _Fit(view, height)
    sx, sy = place(*view.suspect)
    marks = []
    for dot in view.dots:
        x, y = place(dot.x, dot.y)
        near = " near" if dot.named else ""
        about = say("map.tip", artist=dot.artist, genre=dot.genre or say("map.genre.none"), rank=dot.rank or "–")
        marks.append(shape(kinds[dot.genre], x, y, 5.6, f"datum g{kinds[dot.genre]}{near}", about))
    marks.append(star(sx, sy, 13, "suspect"))
    marks += _labels(view, place, height)
    desc = say("map.desc", n=len(view.dots), genres=len(kinds), nearest=nearest_names(view.dots))
    return svg("map", height, say("map.title"), desc, marks)


class _Fit:
    """Data → drawing with one unit for both directions."""

    def __init__(self, view: MapView, height: float, margin: float = 34) -> None:
        """All points of `view` inside the margins."""
        xs = [*(d.x for d in view.dots), view.suspect[0]]
        ys = [*(d.y for d in view.dots), view.suspect[1]]
        wide, tall = (max(xs) - min(xs)) or 1.0, (max(ys) - min(ys)) or 1.0
        self.unit = min((WIDTH - 2 * margin) / wide, (height - 2 * margin) / tall)
        self.x, self.y = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
        self.middle = height / 2

    def __call__(self, x: float, y: float) -> tuple[float, float]:
        """Where a point lies; up is up."""
        return WIDTH / 2 + (x - self.x) * self.unit, self.middle - (y - self.y) * self.unit


Box = tuple[float, float, float, float]


def _labels(view: MapView, place: _Fit, height: float) -> list[Markup]:
    """Names of the nearest artists and of the suspect, each on the side where it covers least."""
    points = [place(d.x, d.y) for d in view.dots]
    taken: list[Box] = [(x - 7, y - 7, x + 7, y + 7) for x, y in points]
    sx, sy = place(*view.suspect)
    taken.append((sx - 14, sy - 14, sx + 14, sy + 14))
    wanted = [((sx, sy), say("map.suspect"), "label suspect", 17.0)]
    order = sorted((d.rank, i) for i, d in enumerate(view.dots) if d.named)
    for rank, i in order:
        name = view.dots[i].artist
        shown = name[:33] + "…" if len(name) > 34 else name
        wanted.append((points[i], f"{rank} {shown}", "label", 10.0))
    marks = []
    for (x, y), text, class_, gap in wanted:
        box, mark = min(_sides(x, y, text, class_, gap), key=lambda side: _cost(side[0], taken, height))
        taken.append(box)
        marks.append(mark)
    return marks


def _sides(x: float, y: float, text: str, class_: str, gap: float) -> list[tuple[Box, Markup]]:
    """The label right, left, above and below its point, with the box it would fill."""
    w, h, out = 7.6 * len(text), 17.0, []
    for dx, dy, anchor in (
        (gap, 5, "start"),
        (-gap, 5, "end"),
        (0, -gap, "middle"),
        (0, gap + 11, "middle"),
        (gap - 2, 15, "start"),
        (gap - 2, -7, "start"),
        (2 - gap, 15, "end"),
        (2 - gap, -7, "end"),
    ):
        left = x + dx - {"start": 0.0, "end": w, "middle": w / 2}[anchor]
        box = (left, y + dy - h + 3, left + w, y + dy + 3)
        out.append((box, _label(x + dx, y + dy, text, class_, anchor)))
    return out


def _label(x: float, y: float, text: str, class_: str, anchor: str) -> Markup:
    """A label whose name, after its number, narrow pages leave to the caption."""
    number_, space, name = text.partition(" ")
    name_mark = tag("tspan", name, class_="who") if name else ""
    return tag("text", number_ + space, name_mark, x=x, y=y, class_=class_, text_anchor=anchor)


def _cost(box: Box, taken: Sequence[Box], height: float) -> float:
    """Area that `box` shares with others, and heavily what sticks out of the figure."""
    x1, y1, x2, y2 = box
    shared = sum(max(0.0, min(x2, b[2]) - max(x1, b[0])) * max(0.0, min(y2, b[3]) - max(y1, b[1])) for b in taken)
    outside = max(0.0, -x1) + max(0.0, x2 - WIDTH) + max(0.0, -y1) + max(0.0, y2 - height)
    return shared + 1000 * outside


def genre_names(dots: Sequence[Dot]) -> list[tuple[str, int]]:
    """Every genre's name and mark; those that share the last mark, together."""
    shared, out = len({d.genre for d in dots}) > GENRES, []
    for genre, kind in list(genres(dots).items())[:GENRES]:
        last = shared and kind == GENRES - 1
        out.append((say("map.other") if last else genre or say("map.genre.none"), kind))
    return out


def nearest_names(dots: Sequence[Dot]) -> str:
    """The numbered artists of the map, in order."""
    near = sorted((d.rank, d.artist) for d in dots if d.named)
    return ", ".join(f"{rank} {artist}" for rank, artist in near)


def legend(dots: Sequence[Dot]) -> list[tuple[Markup, str]]:
    """Every genre's mark and name."""
    return [
        (tag("svg", shape(kind, 8, 8, 5.6, f"g{kind}"), viewBox="0 0 16 16", class_="key", aria_hidden="true"), name)
        for name, kind in genre_names(dots)
    ]


# ---------------------------------------------------------------------------------------------- bars


def score_scale(rows: Sequence[ArtistRow]) -> Scale:
    """One scale for the bars of all artists, chosen for `rows`, from zero or below."""
    seen = [0.0, *(r.low for r in rows), *(r.high for r in rows), *(r.value for r in rows)]
    return Scale(min(seen), max(seen) or 1.0, 3, 217)


def score_bar(row: ArtistRow, scale: Scale) -> Markup:
    """An artist's score as a bar from zero, its 90 % range as a line; what lies left of the scale is cut."""

    def at(value: float) -> float:
        return scale(max(value, scale.low))

    a, b = sorted((at(0.0), at(row.value)))
    kind = "bar first" if row.rank == 1 else "bar"
    marks = [tag("rect", x=a, y=5, width=max(b - a, 0.8), height=12, class_=kind, rx=1.5)]
    marks += [_line(at(row.low), 11, at(row.high), 11, kind) for kind in ("halo", "whisker")]
    marks += [_line(at(v), 7.5, at(v), 14.5, "whisker") for v in (row.low, row.high) if v >= scale.low]
    label = f"{row.score} ({row.interval})"
    return tag("svg", *marks, viewBox="0 0 220 22", role="img", aria_label=label, class_="score")


def parts_figure(view: PartsView) -> Markup:
    """One line per part of the network: a bar from 0 for one artist, a tick for each other one, one scale for all."""
    values = [v for p in view.parts for v in (p.value, *p.others)]
    scale = Scale(min(0.0, *values), max(0.0, *values) or 1.0, 16, WIDTH - 16)
    marks, row = [], 78.0
    for i, p in zip(counter(), view.parts):
        y = 10 + i * row
        a, b = sorted((scale(0.0), scale(p.value)))
        rank = say("subnetworks.rank", rank=p.rank, n=len(p.others) + 1)
        marks += [
            _text(16, y + 16, p.name, "part", "start"),
            _text(WIDTH - 16, y + 16, f"{number(p.value)} · {rank}", "num", "end"),
        ]
        marks.append(tag("rect", x=16, y=y + 26, width=WIDTH - 32, height=20, class_="lane", rx=3))
        if len(p.others) <= MOST_TICKS:
            marks += [_tick(scale(v), y, f"{who} {number(v)}") for v, who in zip(p.others, p.names, strict=True)]
        kind = "datum bar first" if p.rank == 1 else "datum bar"
        marks.append(tag("rect", x=a, y=y + 46, width=max(b - a, 0.8), height=8, class_=kind, rx=1))
        marks.append(_line(scale(p.value), y + 26, scale(p.value), y + 54, "pin"))
    listed = "; ".join(f"{p.name} {number(p.value)}" for p in view.parts)
    desc = say("subnetworks.desc", artist=view.artist, list=listed)
    end = 10 + row * len(view.parts)
    marks += [_line(scale(0.0), 30, scale(0.0), end, "axis"), *_axis(scale, end, say("col.score"))]
    return svg("parts", end + 54, say("subnetworks.title"), desc, marks)


def _tick(x: float, y: float, about: str) -> Markup:
    """Another artist's score in one part of the network."""
    return tag("line", x1=x, y1=y + 29, x2=x, y2=y + 43, class_="datum tick", data_tip=about)


def coverage_bar(view: CoverageView) -> Markup:
    """The covered share of the reference modules."""
    full = WIDTH - 2
    marks = [
        tag("rect", x=1, y=1, width=full, height=16, class_="lane", rx=3),
        tag(
            "rect",
            x=1,
            y=1,
            width=max(1.0, full * min(1.0, max(0.0, view.fraction))),
            height=16,
            class_="datum bar",
            rx=3,
        ),
    ]
    return svg("coverage", 18, say("coverage.title"), view.percent, marks)


def validity_bar(row: ValidityRow) -> Markup:
    """A figure between 0 and 1 with its interval; nothing where there is none."""
    if row.span is None:
        return Markup("")
    value, low, high = row.span
    scale = Scale(0, 1, 4, 116)
    marks = [_line(4, 8, 116, 8, "axis"), _line(scale(low), 8, scale(high), 8, "range")]
    marks.append(tag("circle", cx=scale(value), cy=8, r=4, class_="point"))
    return tag("svg", *marks, viewBox="0 0 120 16", class_="span", aria_hidden="true")


def share_bar(value: float, rest: bool) -> Markup:
    """A share between 0 and 1."""
    kind = "bar" if rest else "bar first"
    marks = [
        tag("rect", x=0, y=3, width=120, height=10, class_="lane", rx=2),
        tag("rect", x=0, y=3, width=max(1.0, 120 * value), height=10, class_=kind, rx=2),
    ]
    return tag("svg", *marks, viewBox="0 0 120 16", class_="span", aria_hidden="true")


def pips(of100: int, title: str) -> Markup:
    """One hundred dots, `of100` of them filled."""
    marks = [
        tag("circle", cx=8 + 16 * (i % 20), cy=8 + 16 * (i // 20), r=5.2, class_="pip on" if i < of100 else "pip")
        for i in range(100)
    ]
    return svg("pips", 80, title, say("pips.desc", n=of100), marks, width=320)


# ---------------------------------------------------------------------------------------------- icons


def icon(label: str) -> Markup:
    """The sign of a verdict, told apart by form as well as by colour."""
    return tag("svg", sign(label), viewBox="0 0 32 32", class_="icon", aria_hidden="true")


def sign(label: str) -> Markup:
    """The marks of a verdict's sign, in a square of 32."""
    return Markup("").join(SIGNS[label]())


def _ring(cx: float, cy: float, r: float, class_: str = "ring") -> Markup:
    return tag("circle", cx=cx, cy=cy, r=r, class_=class_)


SIGNS = {
    "CONSISTENT": lambda: [_ring(12, 16, 9), _ring(20, 16, 9), _ring(16, 16, 3, "full")],
    "INCONCLUSIVE": lambda: [_ring(16, 16, 11), tag("path", d="M16 5a11 11 0 0 1 0 22z", class_="full")],
    "NO_MATCH": lambda: [_ring(9, 16, 6.5), _ring(23, 16, 6.5)],
    "DERIVATIVE": lambda: [
        tag("rect", x=5, y=5, width=15, height=15, class_="ring", rx=2),
        tag("rect", x=12, y=12, width=15, height=15, class_="full", rx=2),
    ],
    "OUT_OF_SCOPE": lambda: [_ring(16, 16, 11, "ring dashed"), tag("path", d="M8.5 23.5 23.5 8.5", class_="ring")],
}
