"""A view → the blocks of a paged document, in reading order; what HTML does in its template.

A block is a heading, a paragraph, a list, rows of facts, a table, a figure, a callout or a line of code.  Blocks hold
finished strings; how they look is the typesetter's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from auditor.report import figures
from auditor.report.view import TOP, ArtistRow, Row, View
from auditor.texts import METHOD, SHAPES, WORDS, say


@dataclass(frozen=True)
class Cell:
    """One cell of a table: text, or a bar."""

    text: str = ""
    note: str = ""
    kind: str = "text"
    """text or bar."""
    share: float = 0.0
    """Length of the bar, 0…1."""
    loud: bool = False
    strong: bool = False
    code: bool = False


@dataclass(frozen=True)
class Block:
    """One block; which fields count depends on `kind`."""

    kind: str
    """heading, text, quiet, list, notes (a list in small print), rows, table, figure, callout, code."""
    text: str = ""
    level: int = 1
    loud: bool = False
    items: tuple[object, ...] = ()
    """Strings of a list, `Row`s of rows, unbreakable pieces of code."""
    heads: tuple[str, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()
    widths: tuple[float, ...] = ()
    """Relative widths of a table's columns; 0 = as wide as its content."""
    right: tuple[bool, ...] = ()
    """Columns that are set flush right."""
    svg: str = ""
    alt: str = ""
    caption: str = ""
    width: float = 1.0
    """Share of the text's width that a figure takes."""


LEADING = ("heading", "text", "quiet")
"""Kinds of blocks that lead to something."""


def first_page(v: View) -> tuple[Block, ...]:
    """What page one shows between the verdict and the figures under it."""
    found: list[Block] = []
    if v.skipped:
        found += [
            *(_heading("h.skipped", 2), Block("text", v.skipped.reason)),
            *(_heading("h.advice", 2), Block("text", v.skipped.advice)),
            Block("callout", say("skipped.meaning")),
        ]
    if v.audited and v.controls_alarm:
        found.append(Block("callout", v.controls_text, loud=True))
    if v.copied:
        found += [_heading("h.sure", 2), *(Block("text", line) for line in v.copied)]
    elif v.audited and v.sure:
        dots = _figure(figures.pips(v.sure.of100, v.sure.pips), width=0.56)
        found += [_heading("h.sure", 2), Block("text", v.sure.words), dots]
        found.append(Block("quiet", f"{v.sure.floor} {v.sure.compared}".strip()))
    if v.caution:
        found.append(Block("callout", v.caution))
    return tuple(found)


def sections(v: View) -> tuple[Block, ...]:
    """Everything after page one."""
    parts = (
        _why,
        _artists,
        _null,
        _map,
        _parts,
        _mixture,
        _controls,
        _coverage,
        _validity,
        _provenance,
        _end,
        _all_null,
    )
    return tuple(block for part in parts for block in part(v))


def together(blocks: Sequence[Block]) -> list[list[Block]]:
    """Blocks in runs that stay on one page: a heading with the words under it, and with the figure that these lead to.

    A run that ends in words is to stay with whatever follows it.
    """
    runs: list[list[Block]] = []
    for block in blocks:
        last = runs[-1] if runs else []
        led = bool(last) and last[0].kind == "heading" and last[-1].kind in LEADING
        if led and block.kind in (*LEADING, "figure"):
            last.append(block)
        else:
            runs.append([block])
    return runs


def _heading(key: str, level: int = 1) -> Block:
    return Block("heading", say(key), level=level)


def _texts(*values: str) -> tuple[Cell, ...]:
    return tuple(Cell(value) for value in values)


def _why(v: View) -> Iterator[Block]:
    """Reasons, and the known file behind a derivative."""
    if v.reasons and v.audited:
        yield _heading("h.why")
        yield Block("list", items=v.reasons)
    if v.derivative:
        yield _heading("h.derivative")
        yield Block("rows", items=v.derivative)


def _artists(v: View) -> Iterator[Block]:
    """The ranked artists: the first with bars, all others without."""
    if not v.artists:
        return
    yield _heading("h.artists")
    yield Block("quiet", say("artists.lead.table"))
    scale = figures.score_scale(v.artists[:TOP])
    yield _artist_table(v.shown, scale)
    yield Block("notes", items=v.notes)
    if v.rest:
        yield Block("heading", say("artists.rest", n=len(v.rest)), level=2)
        yield _artist_table(v.rest, None)
        if v.artists_cut:
            yield Block("quiet", say("artists.cut", n=v.artists_cut))


def _artist_table(items: Sequence[ArtistRow], scale: figures.Scale | None) -> Block:
    widths = {"rank": 0.0, "artist": 4.0, "score": 0.0, "interval": 0.0, "p": 0.0, "exclusion": 0.0}
    widths["evidence"] = 2.5 if scale else 0.0
    rows = [_artist(a, scale) for a in items]
    bar: tuple[tuple[str, float, bool], ...] = ((say("col.bar"), 3.0, False),) if scale else ()
    heads = [(say(f"col.{key}"), width, key not in ("artist", "evidence")) for key, width in widths.items()]
    columns = [*heads[:2], *bar, *heads[2:]]
    return Block(
        "table",
        heads=tuple(c[0] for c in columns),
        rows=tuple(rows),
        widths=tuple(float(c[1]) for c in columns),
        right=tuple(bool(c[2]) for c in columns),
    )


def _artist(a: ArtistRow, scale: figures.Scale | None) -> tuple[Cell, ...]:
    name = Cell(a.artist, strong=a.significant, note=a.genre if scale else "")
    bar: tuple[Cell, ...] = ()
    if scale:
        full = scale(scale.high) - scale(0.0)
        bar = (Cell(kind="bar", share=min(1.0, max(0.0, (scale(a.value) - scale(0.0)) / full)), loud=a.rank == 1),)
    shown = _texts(a.score, a.interval, a.p, a.p_exclusion)
    return (*_texts(str(a.rank)), name, *bar, *shown, Cell(a.evidence, note=a.verbal))


def _null(v: View) -> Iterator[Block]:
    """The null with its threshold."""
    if not (v.null and v.null.values):
        return
    yield Block("heading", v.null.heading)
    yield Block("text", v.null.lead)
    yield _figure(figures.null_figure(v.null), width=0.86)


def _map(v: View) -> Iterator[Block]:
    """The map; its numbers are named in the caption."""
    if v.map and v.map.dots:
        yield _heading("h.map")
        yield Block("text", say("map.lead", explained=v.map.explained))
        names = figures.nearest_names(v.map.dots)
        kinds = ", ".join(f"{SHAPES[kind]} {genre}" for genre, kind in figures.genre_names(v.map.dots))
        caption = say("map.nearest", list=names) + " " + say("map.kinds", list=kinds)
        yield _figure(figures.map_figure(v.map), caption, width=0.86)


def _parts(v: View) -> Iterator[Block]:
    """Parts of the network, figure and table."""
    if not v.parts:
        return
    yield _heading("h.subnetworks")
    yield Block("text", say("subnetworks.lead", artist=v.parts.artist))
    yield _figure(figures.parts_figure(v.parts))
    rows = tuple(_texts(p.name, p.value_text, str(p.rank), p.first) for p in v.parts.parts)
    heads = (say("subnetworks.col.part"), say("col.score"), say("subnetworks.col.rank", artist=v.parts.artist))
    yield _table((*heads, say("subnetworks.col.first")), rows, (3, 0, 4, 4), (False, True, True, False))


def _mixture(v: View) -> Iterator[Block]:
    """Shares of a mixture."""
    if v.mixture:
        yield _heading("h.mixture")
        yield Block("text", say("mixture.lead"))
        rows = tuple(
            (Cell(m.artist), Cell(kind="bar", share=m.value, loud=not m.rest), Cell(m.share), Cell(m.p))
            for m in v.mixture
        )
        heads = (say("col.artist"), say("col.bar"), say("col.share"), say("col.p"))
        yield _table(heads, rows, (4, 4, 0, 0), (False, False, True, True))


def _controls(v: View) -> Iterator[Block]:
    """What the recipe alone would say."""
    if not v.audited:
        return
    yield _heading("h.controls")
    yield Block("text", say("controls.lead"))
    if v.controls:
        rows = tuple(
            (
                Cell(c.name, note=c.sees, strong=c.loud),
                *_texts(c.artist, c.p, say("control.loud") if c.loud else say("control.quiet")),
            )
            for c in v.controls
        )
        heads = tuple(say(k) for k in ("col.control", "col.names", "col.p", "col.reading"))
        yield _table(heads, rows, (4, 3, 0, 2), (False, False, True, False))
    yield Block("callout", v.controls_text, loud=True) if v.controls_alarm else Block("text", v.controls_text)


def _coverage(v: View) -> Iterator[Block]:
    """How much of the set's modules was present."""
    if v.coverage:
        yield _heading("h.coverage")
        yield Block("text", v.coverage.text)
        if v.coverage.low:
            yield Block("callout", say("coverage.low"))
        yield Block("text", v.known)
        if v.known_unread:
            yield Block("callout", v.known_unread)


def _validity(v: View) -> Iterator[Block]:
    """The set's card."""
    if not v.audited:
        return
    yield _heading("h.validity")
    if not v.validity:
        yield Block("callout", say("validity.none"))
        return
    yield Block("text", say("validity.lead.works" if v.works_apart else "validity.lead"))
    rows = tuple(_texts(r.name, r.value, r.interval, *((r.same,) if v.works_apart else ()), r.of) for r in v.validity)
    keys = ("col.figure", "col.value", "col.range", *(("col.same",) if v.works_apart else ()), "col.of")
    width = (4, *(0 for _ in keys[1:]))
    yield _table(tuple(say(k) for k in keys), rows, width, (False, *(True for _ in keys[1:])))


def _provenance(v: View) -> Iterator[Block]:
    """File, set, warnings and what the file declares."""
    yield _heading("h.provenance")
    yield _heading("h.suspect", 2)
    yield Block("rows", items=v.suspect)
    yield _heading("h.set", 2)
    yield Block("rows", items=v.reference_set)
    if v.warnings:
        yield _heading("h.warnings", 2)
        yield Block("list", items=v.warnings)
        if v.warnings_cut:
            yield Block("quiet", say("warnings.cut", n=v.warnings_cut))
    yield _heading("h.declared", 2)
    yield Block("quiet", say("declared.lead" if v.declared else "declared.none"))
    if v.declared:
        yield Block("rows", items=v.declared)
    if v.declared_cut:
        yield Block("quiet", say("declared.cut", n=v.declared_cut))


def _end(v: View) -> Iterator[Block]:
    """Limits, what would change the conclusion, how to get the figures again."""
    if v.audited:
        yield _heading("h.limits")
        yield Block("list", items=v.limits)
    if v.would_change:
        yield _heading("h.change")
        yield Block("list", items=v.would_change)
    if v.audited:
        yield _heading("h.method")
        yield Block("list", items=METHOD)
    yield _heading("h.reproduce")
    yield Block("text", say("reproduce.lead"))
    yield Block("code", items=v.command_parts)
    yield Block("rows", items=v.reproduce)
    if v.audited:
        yield _heading("h.words")
        yield Block("rows", items=tuple(Row(word, meaning) for word, meaning in WORDS))


def _all_null(v: View) -> Iterator[Block]:
    """Every value of the null, for whoever computes p again."""
    if not (v.null and v.null.listing):
        return
    yield _heading("h.null.all")
    yield Block("quiet", v.null.how)
    rows = tuple(_texts(who, values) for who, values in v.null.listing)
    yield _table((say("col.artist"), v.null.column), rows, (2, 6), (False, False))
    if v.null.cut:
        yield Block("quiet", say("null.all.cut", n=v.null.cut))


def _table(
    heads: Sequence[str], rows: tuple[tuple[Cell, ...], ...], widths: Sequence[float], right: Sequence[bool]
) -> Block:
    return Block(
        "table",
        heads=tuple(heads),
        rows=rows,
        widths=tuple(float(w) for w in widths),
        right=tuple(bool(r) for r in right),
    )


def _figure(svg: Markup, caption: str = "", width: float = 1.0) -> Block:
    return Block("figure", svg=str(svg), alt=figures.alt(svg), caption=caption, width=width)
