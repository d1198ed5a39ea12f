"""`audit map`: a reference set in two dimensions, with suspects and, if wanted, a scanned corpus."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.cli.documents import require_place, write_text
from auditor.cli.exit_codes import NOT_AUDITABLE
from auditor.cli.options import Quiet, Refs, Seed
from auditor.cli.output import complain, remark
from auditor.cli.suspects import followed, local
from auditor.errors import NotAuditable, UsageError
from auditor.sources import Local, Unresolved

if TYPE_CHECKING:
    from auditor.audit import Placed
    from auditor.reference import ReferenceSet
    from auditor.result import Audit

ENDINGS = (".html", ".svg")


class Projection(StrEnum):
    """How the dimensions become two."""

    PCA = "pca"
    UMAP = "umap"


def style_map(
    suspects: Annotated[
        list[str] | None, typer.Argument(metavar="[SUSPECT]...", help="LoRA files or folders to place in the map.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", envvar="AUDIT_MAP_OUTPUT", metavar="FILE", help="map.html or map.svg.")
    ] = Path("map.html"),
    refs: Refs = None,
    corpus: Annotated[
        Path | None, typer.Option(envvar="AUDIT_CORPUS", metavar="OUT.parquet", help="Also draw what audit scan wrote.")
    ] = None,
    projection: Annotated[
        Projection, typer.Option(envvar="AUDIT_PROJECTION", help="umap needs the extra 'map'.")
    ] = Projection.PCA,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Draw the artists of a reference set, their genres and suspects in two dimensions, as one page or picture.

    Exit codes: 0 drawn · 1 the tool failed · 2 wrong usage · 3 drawn, but a suspect could not be audited.
    """
    if not output.name.lower().endswith(ENDINGS):
        raise UsageError(f"-o {output} is neither HTML nor SVG.", advice="Name a file that ends in .html or .svg.")
    require_place(output)
    from auditor.corpus.map import style_map as place
    from auditor.corpus.map_page import render_page, render_svg
    from auditor.reference import ReferenceSet

    reference = ReferenceSet.load(refs)
    named = local(suspects) if suspects else []
    found = _placed(named, reference, seed, quiet)
    view = place(reference, found, corpus, projection.value, seed)
    written = write_text(output, render_svg(view) if output.name.lower().endswith(".svg") else render_page(view))
    if not quiet:
        remark(f"Map: {written}")
    if len(found) < len(named):
        raise typer.Exit(NOT_AUDITABLE)


def _placed(
    suspects: Sequence[Local | Unresolved], reference: ReferenceSet, seed: int, quiet: bool
) -> list[tuple[str, Placed, Audit]]:
    """Name, place and audit of each suspect that could be audited; the others are told on stderr."""
    from auditor.audit import check

    found = []
    for suspect in followed(suspects, quiet, lambda source: source.name):
        seen: list[Placed] = []
        try:
            with suspect.fetched() as path:
                audit = check(path, reference, seed=seed, observe=seen.append)
        except NotAuditable as problem:
            complain(f"Not placed: {problem}")
            continue
        if audit.skipped:
            complain(f"Not placed: {audit.skipped.reason} {audit.skipped.advice}")
        else:
            found.append((suspect.name, seen[0], audit))
    return found
