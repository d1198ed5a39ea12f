"""An audit → a few lines for a terminal: verdict, five nearest artists, p and its floor, where the documents lie.

Everything untrusted was made visible by the view (no control character reaches the terminal) and is passed to rich as
`Text`, in which brackets mean nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from auditor.report.build import build
from auditor.report.markdown import SIGNS
from auditor.report.untrusted import show
from auditor.report.view import View
from auditor.texts import say

STYLES = {
    "CONSISTENT": "red",
    "INCONCLUSIVE": "yellow",
    "NO_MATCH": "blue",
    "DERIVATIVE": "magenta",
    "OUT_OF_SCOPE": "dim",
}
FIRST = 5


def render_console(audit: Mapping[str, Any], console: Console, documents: Sequence[str] = ()) -> None:
    """Print `audit`; `documents` are the paths of the reports written."""
    view = build(audit)
    console.print(_panel(view))
    if view.controls_alarm:
        console.print(Text(f"▲ {view.controls_text}", style="bold yellow"))
    if view.artists and view.audited:
        console.print(_table(view))
    for path in documents:
        console.print(Text(f"{say('console.documents')}: {show(path)}", style="dim"), soft_wrap=True)


def _panel(view: View) -> Panel:
    """Verdict, file, how sure."""
    style = STYLES[view.label]
    lines = [Text(f"{SIGNS[view.label]} {view.label_text}", style=f"bold {style}"), Text(view.sentence)]
    if view.skipped:
        lines += [Text(view.skipped.reason), Text(view.skipped.advice), Text(say("skipped.meaning"), style="dim")]
    if view.question:
        lines.append(Text(view.question))
    if view.copied:
        if view.derivative and view.derivative[0].value not in view.sentence:
            lines.append(Text(f"{view.derivative[0].name}: {view.derivative[0].value}", style="dim"))
        lines.append(Text(view.copied[0]))
    elif view.sure and view.audited:
        lines.append(Text(view.sure.brief, style="dim"))
        if not view.sure.reachable:
            lines.append(Text(view.sure.compared, style="dim"))
    if view.caution:
        lines.append(Text(view.caution))
    title = Text(view.file, style="dim", overflow="ellipsis", no_wrap=True)
    return Panel(Group(*lines), title=title, title_align="left", border_style=style, padding=(0, 1))


def _table(view: View) -> Table:
    """The nearest artists, and those asked about; with p of exclusion where that may decide."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    ruling = bool(view.whom) or view.label == "NO_MATCH"
    columns = (("rank", True), ("artist", False), ("score", True), ("interval", False), ("p", True))
    for key, right in (*columns, *((("exclusion", True),) if ruling else ())):
        table.add_column(say(f"col.{key}"), justify="right" if right else "left", no_wrap=key != "artist")
    table.add_column(say("col.evidence"))
    for a in [*view.artists[:FIRST], *[a for a in view.artists[FIRST:] if a.asked][:FIRST]]:
        excluded = (a.p_exclusion,) if ruling else ()
        cells = (str(a.rank), a.artist, a.score, a.interval, a.p, *excluded, f"{a.evidence} {a.verbal}".strip())
        table.add_row(*(Text(cell) for cell in cells), style="bold" if a.significant else None)
    return table
