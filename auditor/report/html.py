"""An audit → one self-contained HTML page: no network, a script for comfort only, strict content policy.

Enters: the audit's dict.  Leaves: a page that reads from the conclusion (page one, for everybody) to the digests that
reproduce it.  Everything from the suspect goes through `view.build` (made visible) and jinja2's autoescape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from auditor.report import figures
from auditor.report.build import brief, build
from auditor.report.numbers import number, probability
from auditor.report.page import report_templates
from auditor.report.view import TOP, MapView
from auditor.texts import METHOD, WORDS, say, told


def render_html(audit: Mapping[str, Any]) -> str:
    """The page of one audit."""
    view = build(audit)
    return (
        report_templates()
        .get_template("audit.html.jinja")
        .render(
            v=view,
            top=TOP,
            scale=figures.score_scale(view.artists[:TOP]) if view.artists else None,
            map_rows=_map_rows(view.map) if view.map else [],
            words=WORDS,
            told=told,
            method=METHOD,
        )
    )


def render_index(audits: Sequence[Mapping[str, Any]], links: Sequence[Sequence[str]] | None = None) -> str:
    """A page with one row per audit, linked to `links` (relative addresses of its documents) where given."""
    views, ps = [brief(a) for a in audits], [_p(a) for a in audits]
    qs = adjusted(ps, [str(a["suspect"]["tensor_sha256"]) for a in audits])
    rows = list(zip(views, links or [()] * len(views), ps, qs, strict=True))
    found = Counter(v.label for v in views)
    labels = [label for label in figures.SIGNS if found[label]]
    texts = {v.label: v.label_text for v in views}
    mixed = {v.label for v in views if v.label_text != texts[v.label]}
    none = say("label.NO_MATCH.any") if "NO_MATCH" in mixed else texts.get("NO_MATCH", "")
    counts = [(label, none if label == "NO_MATCH" else say(f"label.{label}"), found[label]) for label in labels]
    questions = {v.question for v in views if v.question}
    question = questions.pop() if len(questions) == 1 else ""
    template = report_templates().get_template("index.html.jinja")
    return template.render(rows=rows, counts=counts, labels=labels, question=question)


def adjusted(ps: Sequence[float | None], contents: Sequence[str]) -> list[str]:
    """Benjamini–Hochberg q-values of the p-values that exist, formatted.

    contents: digest of each file's tensors.  A copy adds a row, not a test: else who uploads a file twenty times would
    make all others of the batch more significant.
    """
    from auditor.statistics.conformal import benjamini_hochberg  # numpy, which the page of one audit does without

    tests = {content: p for content, p in zip(contents, ps, strict=True) if p is not None}
    q = dict(zip(tests, benjamini_hochberg(list(tests.values())), strict=True))
    return [probability(None if p is None else float(q[one])) for p, one in zip(ps, contents, strict=True)]


def _p(audit: Mapping[str, Any]) -> float | None:
    return float(audit["open_set"]["p"]) if audit["open_set"] else None


def _map_rows(view: MapView) -> list[tuple[str, str, str, str]]:
    """The map as rows: artist, genre, x, y; nearest first."""
    dots = sorted(view.dots, key=lambda d: (d.rank == 0, d.rank, d.artist))
    return [(d.artist, d.genre, number(d.x), number(d.y)) for d in dots]
