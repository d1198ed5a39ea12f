"""Audits → documents on stdout or in files: which go where, under which safe names, written atomically."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from auditor.cli.output import emit
from auditor.errors import UsageError
from auditor.lora.text import shown
from auditor.whole_file import write_whole

AuditDict = Mapping[str, Any]
FOLDER = Path("audit-report")
"""Where the pages of several suspects go when no -o was given."""
_LONGEST_STEM = 80
_FILE_LIKE = re.compile(r"\.[a-z][a-z0-9]{1,4}", re.IGNORECASE)
"""An ending that names a format, as .txt does and that of results-1.2 does not."""
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)


class Format(StrEnum):
    """What an audit can be written as."""

    CONSOLE = "console"
    HTML = "html"
    PDF = "pdf"
    JSON = "json"
    SARIF = "sarif"
    JUNIT = "junit"
    MD = "md"


class Paper(StrEnum):
    """What a PDF is set for."""

    A4 = "a4"
    LETTER = "letter"


ENDINGS = {
    Format.HTML: ".html",
    Format.PDF: ".pdf",
    Format.JSON: ".json",
    Format.SARIF: ".sarif",
    Format.JUNIT: ".junit.xml",
    Format.MD: ".md",
}
PAGES = (Format.HTML, Format.PDF)
"""Formats that are files even without -o."""


@dataclass(frozen=True)
class Destination:
    """Where the documents go; made, and found possible, before any audit starts."""

    formats: tuple[Format, ...]
    """Without repetitions, in the order asked for."""
    output: Path | None
    """Folder of the documents, or the one file that was named."""
    paper: Paper = Paper.A4
    """Of PDFs."""

    @property
    def documents(self) -> tuple[Format, ...]:
        """The formats without the console."""
        return tuple(f for f in self.formats if f is not Format.CONSOLE)

    @property
    def on_stdout(self) -> Format | None:
        """The one format whose document goes to stdout."""
        return next((f for f in self.documents if f not in PAGES), None) if self.output is None else None

    @property
    def is_file(self) -> bool:
        """Whether -o names a file rather than a folder."""
        path = self.output
        return path is not None and not os.path.isdir(path) and path.name.endswith(tuple(ENDINGS.values()))


def destination(
    formats: Sequence[Format],
    output: Path | None,
    default: Sequence[Format],
    paper: Paper = Paper.A4,
    *,
    output_by_default: bool = False,
) -> Destination:
    """The destination.

    output_by_default: nobody asked for `output` in this run, so it is left alone where there is no document for it.
    Raises UsageError when the documents could not be told apart or put there, AuditorError when the packages that a
    format needs are not installed.
    """
    chosen = tuple(dict.fromkeys(formats or default))
    found = Destination(chosen, output, paper)
    if output_by_default and not found.documents:
        return Destination(chosen, None, paper)
    if Format.PDF in chosen:
        from auditor.report import pdf

        pdf.require()
    if output is None:
        streams = [f for f in found.documents if f not in PAGES]
        if len(streams) > 1:
            raise UsageError(
                f"{len(streams)} documents ({', '.join(streams)}) do not fit on one standard output.",
                advice="Give a folder for them with -o DIR.",
            )
        return found
    if not found.documents:
        raise UsageError(
            "-o is given, but no document for it.", advice="Add --format html, pdf, json, sarif, junit or md."
        )
    if found.is_file and (len(found.documents) > 1 or not output.name.endswith(ENDINGS[found.documents[0]])):
        raise UsageError(
            f"-o {output} cannot hold {' and '.join(found.documents)}.",
            advice="Name a folder, or a file of that format.",
        )
    require_place(output)
    if not found.is_file and not os.path.exists(output) and _FILE_LIKE.fullmatch(output.suffix):
        raise UsageError(
            f"-o {shown(output)} looks like a file, and no format ends in {shown(output.suffix)}.",
            advice=f"Name a file that ends in {', '.join(ENDINGS.values())}, or a folder; one of this name must exist.",
        )
    if os.path.exists(output) and not os.path.isdir(output) and not found.is_file:
        raise UsageError(f"-o {output} is a file.", advice="Name a folder; it is made where it does not exist.")
    return found


def require_place(output: Path) -> None:
    """Refuse a name that the system cannot even look up: too long, or in a folder that may not be entered."""
    try:
        output.stat()
    except (FileNotFoundError, NotADirectoryError):
        return  # made, or refused with its reason, when the first document is written
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"-o {shown(output)} cannot be used: {reason}.", advice="Name another place.") from error


def write(audits: Sequence[AuditDict], where: Destination) -> list[Path]:
    """Write or print every document; returns the files, what a reader opens first in front."""
    from auditor.report import render

    written: list[Path] = []
    pages = tuple(f for f in where.documents if f in PAGES)
    if len(audits) > 1 and pages:
        written += _write_pages(audits, where, pages)
    for form in where.documents:
        if form is where.on_stdout:
            emit(render(audits, form.value))
        elif form not in pages:
            written.append(write_text(_path(audits, form, where), render(audits, form.value)))
        elif len(audits) == 1:
            written.append(write_text(_path(audits, form, where), _page(audits[0], form, where)))
    return written


def _page(audit: AuditDict, form: Format, where: Destination) -> str | bytes:
    """The document of one audit, in one of `PAGES`."""
    from auditor.report import render_html
    from auditor.report.pdf import render_pdf

    return render_html(audit) if form is Format.HTML else render_pdf(audit, where.paper.value)


def _path(audits: Sequence[AuditDict], form: Format, where: Destination) -> Path:
    """The file of a document that holds all audits."""
    if where.is_file and where.output is not None:
        return where.output
    if where.output is None:
        return Path(f"{safe_name(audits[0])}.audit{ENDINGS[form]}")  # many suspects have one name
    name = safe_name(audits[0]) if len(audits) == 1 else "audits"
    return where.output / f"{name}{ENDINGS[form]}"


def _write_pages(audits: Sequence[AuditDict], where: Destination, forms: Sequence[Format]) -> list[Path]:
    """One document per audit and form, and with html an index of them."""
    from auditor.report import render_index

    if where.is_file:
        raise UsageError(
            f"-o {where.output} is one file, but there are {len(audits)} audits.",
            advice="Name a folder; it gets one page each and an index.",
        )
    folder = where.output or FOLDER
    names = _distinct([safe_name(audit) for audit in audits])
    pages = [
        write_text(folder / f"{name}{ENDINGS[form]}", _page(audit, form, where))
        for form in forms
        for name, audit in zip(names, audits, strict=True)
    ]
    if Format.HTML not in forms:
        return pages
    links = [[f"{name}{ENDINGS[form]}" for form in forms] for name in names]
    return [write_text(folder / "index.html", render_index(audits, links)), *pages]


def safe_stem(audit: AuditDict) -> str:
    """The suspect's file name without its ending, reduced to characters that are safe anywhere."""
    name = re.split(r"[/\\]", str(audit["suspect"]["path"]))[-1]
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", name.rsplit(".", 1)[0] or name)[:_LONGEST_STEM].strip("._-")
    return f"{stem}_" if _DEVICES.fullmatch(stem.partition(".")[0]) else stem or "suspect"


def safe_name(audit: AuditDict) -> str:
    """`safe_stem` and the first 8 digits of the file's SHA-256, or of its path's where the file could not be read."""
    suspect = audit["suspect"]
    digest = suspect["sha256"] or hashlib.sha256(str(suspect["path"]).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{safe_stem(audit)}-{re.sub('[^0-9a-f]', '', str(digest))[:8]}"


def _distinct(names: Sequence[str]) -> list[str]:
    """`names`, the later of equal ones numbered; equal means also: in another case."""
    taken: set[str] = {"index"}
    found = []
    for name in names:
        candidate, number = name, 1
        while candidate.lower() in taken:
            number += 1
            candidate = f"{name}-{number}"
        taken.add(candidate.lower())
        found.append(candidate)
    return found


def write_text(path: Path, document: str | bytes) -> Path:
    """Write a document so that readers see the old or the new one, never a part of it.  Raises AuditorError."""
    return write_whole(path, document, "Give another folder with -o.")
