"""`audit check --known`: a suspect whose weights are those of a known file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from auditor.lora import load_lora


def test_copies_of_known_files_are_derivative(set_folder: Path, lora_folder: Path, tmp_path: Path) -> None:
    """The known file is of no reference; the suspect is its update in another naming and strength."""
    import lora_writing as writing

    source = next(iter(sorted(lora_folder.rglob("*.safetensors"))))
    modules = load_lora(source).modules
    lora = {p: (m.up[:, ::-1] + np.float32(0.5) * np.roll(m.up, 7, 0), m.down) for p, m in modules.items()}
    (tmp_path / "known").mkdir()
    writing.save(tmp_path / "known" / "original.safetensors", writing.kohya(lora))
    (tmp_path / "known" / "notes.safetensors").write_text("no weights")
    copy = {p: (np.float32(3) * up, down) for p, (up, down) in lora.items()}
    suspect = writing.save(tmp_path / "suspect.safetensors", writing.diffusers(copy))
    command = [sys.executable, "-m", "auditor.cli", "check", str(suspect), "--refs", str(set_folder)]
    done = subprocess.run(
        [*command, "--known", str(tmp_path / "known"), "--format", "json"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 11, done.stderr
    audit = json.loads(done.stdout)
    assert audit["verdict"]["label"] == "DERIVATIVE"
    assert (audit["derivative"]["of"], audit["derivative"]["relation"]) == ("original.safetensors", "same_update")
    assert "notes.safetensors" in done.stderr
