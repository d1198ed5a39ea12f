"""`audit check` and `audit report` as real processes: every document again from the JSON, byte for byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from specimen import audit, skipped

from auditor.report import render_html, render_json

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "01-serov-kohya-r6.safetensors"
TEXT = ("html", "json", "sarif", "junit", "md")


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("AUDIT_")}
    clean |= {"PYTHONPATH": str(ROOT), "SOURCE_DATE_EPOCH": "1700000000"}
    command = [sys.executable, "-m", "auditor.cli", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, timeout=240, check=False)
    assert b"Traceback" not in done.stderr
    return done


def has_typst() -> bool:
    from auditor.report import fonts

    return not fonts.missing()


def test_every_document_of_check_comes_again_from_its_json(tmp_path: Path) -> None:
    if not (EXAMPLE.is_file() and (ROOT / "reference_sets/default/manifest.json").is_file()):
        pytest.skip("needs examples/ and reference_sets/default")
    wanted = [*TEXT, *(["pdf"] if has_typst() else [])]
    formats = [word for form in wanted for word in ("--format", form)]
    assert run(tmp_path, "check", EXAMPLE, *formats, "-o", "first", "-q").returncode == 11
    written = sorted((tmp_path / "first").iterdir())
    assert len(written) == len(wanted)
    source = next(path for path in written if path.suffix == ".json")
    assert run(tmp_path, "report", source, *formats, "-o", "again", "-q").returncode == 0
    for path in written:
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_several_suspects_get_an_index_and_a_page_and_a_pdf_each(tmp_path: Path) -> None:
    pytest.importorskip("typst")
    audits = [skipped("malformed").to_dict(), skipped().to_dict()]
    (tmp_path / "both.json").write_text(render_json(audits), encoding="utf-8")
    done = run(tmp_path, "report", "both.json", "--format", "pdf", "--format", "html", "--paper", "letter", "-o", "out")
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert sorted(name.rpartition(".")[2] for name in names) == ["html", "html", "html", "pdf", "pdf"]
    index = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert [name for name in names if name != "index.html" and f'href="{name}"' not in index] == []
    assert run(tmp_path, "report", "both.json", "--format", "pdf", "-o", "one.pdf").returncode == 2


def test_one_page_to_a_named_file(tmp_path: Path) -> None:
    found = audit().to_dict()
    (tmp_path / "a.json").write_text(render_json(found), encoding="utf-8")
    assert run(tmp_path, "report", "a.json", "--format", "html", "-o", "x.html").returncode == 0
    assert (tmp_path / "x.html").read_text(encoding="utf-8") == render_html(json.loads(render_json(found)))
