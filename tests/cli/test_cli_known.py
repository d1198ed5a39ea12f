"""`audit check --known`: copies of known files, and an audit that says what it compared with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jsonschema
import lora_writing as writing
import numpy as np
import processes
import pytest

from auditor.lora import load_lora
from auditor.report.json import schema


@pytest.fixture(scope="module")
def known(lora_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two LoRAs that are no references, one of them in a folder of its own, and a file that is none."""
    source = next(iter(sorted(lora_folder.rglob("*.safetensors"))))
    modules = load_lora(source).modules
    folder = tmp_path_factory.mktemp("house") / "originals"
    (folder / "older").mkdir(parents=True)
    for name, roll in (("older/original.safetensors", 7), ("other.safetensors", 3)):
        lora = {p: (m.up[:, ::-1] + np.float32(0.5) * np.roll(m.up, roll, 0), m.down) for p, m in modules.items()}
        writing.save(folder / name, writing.kohya(lora))
    (folder / "notes.safetensors").write_text("no weights")
    return folder


@pytest.fixture(scope="module")
def suspect(known: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One known file's update in another naming and strength."""
    modules = load_lora(known / "older" / "original.safetensors").modules
    copy = {p: (np.float32(3) * m.up, m.down) for p, m in modules.items()}
    return writing.save(tmp_path_factory.mktemp("suspect") / "suspect.safetensors", writing.diffusers(copy))


@pytest.fixture(scope="module")
def checked(known: Path, suspect: Path, set_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The run of `audit check` over it."""
    folder = tmp_path_factory.mktemp("run")
    return processes.audit(
        folder, "check", suspect, "--refs", set_folder, "--known", known, "--resamples", 20, "--format", "json"
    )


@pytest.fixture
def audit_file(checked: Any, tmp_path: Path) -> Path:
    path = tmp_path / "audit.json"
    path.write_text(checked.stdout, encoding="utf-8")
    return path


def test_copies_of_known_files_are_derivative(checked: Any, known: Path) -> None:
    assert checked.returncode == 11, checked.stderr
    audit = json.loads(checked.stdout)
    assert audit["verdict"]["label"] == "DERIVATIVE"
    assert (audit["derivative"]["of"], audit["derivative"]["relation"]) == ("older/original.safetensors", "same_update")
    original = known / "older" / "original.safetensors"
    assert audit["derivative"]["sha256"] == hashlib.sha256(original.read_bytes()).hexdigest()
    assert "notes.safetensors" in checked.stderr


def test_the_audit_says_what_it_compared_with(checked: Any, known: Path) -> None:
    audit = json.loads(checked.stdout)
    jsonschema.Draft202012Validator(schema()).validate(audit)
    note = audit["options"]["known"]
    own = {
        p: hashlib.sha256((known / p).read_bytes()).hexdigest()
        for p in ("older/original.safetensors", "other.safetensors")
    }
    assert {row["name"]: row["sha256"] for row in note["files"]} == own
    assert (note["folder"], note["count"], note["unread"]) == ("originals", 2, ["notes.safetensors"])
    assert note["digest"] == hashlib.sha256("".join(f"{d}\n" for d in sorted(own.values())).encode()).hexdigest()
    assert str(known.parent) not in json.dumps(note)


def test_the_report_says_it_in_words_and_in_its_command(audit_file: Path, tmp_path: Path) -> None:
    done = processes.audit(tmp_path, "report", audit_file, "--format", "md")
    assert "--known originals" in done.stdout
    assert "It goes back to one of them." in done.stdout
    assert "notes.safetensors" in done.stdout
    assert json.loads(audit_file.read_text("utf-8"))["options"]["known"]["digest"] in done.stdout


def reproduced(audit_file: Path, suspect: Path, set_folder: Path, *more: Any) -> tuple[int, dict[str, Any]]:
    done = processes.audit(audit_file.parent, "reproduce", audit_file, suspect, "--refs", set_folder, "--json", *more)
    return done.returncode, json.loads(done.stdout)


def test_reproduce_with_the_same_files_under_another_folder(
    audit_file: Path, suspect: Path, set_folder: Path, known: Path, tmp_path: Path
) -> None:
    known.rename(known.parent / "moved")
    try:
        code, found = reproduced(audit_file, suspect, set_folder, "--known", known.parent / "moved")
    finally:
        (known.parent / "moved").rename(known)
    assert (code, found["same_bytes"], found["causes"]) == (0, True, [])


def test_reproduce_without_the_known_files(audit_file: Path, suspect: Path, set_folder: Path) -> None:
    code, found = reproduced(audit_file, suspect, set_folder)
    assert (code, found["same_bytes"], found["same_figures"]) == (1, False, False)
    assert len(found["causes"]) == 1
    assert "--known DIR" in found["causes"][0]


def test_reproduce_names_the_known_files_that_differ(
    audit_file: Path, suspect: Path, set_folder: Path, known: Path, tmp_path: Path
) -> None:
    other = tmp_path / "originals"
    (other / "older").mkdir(parents=True)
    (other / "other.safetensors").write_bytes((known / "older" / "original.safetensors").read_bytes())
    (other / "new.safetensors").write_bytes((known / "other.safetensors").read_bytes())
    code, found = reproduced(audit_file, suspect, set_folder, "--known", other)
    assert (code, found["same_figures"]) == (1, False)
    (cause,) = found["causes"]
    assert "missing: older/original.safetensors, notes.safetensors" in cause
    assert "new: new.safetensors" in cause
    assert "other bytes: other.safetensors" in cause


def test_statements_bind_the_known_files_by_their_digest(
    audit_file: Path, suspect: Path, set_folder: Path, known: Path
) -> None:
    folder = audit_file.parent
    assert processes.audit(folder, "attest", audit_file, "-o", "s.json").returncode == 0
    statement = json.loads((folder / "s.json").read_text("utf-8"))
    note = json.loads(audit_file.read_text("utf-8"))["options"]["known"]
    assert statement["predicate"]["options"]["known"] == {k: note[k] for k in ("count", "digest", "unread_count")}
    again = ["verify", "s.json", "--suspect", suspect, "--audit", audit_file, "--rerun", "--refs", set_folder, "--json"]
    with_them = json.loads(processes.audit(folder, *again, "--known", known).stdout)
    assert with_them["ok"] is True
    without = json.loads(processes.audit(folder, *again).stdout)
    assert {c["check"] for c in without["checks"] if c["passed"] is False} == {"known files", "rerun"}


def test_a_folder_that_is_not_there_is_wrong_usage(suspect: Path, set_folder: Path, tmp_path: Path) -> None:
    done = processes.audit(tmp_path, "check", suspect, "--refs", set_folder, "--known", tmp_path / "none")
    assert done.returncode == 2
