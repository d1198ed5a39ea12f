"""Every command and every block of code in README and docs is run, in the order of its page."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import processes
import pytest
from blocks import Block, blocks, run, script

ROOT = processes.ROOT
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NEEDS = {"attestation.md": ("cryptography",), "scale.md": ("pyarrow", "usearch")}
"""Packages of extras, by the page whose commands use them."""
WITH_BLOCKS = [page for page in PAGES if blocks(page)]


@pytest.fixture
def sandbox(tmp_path: Path, lora_folder: Path) -> Path:
    """A folder as a reader has it: the checkout's examples and sets, and `loras`, a folder per artist."""
    for name in ("examples", "reference_sets", "benchmarks"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "loras").symlink_to(lora_folder)
    return tmp_path


@pytest.fixture
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """`audit`, `python` and `python3` are those of the tests."""
    path = tmp_path_factory.mktemp("bin")
    for name in ("python", "python3"):
        (path / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (path / "audit").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m auditor.cli "$@"\n')
    for made in path.iterdir():
        made.chmod(0o755)
    return processes.environment({"PATH": f"{path}{os.pathsep}{os.environ['PATH']}"})


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_BLOCKS, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_work(page: Path, sandbox: Path, environment: dict[str, str]) -> None:
    found = blocks(page)
    for package in NEEDS.get(page.name, ()):
        pytest.importorskip(package)
    ran = [block for block in found if block.reason is None]
    for block in ran:
        run(block, sandbox, environment)
    skipped = [f"line {b.line}: {b.reason}" for b in found if b.reason is not None]
    if not ran:
        pytest.skip("; ".join(skipped))


def test_reasons_are_given() -> None:
    reasons = {b.reason for page in PAGES for b in blocks(page) if b.reason is not None}
    assert all(len(reason) > 10 for reason in reasons)
    assert any(b.reason is None for page in PAGES for b in blocks(page))


def test_the_runner_fails_where_it_must(sandbox: Path, environment: dict[str, str]) -> None:
    """The test of the tests: wrong codes, wrong code, wrong data."""
    good = [("sh", "true\nfalse  # exit 1\n"), ("python", "assert 1 == 1\n"), ("toml", "# a.toml\nx = 1\n")]
    for kind, text in good:
        run(Block(1, kind, text, None), sandbox, environment)
    assert (sandbox / "a.toml").is_file()
    bad = [
        ("sh", "false\n"),
        ("sh", "false\ntrue\n"),
        ("sh", "true  # exit 1\n"),
        ("sh", "false | true\n"),
        ("sh", "exit 3\n"),
        ("python", "assert 1 == 2\n"),
    ]
    for kind, text in bad:
        with pytest.raises(AssertionError):
            run(Block(1, kind, text, None), sandbox, environment)
    with pytest.raises(ValueError, match="line 1"):
        run(Block(1, "toml", "x = = 1\n", None), sandbox, environment)
    assert "exit 99" in script("true  # exit 1")
