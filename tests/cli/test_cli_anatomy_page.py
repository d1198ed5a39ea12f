"""The page of `audit inspect` in narrow terminals."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from auditor.cli.anatomy_page import _blocks

NAMES = [f"text_encoder.text_model.encoder.layers.{number}" for number in range(12)]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_shares_and_counts_of_blocks_are_never_cut(width: int) -> None:
    """A share cut to '0.…' says nothing; long names go on below themselves instead."""
    console = Console(width=width, file=io.StringIO())
    shares = [0.0123 * number for number in range(12)]
    _blocks(console, [{"block": n, "modules": 6, "share": s} for n, s in zip(NAMES, shares, strict=True)])
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "…" not in shown
    assert all(f"{share:.1%}" in shown for share in shares)
    assert "modules" in shown
    assert "share" in shown
