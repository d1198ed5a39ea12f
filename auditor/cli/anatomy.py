"""`audit inspect` and `audit compare`: what files are, without any reference set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auditor.cli.options import Json, LoraFile, Offline, local_path
from auditor.cli.output import emit_json, print_pairs
from auditor.errors import UsageError

Header = Annotated[
    bool, typer.Option("--header", help="Read the header alone, at once whatever the size: no hashes, scales, spectra.")
]


def inspect(
    file: LoraFile,
    lookup: Annotated[
        bool,
        typer.Option(
            "--lookup", envvar="AUDIT_LOOKUP", help="Send the file's short hash to Civitai and ask what it is."
        ),
    ] = False,
    offline: Offline = False,
    header: Header = False,
    as_json: Json = False,
) -> None:
    """Show what a LoRA file is: dialect, base, ranks, spectrum, hashes, declared metadata (claims, not evidence)."""
    from auditor.lora.inspect import inspect as anatomy

    found = anatomy(file, header_only=header)
    if lookup and header:
        raise UsageError("--lookup needs the file's hash, --header reads none.", advice="Give one of them.")
    if lookup:
        from auditor.sources import Network
        from auditor.sources.civitai import by_hash, described

        version = by_hash(found["autov2"], Network(offline, lookup))
        found["lookup"] = {"site": "civitai", "hash": found["autov2"], "found": described(version) if version else None}
    if as_json:
        emit_json(found)
    else:
        from auditor.cli.anatomy_page import print_anatomy

        print_anatomy(found)
        if lookup:
            print_pairs(found["lookup"])


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", parser=local_path, help="A LoRA file.")],
    b: Annotated[Path, typer.Argument(metavar="B", parser=local_path, help="Another one.")],
    as_json: Json = False,
) -> None:
    """Tell how two LoRA files are related: copies, re-saves, resizes, one run, a merge, or unrelated."""
    from auditor.lora.relation import compare_files

    found = compare_files(a, b)
    answer = {"a": str(a), "b": str(b), "relation": found.relation, "figures": found.figures}
    answer["reasons"] = list(found.reasons)
    if as_json:
        emit_json(answer)
    else:
        from auditor.cli.anatomy_page import print_relation

        print_relation(answer)
