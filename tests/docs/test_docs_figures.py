"""The tables of README and docs are those of the card of the set that is shipped."""

from __future__ import annotations

import subprocess
import sys

import processes

ROOT = processes.ROOT


def test_the_readmes_tables_are_the_cards() -> None:
    command = [sys.executable, "benchmarks/card_tables.py", "reference_sets/default/card.json"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, encoding="utf-8").stdout
    tables = printed.strip().split("\n\n")
    pages = ("README.md", "docs/validity.md", "docs/default-set.md")
    for table, page in zip(tables, pages, strict=True):
        assert len(table.splitlines()) > 5
        assert table in (ROOT / page).read_text(encoding="utf-8")
