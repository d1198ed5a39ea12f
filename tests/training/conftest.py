"""Tiny bases of every family, written once per run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

Bases = Callable[[str], Path]


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    """`base_folder(family)`: the folder of a tiny random base; tests must not change it."""
    import tiny_bases

    made: dict[str, Path] = {}

    def get(family: str) -> Path:
        if family not in made:
            made[family] = tiny_bases.write_base(family, tmp_path_factory.mktemp(family))
        return made[family]

    return get
