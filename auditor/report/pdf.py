"""An audit → a PDF: tagged (PDF/UA-1), archival (PDF/A-3a), with the audit's JSON attached.  Needs the extra [pdf].

Enters: the audit's dict.  Leaves: bytes; the same audit gives the same bytes on every machine, for only fonts of the
extra are used (fonts.py) and every date comes from the audit.  All text goes to the typesetter as data, so that nothing
a suspect brought along can act as markup.  Page one is a summary that stands on its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from auditor.errors import AuditorError
from auditor.extras import absent
from auditor.report import fonts
from auditor.report.build import build
from auditor.report.json import render_json
from auditor.report.sections import Block, first_page, sections, together
from auditor.report.style import figure_style, palette
from auditor.report.view import View, mapped
from auditor.texts import LANGUAGE, say

PAPERS = {"a4": "a4", "letter": "us-letter"}
ATTACHMENT = "audit.json"
LONGEST_WORD = 64
"""Characters of a word that fit on a line; a digest is one."""


def require() -> None:
    """Raises AuditorError, with what to install, when PDFs cannot be made here."""
    if package := fonts.missing():
        raise absent(package, "pdf", "PDFs, while a page of --format html can be printed without it")


def render_pdf(audit: Mapping[str, Any], paper: str = "a4") -> bytes:
    """The PDF of one audit on `paper` (a4 or letter).  Raises AuditorError when the extra is missing."""
    require()
    import typst

    view = build(audit)
    try:
        return _in_many_scripts(audit, view, paper) if lacking(view) else _typeset(audit, view, paper)
    except typst.TypstError as error:
        raise AuditorError(
            f"The PDF could not be set: {error}.",
            advice="This is a fault of the report, not of the file audited; --format html gives the same content.",
        ) from error


def _in_many_scripts(audit: Mapping[str, Any], view: View, paper: str) -> bytes:
    """A document with letters that need the fonts of the extra.

    Letters and marks of different scripts can be heaped up so that no font sets them together; such a document is set
    with the typesetter's own fonts and placeholders for all else, which page one says.
    """
    import typst

    with tempfile.TemporaryDirectory() as folder:
        fonts.font_files(Path(folder))
        try:
            return _typeset(audit, view, paper, folder)
        except typst.TypstError as error:
            if "could not be displayed" not in str(error):
                raise
    return _typeset(audit, view, paper)


def _typeset(audit: Mapping[str, Any], view: View, paper: str, folder: str = "") -> bytes:
    """The bytes of the PDF; `folder`: of the fonts of the extra, empty for the typesetter's own alone."""
    import typst

    source, made = attachment(audit), _moment(str(audit["created_at"]))
    document = _document(view, source, bool(folder)) | {"date": _fields(made)}
    found = typst.compile(
        _template(),
        format="pdf",
        ignore_system_fonts=True,
        font_paths=typst.Fonts(include_system_fonts=False, font_paths=[folder] if folder else []),
        sys_inputs={"document": json.dumps(document), "audit": source, "paper": PAPERS[paper]},
        pdf_standards=["ua-1", "a-3a"],
        timestamp=int(made.timestamp()),
    )
    return bytes(found)


def attachment(audit: Mapping[str, Any]) -> str:
    """The JSON that the PDF carries: the audit without its timings, so that equal audits give equal bytes."""
    return render_json({**audit, "timing_s": {}})


def lacking(view: View) -> bool:
    """Whether a view holds characters that the typesetter's own fonts lack."""
    return not fonts.plain(json.dumps(dataclasses.asdict(view), ensure_ascii=False))


def breakable(text: str, longest: int = LONGEST_WORD) -> str:
    """`text` with places to break a line inside words of more than `longest` characters."""
    return re.sub(rf"\S{{{longest + 1},}}", lambda m: "\u200b".join(re.findall(".{1,16}", m[0])), text)


def _document(whole: View, source: str, more: bool) -> dict[str, Any]:
    """All that the template shows; `more`: set with the fonts of the extra too."""
    view = mapped(whole, lambda text: fonts.printable(text, more))
    digest = hashlib.sha256(source.encode()).hexdigest()
    colours = palette(view.label)
    return {
        "title": view.page_title,
        "tool": view.tool,
        "sentence": view.sentence,
        "keywords": [view.label, view.date],
        "lang": LANGUAGE,
        "colours": colours,
        "fonts": fonts.families() if more else [],
        "footer": say("pdf.footer", tool=view.tool, file=_short(view.file), digest=digest[:16]),
        "page": say("pdf.page", page="{page}", pages="{pages}"),
        "first": _first(view, digest, view != mapped(whole, fonts.normal)),
        "runs": [[_block(b) for b in run] for run in together(sections(view))],
        "attachment": {"name": ATTACHMENT, "description": say("pdf.attachment")},
    }


def _first(view: View, digest: str, escaped: bool) -> dict[str, Any]:
    """Page one; `escaped`: some characters are shown as placeholders, which it then explains."""
    found = first_page(view)
    return {
        "title": say("title"),
        "made": f"{view.tool} · {view.date}",
        "label": view.label_text,
        "code": view.label,
        "sentence": breakable(view.sentence),
        "size": 17 if len(view.sentence) <= 200 else 14 if len(view.sentence) <= 400 else 11,
        "meaning": view.meaning,
        "asked": view.asked,
        "facts": [_row(r) for r in view.facts],
        "blocks": [_block(b) for b in found],
        "not_title": say("h.not"),
        "not_items": list(view.does_not_say),
        "identity": [_row(r) for r in view.identity],
        "attached": say("pdf.attached", name=ATTACHMENT, digest=digest) + (" " + say("pdf.escaped") if escaped else ""),
    }


def _row(row: Any) -> dict[str, Any]:
    found = dataclasses.asdict(row)
    return {**found, "name": breakable(row.name, 20), "value": breakable(row.value)}


def _block(block: Block) -> dict[str, Any]:
    """A block as the template reads it; figures get the stylesheet's colours."""
    found = dataclasses.asdict(block)
    if block.kind == "figure":
        style = f"<style>{figure_style(FONT)}</style>"
        svg = str(block.svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
        found["svg"] = re.sub(r"(<svg [^>]*>)", lambda m: m[1] + style, svg, count=1)
    found["items"] = [_row(i) if dataclasses.is_dataclass(i) else breakable(str(i)) for i in block.items]
    found["text"] = breakable(block.text)
    for row in found["rows"]:
        for cell in row:
            cell["text"] = breakable(cell["text"], 24)
    return found


FONT = "Libertinus Serif"


def _short(path: str) -> str:
    """The end of a path for the footer."""
    return path if len(path) <= 60 else "…" + path[-59:]


def _moment(stamp: str) -> datetime:
    """The time of the audit; the start of 1970 for what is none, for an archival PDF must have a date."""
    try:
        at = datetime.fromisoformat(stamp)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.fromtimestamp(0, UTC)


def _fields(at: datetime) -> dict[str, int]:
    return {k: getattr(at, k) for k in ("year", "month", "day", "hour", "minute", "second")}


@cache
def _template() -> bytes:
    return files("auditor.report").joinpath("templates/report.typ").read_bytes()
