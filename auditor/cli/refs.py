"""`audit refs`: reference sets – which there are, what they hold, and making one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from auditor.cli.output import complain, emit_json, print_pairs, remark
from auditor.errors import ReferenceSetError, UsageError

refs = typer.Typer(
    help="Reference sets: list, show, verify, and make one's own.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", envvar="AUDIT_JSON", help="A JSON document on stdout.")]
Name = Annotated[str, typer.Argument(metavar="NAME|DIR", help="An installed set's name, or a set's folder.")]
SetFolder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the reference set.")]
Output = Annotated[
    Path, typer.Option("--output", "-o", envvar="AUDIT_REFS_OUTPUT", metavar="DIR", help="Folder to write to.")
]
Seed = Annotated[int, typer.Option(min=0, envvar="AUDIT_SEED", help="Seed of everything random.")]


@refs.command("list")
def list_sets(as_json: Json = False) -> None:
    """List the installed reference sets."""
    from auditor.reference import installed

    found = [{"name": name, "path": str(path)} for name, path in installed()]
    if as_json:
        emit_json(found)
    elif found:
        print_pairs({row["name"]: row["path"] for row in found})
    else:
        remark("No reference set is installed.")


@refs.command()
def show(name: Name, as_json: Json = False) -> None:
    """Show what a reference set holds: base, features, artists, figures of its validity card."""
    from auditor.reference import describe

    _give(describe(name), as_json)


@refs.command()
def verify(name: Name, as_json: Json = False) -> None:
    """Check a reference set's digests and versions; exit code 1 when something is wrong."""
    from auditor.reference import verify as problems_of

    problems = problems_of(name)
    if as_json:
        emit_json({"set": name, "ok": not problems, "problems": problems})
    elif not problems:
        print_pairs({name: "digest and arrays are right"})
    for problem in problems:
        complain(f"{name}: {problem}")
    raise typer.Exit(ReferenceSetError.exit_code if problems else 0)


@refs.command("import")
def import_loras(
    loras: Annotated[Path, typer.Argument(metavar="DIR", help="One folder per artist with LoRA files.")],
    output: Output,
    features: Annotated[
        str | None, typer.Option(envvar="AUDIT_FEATURES", help="Kinds joined by '+'; 'paper' = raw A and B, one rank.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a reference set from LoRA files of any dialect, one folder per artist; calibrate it next."""
    from auditor.reference import import_folder

    _give(import_folder(loras, output, features_name=features), as_json)


@refs.command()
def calibrate(folder: SetFolder, seed: Seed = 0, as_json: Json = False) -> None:
    """Fit what makes an unseen LoRA comparable with the references of a set."""
    from auditor.reference import calibrate as fit

    _give(fit(folder, seed=seed), as_json)


@refs.command()
def evaluate(
    folder: SetFolder,
    loras: Annotated[
        Path | None,
        typer.Option(
            envvar="AUDIT_LORAS", metavar="DIR", help="LoRAs that the set was made from; default: held-out references."
        ),
    ] = None,
    thorough: Annotated[bool, typer.Option("--thorough", help="Also sub-networks and fewer references.")] = False,
    vision: Annotated[
        Path | None, typer.Option(metavar="MODEL", help="A vision model as a baseline: .npz or TorchScript.")
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Pictures that the LoRAs made, for --vision.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure how often this kind of set is right, halves of works and artists left out; its card as JSON and HTML."""
    from auditor.reference import evaluate as measure
    from auditor.report.card import render_card

    if (vision is None) != (pictures is None):
        raise UsageError("--vision and --pictures go together.", advice="Name a model and the pictures that it sees.")
    baselines = {}
    if vision is not None and pictures is not None:
        from auditor.training.vision import image_matrix, load_model

        baselines["image features of generated pictures"] = image_matrix(pictures, load_model(vision))
    card = measure(folder, loras, thorough=thorough, baselines=baselines)
    page = folder / "card.html"
    if folder.is_dir():
        page.write_text(render_card(card), encoding="utf-8")
        remark(f"Validity card: {page}")
    _give(card if as_json else {k: card[k] for k in ("set", "artists", "certificate", "headline")}, as_json)


@refs.command()
def export(
    folder: SetFolder,
    output: Output,
    sketch: Annotated[
        bool, typer.Option("--sketch", help="Random sketches instead of directions: nothing to make a style from.")
    ] = False,
    loras: Annotated[
        Path | None, typer.Option(envvar="AUDIT_LORAS", metavar="DIR", help="For --sketch: the LoRAs of the set.")
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Write a set that another party can audit with; with --sketch without anything that could reproduce a style."""
    from auditor.reference import export_set, export_sketch

    if not sketch:
        _give(export_set(folder, output), as_json)
    elif loras is None:
        raise UsageError("A sketch is computed from the LoRA files.", advice="Name their folder with --loras.")
    else:
        _give(export_sketch(folder, loras, output, seed=seed), as_json)


@refs.command()
def train(
    base: Annotated[
        Path, typer.Option(envvar="AUDIT_BASE", metavar="NAME|DIR", help="Base: audit-mini, or a diffusers folder.")
    ],
    images: Annotated[
        Path, typer.Option(envvar="AUDIT_IMAGES", metavar="DIR", help="One folder of images per artist.")
    ],
    output: Output,
    recipe: Annotated[
        list[str] | None, typer.Option(envvar="AUDIT_RECIPE", help="Repeatable. Default: all reference recipes.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, envvar="AUDIT_WORKERS", help="Processes side by side.")] = 1,
    gang: Annotated[int, typer.Option(min=1, envvar="AUDIT_GANG", help="LoRAs trained at once in a process.")] = 16,
    seed: Seed = 0,
    resume: Annotated[
        bool, typer.Option("--resume", envvar="AUDIT_RESUME", help="Keep finished LoRAs; always done, flag or not.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", envvar="AUDIT_QUIET", help="No progress.")] = False,
    as_json: Json = False,
) -> None:
    """Train reference LoRAs from artists' folders of images; import them next.  Needs the extra "train"."""
    from auditor.training import train as train_references

    def tell(line: str) -> None:
        if not quiet:
            remark(line)

    done = train_references(base, images, output, recipes=recipe, seed=seed, gang=gang, workers=workers, progress=tell)
    _give(done, as_json)


def _give(found: dict[str, Any], as_json: bool) -> None:
    """A result as JSON or for people."""
    if as_json:
        emit_json(found)
    else:
        print_pairs(found)
