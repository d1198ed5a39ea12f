"""The one stylesheet, and the parts of it that documents other than HTML need: colours by name, rules for figures."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_SECTION = re.compile(r"/\* ([A-Z][^*]*?) \*/")


@cache
def stylesheet() -> str:
    """The stylesheet as it stands in the file."""
    return files("auditor.report").joinpath("templates/style.css").read_text(encoding="utf-8")


def compact(css: str) -> str:
    """`css` without comments and indentation."""
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    return "\n" + "\n".join(line.strip() for line in css.splitlines() if line.strip()) + "\n"


def section(name: str) -> str:
    """The rules below the comment that begins with `name`, up to the next such comment."""
    parts = _SECTION.split(stylesheet())
    return next(body for head, body in zip(parts[1::2], parts[2::2], strict=True) if head.startswith(name))


@cache
def palette(label: str = "") -> dict[str, str]:
    """Colours of the light page by name (`ink`, `g0`, …), on white paper, in the tone of `label`."""
    light = section("Colours").partition("@media")[0]
    found = dict(re.findall(r"--([a-z0-9]+):\s*(#[0-9a-f]{6})", re.findall(r":root\s*{(.*?)}", light, re.DOTALL)[0]))
    tone = re.search(rf"\.label-{re.escape(label)}\s*{{(.*?)}}", light)
    found |= dict(re.findall(r"--([a-z]+):\s*(#[0-9a-f]{6})", tone[1])) if tone else {}
    return {**found, "paper": "#ffffff", "card": "#ffffff"}


@cache
def figure_style(font: str) -> str:
    """The rules for figures with their colours written out, for readers of SVG that know no variables."""
    colours = palette()
    css = section("Figures").replace("var(--sans)", f'"{font}"')
    css += ".flag, .label { stroke: none; }"  # some readers paint the light edge of a text over its letters
    return compact(re.sub(r"var\(--([a-z0-9]+)\)", lambda m: colours[m[1]], css))
