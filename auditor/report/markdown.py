r"""An audit → Markdown as GitHub renders it, for issues and pull requests.

Untrusted values are set as code spans, where neither markup, nor links, nor mentions work; sentences and names are
escaped.  A `|` would end a table cell even in a code span, so it is shown as `\x7c`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from auditor.report.build import build
from auditor.report.view import Row, View
from auditor.texts import say

SIGNS = {"CONSISTENT": "◉", "INCONCLUSIVE": "◐", "NO_MATCH": "○", "DERIVATIVE": "❐", "OUT_OF_SCOPE": "⊘"}

LONGEST = 300


def render_markdown(audit: Mapping[str, Any]) -> str:
    """One audit as a document."""
    v = build(audit)
    parts = [*_head(v), *_sure(v), *_artists(v), *_controls(v), *_provenance(v)]
    return "\n\n".join(p for p in parts if p) + "\n"


def text(value: str) -> str:
    """`value` as plain text: markup, HTML, links, mentions and references do not work."""
    value = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    value = re.sub(r"([\\`*_{}\[\]#+!|~$])", r"\\\1", value)
    value = re.sub(r"^(\s*\d*)([-=.)])(?=\s|$)", r"\1\\\2", value)
    return value.replace("://", ":&#8203;//").replace("www.", "www&#8203;.").replace("@", "@&#8203;")


def code(value: str) -> str:
    """`value` as a code span whose fence is longer than any run of backticks inside."""
    value = value.replace("|", "\\x7c")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", value)), default=0))
    return f"{fence} {value} {fence}" if "`" in value or not value.strip() else f"{fence}{value}{fence}"


def shorten(value: str) -> str:
    """The beginning of a long value; comments on GitHub hold 65,536 characters in all."""
    return value if len(value) <= LONGEST else value[:LONGEST] + "…"


def _bullets(items: Iterable[str]) -> str:
    return "\n".join(f"- {text(item)}" for item in items)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _rows(rows: Iterable[Row]) -> str:
    return "\n".join(f"- {text(r.name)}: {code(r.value) if r.code else text(r.value)}" for r in rows)


def _head(v: View) -> list[str]:
    """Verdict, meaning, why there is none."""
    parts = [
        f"## {SIGNS[v.label]} {v.label_text} (`{v.label}`)",
        f"**{text(v.sentence)}**",
        text(v.meaning),
        code(v.file),
        *([text(v.question)] if v.question else []),
    ]
    if v.skipped:
        parts += [f"### {say('h.skipped')}", text(v.skipped.reason), f"### {say('h.advice')}", text(v.skipped.advice)]
        parts.append(text(say("skipped.meaning")))
    if v.controls_alarm:
        parts.append(f"> [!WARNING]\n> {text(v.controls_text)}")
    return parts


def _sure(v: View) -> list[str]:
    """How sure, and what is not said."""
    parts = []
    if v.copied:
        parts += [f"### {say('h.sure')}", *map(text, v.copied)]
    elif v.sure and v.audited:
        parts += [f"### {say('h.sure')}", text(v.sure.words), text(f"{v.sure.floor} {v.sure.compared}".strip())]
    if v.caution:
        parts.append(f"> [!WARNING]\n> {text(v.caution)}")
    parts += [f"### {say('h.not')}", _bullets(v.does_not_say)]
    if v.reasons and v.audited:
        parts += [f"### {say('h.why')}", _bullets(v.reasons)]
    return [*parts, *([f"### {say('h.derivative')}", _rows(v.derivative)] if v.derivative else [])]


def _artists(v: View) -> list[str]:
    """The first ten."""
    if not v.artists:
        return []
    keys = (
        "col.rank",
        "col.artist",
        "col.genre",
        "col.score",
        "col.interval",
        "col.p",
        "col.exclusion",
        "col.evidence",
    )
    rows = [
        [str(a.rank), text(a.artist), text(a.genre), a.score, a.interval, text(a.p), text(a.p_exclusion), _evidence(a)]
        for a in v.shown
    ]
    return [f"### {say('h.artists')}", _table([say(k) for k in keys], rows)]


def _evidence(a: Any) -> str:
    return text(f"{a.evidence}, {a.verbal}" if a.verbal else a.evidence)


def _controls(v: View) -> list[str]:
    """Controls, coverage and the set's card."""
    parts = []
    if v.controls:
        rows = [
            [text(c.name), text(c.artist), text(c.p), say("control.loud" if c.loud else "control.quiet")]
            for c in v.controls
        ]
        heads = [say(k) for k in ("col.control", "col.names", "col.p", "col.reading")]
        parts += [f"### {say('h.controls')}", _table(heads, rows), text(v.controls_text)]
    if v.coverage:
        parts += [f"### {say('h.coverage')}", text(v.coverage.text), text(v.known)]
        parts += [text(v.known_unread)] if v.known_unread else []
    if v.audited and not v.validity:
        parts += [f"### {say('h.validity')}", say("validity.none")]
    elif v.audited:
        same = ("col.same",) if v.works_apart else ()
        heads = [say(k) for k in ("col.figure", "col.value", "col.range", *same, "col.of")]
        rows = [
            [text(cell) for cell in (r.name, r.value, r.interval, *((r.same,) if same else ()), r.of)]
            for r in v.validity
        ]
        lead = say("validity.lead.works" if same else "validity.lead")
        parts += [f"### {say('h.validity')}", text(lead), _table(heads, rows)]
    return parts


def _provenance(v: View) -> list[str]:
    """Hashes, declared metadata, limits and the command."""
    parts = [f"### {say('h.provenance')}", _rows(v.suspect), f"### {say('h.set')}", _rows(v.reference_set)]
    if v.warnings:
        parts += [f"### {say('h.warnings')}", "\n".join(f"- {code(w)}" for w in v.warnings)]
    if v.declared:
        parts += [f"### {say('h.declared')}", text(say("declared.lead"))]
        parts.append("\n".join(f"- {code(r.name)}: {code(shorten(r.value))}" for r in v.declared))
    if v.audited:
        parts += [f"### {say('h.limits')}", _bullets(v.limits)]
    if v.would_change:
        parts += [f"### {say('h.change')}", _bullets(v.would_change)]
    return [*parts, f"### {say('h.reproduce')}", code(v.command), _rows(v.reproduce)]
