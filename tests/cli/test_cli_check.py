"""`audit check` on files, against the shipped set."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from lora_files import write_lora

from auditor.report import schema

HEAVY = ("torch", "diffusers", "peft", "pandas", "matplotlib")

BAD = {
    "empty": b"",
    "text": b"hello, I am a text file\n" * 10,
    "truncated": b"\x40\x00\x00\x00\x00\x00\x00\x00{",
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.usefixtures("shipped_set")
def test_bad_files_are_3_with_a_clear_message(run, tmp_path, kind):
    (tmp_path / f"{kind}.safetensors").write_bytes(BAD[kind])
    done = run("check", f"{kind}.safetensors")
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.startswith("audit: Not audited: ")
    assert f"{kind}.safetensors" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("shipped_set")
def test_missing_file_is_3(run):
    done = run("check", "nosuch.safetensors")
    assert done.returncode == 3
    assert "nosuch.safetensors" in done.stderr


@pytest.mark.usefixtures("shipped_set")
def test_skipped_suspect_as_json(run, tmp_path):
    (tmp_path / "empty.safetensors").write_bytes(b"")
    done = run("check", "empty.safetensors", "--format", "json")
    document = json.loads(done.stdout)
    assert done.returncode == 3
    assert document["verdict"]["label"] == "OUT_OF_SCOPE"
    assert document["skipped"]["code"] == "malformed"
    jsonschema.validate(document, schema())


def test_a_question_about_one_artist(run, example):
    """The shipped first example is by Serov: named when asked about, others ruled out; who is meant must be known."""
    named = run("check", example, "--artist", "Valentin Serov", "--format", "json")
    document = json.loads(named.stdout)
    assert named.returncode == 11
    assert document["verdict"]["artist"] == "valentin-serov"
    jsonschema.validate(document, schema())
    other = run("check", example, "--artist", "anders-zorn")
    assert other.returncode == 0
    assert "No match with Anders Zorn" in other.stdout
    assert "Anders Zorn  " in other.stdout.partition("Rank")[2]
    alone = run("check", example, "--artist", "valentin-serov", "--independent", "--format", "json")
    document = json.loads(alone.stdout)
    assert alone.returncode == 11
    assert (document["open_set"]["independent"], document["reference_set"]["background_artists"]) == (True, 55)
    jsonschema.validate(document, schema())
    shown = run("check", example, "--artist", "valentin-serov", "--independent").stdout
    assert "It was declared that the choice" in " ".join(shown.replace("│", "").split())
    for arguments, words in (
        (("--artist", "valentin-serow"), "valentin-serov"),
        (("--independent",), "nobody in particular"),
    ):
        done = run("check", example, *arguments)
        assert done.returncode == 2
        assert words in done.stderr
        assert done.stdout == ""


def test_json_on_stdout_and_nothing_else(run, example):
    done = run("check", example, "--format", "json", "--fail-on", "never")
    assert done.returncode == 0
    assert done.stderr == ""
    jsonschema.validate(json.loads(done.stdout), schema())


def test_same_inputs_same_json(run, example):
    documents = []
    for _ in range(2):
        done = run("check", example, "--format", "json", env={"SOURCE_DATE_EPOCH": "1700000000"})
        document = json.loads(done.stdout)
        del document["timing_s"]
        documents.append(document)
    assert documents[0] == documents[1]


def test_several_suspects(run, example, tmp_path):
    (tmp_path / "empty.safetensors").write_bytes(b"")
    done = run("check", example, "empty.safetensors", "--format", "json", "--fail-on", "never")
    document = json.loads(done.stdout)
    assert done.returncode == 3
    assert set(document) == {"schema_version", "audits"}
    assert [bool(a["skipped"]) for a in document["audits"]] == [False, True]


def test_list_on_stdin_and_folder(run, example, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.safetensors").write_bytes(example.read_bytes())
    (folder / "readme.txt").write_text("not a suspect")
    listed = run(
        "check", "-", "--format", "json", "--fail-on", "never", stdin=f"\ufeff{example}\n\nnosuch.safetensors\n"
    )
    assert len(json.loads(listed.stdout)["audits"]) == 2
    assert listed.returncode == 3
    inside = run("check", folder, "--format", "json", "--fail-on", "never")
    assert json.loads(inside.stdout)["suspect"]["path"].endswith("a.safetensors")


def test_documents_in_a_folder(run, example, tmp_path):
    formats = [f for name in ("html", "json", "sarif", "junit", "md") for f in ("--format", name)]
    done = run("check", example, *formats, "-o", "out", "--fail-on", "never")
    assert (done.returncode, done.stdout) == (0, "")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    sha = json.loads(next((tmp_path / "out").glob("*.json")).read_text())["suspect"]["sha256"]
    assert names == sorted(f"{example.stem}-{sha[:8]}.{e}" for e in ("html", "json", "sarif", "junit.xml", "md"))
    assert all(f"Report: out/{name}" in done.stderr for name in names)


def test_pages_and_index_of_several(run, example, tmp_path):
    (tmp_path / "empty.safetensors").write_bytes(b"")
    run("check", example, example, "empty.safetensors", "--format", "html", "-o", "out", "--quiet")
    pages = {path.name for path in (tmp_path / "out").iterdir()}
    assert len(pages) == 4
    index = (tmp_path / "out" / "index.html").read_text()
    assert all(f'href="{name}"' in index for name in pages - {"index.html"})


def test_html_without_folder(run, example, tmp_path):
    done = run("check", example, "--format", "html", "--fail-on", "never")
    assert done.stdout == ""
    digest = hashlib.sha256(Path(example).read_bytes()).hexdigest()
    assert f"{example.stem}-{digest[:8]}.audit.html" in done.stderr  # another file of that name has a page of its own
    assert (tmp_path / f"{example.stem}-{digest[:8]}.audit.html").is_file()


def test_console_beside_a_document_goes_to_stderr(run, example):
    done = run("check", example, "--format", "console", "--format", "json", "--fail-on", "never")
    json.loads(done.stdout)
    assert example.name in done.stderr


def test_console_names_the_verdict(run, example):
    done = run("check", example, "--fail-on", "never", env={"NO_COLOR": "1"})
    assert done.returncode == 0
    assert example.name in done.stdout
    assert "\x1b" not in done.stdout


def test_report_renders_again_byte_for_byte(run, example, tmp_path):
    run("check", example, "--format", "json", "--format", "html", "-o", "out")
    written = next((tmp_path / "out").glob("*.json"))
    for form, ending in (("html", ".html"), ("json", ".json")):
        done = run("report", written, "--format", form, "-o", f"again{ending}")
        assert done.returncode == 0
        assert (tmp_path / f"again{ending}").read_bytes() == written.with_suffix(ending).read_bytes()


@pytest.mark.usefixtures("shipped_set")
def test_lora_of_another_base_is_out_of_scope(run, tmp_path):
    done = run("check", write_lora(tmp_path / "big.safetensors", width=1280))
    assert done.returncode == 3
    assert done.stderr.startswith("audit: Not audited: ")
    assert "big.safetensors" in done.stderr


def test_check_imports_no_training_stack(example):
    code = (
        "import sys\nfrom auditor.cli.main import guarded\n"
        f"code = guarded(['check', {str(example)!r}, '--format', 'json', '--fail-on', 'never'])\n"
        f"print(code, [m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    env = {key: value for key, value in os.environ.items() if not key.startswith("AUDIT_")}
    env["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "0 []"


def test_refs_on_the_shipped_set(run, shipped_set):
    assert run("refs", "verify", shipped_set).returncode == 0
    assert json.loads(run("refs", "show", shipped_set, "--json").stdout)["artists"]
    assert "default" in run("refs", "list").stdout


def test_a_folder_from_the_environment_is_no_error_without_documents(run, example, tmp_path):
    folder = {"AUDIT_OUTPUT": "reports"}
    done = run("check", example, "--format", "console", "--fail-on", "never", env=folder)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "reports").exists()
    assert run("check", example, "--format", "console", "-o", "out", env=folder).returncode == 2
    assert run("check", example, "--format", "json", "--fail-on", "never", env=folder).returncode == 0
    (written,) = (tmp_path / "reports").iterdir()
    assert run("report", written, "--format", "console", env={"AUDIT_OUTPUT": "more"}).returncode == 0
    assert not (tmp_path / "more").exists()
