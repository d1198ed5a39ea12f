"""Audits → documents.  `render` is the way in; one view model (`view.py`) stands behind every format.

Enters: audits as dicts (`Audit.to_dict()` or read back from JSON).  Leaves: text.  Writing files is the caller's.
Each format is imported when it is first asked for: who wants JSON does not wait for the templates of HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from auditor.errors import UsageError

if TYPE_CHECKING:
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


PLACES = {
    "render_console": "console",
    "render_html": "html",
    "render_index": "html",
    "render_json": "json",
    "schema": "json",
    "render_junit": "junit",
    "render_markdown": "markdown",
    "render_pdf": "pdf",
    "render_sarif": "sarif",
}


def __getattr__(name: str) -> Any:
    """The public name `name`, imported now (PEP 562)."""
    if name not in PLACES:
        raise AttributeError(f"module 'auditor.report' has no attribute {name!r}")
    return getattr(import_module(f"auditor.report.{PLACES[name]}"), name)


def render(audits: Sequence[Mapping[str, Any]], format: str) -> str:
    """The document of `audits` in `format`; several audits as html give the index, for one page each call again."""
    if format == "pdf":
        raise UsageError("A PDF is not text.", advice="Call render_pdf, once for each audit.")
    if format not in FORMATS:
        raise UsageError(f"There is no format {format!r}.", advice=f"Choose one of {', '.join(FORMATS)}.")
    if not audits:
        raise UsageError("There is nothing to report.", advice="Give at least one audit.")
    if format == "html":
        from auditor.report.html import render_html, render_index

        return render_index(audits) if len(audits) > 1 else render_html(audits[0])
    if format == "json":
        from auditor.report.json import render_json

        return render_json(audits if len(audits) > 1 else audits[0])
    if format == "md":
        from auditor.report.markdown import render_markdown

        return "\n\n---\n\n".join(render_markdown(a) for a in audits)
    if format == "sarif":
        from auditor.report.sarif import render_sarif

        return render_sarif(audits)
    from auditor.report.junit import render_junit

    return render_junit(audits)
