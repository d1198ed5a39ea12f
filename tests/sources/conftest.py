"""The fake sites, and files for them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import lora_writing as writing
import mini_set
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fake_sites import Sites, served


@pytest.fixture
def sites(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sites]:
    """Both sites on loopback; this process knows no others."""
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "CIVITAI_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with served() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        monkeypatch.setenv("AUDIT_CIVITAI", found.url)
        yield found


@pytest.fixture(scope="session")
def style(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A LoRA of the small set's first artist."""
    made = writing.kohya(mini_set.lora(0, mini_set.FILES), 2.0)
    return mini_set.save(tmp_path_factory.mktemp("style") / "s.safetensors", made).read_bytes()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """No LoRA, and 4 MB of it."""
    path = tmp_path_factory.mktemp("checkpoint") / "c.safetensors"
    return mini_set.save(path, {"unet.conv_in.weight": np.zeros((1000, 1000), np.float32)}).read_bytes()
