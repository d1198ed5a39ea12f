"""`audit refs`: reference sets – which there are, what they hold, and making one's own."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from auditor.cli.documents import write_text
from auditor.cli.options import CacheOnly, Json, Offline, Quiet, Seed, local_path, possible_place
from auditor.cli.output import complain, emit_json, print_pairs, remark
from auditor.errors import ReferenceSetError, TrainingError, UsageError

refs = typer.Typer(
    help="Reference sets: list, show, verify, and make one's own.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Name = Annotated[str, typer.Argument(metavar="NAME|DIR", help="An installed set's name, or a set's folder.")]
SetFolder = Annotated[Path, typer.Argument(metavar="DIR", parser=local_path, help="Folder of the reference set.")]
Output = Annotated[
    Path,
    typer.Option(
        "--output", "-o", envvar="AUDIT_REFS_OUTPUT", metavar="DIR", parser=possible_place, help="Folder to write to."
    ),
]


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

    found = describe(name)
    _give(found if as_json else _for_people(found), as_json)


def _for_people(found: Mapping[str, Any]) -> dict[str, Any]:
    """What `describe` found: an artist a line, and the card's figures under the names and in the digits of reports."""
    from auditor.report.card import figure_row

    artists = {
        artist["name"]: ", ".join(f"{key} {value}" for key, value in artist.items() if key != "name" and value)
        for artist in found["artists"]
    }
    rows = (figure_row(key, figure) for key, figure in found["validity"].items())
    figures = {name: f"{value} ({interval}), {of} artists" for name, value, interval, of in rows}
    return {**found, "modules": len(found["modules"]), "artists": artists, "validity": figures}


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
        write_text(page, render_card(card))
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


class Part(StrEnum):
    """Which works of an artist a reference is trained on."""

    HALVES = "halves"
    ALL = "all"


class Precision(StrEnum):
    """The type that the frozen base computes in."""

    FLOAT32 = "no"
    BF16 = "bf16"


@refs.command()
def add(
    folder: SetFolder,
    loras: Annotated[Path, typer.Argument(metavar="LORAS", help="One folder per artist with the LoRA files to add.")],
    as_json: Json = False,
) -> None:
    """Add LoRA files of new or known artists to a set and calibrate it again; evaluate it again next."""
    from auditor.reference import add_folder

    _give(add_folder(folder, loras), as_json)


@refs.command("remove")
def take_out(
    folder: SetFolder,
    names: Annotated[
        list[str],
        typer.Argument(metavar="ARTIST|ARTIST/FILE", help="Artists, or single references as the set names them."),
    ],
    as_json: Json = False,
) -> None:
    """Take artists or references out of a set and calibrate it again; evaluate it again next."""
    from auditor.reference import remove

    _give(remove(folder, names), as_json)


@refs.command()
def pull(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DIR|hf://…",
            help="hf://owner/repo/folder@revision (folder and revision may be missing), or a folder.",
        ),
    ],
    output: Output,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Copy a reference set here, pinned to a commit, and verify its digest."""
    from auditor.sources.sets import pull as fetch

    _give(fetch(source, output, offline=offline), as_json)


@refs.command()
def push(
    folder: SetFolder,
    target: Annotated[str, typer.Argument(metavar="DIR|hf://…", help="hf://owner/repo/folder, or a folder.")],
    message: Annotated[
        str, typer.Option("--message", "-m", envvar="AUDIT_MESSAGE", help="Message of the commit on the hub.")
    ] = "Update the reference set",
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Publish a verified reference set: its calibration and card, never the features it was made from."""
    from auditor.sources.sets import push as publish

    _give(publish(folder, target, message=message, offline=offline), as_json)


@refs.command()
def train(
    base: Annotated[
        Path,
        typer.Option(
            envvar="AUDIT_BASE", metavar="NAME|DIR|HUB-ID", help="Base: audit-mini, a diffusers folder, or owner/name."
        ),
    ],
    images: Annotated[
        Path, typer.Option(envvar="AUDIT_IMAGES", metavar="DIR", help="One folder of images per artist.")
    ],
    output: Output,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            envvar="AUDIT_RECIPE", metavar="NAME|TOML", help="Repeatable. Default: all reference recipes of the base."
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=1, envvar="AUDIT_REPEATS", help="LoRAs per artist, half and recipe; each its own seed.")
    ] = 1,
    checkpoint: Annotated[
        str,
        typer.Option(
            envvar="AUDIT_CHECKPOINT",
            metavar="NAME",
            help="Name of this base, where it is a checkpoint made from the one that the LoRAs in OUTPUT are for.",
        ),
    ] = "",
    parts: Annotated[
        Part,
        typer.Option(
            envvar="AUDIT_PARTS", help="References from two halves of the works; from all, the set rules nobody out."
        ),
    ] = Part.HALVES,
    caption: Annotated[
        str,
        typer.Option(envvar="AUDIT_CAPTION", metavar="given|names|MODEL", help="Captions of pictures that have none."),
    ] = "given",
    side: Annotated[
        int | None, typer.Option(min=16, envvar="AUDIT_SIDE", help="Pixels of the pictures; the base's by default.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, envvar="AUDIT_WORKERS", help="Processes side by side, one GPU each.")
    ] = 1,
    gang: Annotated[int, typer.Option(min=1, envvar="AUDIT_GANG", help="LoRAs trained at once in a process.")] = 16,
    device: Annotated[
        str | None, typer.Option(envvar="AUDIT_DEVICE", metavar="cpu|cuda|…", help="The best there is by default.")
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(envvar="AUDIT_PRECISION", help="bf16 on a GPU, float32 on a CPU by default.")
    ] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", envvar="AUDIT_COMPILE", help="Compile the base's model first.")
    ] = False,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", envvar="AUDIT_CHECKPOINTING", help="Less memory for more time.")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say what would be trained, and how long by measured steps.")
    ] = False,
    seed: Seed = 0,
    offline: CacheOnly = False,
    resume: Annotated[
        bool, typer.Option("--resume", envvar="AUDIT_RESUME", help="Keep finished LoRAs; always done, flag or not.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train reference LoRAs from artists' folders of images; import them next.  Needs the extra "train"."""
    from auditor.training import train as train_references

    def tell(line: str) -> None:
        if not quiet:
            remark(line)

    done = train_references(
        base,
        images,
        output,
        recipes=recipe,
        seed=seed,
        gang=gang,
        workers=workers,
        parts=("a", "b") if parts is Part.HALVES else ("all",),
        repeats=repeats,
        checkpoint=checkpoint,
        side=side,
        caption=caption,
        device=device,
        precision=precision.value if precision else None,
        compiled=compiled,
        checkpointing=checkpointing,
        only_plan=plan,
        offline=offline,
        quiet=quiet,
        progress=tell,
    )
    if done:
        _give(done, as_json)
    if done.get("failed"):
        raise TrainingError(
            f"{len(done['failed'])} of {done['planned']} LoRAs were not trained.",
            advice="Mend what the lines above say and run the same command again.",
        )
    if done.get("elsewhere"):
        raise TrainingError(
            f"{done['elsewhere']} of {done['planned']} LoRAs are not there yet: another run has them, or dropped them.",
            advice="Run the same command again when it has ended.",
        )


def _give(found: dict[str, Any], as_json: bool) -> None:
    """A result as JSON or for people."""
    if as_json:
        emit_json(found)
    else:
        print_pairs(found)
