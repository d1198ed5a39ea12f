"""`audit search`: the nearest LoRAs of a scanned corpus."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from auditor.cli.options import Json, LoraFile
from auditor.cli.output import emit_json, remark, screen, show
from auditor.errors import UsageError


def search(
    file: LoraFile,
    corpus: Annotated[Path, typer.Option(envvar="AUDIT_CORPUS", metavar="OUT.parquet", help="What audit scan wrote.")],
    k: Annotated[int, typer.Option("-k", min=1, max=10_000, envvar="AUDIT_K", help="How many.")] = 10,
    base: Annotated[
        str | None, typer.Option(envvar="AUDIT_BASE_FAMILY", help="Only files of this base family.")
    ] = None,
    creator: Annotated[
        str | None, typer.Option(envvar="AUDIT_CREATOR", help="Only files that declare this creator.")
    ] = None,
    since: Annotated[str | None, typer.Option(envvar="AUDIT_SINCE", metavar="DAY", help="From this day on.")] = None,
    until: Annotated[str | None, typer.Option(envvar="AUDIT_UNTIL", metavar="DAY", help="Up to this day.")] = None,
    refs: Annotated[
        str | None,
        typer.Option(envvar="AUDIT_REFS", metavar="NAME|DIR", help="The set of the scan; the shipped one by default."),
    ] = None,
    approximate: Annotated[
        bool,
        typer.Option("--approximate", envvar="AUDIT_APPROXIMATE", help="Through a graph, for 5 million files or more."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Find the files of a corpus that are nearest by style, with the p-value of each against the corpus."""
    from auditor.corpus.search import Filters
    from auditor.corpus.search import search as run

    for day in (since, until):
        if day is not None and not re.fullmatch(r"\d{4}-\d\d-\d\d", day):
            raise UsageError(f"{day} is no day.", advice="Write it as 2024-12-31.")
    found = run(file, corpus, k=k, filters=Filters(base, creator, since, until), refs=refs, approximate=approximate)
    if as_json:
        emit_json(found)
    else:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    """Hits as a table."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", "cosine", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("file", overflow="fold")
    table.add_column("verdict")
    for hit in found["hits"]:
        told = hit["label"] or "–"
        note = "same tensors" if hit["same_tensors"] else told
        cells = (str(hit["rank"]), f"{hit['cosine']:.3f}", f"{hit['p']:.3g}", show(hit["path"]), note)
        table.add_row(*(Text(cell) for cell in cells))
    if found["hits"]:
        screen().print(table)
    else:
        remark("No file of the corpus passes the filters.")
    corpus, null = found["corpus"], found["null"]
    remark(
        f"{corpus['looked_at']} of {corpus['files']} files looked at ({found['search']}); "
        f"{corpus['without_this_view']} others have no coordinates in the suspect's view: other layers, another base, "
        f"or not audited. {null['hypothesis']} Least possible p: {null['p_min']:.3g}. "
        "A hit says that styles are close, not where pictures came from."
    )
