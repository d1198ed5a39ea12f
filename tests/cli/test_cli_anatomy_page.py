"""The page of `audit inspect`: what its lines mean without asking, also in narrow terminals."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from rich.console import Console

from auditor.cli.anatomy_page import _blocks, _facts
from auditor.lora.inspect import inspect

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


def test_scales_and_formats_say_what_was_counted(example: Path) -> None:
    facts = dict(_facts(inspect(example)))
    assert facts["scale"] == "0.5 = alpha / rank (alpha stored in 100 modules)"
    assert facts["number formats"] == "F16 (300 tensors)"


def test_a_hash_of_nothing_is_not_shown(example: Path) -> None:
    """AutoV1 is taken from the second MiB on."""
    found = inspect(example)
    facts = dict(_facts(found))
    nothing = hashlib.sha256(b"").hexdigest()[:8]
    assert found["bytes"] < 2**20
    assert not any(nothing in value for value in facts.values())
    assert facts["AutoV1"].startswith("–")
    assert "kohya's legacy hash" not in facts
    longer = dict(_facts(found | {"autov1": "12345678", "sshs_legacy_hash": "9abcdef0"}))
    assert (longer["AutoV1"], longer["kohya's legacy hash"]) == ("12345678", "9abcdef0")
