"""`audit inspect` and `audit compare`: what files are, without any reference set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from auditor.cli.output import emit_json, print_pairs

Json = Annotated[bool, typer.Option("--json", envvar="AUDIT_JSON", help="A JSON document on stdout.")]
LoraFile = Annotated[Path, typer.Argument(metavar="FILE", help="A LoRA file.")]


def inspect(
    file: LoraFile,
    lookup: Annotated[
        bool,
        typer.Option(
            "--lookup", envvar="AUDIT_LOOKUP", help="Send the file's short hash to Civitai and ask what it is."
        ),
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", envvar="AUDIT_OFFLINE", help="Open no connection.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a LoRA file is: dialect, base, ranks, spectrum, hashes, declared metadata (claims, not evidence)."""
    from auditor.lora.inspect import inspect as anatomy

    found = anatomy(file)
    if lookup:
        from auditor.sources import Network
        from auditor.sources.civitai import by_hash, described

        version = by_hash(found["autov2"], Network(offline, lookup))
        found["lookup"] = {"site": "civitai", "hash": found["autov2"], "found": described(version) if version else None}
    _give(found, as_json)


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A LoRA file.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    as_json: Json = False,
) -> None:
    """Tell how two LoRA files are related: copies, re-saves, resizes, one run, a merge, or unrelated."""
    from auditor.lora import load_lora, read_artifact
    from auditor.lora.relation import compare as relate

    one, other = read_artifact(a), read_artifact(b)
    found = relate(load_lora(a), load_lora(b), one.sha256, other.sha256, one.tensor_sha256, other.tensor_sha256)
    names = {"a": str(a), "b": str(b)}
    _give({**names, "relation": found.relation, "figures": found.figures, "reasons": list(found.reasons)}, as_json)


def _give(found: dict[str, Any], as_json: bool) -> None:
    """The result as JSON or for people."""
    if as_json:
        emit_json(found)
    else:
        print_pairs(found)
