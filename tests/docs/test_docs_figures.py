"""The README's figures are those of the card of the set that is shipped."""

from __future__ import annotations

import subprocess
import sys

import processes

ROOT = processes.ROOT


def test_the_readmes_tables_are_the_cards() -> None:
    command = [sys.executable, "benchmarks/card_tables.py", "reference_sets/default/card.json"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, encoding="utf-8").stdout
    tables = printed.strip().split("\n\n")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(tables) == 2
    for table in tables:
        assert len(table.splitlines()) > 5
        assert table in readme
