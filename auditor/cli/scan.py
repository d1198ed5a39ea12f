"""`audit scan`: a corpus → one Parquet file, with progress on stderr and the exit code of `audit check`."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from auditor.cli.documents import require_place
from auditor.cli.exit_codes import FailOn, code_of_labels
from auditor.cli.options import Artists, Features, Independent, Quiet, Refs, Resamples, ResamplingSeed
from auditor.cli.output import aside, emit_json, print_pairs, remark
from auditor.errors import UsageError
from auditor.lora.text import shown
from auditor.whole_file import make_folder

EVERY = 5.0
"""Seconds between two lines of progress where stderr is no terminal."""


class Engine(StrEnum):
    """Where the work is done."""

    LOCAL = "local"
    RAY = "ray"


def scan(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="DIR|LIST",
            help="Folders, LoRA files, lists (.txt, a name a line), '-': a list on stdin, hf://owner/repo, s3://….",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", envvar="AUDIT_OUTPUT", metavar="OUT.parquet", help="File of the rows.")
    ],
    refs: Refs = None,
    artists: Artists = None,
    independent: Independent = False,
    workers: Annotated[
        int, typer.Option(min=1, envvar="AUDIT_WORKERS", help="Processes side by side; one a core by default.")
    ] = os.cpu_count() or 1,
    engine: Annotated[
        Engine, typer.Option(envvar="AUDIT_ENGINE", help="This machine, or a Ray cluster.")
    ] = Engine.LOCAL,
    alpha: Annotated[
        float, typer.Option(min=0.0, max=1.0, envvar="AUDIT_ALPHA", help="Level of significance, fixed before looking.")
    ] = 0.05,
    duplicates: Annotated[
        bool,
        typer.Option(
            "--duplicates", envvar="AUDIT_DUPLICATES", help="Also find copies, resizes, one run's files, merges."
        ),
    ] = False,
    fail_on: Annotated[
        FailOn, typer.Option(envvar="AUDIT_FAIL_ON", help="From which verdict on the exit code is 10 or 11.")
    ] = FailOn.MATCH,
    seed: ResamplingSeed = 0,
    resamples: Resamples = 1000,
    features: Features = None,
    timeout: Annotated[
        float, typer.Option(min=1.0, envvar="AUDIT_TIMEOUT", help="Seconds that one file may take.")
    ] = 300.0,
    memory: Annotated[
        int, typer.Option(min=64, envvar="AUDIT_MEMORY", help="MiB that one file may take in a worker.")
    ] = 2048,
    as_json: Annotated[
        bool, typer.Option("--json", envvar="AUDIT_JSON", help="The summary as JSON on stdout.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Audit many files into one Parquet file, resumable, a row for each, with false-discovery control over the batch.

    Exit codes are those of audit check with several suspects.
    """
    from auditor.corpus.names import expand
    from auditor.corpus.rows import Options
    from auditor.corpus.scan import scan as run
    from auditor.corpus.workers import Limits

    if not 0 < alpha < 1:
        raise UsageError(f"alpha = {alpha:g}.", advice="Give 0 < alpha < 1.")
    require_place(output)
    if output.is_dir():
        raise UsageError(f"-o {output} is a folder.", advice="Name the Parquet file, e.g. OUT.parquet.")
    if output.suffix.lower() != ".parquet":
        raise UsageError(f"-o {shown(output)} is no Parquet file.", advice="Name a file that ends in .parquet.")
    make_folder(output.parent, "Give another -o.")
    options = Options(refs, alpha, seed, resamples, features, duplicates, tuple(artists or ()), independent)
    with progress(quiet) as heard:
        found = run(
            expand(sources, sys.stdin, remark), output, options, workers=workers, limits=Limits(timeout, memory),
            engine=engine.value, heard=heard,
        )  # fmt: skip
    if not found.rows:
        raise UsageError("No file was named.", advice="Name folders with .safetensors, .pt or .bin files, or a list.")
    _tell(output, found, options, as_json)
    raise typer.Exit(code_of_labels(found.labels, fail_on))


def _tell(output: Path, found: Any, options: Any, as_json: bool) -> None:
    """The summary."""
    summary: dict[str, Any] = {
        "rows": found.rows,
        "new": found.new,
        "verdicts": found.labels,
        "tests": found.tests,
        "discoveries": found.discoveries,
        "least_q": found.least_q,
    }
    if options.artists:
        summary |= {"asked about": list(options.artists), "declared independent of the files": options.independent}
    if options.duplicates:
        summary["groups of near-duplicates"] = found.groups
    summary["file"] = str(output)
    if as_json:
        emit_json(summary)
        return
    print_pairs(summary)
    remark(
        f"discoveries: distinct files with q ≤ {options.alpha:g} (Benjamini–Hochberg over {found.tests} of them). "
        f"One file alone could not get below q = {found.least_q:.3g} here: the set's artists bound every p-value."
    )


@contextmanager
def progress(quiet: bool) -> Iterator[Any]:
    """A function to be told every row; counts on stderr: a live line on a terminal, else a line every few seconds."""
    if quiet:
        yield lambda row: None
        return
    counts: Counter[str] = Counter()
    started = time.monotonic()
    console = aside()
    if console.is_terminal:
        with console.status("starting workers") as status:

            def show(row: Mapping[str, Any]) -> None:
                counts[row.get("label") or "copy"] += 1
                status.update(_line(counts, started))

            yield show
        return
    last = started

    def tell(row: Mapping[str, Any]) -> None:
        nonlocal last
        counts[row.get("label") or "copy"] += 1
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            remark(_line(counts, started))

    yield tell
    remark(_line(counts, started))


def _line(counts: Counter[str], started: float) -> str:
    """How far the scan is."""
    total, seconds = counts.total(), max(time.monotonic() - started, 1e-9)
    parts = ", ".join(f"{number} {label}" for label, number in counts.most_common())
    return f"{total} files, {total / seconds:.1f} a second{': ' if parts else ''}{parts}"
