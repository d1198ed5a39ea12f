"""`inspect` and `compare` for people: tables on the terminal, plain where it is none; untrusted text made visible."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from auditor.cli.output import screen, show
from auditor.lora.provenance import provenance

BAR = 24
"""Characters of the longest bar."""
MOST_BLOCKS, MOST_TAGS, MOST_DECLARED, LONGEST = 40, 20, 40, 160
MEANINGS = {
    "same_file": "the same file",
    "same_tensors": "the same tensors under another header",
    "same_update": "the same change of weights, written anew",
    "resized": "one is the other, cut to a lower rank",
    "same_run": "two checkpoints of one training, or runs from one start",
    "merge": "one contains the other",
    "unrelated": "no relation found",
    "no_effect": "at least one changes nothing",
    "not_comparable": "they adapt no layer in common",
}


SCALES = {
    "alpha": "alpha / rank (alpha stored in {n} modules)",
    "scale": "a stored scale ({n} modules)",
    "config": "alpha / rank (alpha from the configuration, {n} modules)",
    "rslora": "alpha / √rank (alpha from the configuration, {n} modules)",
    "none": "no alpha given ({n} modules)",
}
"""Where a module's scale comes from, in words."""
NOTHING = hashlib.sha256(b"").hexdigest()[:8]
"""Short hash of no bytes."""
TOO_SHORT = "– (taken from the second MiB on, and the file ends before)"


def print_anatomy(found: Mapping[str, Any]) -> None:
    """The fields of `inspect`."""
    console = screen()
    console.print(Text(show(found["path"]), style="bold"), soft_wrap=True)
    _pairs(console, _facts(found))
    _blocks(console, found["blocks"])
    _declared(console, found["declared"])
    _list(console, "Warnings", found["warnings"], "yellow")


def print_relation(found: Mapping[str, Any]) -> None:
    """The fields of `compare`."""
    console = screen()
    console.print(Text.assemble((found["relation"], "bold"), f": {MEANINGS[found['relation']]}"), soft_wrap=True)
    _pairs(console, [("a", show(found["a"])), ("b", show(found["b"]))])
    for reason in found["reasons"]:
        console.print(Text(f"  {show(reason)}"), soft_wrap=True)
    _pairs(console, [(name, f"{value:.6g}") for name, value in found["figures"].items()])


def _facts(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of every plain field."""
    rank, scale, spectrum, unread = found["rank"], found["scale"], found["spectrum"], found["unread"]
    rows = [
        ("sha256", found["sha256"]),
        ("tensors' sha256", found["tensor_sha256"]),
        ("AutoV1", found["autov1"] and (TOO_SHORT if found["autov1"] == NOTHING else found["autov1"])),
        ("AutoV2, V3", found["autov2"] and ", ".join(found[f"autov{n}"] for n in "23")),
        ("kohya's legacy hash", None if found["sshs_legacy_hash"] == NOTHING else found["sshs_legacy_hash"]),
        ("bytes", f"{found['bytes']:,} ({found['container']})"),
        ("dialect", found["dialect"]),
        ("trainer", f"{found['trainer']['guess']}: {' '.join(found['trainer']['grounds'])}"),
        ("algorithm", ", ".join(found["algorithm"])),
        ("base", f"{found['base_family']}: {' '.join(found['base_grounds'])}"),
        ("modules", f"{found['modules']} ({_counts(found['parts'])})"),
        ("rank", rank and _range(rank)),
        ("scale", scale and f"{_range(scale)} = {_sources(scale['source'])}"),
        ("number formats", ", ".join(f"{kind} ({count} tensors)" for kind, count in found["dtypes"].items())),
        ("without effect", None if found["zero_modules"] is None else f"{found['zero_modules']} modules"),
        ("not read", f"{unread['tensors']} tensors, {unread['bytes']:,} bytes" if unread["tensors"] else None),
        (
            "truncated",
            found["truncated"] and "{present} of {declared} tensors are complete".format(**found["truncated"]),
        ),
        ("norm of ΔW", spectrum and f"{spectrum['norm']:.5g}, largest singular value {spectrum['largest']:.5g}"),
        ("effective rank", spectrum and f"{spectrum['effective_rank_median']:.3g} (median of the modules)"),
    ]
    return [(name, show(value)) for name, value in rows if value]


def _counts(values: Mapping[str, int]) -> str:
    """'unet 278, text_encoder 72'."""
    return ", ".join(f"{name} {count}" for name, count in values.items())


def _sources(values: Mapping[str, int]) -> str:
    """'alpha / rank (alpha stored in 100 modules)'."""
    return "; ".join(SCALES.get(source, f"{source} ({{n}} modules)").format(n=n) for source, n in values.items())


def _range(values: Mapping[str, float]) -> str:
    """'4' or '4 … 16, median 8'."""
    if values["min"] == values["max"]:
        return f"{values['min']:g}"
    return f"{values['min']:g} … {values['max']:g}, median {values['median']:g}"


def _pairs(console: Console, rows: Iterable[tuple[str, str]]) -> None:
    """Names and values in two columns; long values go on below themselves, but digests stay whole, to be copied."""
    known = [(show(name), value) for name, value in rows]
    width = max((cell_len(name) for name, _ in known), default=0)
    for name, value in known:
        if " " not in value:
            console.print(Text.assemble((f"{name}{' ' * (width - cell_len(name) + 2)}", "dim"), value), soft_wrap=True)
            continue
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, style="dim", width=width)
        table.add_column(overflow="fold")
        table.add_row(name, Text(value))
        console.print(table)


def _blocks(console: Console, blocks: list[dict[str, Any]]) -> None:
    """Where in the model the change is."""
    if not blocks:
        return
    most = max(block["share"] for block in blocks) or 1.0
    table = Table(box=None, title="Energy of the change, by block", title_justify="left", padding=(0, 2, 0, 0))
    table.add_column("block", overflow="fold")
    for name in ("modules", "share"):
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))  # never cut: a cut number misleads
    table.add_column("", no_wrap=True, min_width=BAR)
    for block in blocks[:MOST_BLOCKS]:
        bar = "█" * round(BAR * block["share"] / most)
        table.add_row(show(block["block"]), str(block["modules"]), f"{block['share']:.1%}", Text(bar, style="cyan"))
    console.print(table)
    if len(blocks) > MOST_BLOCKS:
        console.print(Text(f"… and {len(blocks) - MOST_BLOCKS} blocks more (--json lists all)", style="dim"))


def _declared(console: Console, declared: Mapping[str, str]) -> None:
    """What the file says of itself."""
    if not declared:
        return
    console.print(Text("\nDeclared by the file itself (claims, not evidence)", style="bold"))
    told = provenance(declared)
    rows = []
    if told["folders"]:
        folders = (f"{name} ({images} images)" if images else name for name, images in told["folders"].items())
        rows.append(("folders of pictures", ", ".join(folders)))
    if told["tags"]:
        tags = ", ".join(f"{tag} {count}" for tag, count in told["tags"][:MOST_TAGS])
        rows.append((f"{len(told['tags'])} tags", tags))
    plain = [(k, v) for k, v in declared.items() if k not in ("ss_dataset_dirs", "ss_tag_frequency")]
    rows += [(name, value if len(value) <= LONGEST else value[:LONGEST] + "…") for name, value in plain[:MOST_DECLARED]]
    _pairs(console, [(name[:60], show(value)) for name, value in rows])
    if len(plain) > MOST_DECLARED:
        console.print(Text(f"… and {len(plain) - MOST_DECLARED} entries more (--json lists them)", style="dim"))


def _list(console: Console, title: str, items: list[str], style: str) -> None:
    """A titled list; nothing where it is empty."""
    if items:
        console.print(Text(f"\n{title}", style=f"bold {style}"))
        for item in items:
            console.print(Text(f"- {show(item)}"), soft_wrap=True)
