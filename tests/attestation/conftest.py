"""One audit of the small set, as its JSON object and as a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lora_writing as writing
import mini_set
import pytest

from auditor.audit import check
from auditor.report.json import render_json

OPTIONS: dict[str, Any] = {"seed": 3, "alpha": 0.2, "resamples": 40}


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suspect of nobody in the set: the range of its p depends on the seed."""
    made = writing.kohya(mini_set.lora(mini_set.STRANGER + 1, mini_set.FILES), 2.0)
    return mini_set.save(tmp_path_factory.mktemp("suspect") / "stranger.safetensors", made, {"ss_note": "first"})


@pytest.fixture(scope="session")
def audit(stranger: Path, set_folder: Path) -> dict[str, Any]:
    """Its audit; treat it as read-only."""
    found: dict[str, Any] = json.loads(render_json(check(stranger, set_folder, **OPTIONS).to_dict()))
    return found


@pytest.fixture
def audit_file(audit: dict[str, Any], tmp_path: Path) -> Path:
    """The document."""
    path = tmp_path / "audit.json"
    path.write_text(render_json(audit), encoding="utf-8")
    return path
