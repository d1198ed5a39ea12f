"""Runs `audit` with another catalogue in place of auditor/texts.py: every letter of it is taken from another block.

    python tests/report/translated.py CARD.json CARD.html ARGUMENT…

What is still in plain letters in the documents did not come from the catalogue.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

CATALOGUE = Path(__file__).resolve().parents[2] / "auditor" / "texts.py"
WIDE = 0xFEE0
"""From a letter to its full-width form."""


def translated(value: Any) -> Any:
    """The value with all letters replaced, but for the names of places to be filled."""
    if isinstance(value, str):
        return re.sub(r"\{[^}]*\}|[A-Za-z]", lambda m: m[0] if m[0][0] == "{" else chr(ord(m[0]) + WIDE), value)
    if isinstance(value, dict):
        return {key: translated(one) for key, one in value.items()}
    return tuple(map(translated, value)) if isinstance(value, tuple) else value


def install() -> None:
    """Put the other catalogue where everybody looks for the catalogue."""
    spec = importlib.util.spec_from_file_location("auditor.texts", CATALOGUE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, value in list(vars(module).items()):
        if name.isupper() and name != "LANGUAGE":
            setattr(module, name, translated(value))
    sys.modules["auditor.texts"] = module


def main() -> None:
    """The card's page, then the command."""
    card, page, *arguments = sys.argv[1:]
    install()
    from auditor.report.card import render_card

    Path(page).write_text(render_card(json.loads(Path(card).read_text(encoding="utf-8"))), encoding="utf-8")
    from auditor.cli.main import run

    sys.argv = ["audit", *arguments]
    run()


if __name__ == "__main__":
    main()
