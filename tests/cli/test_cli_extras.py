"""Commands whose packages are not installed: one message, one advice, exit code 1, whatever the package."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from lora_files import write_lora

from auditor.attestation import sign, sign_keyless
from auditor.errors import AuditorError
from auditor.extras import need, needing

ROOT = Path(__file__).resolve().parents[2]
CASES = {
    "accelerate": ("train", ["refs", "train", "--base", "b", "--images", "i", "-o", "o"]),
    "torch": ("train", ["exhibit", "x.safetensors", "--base", "b"]),
    "uvicorn": ("service", ["serve", "--port", "0"]),
    "pyarrow": ("scale", ["scan", "x.safetensors", "-o", "out.parquet"]),
    "huggingface_hub": ("hub", ["check", "hf://someone/something"]),
}


@pytest.mark.parametrize("package", CASES)
def test_a_command_without_its_packages_says_which_and_how_to_install_them(run, tmp_path, shipped_set, package):
    extra, arguments = CASES[package]
    write_lora(tmp_path / "x.safetensors")
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / f"{package}.py").write_text(f"raise ModuleNotFoundError(name={package!r})\n", encoding="utf-8")
    done = run(*arguments, env={"PYTHONPATH": os.pathsep.join((str(blocked), str(ROOT)))})
    assert (done.returncode, done.stdout) == (1, "")
    said = " ".join(done.stderr.split())
    assert f"The package '{package}' is not installed; it is needed for " in said
    assert f"Install it with: pip install 'lora-style-audit[{extra}]'." in said


def test_signatures_without_their_packages(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.serialization", None)
    with pytest.raises(AuditorError, match=r"'cryptography' is not installed.*\[attest\]"):
        sign(b"x", tmp_path / "key.pem")
    monkeypatch.setitem(sys.modules, "sigstore.sign", None)
    with pytest.raises(AuditorError, match=r"'sigstore' is not installed.*\[sigstore\]"):
        sign_keyless(b"x")


def test_a_fault_of_our_own_is_not_blamed_on_an_extra(monkeypatch):
    with pytest.raises(ModuleNotFoundError):
        need("auditor.no_such_module", "scale", "anything")
    with pytest.raises(ImportError, match="cannot import name"), needing("scale", "anything"):
        from auditor.errors import NoSuchError  # type: ignore[attr-defined]  # noqa: F401
