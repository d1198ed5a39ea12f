"""`audit exhibit`: pictures made with the suspect and with the nearest references, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auditor.cli.documents import write_text
from auditor.cli.options import CacheOnly, NoRemarks
from auditor.cli.output import remark, show
from auditor.errors import NotAuditable, UsageError
from auditor.extras import needing
from auditor.whole_file import make_folder


def exhibit(
    suspect: Annotated[Path, typer.Argument(metavar="SUSPECT", help="A LoRA file.")],
    base: Annotated[
        Path, typer.Option(envvar="AUDIT_BASE", metavar="NAME|DIR|HUB-ID", help="The base that it was made for.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", envvar="AUDIT_OUTPUT", metavar="DIR", help="Folder of the exhibit.")
    ] = Path("exhibit"),
    refs: Annotated[
        str | None,
        typer.Option(envvar="AUDIT_REFS", metavar="NAME|DIR", help="Set that names the nearest references."),
    ] = None,
    loras: Annotated[
        Path | None,
        typer.Option(envvar="AUDIT_LORAS", metavar="DIR", help="LoRA files of that set; without them, no reference."),
    ] = None,
    nearest: Annotated[
        int, typer.Option(min=0, max=8, envvar="AUDIT_NEAREST", help="Artists whose nearest reference is shown.")
    ] = 3,
    prompt: Annotated[
        list[str] | None, typer.Option(envvar="AUDIT_PROMPT", help="Repeatable. Default: four fixed ones.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, max=1000, envvar="AUDIT_STEPS", help="Steps of the sampler.")] = 30,
    guidance: Annotated[float, typer.Option(min=1.0, max=30.0, envvar="AUDIT_GUIDANCE", help="Guidance scale.")] = 2.0,
    device: Annotated[
        str, typer.Option(envvar="AUDIT_DEVICE", metavar="cpu|cuda|…", help="Where to generate.")
    ] = "cpu",
    offline: CacheOnly = False,
    quiet: NoRemarks = False,
) -> None:
    """Generate pictures with the base alone, the suspect and the nearest references.  Needs the extra "train"."""
    chosen = nearest_references(suspect, refs, loras, nearest) if loras else []
    with needing("train", "exhibits"):
        from auditor.training import find_base, stay_offline
        from auditor.training.exhibit import PROMPTS, make_exhibit, page, png, sheet
    if offline:
        stay_offline()
    make_folder(output, "Give another folder with -o.")
    shown = [(f"suspect: {show(suspect.name)}", suspect), *chosen]
    made = make_exhibit(
        find_base(base), shown, prompts=prompt or PROMPTS, steps=steps, guidance=guidance, device=device
    )
    for name, data in (("exhibit.png", png(sheet(made))), ("exhibit.html", page(made).encode())):
        write_text(output / name, data)
        if not quiet:
            remark(f"Exhibit: {output / name}")


def nearest_references(suspect: Path, refs: str | None, loras: Path, count: int) -> list[tuple[str, Path]]:
    """(label, file) of the nearest reference of each of the nearest artists, by an audit against the set.

    Raises UsageError when the folder lacks one of the files, NotAuditable when the suspect cannot be audited.
    """
    from auditor.audit import check
    from auditor.reference import ReferenceSet

    audit = check(suspect, ReferenceSet.load(refs))
    if audit.skipped:
        raise NotAuditable(audit.skipped.reason, advice=audit.skipped.advice)
    found = []
    for score in audit.artists[:count]:
        name = Path(score.nearest_reference)
        places = (loras / name, loras / score.artist / name.name, loras / f"{score.artist}/{name.name}.safetensors")
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise UsageError(
                f"{loras} does not hold {show(score.nearest_reference)}.",
                advice="Give the folder of LoRAs that the set was made from, or leave --loras out.",
            )
        found.append((f"nearest reference of {show(score.artist)}: {show(name.name)}", path))
    return found
