"""How the tests of the command line run it: as a real process, from another folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import processes
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.safetensors"))
HAS_SET = (ROOT / "reference_sets" / "default" / "manifest.json").is_file()
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`run(*arguments, stdin=…, env=…)`: the finished process, started in `tmp_path`."""

    return partial(processes.audit, tmp_path)


@pytest.fixture(scope="session")
def example() -> Path:
    """A shipped example suspect."""
    if not (EXAMPLES and HAS_SET):
        pytest.skip("needs examples/ and reference_sets/default")
    return EXAMPLES[0]


@pytest.fixture(scope="session")
def shipped_set() -> Path:
    """The shipped default reference set."""
    if not HAS_SET:
        pytest.skip("needs reference_sets/default")
    return ROOT / "reference_sets" / "default"
