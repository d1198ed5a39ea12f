"""The wheel holds everything that an audit needs."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_wheel_carries_the_data_and_nothing_else(tmp_path):
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    assert "auditor/report/schema/audit-1.0.json" in names
    assert "auditor/report/templates/audit.html.jinja" in names
    assert "auditor/report/templates/style.css" in names
    shipped = {p.relative_to(ROOT) for p in (ROOT / "reference_sets").rglob("*") if p.is_file()}
    assert {f"auditor/{path.as_posix()}" for path in shipped} <= names
    assert not [name for name in names if name.startswith(("tests/", "docs/")) or name.endswith(".pyc")]
