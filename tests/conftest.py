"""Shared by all tests: helper modules on the path, and one small reference set built once per run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "same everywhere", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same everywhere")
HERE = Path(__file__).resolve().parent
for folder in ("", "lora", "reference", "laws", "corpus"):
    sys.path.insert(0, str(HERE / folder))


@pytest.fixture(scope="session")
def lora_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve artists with four LoRA files each, in mixed dialects."""
    import mini_set

    return mini_set.write_artists(tmp_path_factory.mktemp("loras"))


@pytest.fixture(scope="session")
def set_folder(lora_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The calibrated reference set made of `lora_folder`; tests must not change it."""
    import mini_set

    return mini_set.build(lora_folder, tmp_path_factory.mktemp("set"))


@pytest.fixture
def fixed_time(monkeypatch: pytest.MonkeyPatch) -> str:
    """SOURCE_DATE_EPOCH, and the time it stands for."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    return "2023-11-14T22:13:20Z"
