"""Options and arguments that several commands have, each with one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auditor.cli.documents import Paper, require_place
from auditor.sources import require_local


def local_path(name: str) -> Path:
    """A path of this machine, before an address has become one: a Path loses the second of two slashes."""
    require_local(name)
    return Path(name)


def possible_place(name: str) -> Path:
    """A path to write to that the system can look up.  Raises UsageError."""
    require_place(Path(name))
    return Path(name)


LoraFile = Annotated[Path, typer.Argument(metavar="FILE", parser=local_path, help="A LoRA file.")]
AuditFile = Annotated[
    Path, typer.Argument(metavar="AUDIT.json", parser=local_path, help="What audit check --format json wrote.")
]
Json = Annotated[bool, typer.Option("--json", envvar="AUDIT_JSON", help="A JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", envvar="AUDIT_QUIET", help="No progress.")]
NoRemarks = Annotated[bool, typer.Option("--quiet", "-q", envvar="AUDIT_QUIET", help="No remarks.")]
Offline = Annotated[bool, typer.Option("--offline", envvar="AUDIT_OFFLINE", help="Open no connection.")]
CacheOnly = Annotated[
    bool, typer.Option("--offline", envvar="AUDIT_OFFLINE", help="Take from the hub only what lies in its cache.")
]
Refs = Annotated[
    str | None,
    typer.Option("--refs", envvar="AUDIT_REFS", metavar="NAME|DIR", help="Reference set; the shipped one by default."),
]
PolicyFile = Annotated[
    Path | None,
    typer.Option("--policy", envvar="AUDIT_POLICY", metavar="FILE", help="Thresholds and what blocks, in TOML."),
]
Alpha = Annotated[
    float | None,
    typer.Option(
        "--alpha",
        min=0.0,
        max=1.0,
        envvar="AUDIT_ALPHA",
        help="Level of significance, fixed before looking. Default: the policy's, else 0.05.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, envvar="AUDIT_SEED", help="Seed of everything random.")]
ResamplingSeed = Annotated[int, typer.Option("--seed", min=0, envvar="AUDIT_SEED", help="Seed of the resampling.")]
Resamples = Annotated[
    int, typer.Option("--resamples", min=1, envvar="AUDIT_RESAMPLES", help="Resamples behind the intervals.")
]
Features = Annotated[
    str | None,
    typer.Option("--features", envvar="AUDIT_FEATURES", metavar="NAME", help="Features; those of the set by default."),
]
Artists = Annotated[
    list[str] | None,
    typer.Option(
        "--artist",
        metavar="NAME",
        help="Repeatable: is it this artist's, or can they be ruled out? Default: whose of all is it?",
    ),
]
Independent = Annotated[
    bool,
    typer.Option(
        "--independent",
        help="Declare that --artist was not chosen by how the file or its pictures look, nor by an earlier audit.",
    ),
]
PaperSize = Annotated[Paper, typer.Option("--paper", envvar="AUDIT_PAPER", help="Of PDFs.")]


def from_environment(context: typer.Context, name: str) -> bool:
    """Whether an option's value is a default that the environment gave, not one asked for in this run."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "ENVIRONMENT"
