"""An audit → one self-contained HTML page: no script, no network, strict content policy.

Enters: the audit's dict.  Leaves: a page that reads from the conclusion (page one, for everybody) to the digests that
reproduce it.  Everything from the suspect goes through `view.build` (made visible) and jinja2's autoescape.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from auditor.report import figures
from auditor.report.texts import WORDS, say
from auditor.report.view import TOP, MapView, build, number, probability


def render_html(audit: Mapping[str, Any]) -> str:
    """The page of one audit."""
    view = build(audit)
    threshold = view.null.threshold if view.null else None
    return (
        _environment()
        .get_template("audit.html.jinja")
        .render(
            v=view,
            top=TOP,
            threshold=threshold,
            scale=figures.score_scale(view.artists[:TOP], threshold) if view.artists else None,
            map_rows=_map_rows(view.map) if view.map else [],
            words=WORDS,
        )
    )


def render_index(audits: Sequence[Mapping[str, Any]], links: Sequence[str] | None = None) -> str:
    """A page with one row per audit, linked to `links` (relative addresses of their pages) where given."""
    views = [build(a) for a in audits]
    rows = list(zip(views, links or [""] * len(views), adjusted([_p(a) for a in audits]), strict=True))
    return _environment().get_template("index.html.jinja").render(rows=rows)


def adjusted(ps: Sequence[float | None]) -> list[str]:
    """Benjamini–Hochberg q-values of the p-values that exist, formatted."""
    order = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    out, least = [probability(None)] * len(ps), 1.0
    for rank, (p, i) in reversed(list(enumerate(order, start=1))):
        least = min(least, p * len(order) / rank)
        out[i] = probability(least)
    return out


def _p(audit: Mapping[str, Any]) -> float | None:
    return float(audit["open_set"]["p"]) if audit["open_set"] else None


def _map_rows(view: MapView) -> list[tuple[str, str, str, str]]:
    """The map as rows: artist, genre, x, y; nearest first."""
    dots = sorted(view.dots, key=lambda d: (d.rank == 0, d.rank, d.artist))
    return [(d.artist, d.genre, number(d.x), number(d.y)) for d in dots]


@cache
def _environment() -> Environment:
    """Templates with autoescape for every name and an error for every unknown variable."""
    environment = Environment(
        loader=PackageLoader("auditor.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    environment.globals.update(say=say, fig=figures, style=Markup(style), policy=policy)  # noqa: S704 - our own file
    return environment


def _style() -> str:
    """The stylesheet without comments and indentation."""
    css = files("auditor.report").joinpath("templates/style.css").read_text(encoding="utf-8")
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    return "\n" + "\n".join(line.strip() for line in css.splitlines() if line.strip()) + "\n"
