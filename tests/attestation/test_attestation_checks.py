"""`verify` and `reproduce`: what they accept, and which change they name."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import lora_writing as writing
import mini_set
import processes
import pytest

from auditor.attestation import reproduce, statement, verify
from auditor.attestation.reproduce import rerun
from auditor.attestation.statement import PREDICATE_FIELDS, written
from auditor.errors import AttestationError, UsageError
from auditor.report.json import render_json


def results(document: dict[str, Any], **pieces: Any) -> dict[str, bool | None]:
    return {check.name: check.passed for check in verify(document, **pieces)}


def changed(audit: dict[str, Any], where: str, value: Any) -> dict[str, Any]:
    """A copy of the document with one field changed."""
    found = copy.deepcopy(audit)
    place = found
    *way, last = where.split(".")
    for step in way:
        place = place[step]
    place[last] = value
    return found


# --- rerun ----------------------------------------------------------------------------------------------------------


def test_a_fault_of_the_audit_is_not_told_as_one_of_the_document(
    audit: dict[str, Any], stranger: Path, set_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(*_: object, **__: object) -> None:
        raise ValueError("a fault of ours")

    monkeypatch.setattr("auditor.audit.answer", faulty)
    with pytest.raises(ValueError, match="a fault of ours"):
        rerun(audit, stranger, set_folder)


@pytest.mark.parametrize(
    ("where", "value"),
    [("seed", "x"), ("options.alpha", None), ("options.thresholds", {"a": 1}), ("options.artists", [1]),
     ("options.thresholds", {"min_coverage": "much"}), ("created_at", "yesterday"), ("options.refs", 7)],
)  # fmt: skip
def test_an_audit_that_does_not_say_how_it_was_made_is_told(
    audit: dict[str, Any], stranger: Path, set_folder: Path, where: str, value: Any
) -> None:
    with pytest.raises(AttestationError, match="does not say how it was made"):
        rerun(changed(audit, where, value), stranger, set_folder)


# --- verify ----------------------------------------------------------------------------------------------------------


def test_everything_holds_for_the_file_it_was_made_of(audit: dict[str, Any], stranger: Path, set_folder: Path) -> None:
    found = results(statement(audit), suspect=stranger, audit=audit, rerun_audit=True, refs=set_folder)
    assert found == {
        "form": True, "signature": None, "file": True, "tensors": True, "audit": True,
        "reference set": True, "rerun": True,
    }  # fmt: skip


def test_nothing_but_the_form_is_checked_without_pieces(audit: dict[str, Any]) -> None:
    assert results(statement(audit)) == {"form": True, "signature": None}


def test_a_key_for_an_unsigned_statement_is_a_failure(audit: dict[str, Any], tmp_path: Path) -> None:
    assert results(statement(audit), key=tmp_path / "any.pub")["signature"] is False


def test_edited_metadata_change_the_file_and_not_its_tensors(
    audit: dict[str, Any], stranger: Path, tmp_path: Path
) -> None:
    raw = stranger.read_bytes()
    other = tmp_path / "edited.safetensors"
    other.write_bytes(raw.replace(b'"first"', b'"other"'))
    assert other.read_bytes() != raw
    checks = {c.name: c for c in verify(statement(audit), suspect=other)}
    assert (checks["file"].passed, checks["tensors"].passed) == (False, True)
    assert "metadata" in checks["file"].detail


def test_another_file(audit: dict[str, Any], lora_folder: Path, set_folder: Path) -> None:
    other = lora_folder / mini_set.ARTISTS[0] / "0.safetensors"
    found = results(statement(audit), suspect=other, rerun_audit=True, refs=set_folder)
    assert found == {
        "form": True, "signature": None, "file": False, "tensors": False, "reference set": True, "rerun": False
    }  # fmt: skip


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("predicate.verdict.label", "CONSISTENT"),
        ("predicate.open_set.p", 0.001),
        ("predicate.options.alpha", 0.4),
        ("predicate.tool.version", "99"),
    ],
)
def test_an_edited_statement_does_not_stand_a_rerun(
    audit: dict[str, Any], stranger: Path, set_folder: Path, where: str, value: Any
) -> None:
    edited = changed(statement(audit), where, value)
    assert results(edited, suspect=stranger, rerun_audit=True, refs=set_folder)["rerun"] is False
    assert results(edited, audit=audit)["audit"] is False


def test_another_set(audit: dict[str, Any], stranger: Path, lora_folder: Path, tmp_path: Path) -> None:
    loras = tmp_path / "loras"
    shutil.copytree(lora_folder, loras)
    shutil.rmtree(loras / mini_set.ARTISTS[-1])
    fewer = mini_set.build(loras, tmp_path / "set")
    found = results(statement(audit), suspect=stranger, rerun_audit=True, refs=fewer)
    assert (found["reference set"], found["rerun"]) == (False, False)
    again = reproduce(audit, stranger, fewer)
    assert not again.same_bytes
    assert not again.same_figures
    assert any("digest of the reference set" in cause for cause in again.causes)


def test_a_set_that_is_not_there_fails_the_rerun_with_its_reason(audit: dict[str, Any], stranger: Path) -> None:
    checks = {c.name: c for c in verify(statement(audit), suspect=stranger, rerun_audit=True)}
    assert checks["rerun"].passed is False
    assert "mini" in checks["rerun"].detail


def test_a_rerun_needs_the_file(audit: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--suspect"):
        verify(statement(audit), rerun_audit=True)


# --- reproduce -------------------------------------------------------------------------------------------------------


def test_same_inputs_give_the_same_bytes_under_any_name_at_any_time(
    audit: dict[str, Any], stranger: Path, set_folder: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "renamed.bin"
    copied.write_bytes(stranger.read_bytes())
    found = reproduce(audit | {"timing_s": {}, "created_at": "1999-01-01T00:00:00Z"}, copied, set_folder)
    assert found.same_bytes
    assert found.same_figures
    assert (found.inputs, found.results, found.causes) == ([], [], [])
    assert found.audit_sha256["recorded"] == found.audit_sha256["found"]


def test_the_file_that_differs_is_named(audit: dict[str, Any], set_folder: Path, tmp_path: Path) -> None:
    other = mini_set.save(tmp_path / "o.safetensors", writing.kohya(mini_set.lora(1, mini_set.FILES), 2.0))
    found = reproduce(audit, other, set_folder)
    assert not found.same_bytes
    assert {d.field for d in found.inputs} == {"suspect.sha256", "suspect.tensor_sha256"}
    assert [cause.partition(":")[0] for cause in found.causes] == ["file", "tensors of the file"]


def with_config(folder: Path, alpha: float | None) -> Path:
    """A suspect of PEFT's, with the configuration that it needs beside it, or without."""
    made = mini_set.save(folder / "adapter_model.safetensors", writing.peft(mini_set.lora(1, mini_set.FILES)))
    if alpha is not None:
        (folder / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": alpha}))
    return made


def test_the_configuration_beside_the_file_is_an_input(set_folder: Path, tmp_path: Path) -> None:
    from auditor.audit import check

    one, other, none = (with_config(tmp_path / str(alpha), alpha) for alpha in (4, 8, None))
    recorded = json.loads(render_json(check(one, set_folder, resamples=5).to_dict()))
    assert recorded["suspect"]["config_name"] == "adapter_config.json"
    assert (
        recorded["suspect"]["config_sha256"]
        == hashlib.sha256(one.with_name("adapter_config.json").read_bytes()).hexdigest()
    )
    assert reproduce(recorded, one, set_folder).same_bytes
    found = reproduce(recorded, other, set_folder)
    assert [cause.partition(":")[0] for cause in found.causes] == ["digest of the configuration beside the file"]
    assert {d.field for d in reproduce(recorded, none, set_folder).inputs} == {
        "suspect.config_name", "suspect.config_sha256"
    }  # fmt: skip


def test_documents_from_before_configurations_were_recorded_come_out_again(
    audit: dict[str, Any], stranger: Path, set_folder: Path
) -> None:
    older = copy.deepcopy(audit)
    assert (older["suspect"].pop("config_name"), older["suspect"].pop("config_sha256")) == (None, None)
    assert reproduce(older, stranger, set_folder).same_bytes


CHANGES = {
    "alpha": ("open_set.alpha", 0.1, "alpha"),
    "version": ("tool.version", "0.0.1", "version of audit"),
    "set": ("reference_set.digest", "0" * 64, "digest of the reference set"),
    "verdict": ("verdict.label", "DERIVATIVE", "changed after the audit"),
    "p": ("open_set.p", 0.5, "changed after the audit"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_the_input_that_differs_is_named(audit: dict[str, Any], stranger: Path, set_folder: Path, case: str) -> None:
    where, value, named = CHANGES[case]
    found = reproduce(changed(audit, where, value), stranger, set_folder)
    assert not found.same_bytes
    assert not found.same_figures
    assert named in " ".join(found.causes)


@pytest.mark.parametrize(("where", "named"), [("seed", "seed"), ("options.resamples", "seed or resamples")])
def test_draws_that_differ_are_named_where_they_show(
    stranger: Path, set_folder: Path, monkeypatch: pytest.MonkeyPatch, where: str, named: str
) -> None:
    """With the exact limits of p out of the way: mostly they are wider, and then no draw shows in any figure."""
    from auditor.audit import check

    monkeypatch.setattr("auditor.evidence.significance.rate_limits", lambda hits, groups: (1.0, 0.0))
    audit = json.loads(render_json(check(stranger, set_folder, alpha=0.2, resamples=50).to_dict()))
    assert reproduce(audit, stranger, set_folder).same_bytes
    found = reproduce(changed(audit, where, 7), stranger, set_folder)
    assert not found.same_figures
    assert named in " ".join(found.causes)
    assert results(statement(changed(audit, where, 7)), suspect=stranger, rerun_audit=True, refs=set_folder)[
        "rerun"
    ] is (False)


def test_rounding_is_told_from_change(audit: dict[str, Any], stranger: Path, set_folder: Path) -> None:
    moved = changed(audit, "open_set.statistic", audit["open_set"]["statistic"] * (1 + 1e-12))
    found = reproduce(moved, stranger, set_folder)
    assert (found.same_bytes, found.same_figures) == (False, True)
    assert "rounding" in found.causes[0]


def test_half_a_document_cannot_be_reproduced(audit: dict[str, Any], stranger: Path, set_folder: Path) -> None:
    with pytest.raises(AttestationError):
        reproduce({key: value for key, value in audit.items() if key != "options"}, stranger, set_folder)


def test_thresholds_are_taken_over(stranger: Path, set_folder: Path) -> None:
    from auditor.audit import check
    from auditor.policy import Thresholds

    audit = check(stranger, set_folder, alpha=0.2, resamples=5, thresholds=Thresholds(0.9, 2.0)).to_dict()
    found = json.loads(render_json(audit))
    assert reproduce(found, stranger, set_folder).same_bytes


# --- the commands ----------------------------------------------------------------------------------------------------


def test_attest_and_verify(audit_file: Path, stranger: Path, set_folder: Path, tmp_path: Path) -> None:
    made = processes.audit(tmp_path, "attest", audit_file)
    assert made.returncode == 0
    (tmp_path / "s.json").write_text(made.stdout, encoding="utf-8")
    done = processes.audit(
        tmp_path,
        "verify",
        "s.json",
        "--suspect",
        stranger,
        "--audit",
        audit_file,
        "--rerun",
        "--refs",
        set_folder,
        "--json",
    )
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["ok"] is True
    assert [row["passed"] for row in found["checks"]] == [True, None, True, True, True, True, True]
    plain = processes.audit(tmp_path, "verify", "s.json")
    assert plain.returncode == 0
    assert "anybody can have written" in plain.stdout


def test_a_failed_check_is_1_and_on_stderr(audit: dict[str, Any], stranger: Path, tmp_path: Path) -> None:
    forged = changed(statement(audit), "subject", statement(audit)["subject"][::-1])
    forged["subject"][0]["digest"], forged["subject"][1]["digest"] = (s["digest"] for s in forged["subject"][::-1])
    (tmp_path / "s.json").write_text(written(forged), encoding="utf-8")
    done = processes.audit(tmp_path, "verify", "s.json", "--suspect", stranger)
    assert done.returncode == 1
    assert "FAILED" in done.stdout
    assert done.stderr == "audit: s.json: failed: file, tensors.\n"


@pytest.mark.parametrize("field", [*PREDICATE_FIELDS, "reference_set.digest"])
def test_a_statement_that_lacks_a_field_is_refused_and_the_field_named(
    audit: dict[str, Any], audit_file: Path, tmp_path: Path, field: str
) -> None:
    gutted = statement(audit)
    outer, _, inner = field.partition(".")
    if inner:
        gutted["predicate"][outer] = {k: v for k, v in gutted["predicate"][outer].items() if k != inner}
    else:
        del gutted["predicate"][field]
    (tmp_path / "s.json").write_text(written(gutted), encoding="utf-8")
    done = processes.audit(tmp_path, "verify", "s.json", "--audit", audit_file)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"its predicate lacks {field}." in done.stderr
    assert "fault of audit itself" not in done.stderr


def test_other_fields_do_not_make_up_for_missing_ones(audit: dict[str, Any], tmp_path: Path) -> None:
    bare = statement(audit) | {"predicate": {"note": "all is well", "verdict": {"label": "NO_MATCH"}}}
    (tmp_path / "s.json").write_text(written(bare), encoding="utf-8")
    done = processes.audit(tmp_path, "verify", "s.json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "audit_sha256" in done.stderr


def test_signed_from_end_to_end(audit_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    from cryptography.hazmat.primitives import serialization as ser
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    for name in ("mine", "theirs"):
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption())
        (tmp_path / f"{name}.pem").write_bytes(pem)
        public = key.public_key().public_bytes(ser.Encoding.PEM, ser.PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / f"{name}.pub").write_bytes(public)
    done = processes.audit(tmp_path, "attest", audit_file, "--key", "mine.pem", "-o", "signed.json")
    assert (done.returncode, done.stdout) == (0, "")
    assert processes.audit(tmp_path, "verify", "signed.json", "--key", "mine.pub").returncode == 0
    assert processes.audit(tmp_path, "verify", "signed.json", "--key", "theirs.pub").returncode == 1
    loose = processes.audit(tmp_path, "verify", "signed.json")
    assert loose.returncode == 0
    assert "not checked" in loose.stdout


def test_several_audits_need_a_folder(audit: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "two.json").write_text(render_json([audit, changed(audit, "suspect.path", "b.bin")]), encoding="utf-8")
    assert processes.audit(tmp_path, "attest", "two.json").returncode == 2
    assert processes.audit(tmp_path, "attest", "two.json", "-o", "statements").returncode == 0
    assert len(list((tmp_path / "statements").glob("*.intoto.json"))) == 2


def test_reproduce_as_a_command(
    audit_file: Path, audit: dict[str, Any], stranger: Path, set_folder: Path, tmp_path: Path
) -> None:
    done = processes.audit(tmp_path, "reproduce", audit_file, stranger, "--refs", set_folder, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["same_bytes"] is True
    (tmp_path / "edited.json").write_text(render_json(changed(audit, "open_set.alpha", 0.1)), encoding="utf-8")
    done = processes.audit(tmp_path, "reproduce", "edited.json", stranger, "--refs", set_folder)
    assert done.returncode == 1
    assert "alpha" in done.stdout
    (tmp_path / "bad.safetensors").write_bytes(b"garbage")
    done = processes.audit(tmp_path, "reproduce", audit_file, "bad.safetensors", "--refs", set_folder)
    assert done.returncode == 1
    done = processes.audit(tmp_path, "reproduce", audit_file, "missing.safetensors", "--refs", set_folder)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert "missing.safetensors cannot be read" in done.stderr


@pytest.mark.parametrize("name", ["missing.json", "folder"])
def test_a_statement_that_cannot_be_read_is_3(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    done = processes.audit(tmp_path, "verify", name)
    assert (done.returncode, done.stdout) == (3, "")
    assert "cannot be read" in done.stderr
