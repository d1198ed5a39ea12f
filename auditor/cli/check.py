"""`audit check`: audit suspects, print or write the documents, exit with the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from auditor.cli import documents
from auditor.cli.documents import Destination, Format, Paper
from auditor.cli.exit_codes import FailOn, exit_code
from auditor.cli.known import known_files
from auditor.cli.options import (
    Alpha,
    Artists,
    Features,
    Independent,
    PaperSize,
    PolicyFile,
    Quiet,
    Resamples,
    ResamplingSeed,
    from_environment,
)
from auditor.cli.output import aside, complain, remark, screen
from auditor.cli.suspects import audited, followed, named
from auditor.errors import NotAuditable, UsageError
from auditor.gate import Policy, gated, level_of, load_policy
from auditor.policy import DEFAULTS
from auditor.result import Audit
from auditor.sources import Network

WITH_FOLDER = (Format.CONSOLE, Format.HTML, Format.JSON)


def check(
    context: typer.Context,
    suspects: Annotated[
        list[str],
        typer.Argument(metavar="SUSPECT", help="LoRA files, folders, hf://…, civitai:…, or '-': a list on stdin."),
    ],
    refs: Annotated[
        str | None,
        typer.Option(envvar="AUDIT_REFS", metavar="NAME|DIR|hf://…", help="Reference set; the shipped one by default."),
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
        typer.Option(
            "--output", "-o", envvar="AUDIT_OUTPUT", metavar="DIR|FILE", help="Folder for the documents, or one file."
        ),
    ] = None,
    artists: Artists = None,
    independent: Independent = False,
    alpha: Alpha = None,
    fail_on: Annotated[
        FailOn | None,
        typer.Option(
            envvar="AUDIT_FAIL_ON",
            help="From which verdict on the exit code is 10 or 11. Default: the policy's, else match.",
        ),
    ] = None,
    policy_file: PolicyFile = None,
    known: Annotated[
        Path | None,
        typer.Option(envvar="AUDIT_KNOWN", metavar="DIR", help="Known LoRA files of this base: is this a copy of one?"),
    ] = None,
    seed: ResamplingSeed = 0,
    resamples: Resamples = 1000,
    features: Features = None,
    offline: Annotated[
        bool, typer.Option("--offline", envvar="AUDIT_OFFLINE", help="Open no connection, whatever is named.")
    ] = False,
    lookup: Annotated[
        bool, typer.Option("--lookup", envvar="AUDIT_LOOKUP", help="Allow sending a hash (civitai:HASH) to its site.")
    ] = False,
    paper: PaperSize = Paper.A4,
    quiet: Quiet = False,
) -> None:
    """Audit LoRA files against a reference set.

    Exit codes: 0 nothing found · 1 the tool failed · 2 wrong usage · 3 not auditable · 10 inconclusive, with
    --fail-on inconclusive · 11 consistent with an artist, or derived from a known file.
    """
    default = WITH_FOLDER if output else (Format.CONSOLE,)
    by_default = from_environment(context, "output")
    where = documents.destination(formats or [], output, default, paper, output_by_default=by_default)
    policy = load_policy(policy_file) if policy_file else None
    level = level_of(alpha, policy)
    blocking = _fail_on(fail_on, policy)
    network = Network(offline, lookup)
    from auditor.audit import answer, not_audited
    from auditor.cli.sets import found
    from auditor.question import Question

    sources = named(suspects, network)
    thresholds = policy.thresholds if policy else DEFAULTS
    copies = known_files(known) if known else None
    question = Question(seed, level, resamples, features, tuple(artists or ()), independent, thresholds, copies)
    with found(refs, network) as (reference, pinned):
        policy = policy.read_for(reference) if policy else None
        warn_of_absent(policy, reference.artists)
        if policy:
            policy.require_whole_question(reference, artists or ())

        def audit_one(path: Path) -> Audit:
            return answer(path, question, reference)

        def unreachable(name: str, problem: NotAuditable) -> Audit:
            return not_audited(name, problem, reference, question)

        audits = [audited(s, audit_one, unreachable) for s in followed(sources, quiet, lambda source: source.name)]
    if pinned:  # a set's name alone would not lead back to the hub
        audits = [replace(audit, options=audit.options | {"refs": pinned}) for audit in audits]
    if policy:
        audits = [gated(audit, policy) for audit in audits]
        _tell_policy(audits, quiet)
    deliver(audits, where, quiet)
    raise typer.Exit(exit_code(audits, blocking))


def _fail_on(fail_on: FailOn | None, policy: Policy | None) -> FailOn:
    """What the exit code tells of; with a policy, --fail-on can only silence it."""
    if policy and fail_on not in (None, FailOn.NEVER):
        raise UsageError(
            f"--fail-on {fail_on} contradicts the policy, which says what blocks.",
            advice="Leave --fail-on out, or give --fail-on never.",
        )
    return fail_on or FailOn.MATCH


def warn_of_absent(policy: Policy | None, artists: Sequence[str]) -> None:
    """Say whom this set can never name, of the artists of a policy that is for several sets."""
    missing = policy.unknown_artists(artists) if policy else []
    if missing:
        complain(f"The reference set does not hold {', '.join(missing)}: with this set the policy cannot protect them.")


def _tell_policy(audits: Sequence[Audit], quiet: bool) -> None:
    """One line for each suspect that the policy blocks or lets pass despite its verdict."""
    for audit in audits:
        note = audit.options["policy"]
        if note["blocks"]:
            complain(f"{audit.suspect.path}: blocked. {note['reason']}")
        elif not quiet and note["outcome"] in ("ignored", "known", "not-of-concern"):
            remark(f"{audit.suspect.path}: not blocked ({note['outcome']}). {note['reason']}")


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
