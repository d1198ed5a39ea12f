"""Audits → documents.  `render` is the way in; one view model (`view.py`) stands behind every format.

Enters: audits as dicts (`Audit.to_dict()` or read back from JSON).  Leaves: text.  Writing files is the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from auditor.errors import UsageError
from auditor.report.console import render_console
from auditor.report.html import render_html, render_index
from auditor.report.json import render_json, schema
from auditor.report.junit import render_junit
from auditor.report.markdown import render_markdown
from auditor.report.pdf import render_pdf
from auditor.report.sarif import render_sarif

FORMATS = ("html", "json", "sarif", "junit", "md")
"""What `render` gives; a PDF is bytes, of one audit, from `render_pdf`."""

__all__ = [
    "FORMATS",
    "render",
    "render_console",
    "render_html",
    "render_index",
    "render_json",
    "render_junit",
    "render_markdown",
    "render_pdf",
    "render_sarif",
    "schema",
]


def render(audits: Sequence[Mapping[str, Any]], format: str) -> str:
    """The document of `audits` in `format`; several audits as html give the index, for one page each call again."""
    if format == "pdf":
        raise UsageError("A PDF is not text.", advice="Call render_pdf, once for each audit.")
    if format not in FORMATS:
        raise UsageError(f"There is no format {format!r}.", advice=f"Choose one of {', '.join(FORMATS)}.")
    if not audits:
        raise UsageError("There is nothing to report.", advice="Give at least one audit.")
    one = len(audits) == 1
    if format == "html":
        return render_html(audits[0]) if one else render_index(audits)
    if format == "json":
        return render_json(audits[0]) if one else render_json(audits)
    if format == "md":
        return "\n\n---\n\n".join(render_markdown(a) for a in audits)
    return render_sarif(audits) if format == "sarif" else render_junit(audits)
