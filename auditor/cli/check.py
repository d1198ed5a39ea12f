"""`audit check`: audit suspects, print or write the documents, exit with the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auditor.cli import documents
from auditor.cli.documents import Destination, Format
from auditor.cli.exit_codes import FailOn, exit_code
from auditor.cli.output import aside, complain, remark, screen
from auditor.cli.suspects import followed, named
from auditor.errors import NotAuditable
from auditor.result import Audit
from auditor.sources.local import expand

if TYPE_CHECKING:
    from auditor.lora.relation import Known

WITH_FOLDER = (Format.CONSOLE, Format.HTML, Format.JSON)


def check(
    suspects: Annotated[
        list[str], typer.Argument(metavar="SUSPECT", help="LoRA files, folders of them, or '-': a list on stdin.")
    ],
    refs: Annotated[
        str | None,
        typer.Option(envvar="AUDIT_REFS", metavar="NAME|DIR", help="Reference set; the shipped one by default."),
    ] = None,
    formats: Annotated[
        list[Format] | None,
        typer.Option(
            "--format",
            envvar="AUDIT_FORMAT",
            help="Repeatable. Default: console; with -o also html and json.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", envvar="AUDIT_OUTPUT", metavar="DIR", help="Folder for the documents."),
    ] = None,
    alpha: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, envvar="AUDIT_ALPHA", help="Level of significance, fixed before looking."),
    ] = 0.05,
    fail_on: Annotated[
        FailOn, typer.Option(envvar="AUDIT_FAIL_ON", help="From which verdict on the exit code is 10 or 11.")
    ] = FailOn.MATCH,
    known: Annotated[
        Path | None,
        typer.Option(envvar="AUDIT_KNOWN", metavar="DIR", help="Known LoRA files of this base: is this a copy of one?"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, envvar="AUDIT_SEED", help="Seed of the resampling.")] = 0,
    resamples: Annotated[
        int, typer.Option(min=1, envvar="AUDIT_RESAMPLES", help="Resamples behind the intervals.")
    ] = 1000,
    features: Annotated[
        str | None,
        typer.Option(envvar="AUDIT_FEATURES", metavar="NAME", help="Features; those of the set by default."),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", envvar="AUDIT_OFFLINE", help="Stay off the network. This version always does.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", envvar="AUDIT_QUIET", help="No progress.")] = False,
) -> None:
    """Audit LoRA files against a reference set.

    Exit codes: 0 nothing found · 1 the tool failed · 2 wrong usage · 3 not auditable · 10 inconclusive, with
    --fail-on inconclusive · 11 consistent with an artist, or derived from a known file.
    """
    where = documents.destination(formats or [], output, WITH_FOLDER if output else (Format.CONSOLE,))
    paths = named(suspects)
    from auditor.audit import check as audit_file
    from auditor.reference import ReferenceSet

    reference = ReferenceSet.load(refs)
    originals = known_files(known) if known else ()
    options: dict[str, Any] = {"seed": seed, "alpha": alpha, "resamples": resamples, "features_name": features}
    audits = [
        audit_file(path, reference, **options, known=originals)
        for path in followed(paths, quiet)
    ]
    deliver(audits, where, quiet)
    raise typer.Exit(exit_code(audits, fail_on))


def known_files(folder: Path) -> tuple[Known, ...]:
    """Every LoRA below `folder`; what cannot be read is named on stderr and passed over: it is nobody's original."""
    from auditor.lora.relation import Known

    found = []
    for path in expand([str(folder)], ()):
        try:
            found.append(Known(path))
        except NotAuditable as problem:
            complain(f"Not compared with: {problem.message}")
    return tuple(found)


def deliver(audits: Sequence[Audit], where: Destination, quiet: bool) -> None:
    """Write the documents; show the audits to people on stdout, or on stderr where a document has taken stdout."""
    dicts = [audit.to_dict() for audit in audits]
    written = documents.write(dicts, where)
    shown = Format.CONSOLE in where.formats
    _tell_skipped(audits, shown)
    files = [str(path) for path in written]
    audited = [d for d in dicts if len(dicts) > 1 or not d["skipped"]]
    if shown and audited:
        from auditor.report import render_console

        console = aside() if where.on_stdout else screen()
        for number, audit in enumerate(audited, start=1):
            render_console(audit, console, files if number == len(audited) else ())
    elif not quiet:
        for name in files:
            remark(f"Report: {name}")


def _tell_skipped(audits: Sequence[Audit], shown: bool) -> None:
    """Say on stderr why a file was not audited, unless its own panel among others is about to say so."""
    if shown and len(audits) > 1:
        return
    for audit in audits:
        if audit.skipped:
            name = "" if audit.suspect.path in audit.skipped.reason else f"{audit.suspect.path}: "
            complain(f"Not audited: {name}{audit.skipped.reason} {audit.skipped.advice}")
