"""The two streams: documents and results on stdout, everything else on stderr.

rich is imported where something is said to people: a document on stdout needs none of it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def screen() -> Console:
    """Stdout, for people; colours only on a terminal without NO_COLOR."""
    from rich.console import Console

    return Console(highlight=False)


def aside() -> Console:
    """Stderr, for people."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def show(value: object) -> str:
    """Untrusted text as one visible line; imported late, for the help needs none of the report's packages."""
    from auditor.report.untrusted import show as visible

    return visible(value)


def complain(message: str) -> None:
    """One paragraph on stderr; whatever a file put into it is made visible."""
    from rich.text import Text

    aside().print(Text.assemble(("audit: ", "bold red"), show(message)), soft_wrap=True)


def remark(message: str) -> None:
    """A line on stderr about what was done."""
    from rich.text import Text

    aside().print(Text(show(message), style="dim"), soft_wrap=True)


def emit(text: str) -> None:
    """A document on stdout, in UTF-8 whatever the terminal's encoding."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
    sys.stdout.buffer.flush()


def emit_json(value: object) -> None:
    """A value as a JSON document on stdout."""
    emit(json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False) + "\n")


def print_pairs(values: Mapping[str, Any]) -> None:
    """A nested value for people, one `name: value` a line."""
    from rich.text import Text

    console = screen()
    for depth, name, value in _lines(values, 0):
        label = (f"{show(name)}: ", "bold") if name else "- "
        console.print(Text.assemble("  " * depth, label, value), soft_wrap=True)


def _lines(values: Mapping[str, Any], depth: int) -> Iterator[tuple[int, str, str]]:
    """(depth, name, value as text) of every entry, depth first; items of a list have no name."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield depth, name, ""
            yield from _lines(value, depth + 1)
        elif isinstance(value, list) and (len(value) > 1 or any(isinstance(item, Mapping) for item in value)):
            yield depth, name, ""
            yield from ((depth + 1, "", _plain(item)) for item in value)
        else:
            yield depth, name, _plain(value)


def _plain(value: object) -> str:
    """A leaf as text."""
    if value is None or value in ([], {}, ()):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{show(key)} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    return show(value)
