"""Lists and odd arguments: a bad line is a row with its reason, a bad argument a clear error, the others go on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from lora_files import write_lora
from processes import ROOT

from auditor.cli.suspects import named
from auditor.errors import NotAuditable
from auditor.sources import Network
from auditor.sources.local import expand, suspects

LONG = "a" * 5000


def audits(text: str) -> list[dict]:
    """The audits of a JSON document of several."""
    return json.loads(text)["audits"]


def test_a_line_that_is_too_long_is_a_row(run, example):
    done = run("check", "-", "--format", "json", stdin=f"{LONG}\n{example}\n")
    rows = audits(done.stdout)
    assert done.returncode in (3, 11)
    assert "too long" in rows[0]["skipped"]["reason"]
    assert rows[1]["skipped"] is None


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["check", LONG], 3),
        (["check", "x.safetensors", "--refs", LONG], 2),
        (["check", "x.safetensors", "-o", LONG], 2),
        (["report", "x.json", "-o", LONG], 2),
        (["refs", "verify", LONG], 2),
        (["refs", "show", LONG], 2),
        (["refs", "import", LONG, "-o", "out"], 1),
        (["refs", "evaluate", str(ROOT / "reference_sets" / "default"), "--loras", LONG], 1),
        (["refs", "export", str(ROOT / "reference_sets" / "default"), "-o", LONG], 2),
        (["scan", ".", "-o", LONG], 2),
        (["map", "-o", f"{LONG}.svg"], 2),
    ],
    ids=lambda value: value if isinstance(value, int) else " ".join(value)[:30],
)
def test_an_argument_that_is_too_long_is_a_clear_error(run, arguments, code):
    done = run(*arguments)
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr.startswith("audit: ")
    assert done.stderr.count("\n") == 1
    assert "fault of audit" not in done.stderr


def test_what_may_not_be_looked_at_is_no_folder(monkeypatch):
    def forbidden(self: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "stat", forbidden)
    assert [str(path) for path in expand(["-"], ["shut/x.safetensors"])] == ["shut/x.safetensors"]
    assert [source.name for source in named(["shut/x.safetensors"], Network())] == ["shut/x.safetensors"]


def test_a_bad_remote_line_is_a_row(run, example):
    names = ["http://x/y", "hf://", "civitai:", "hf://owner/repo/x.safetensors"]
    done = run("check", "-", "--offline", "--format", "json", stdin="".join(f"{name}\n" for name in [*names, example]))
    rows = audits(done.stdout)
    assert done.returncode in (3, 11)
    assert [row["suspect"]["path"] for row in rows] == [*names, str(example)]
    assert {row["skipped"]["code"] for row in rows[:4]} == {"unreachable"}
    assert rows[4]["skipped"] is None
    online = run("check", "-", "--format", "json", stdin="http://x/y\nhf://\ncivitai:\n")
    assert online.returncode == 3
    assert "are not read here" in audits(online.stdout)[0]["skipped"]["reason"]


@pytest.mark.parametrize(
    "words", ["inspect {}", "compare x {}", "report {}", "verify {}", "refs evaluate {}", "map {}", "check {}"]
)
def test_remote_names_that_are_not_read_are_told_whole(run, words):
    for name in ("s3://foo/bar.safetensors", *(["hf://foo/bar"] if words != "check {}" else [])):
        done = run(*words.format(name).split())
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert name in done.stderr
        assert "not read here" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs a folder of that name")
def test_what_exists_is_a_file_whatever_its_name(run, tmp_path):
    (tmp_path / "s3:").mkdir()
    write_lora(tmp_path / "s3:" / "x.safetensors")
    assert run("inspect", "s3://x.safetensors", "--header").returncode == 0


def test_the_map_goes_on_past_a_bad_remote_line(run, example, tmp_path):
    done = run("map", "-", "-o", "m.svg", stdin=f"hf://owner/repo/x.safetensors\n{example}\n")
    assert done.returncode == 3
    assert "Not placed: hf://owner/repo/x.safetensors lies on the network" in done.stderr
    assert example.stem in (tmp_path / "m.svg").read_text(encoding="utf-8")
    assert run("map", example, "-o", "m.svg").returncode == 0
    assert run("map", "missing.safetensors", "-o", "n.svg").returncode == 3
    assert (tmp_path / "n.svg").is_file()


def test_folders_without_files_are_rows_of_a_batch(run, example, tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments, stdin in ((["-"], f"empty\n{example}\n"), (["empty", example], "")):
        done = run("check", *arguments, "--format", "json", stdin=stdin)
        rows = audits(done.stdout)
        assert done.returncode in (3, 11)
        assert [row["suspect"]["path"] for row in rows] == ["empty", str(example)]
        assert "holds no file" in rows[0]["skipped"]["reason"]
    assert run("check", "empty").returncode == 2


def test_folders_that_cannot_be_read_are_told(tmp_path, monkeypatch):
    for name in ("a/x.safetensors", "b/x.safetensors", "c/x.safetensors"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    scandir = os.scandir

    def guarded(path: str) -> object:
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    found = suspects(str(tmp_path), alone=True)
    assert [Path(one.name).relative_to(tmp_path).as_posix() for one in found] == [
        "a/x.safetensors", "b", "c/x.safetensors",
    ]  # fmt: skip
    with pytest.raises(NotAuditable, match="cannot be read: Permission denied"), found[1].fetched():
        pass
    assert [one.name for one in suspects(str(tmp_path / "b"), alone=True)] == [str(tmp_path / "b")]


def test_attest_leaves_out_what_was_not_audited(run, example, tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"")
    (tmp_path / "audits.json").write_text(
        run("check", "bad.safetensors", example, "--format", "json").stdout, encoding="utf-8"
    )
    done = run("attest", "audits.json", "-o", "statements")
    assert done.returncode == 3
    assert "bad.safetensors: This file was not audited" in done.stderr
    (written,) = (tmp_path / "statements").iterdir()
    assert written.name.startswith(example.stem)
    one = {"schema_version": "1.0", **audits((tmp_path / "audits.json").read_text(encoding="utf-8"))[0]}
    (tmp_path / "one.json").write_text(json.dumps(one), encoding="utf-8")
    assert run("attest", "one.json").returncode == 2
