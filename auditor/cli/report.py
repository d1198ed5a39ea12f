"""`audit report`: render documents again from an audit's JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from auditor.cli import documents
from auditor.cli.documents import Format, Paper
from auditor.cli.options import AuditFile, NoRemarks, PaperSize, from_environment
from auditor.cli.output import aside, remark, screen
from auditor.errors import UsageError

SCHEMA_MAJOR = "1"
LARGEST = 512 * 1024 * 1024
"""Bytes of an audit file that are read."""


def report(
    context: typer.Context,
    audit: AuditFile,
    formats: Annotated[
        list[Format] | None,
        typer.Option("--format", envvar="AUDIT_FORMAT", help="Repeatable. Default: html."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", envvar="AUDIT_OUTPUT", metavar="DIR|FILE", help="Folder of the documents, or one file."
        ),
    ] = None,
    paper: PaperSize = Paper.A4,
    quiet: NoRemarks = False,
) -> None:
    """Render an audit again; the same audit gives the same bytes."""
    by_default = from_environment(context, "output")
    where = documents.destination(formats or [], output, (Format.HTML,), paper, output_by_default=by_default)
    audits = read(audit)
    try:
        written = documents.write(audits, where)
        if Format.CONSOLE in where.formats:
            from auditor.report import render_console

            for one in audits:
                render_console(one, aside() if where.on_stdout else screen())
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UsageError(
            f"{audit} is not a whole audit of schema {SCHEMA_MAJOR}.x: {type(error).__name__} {error}.",
            advice="Give the unchanged file that audit check --format json wrote.",
        ) from error
    if not quiet:
        for path in written:
            remark(f"Report: {path}")


def _finite(text: str) -> float:
    """A number of JSON; NaN and infinity, which JSON has not, some formats would print and others not."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it holds {text}")
    return number


def read(path: Path) -> list[dict[str, Any]]:
    """The audits of a JSON file of either form; raises UsageError when it holds none."""
    advice = "Give the file that audit check --format json wrote."
    try:
        if path.stat().st_size > LARGEST:
            raise UsageError(f"{path} is larger than any audit.", advice=advice)
        document = json.loads(path.read_bytes(), parse_float=_finite, parse_constant=_finite)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.", advice=advice) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text, so it is not JSON.", advice=advice) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}.", advice=advice) from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if not isinstance(version, str) or version.partition(".")[0] != SCHEMA_MAJOR:
        raise UsageError(f"{path} is no audit of schema {SCHEMA_MAJOR}.x (it says {version!r}).", advice=advice)
    audits = document.get("audits", [document])
    if not isinstance(audits, list) or not audits or not all(isinstance(a, dict) for a in audits):
        raise UsageError(f"{path} holds no audit.", advice=advice)
    return audits
