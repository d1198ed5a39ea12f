"""The command line as a real process, for the tests of every room."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """The environment of a process that sees this checkout, and none of the user's settings or tokens."""
    private = ("AUDIT_", "HF_", "HUGGING", "CIVITAI_", "SOURCE_DATE_EPOCH")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(private)}
    return clean | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "COLUMNS": "100", **(extra or {})}


def audit(
    cwd: Path, *arguments: str | Path, stdin: str = "", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`audit` with these arguments, finished; a traceback fails the test."""
    done = subprocess.run(
        [sys.executable, "-m", "auditor.cli", *map(str, arguments)],
        cwd=cwd,
        input=stdin,
        env=environment(env),
        capture_output=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done
