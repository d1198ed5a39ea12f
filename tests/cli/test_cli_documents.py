"""Names, places and exit codes, without running an audit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from auditor.cli import documents
from auditor.cli.documents import Format
from auditor.cli.exit_codes import FailOn, exit_code
from auditor.errors import AuditorError

SHA = "9f2c6f1f5b1f4f0c"


def audit(path: str, sha256: str | None = SHA) -> dict[str, object]:
    return {"suspect": {"path": path, "sha256": sha256}}


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("a/b/monet.safetensors", "monet"),
        ("C:\\files\\monet.v2.safetensors", "monet.v2"),
        ("../../etc/passwd", "passwd"),
        ("..", "suspect"),
        (".safetensors", "safetensors"),
        ("nul.safetensors", "nul_"),
        ("con.x.safetensors", "con.x_"),
        ("<script>alert(1)</script>.safetensors", "script"),
        ("a\x1b[31m\nb\u202e.safetensors", "a_31m_b"),
        ("lone\ud800.safetensors", "lone"),
        ("x" * 300 + ".safetensors", "x" * 80),
    ],
)
def test_stems_are_safe(path, stem):
    assert documents.safe_stem(audit(path)) == stem


def test_names_end_with_the_digest():
    assert documents.safe_name(audit("monet.safetensors")) == "monet-9f2c6f1f"
    assert documents.safe_name(audit("monet.safetensors", None)) != documents.safe_name(
        audit("m/monet.safetensors", None)
    )


def test_equal_names_are_numbered():
    assert documents._distinct(["a", "A", "a", "index"]) == ["a", "A-2", "a-3", "index-2"]


def test_only_one_document_on_stdout():
    where = documents.destination([Format.HTML, Format.CONSOLE, Format.JSON, Format.JSON], None, ())
    assert where.on_stdout is Format.JSON
    assert where.documents == (Format.HTML, Format.JSON)


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(AuditorError, match="No space left"):
        documents.write_text(tmp_path / "x.html", "text")
    assert list(tmp_path.iterdir()) == []


def verdict(label: str, skipped: bool = False) -> SimpleNamespace:
    missing = SimpleNamespace() if skipped else None
    return SimpleNamespace(verdict=SimpleNamespace(label=label), skipped=missing, options={})


@pytest.mark.parametrize(
    ("labels", "fail_on", "code"),
    [
        (["NO_MATCH"], "match", 0),
        (["INCONCLUSIVE"], "match", 0),
        (["INCONCLUSIVE"], "inconclusive", 10),
        (["CONSISTENT"], "match", 11),
        (["DERIVATIVE"], "inconclusive", 11),
        (["CONSISTENT"], "never", 0),
        (["INCONCLUSIVE"], "never", 0),
        (["OUT_OF_SCOPE"], "never", 3),
        (["INCONCLUSIVE", "OUT_OF_SCOPE", "NO_MATCH"], "inconclusive", 3),
        (["OUT_OF_SCOPE", "CONSISTENT", "INCONCLUSIVE"], "inconclusive", 11),
        (["OUT_OF_SCOPE", "CONSISTENT"], "never", 3),
        (["NO_MATCH", "INCONCLUSIVE"], "inconclusive", 10),
    ],
)
def test_exit_codes(labels, fail_on, code):
    assert exit_code([verdict(label) for label in labels], FailOn(fail_on)) == code


def test_a_skipped_suspect_is_never_clean():
    assert exit_code([verdict("NO_MATCH", skipped=True)], FailOn.MATCH) == 3


def test_destination_of_a_named_file(tmp_path):
    where = documents.destination([Format.HTML], tmp_path / "page.html", ())
    assert where.is_file
    folder = replace(where, output=tmp_path)
    assert not folder.is_file
