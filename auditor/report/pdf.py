"""An audit → a PDF: tagged (PDF/UA-1), archival (PDF/A-3a), with the audit's JSON attached.  Needs the extra [pdf].

Enters: the audit's dict.  Leaves: bytes; the same audit gives the same bytes on every machine, for only the fonts
inside the typesetter are used and every date comes from the audit.  All text goes to the typesetter as data, so that
nothing a suspect brought along can act as markup.  Page one is a summary that stands on its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

from auditor.errors import AuditorError
from auditor.report.json import render_json
from auditor.report.sections import Block, first_page, sections
from auditor.report.style import figure_style, palette
from auditor.report.texts import LANGUAGE, say
from auditor.report.view import View, build

PAPERS = {"a4": "a4", "letter": "us-letter"}
ATTACHMENT = "audit.json"
COVERED = (
    *((0x20, 0x7E), (0xA0, 0x241), (0x250, 0x2E9), (0x300, 0x33F), (0x374, 0x377), (0x37A, 0x37F), (0x384, 0x38A)),
    *((0x38C, 0x38C), (0x38E, 0x3A1), (0x3A3, 0x3CE), (0x400, 0x45F), (0x490, 0x4BF), (0x1E00, 0x1E9B)),
    *((0x1EA0, 0x1EF9), (0x2010, 0x2027), (0x202F, 0x2037), (0x2039, 0x203F), (0x20A0, 0x20B5), (0x2116, 0x2116)),
    *((0x2122, 0x2122), (0x2190, 0x21FF), (0x2212, 0x2212), (0x2248, 0x2248), (0x2260, 0x2265), (0x25A0, 0x25FF)),
)
"""Code points that the typesetter's own fonts hold; others are shown as escapes, and whole in the attached JSON."""
LONGEST_WORD = 64
"""Characters of a word that fit on a line; a digest is one."""


def available() -> bool:
    """Whether the extra [pdf] is installed."""
    return importlib.util.find_spec("typst") is not None


def require() -> None:
    """Raises AuditorError, with what to install, when PDFs cannot be made here."""
    if not available():
        raise AuditorError(
            "Making a PDF needs the package typst, which is not installed.",
            advice='Install it with: pip install "lora-style-audit[pdf]"; or use --format html and print that page.',
        )


def render_pdf(audit: Mapping[str, Any], paper: str = "a4") -> bytes:
    """The PDF of one audit on `paper` (a4 or letter).  Raises AuditorError when the extra is missing."""
    require()
    import typst

    source = attachment(audit)
    made = _moment(str(audit["created_at"]))
    document = {**_document(audit, source), "date": _fields(made)}
    try:
        found = typst.compile(
            _template(),
            format="pdf",
            ignore_system_fonts=True,
            sys_inputs={"document": json.dumps(document), "audit": source, "paper": PAPERS[paper]},
            pdf_standards=["ua-1", "a-3a"],
            timestamp=int(made.timestamp()),
        )
    except typst.TypstError as error:
        raise AuditorError(
            f"The PDF could not be set: {error}.",
            advice="This is a fault of the report, not of the file audited; --format html gives the same content.",
        ) from error
    return bytes(found)


def attachment(audit: Mapping[str, Any]) -> str:
    """The JSON that the PDF carries: the audit without its timings, so that equal audits give equal bytes."""
    return render_json({**audit, "timing_s": {}})


def printable(text: str) -> str:
    r"""`text` with characters that the fonts lack as visible escapes: `葛` becomes `\u845b`."""
    return "".join(c if _covered(ord(c)) else _escape(ord(c)) for c in unicodedata.normalize("NFC", text))


def lacking(view: View) -> bool:
    """Whether a view holds characters that the fonts lack."""
    text = json.dumps(dataclasses.asdict(view), ensure_ascii=False)
    return any(not _covered(ord(c)) for c in unicodedata.normalize("NFC", text))


def breakable(text: str, longest: int = LONGEST_WORD) -> str:
    """`text` with places to break a line inside words of more than `longest` characters."""
    return re.sub(rf"\S{{{longest + 1},}}", lambda m: "\u200b".join(re.findall(".{1,16}", m[0])), text)


def _covered(code: int) -> bool:
    return any(low <= code <= high for low, high in COVERED)


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _document(audit: Mapping[str, Any], source: str) -> dict[str, Any]:
    """All that the template shows."""
    whole = build(audit)
    view = _mapped(whole)
    digest = hashlib.sha256(source.encode()).hexdigest()
    colours = palette(view.label)
    return {
        "title": view.page_title,
        "tool": view.tool,
        "sentence": view.sentence,
        "keywords": [view.label, view.date],
        "lang": LANGUAGE,
        "colours": colours,
        "footer": say("pdf.footer", tool=view.tool, file=_short(view.file), digest=digest[:16]),
        "page": say("pdf.page", page="{page}", pages="{pages}"),
        "first": _first(view, digest, lacking(whole)),
        "blocks": [_block(b) for b in sections(view)],
        "attachment": {"name": ATTACHMENT, "description": say("pdf.attachment")},
    }


def _first(view: View, digest: str, escaped: bool) -> dict[str, Any]:
    """Page one; `escaped`: some characters are shown as escapes, which it then explains."""
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


def _mapped(value: Any) -> Any:
    """A view whose every string is printable."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, tuple):
        return tuple(_mapped(v) for v in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(
            value, **{f.name: _mapped(getattr(value, f.name)) for f in dataclasses.fields(value)}
        )
    return value


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
