"""A style map → one HTML page (no network, strict content policy) or one SVG picture.

The page carries a picture and tables that need no script; where scripts run, a canvas takes the picture's place and can
be moved, zoomed, searched and pointed at.  The data lie in the page as an inert JSON block, coordinates as 16-bit
numbers.
"""

from __future__ import annotations

import base64
import json
from importlib.resources import files
from pathlib import PurePath
from typing import Any

import numpy as np
from markupsafe import Markup

from auditor._version import __version__
from auditor.corpus.map import StyleMap
from auditor.embedding.points import Floats
from auditor.report.figures import Scale, corners, shape, star, tag
from auditor.report.page import known_by, templates
from auditor.report.style import compact
from auditor.report.untrusted import show
from auditor.words import pretty

WIDTH, HEIGHT, MARGIN = 960.0, 640.0, 36.0
KINDS = 8
"""Pairs of colour and shape for genres; further genres share the last."""
STILL = 3000
"""References and corpus files drawn in the picture without scripts, each; of more, every n-th."""
LONGEST = 72
"""Characters of a file name in the data."""
NAMED = 14
"""Centroids with their names in the still picture."""
NAME = 28
"""Characters of a suspect's name in the picture."""


def render_page(view: StyleMap) -> str:
    """The HTML page."""
    style, script = _asset("map.css"), _asset("map.js")
    policy = (
        f"default-src 'none'; style-src {known_by(style)}; script-src {known_by(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return (
        templates("auditor.corpus")
        .get_template("map.html.jinja")
        .render(
            v=view,
            policy=policy,
            style=Markup(style),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            data=Markup(_inert(data_of(view))),  # noqa: S704 - escaped in _inert
            picture=picture(view),
            legend=legend(view),
            show=show,
            pretty=lambda name: show(pretty(name)),
            version=__version__,
        )
    )


def render_svg(view: StyleMap) -> str:
    """A picture that stands alone."""
    style = tag("style", Markup(_asset("map.svg.css")))  # noqa: S704 - our own file
    return str(picture(view, style)) + "\n"


def _asset(name: str) -> str:
    """A file beside the templates, without comments and indentation."""
    return compact(files("auditor.corpus").joinpath(f"templates/{name}").read_text(encoding="utf-8"))


def _inert(value: object) -> str:
    """JSON that cannot end the block it stands in."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def kinds(view: StyleMap) -> dict[str, int]:
    """Number of the colour and shape of every genre."""
    return {genre: min(i, KINDS - 1) for i, genre in enumerate(sorted({a.genre for a in view.artists}))}


def data_of(view: StyleMap) -> dict[str, Any]:
    """What the script draws."""
    low, span = frame(view)
    of = kinds(view)
    return {
        "artists": [
            {"n": show(pretty(a.name)), "g": show(a.genre or "no genre known"), "k": of[a.genre], "f": a.files}
            for a in view.artists
        ],
        "centroids": packed(np.array([(a.x, a.y) for a in view.artists]), low, span),
        "references": packed(view.references, low, span),
        "referenceArtist": base64.b64encode(view.reference_artist.astype("<u2").tobytes()).decode(),
        "referenceNames": [short(name) for name in view.reference_names],
        "hulls": [{"k": of[h.genre], "g": show(h.genre), "p": packed(h.corners, low, span)} for h in view.hulls],
        "suspects": [
            {
                "n": short(s.name),
                "l": s.label,
                "a": show(pretty(s.nearest)),
                "p": packed(np.array([(s.x, s.y)]), low, span),
            }
            for s in view.suspects
        ],
        "corpus": packed(view.corpus, low, span),
        "corpusNames": [short(name) for name in view.corpus_names],
        "shapes": [[]] + [[[round(x, 3), round(y, 3)] for x, y in corners(kind)] for kind in range(1, KINDS)],
        "ratio": float(span[0] / span[1]),
    }


def short(name: str) -> str:
    """The last part of an untrusted path, made visible and cut."""
    return show(PurePath(name).name or name, LONGEST)


def cut(text: str, most: int) -> str:
    """`text` in at most so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def frame(view: StyleMap) -> tuple[Floats, Floats]:
    """(lower corner, size) of the box around everything."""
    everything = np.vstack([view.references, view.corpus, [(s.x, s.y) for s in view.suspects] or np.zeros((0, 2))])
    low, high = everything.min(0), everything.max(0)
    return low, np.maximum(high - low, 1e-9)


def packed(points: Floats, low: Floats, span: Floats) -> str:
    """Points (n, 2) as base64 of little-endian 16-bit numbers x₀ y₀ x₁ y₁ …, 0 … 65535 over the frame."""
    scaled = np.clip(np.round((np.reshape(points, (-1, 2)) - low) / span * 65535), 0, 65535)
    return base64.b64encode(scaled.astype("<u2").tobytes()).decode()


def legend(view: StyleMap) -> list[tuple[Markup, str]]:
    """Every genre's mark and name."""
    of = kinds(view)
    marks = []
    for kind in sorted(set(of.values())):
        names = [genre for genre, number in of.items() if number == kind]
        mark = tag("svg", shape(kind, 8, 8, 5.6, f"g{kind}"), viewBox="0 0 16 16", class_="key", aria_hidden="true")
        marks.append((mark, "other genres" if len(names) > 1 else show(names[0] or "no genre known")))
    return marks


def picture(view: StyleMap, style: Markup | None = None) -> Markup:
    """The still picture: hulls, files, centroids, suspects."""
    (left, bottom), (wide, high) = frame(view)
    unit = min((WIDTH - 2 * MARGIN) / wide, (HEIGHT - 2 * MARGIN) / high)
    over, up = (WIDTH - unit * wide) / 2, (HEIGHT - unit * high) / 2
    x = Scale(left, left + wide, over, over + unit * wide)
    y = Scale(bottom, bottom + high, HEIGHT - up, HEIGHT - up - unit * high)
    of = kinds(view)
    marks = [] if style is None else [style]
    marks += [tag("circle", cx=x(px), cy=y(py), r=1.4, class_="corpus") for px, py in thinned(view.corpus)]
    for h in view.hulls:
        corners = " ".join(f"{x(cx):.1f},{y(cy):.1f}" for cx, cy in h.corners)
        marks.append(tag("polygon", points=corners, class_=f"hull g{of[h.genre]}"))
    kept = range(0, len(view.references), max(1, -(-len(view.references) // STILL)))
    for i in kept:
        kind = of[view.artists[int(view.reference_artist[i])].genre]
        marks.append(
            tag("circle", cx=x(view.references[i][0]), cy=y(view.references[i][1]), r=2.0, class_=f"file g{kind}")
        )
    marks += [shape(of[a.genre], x(a.x), y(a.y), 6.0, f"centroid g{of[a.genre]}") for a in view.artists]
    marks += [star(x(s.x), y(s.y), 12, "suspect") for s in view.suspects]
    marks += _names(view, x, y)
    said = (
        f"{len(view.artists)} artists of {len(of)} genres, {len(view.references)} references, {len(view.corpus)} "
        f"corpus files, {len(view.suspects)} suspects. The tables below hold the same places as numbers."
    )
    heads = [tag("title", "Map of styles", id="map-t"), tag("desc", said, id="map-d")]
    return tag(
        "svg", *heads, *marks, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}", role="img",
        aria_labelledby="map-t map-d", class_="stylemap",
    )  # fmt: skip


def thinned(points: Floats) -> Floats:
    """Every n-th point, so that at most STILL remain."""
    return points[:: max(1, -(-len(points) // STILL))]


def _names(view: StyleMap, x: Scale, y: Scale) -> list[Markup]:
    """Names of suspects and of centroids where there is room: those nearest to a suspect first, then the outermost."""
    taken: list[tuple[float, float, float]] = []
    marks: list[Markup] = []
    middle = view.references.mean(0)
    nearest = {s.nearest for s in view.suspects}
    order = sorted(
        view.artists, key=lambda a: (a.name not in nearest, -float(np.hypot(a.x - middle[0], a.y - middle[1])))
    )
    wanted = [(s.x, s.y, cut(short(s.name), NAME), "label suspect") for s in view.suspects]
    wanted += [(a.x, a.y, show(pretty(a.name)), "label") for a in order]
    for px, py, text, kind in wanted:
        at, line, width = x(px), y(py) - 11, 7.0 * len(text)
        free = all(abs(line - b) > 15 or abs(at - a) > (width + w) / 2 for a, b, w in taken)
        inside = width / 2 < at < WIDTH - width / 2 and line > 14
        if free and inside and len(marks) < NAMED + len(view.suspects):
            taken.append((at, line, width))
            marks.append(tag("text", text, x=at, y=line, text_anchor="middle", class_=kind))
    return marks
