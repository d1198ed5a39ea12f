"""Help, version, wrong usage, exit codes: what needs no reference set."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lora_files import write_lora
from processes import environment

from auditor._version import __version__
from auditor.cli import main

COMMANDS = ["check", "inspect", "compare", "report", "refs", "attest", "verify", "reproduce", "serve"]


def test_help_names_every_command(run):
    done = run("--help")
    assert done.returncode == 0
    assert all(command in done.stdout for command in COMMANDS)
    assert done.stderr == ""


SETS = ["refs train", "refs import", "refs add", "refs remove", "refs pull", "refs push"]


@pytest.mark.parametrize("command", [*COMMANDS, *SETS])
def test_every_command_has_help(run, command):
    done = run(*command.split(), "--help")
    assert done.returncode == 0
    assert "Usage: audit " + command in re.sub(r"\s+", " ", done.stdout)


def test_version(run):
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"audit {__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["nosuch"],
        ["check", "x.safetensors", "--bogus"],
        ["check", "x.safetensors", "--format", "docx"],
        ["check", "x.safetensors", "--alpha", "2"],
        ["check", "x.safetensors", "--fail-on", "sometimes"],
        ["check", "x.safetensors", "--format", "json", "--format", "md"],
        ["check", "x.safetensors", "--format", "console", "-o", "out"],
        ["check", "x.safetensors", "--format", "html", "--format", "json", "-o", "out.html"],
        ["check", "hf://someone"],
        ["check", "hf://someone/something", "--offline"],
        ["check", "civitai:0123456789"],
        ["check", "https://example.org/x.safetensors"],
        ["check", "x.safetensors", "--policy", "nosuch.toml"],
        ["attest", "missing.json"],
        ["reproduce", "missing.json", "x.safetensors"],
        ["check", "-"],
        ["compare", "one.safetensors"],
        ["report", "missing.json"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2_with_one_line(run, arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("audit: ")
    assert done.stderr.count("\n") == 1


def test_wrong_environment_default_is_wrong_usage(run):
    done = run("check", "x.safetensors", env={"AUDIT_ALPHA": "often"})
    assert done.returncode == 2
    assert "AUDIT_ALPHA" in done.stderr


@pytest.mark.parametrize("epoch", ["abc", "1700000000.5", "99999999999999", "9" * 5000])
def test_a_malformed_epoch_is_wrong_usage(run, tmp_path, epoch):
    file = write_lora(tmp_path / "x.safetensors")
    for arguments in (["check", file, "--format", "json"], ["scan", file, "-o", "out.parquet"]):
        done = run(*arguments, env={"SOURCE_DATE_EPOCH": epoch})
        assert (done.returncode, done.stdout) == (2, "")
        assert "SOURCE_DATE_EPOCH" in done.stderr
        assert not (tmp_path / "out.parquet.parts").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_full_output_is_told_and_1(tmp_path, more):
    file = write_lora(tmp_path / "x.safetensors")
    command = [sys.executable, "-m", "auditor.cli", "inspect", file, *more]
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, env=environment(), encoding="utf-8", timeout=60, check=False
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr
    assert "report" not in done.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [("nosuch", "nosuch"), ("defalt", "Did you mean default?"), ("sets", "Did you mean sets/mine?")],
)
def test_an_unknown_set_is_wrong_usage(run, tmp_path, name, said):
    (tmp_path / "sets" / "mine").mkdir(parents=True)
    (tmp_path / "sets" / "mine" / "manifest.json").write_text("{}")
    done = run("check", write_lora(tmp_path / "x.safetensors"), "--refs", name)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_damaged_set_is_a_failure_of_the_tool(run, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "manifest.json").write_text("{")
    assert run("check", write_lora(tmp_path / "x.safetensors"), "--refs", "set").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "x", "--format", "htm"], "--format cannot be 'htm'. Did you mean html? It can be console, html, "),
        (["check", "x", "--alpha", "often"], "Invalid value for '--alpha': "),
        (["chek", "x"], "Did you mean 'check'? See 'audit --help'.\n"),
        (["lora.safetensors"], "Did you mean `audit check lora.safetensors`?\n"),
        (["hf://owner/repo"], "Did you mean `audit check hf://owner/repo`?\n"),
        (["a file"], "Did you mean `audit check 'a file'`?\n"),
        (["check", "https://civitai.com/models/123"], "Write civitai:123 for"),
        (["check", "https://civitai.com/models/123/a-name?modelVersionId=456"], "Write civitai:123@456 for"),
        (["check", "x", "--policy", "bytes"], "is no text in UTF-8."),
        (["report", "bytes"], "is no text, so it is not JSON."),
        (["check", "x", "-o", "x.txt", "--format", "json"], "no format ends in .txt."),
        (["check", "x", "-o", "x.txt"], "no format ends in .txt."),
        (["scan", "x", "-o", "rows.csv"], "Name a file that ends in .parquet."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_told_without_insides(run, tmp_path, arguments, said):
    (tmp_path / "a file").write_text("x")
    (tmp_path / "bytes").write_bytes(b"\x80\x81")
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert not re.search(r"Value error|env var|codec|\.\.|\?\.", done.stderr)
    assert not {"x.txt", "rows.csv"} & {path.name for path in tmp_path.iterdir()}


def test_a_folder_with_an_ending_may_be_written_to(run, tmp_path):
    (tmp_path / "old.txt").mkdir()
    for folder in ("old.txt", "results-1.2"):
        run("check", write_lora(tmp_path / "x.safetensors"), "--format", "json", "-o", folder)
        assert len(list((tmp_path / folder).iterdir())) == 1


def test_a_variable_that_is_wrong_is_named(run):
    assert "AUDIT_FORMAT cannot be 'htm'." in run("check", "x", env={"AUDIT_FORMAT": "htm"}).stderr


def test_loras_without_folders_of_artists(run, tmp_path):
    write_lora(tmp_path / "x.safetensors")
    done = run("refs", "import", ".", "-o", "set")
    assert done.returncode == 1
    assert "holds no folders. Put each artist's LoRA files into a folder of its own." in done.stderr


def test_a_pdf_is_called_one(run, tmp_path):
    (tmp_path / "some.pdf").write_bytes(b"%PDF-1.7\n1 0 obj")
    done = run("check", "some.pdf")
    assert done.returncode == 3
    assert "is a PDF, not a file of weights." in done.stderr


def test_an_unknown_artist_leads_to_the_list_of_the_set(run, example):
    done = run("check", example, "--artist", "Picasso")
    assert done.returncode == 2
    assert "`audit refs show default` lists" in done.stderr


def test_refs_show_names_figures_as_reports_do(run, shipped_set):
    done = run("refs", "show", "default")
    assert re.search(r"Found at α = \.05: 0\.\d\d \(0\.\d\d … 0\.\d\d\), 56 artists\n", done.stdout)
    assert "found_at_alpha" not in done.stdout
    assert not re.search(r"0\.\d{3}", done.stdout)
    assert "  valentin-serov: genre impressionism, died 1911, references 16\n" in done.stdout


def test_interrupt_is_130(monkeypatch, capsys):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("auditor.lora.inspect.inspect", interrupted)
    assert main.guarded(["inspect", "x"]) == 130
    assert capsys.readouterr().err == "audit: Interrupted.\n"


def test_unexpected_fault_is_one_line_and_1(monkeypatch, capsys):
    def broken(*_: object) -> None:
        raise RuntimeError("a\x1b[31m\nb")

    monkeypatch.delenv("AUDIT_DEBUG", raising=False)
    monkeypatch.setattr("auditor.lora.inspect.inspect", broken)
    assert main.guarded(["inspect", "x"]) == 1
    told = capsys.readouterr().err
    assert "\x1b" not in told
    assert told.count("\n") == 1
    assert "report it" in told
    monkeypatch.setenv("AUDIT_DEBUG", "1")
    assert main.guarded(["inspect", "x"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_inspect_json_and_text(run, tmp_path):
    file = write_lora(tmp_path / "x.safetensors")
    done = run("inspect", file, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["modules"] == 4
    text = run("inspect", file)
    assert text.returncode == 0
    assert re.search(r"modules +4\b", text.stdout)


def test_compare_json(run, tmp_path):
    one, other = write_lora(tmp_path / "1.safetensors"), write_lora(tmp_path / "2.safetensors", seed=1)
    same = json.loads(run("compare", one, one, "--json").stdout)
    assert same["relation"] == "same_file"
    assert json.loads(run("compare", one, other, env={"AUDIT_JSON": "1"}).stdout)["relation"] == "unrelated"


@pytest.mark.parametrize("command", ["inspect", "compare"])
def test_unreadable_files_are_3(run, tmp_path, command):
    bad = tmp_path / "bad.safetensors"
    bad.write_text("this is a text\n")
    done = run(command, *[bad] * (2 if command == "compare" else 1))
    assert done.returncode == 3
    assert done.stdout == ""
    assert "bad.safetensors" in done.stderr


def test_report_refuses_what_is_no_audit(run, tmp_path):
    for number, text in enumerate(
        ["", "[]", "{}", '{"schema_version": "9.0"}', '{"schema_version": "1.0"}', "[" * 9999]
    ):
        path = tmp_path / f"{number}.json"
        path.write_text(text)
        done = run("report", path, "--format", "md")
        assert (done.returncode, done.stdout) == (2, ""), text


def test_refs_list_runs_without_any_argument(run):
    done = run("refs", "list", "--json")
    assert done.returncode == 0
    assert isinstance(json.loads(done.stdout), list)


def test_refs_show_unknown(run):
    done = run("refs", "show", "nosuch")
    assert done.returncode == 2
    assert "nosuch" in done.stderr


def test_importing_the_command_is_light():
    """Neither the templates nor any training stack is needed to show the help."""
    code = (
        "import sys, auditor.cli.main; "
        "print([m for m in ('jinja2', 'torch', 'diffusers', 'peft', 'pandas', 'matplotlib', 'fastapi', 'numpy', "
        "'cryptography', 'huggingface_hub', 'urllib.request') if m in sys.modules])"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("form", ["md", "junit", "sarif", "html", "json", "console"])
@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_report_refuses_numbers_that_json_has_not(tmp_path, form, number, capsys):
    audit = tmp_path / "a.json"
    audit.write_text(f'{{"schema_version": "1.0", "seed": {number}}}', encoding="utf-8")
    assert main.guarded(["report", str(audit), "--format", form]) == 2
    told = capsys.readouterr()
    assert f"it holds {number}" in told.err
    assert told.out == ""
