"""Policy files: what they may say, and what they make of an audit."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import lora_writing as writing
import mini_set
import processes
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.audit import Placed, check, not_audited
from auditor.errors import MalformedFile, UsageError
from auditor.gate import ALPHA, BLOCKABLE, gated, judge, level_of, load_policy
from auditor.policy import DEFAULTS, Thresholds, decide
from auditor.reference import ReferenceSet
from auditor.report.json import render_json
from auditor.result import Audit

A, B = "a" * 64, "b" * 64
WHOLE = """
[thresholds]
alpha = 0.01
min_coverage = 0.8
min_log10_lr = 1

[artists]
of_concern = ["ada-alder", "ben-birch"]

[block]
verdicts = ["CONSISTENT", "INCONCLUSIVE"]

[[ignore]]
sha256 = "{A}"
reason = "licence 12"
expires = 2030-01-31
artist = "ada-alder"
""".replace("{A}", A)


def policy_file(folder: Path, text: str) -> Path:
    path = folder / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def reference(set_folder: Path) -> ReferenceSet:
    return ReferenceSet.load(set_folder)


@pytest.fixture(scope="module")
def known(lora_folder: Path, reference: ReferenceSet) -> Audit:
    """The audit of a reference itself: DERIVATIVE."""
    return check(lora_folder / mini_set.ARTISTS[0] / "0.safetensors", reference, alpha=0.2, resamples=5)


def labelled(audit: Audit, label: str, artist: str | None = "ada-alder", when: str = "2026-06-15T12:00:00Z") -> Audit:
    """`audit` with another verdict and time."""
    verdict = replace(audit.verdict, label=label, artist=artist)
    suspect = replace(audit.suspect, sha256=A, tensor_sha256=B)
    return replace(audit, verdict=verdict, suspect=suspect, created_at=when)


# --- reading ----------------------------------------------------------------------------------------------------------


def test_every_key_arrives(tmp_path: Path) -> None:
    path = policy_file(tmp_path, WHOLE)
    policy = load_policy(path)
    assert policy.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (policy.alpha, policy.thresholds) == (0.01, Thresholds(0.8, 1.0))
    assert policy.of_concern == ("ada-alder", "ben-birch")
    assert policy.block == ("CONSISTENT", "INCONCLUSIVE")
    (entry,) = policy.ignore
    assert (entry.digest, entry.kind, entry.expires, entry.artist) == (A, "sha256", date(2030, 1, 31), "ada-alder")


def test_an_empty_policy_asks_for_what_is_asked_without_one(tmp_path: Path) -> None:
    policy = load_policy(policy_file(tmp_path, ""))
    assert (policy.alpha, policy.thresholds, policy.of_concern) == (None, DEFAULTS, ())
    assert set(policy.block) == {"CONSISTENT", "DERIVATIVE"}


WRONG = {
    "not TOML": "alpha = = 1",
    "unknown table": "[threshold]\nalpha = 0.05",
    "unknown key": "[thresholds]\nalhpa = 0.05",
    "key outside its table": "alpha = 0.05",
    "alpha of nothing": "[thresholds]\nalpha = 0",
    "alpha of everything": "[thresholds]\nalpha = 1.0",
    "alpha as text": '[thresholds]\nalpha = "0.05"',
    "alpha as truth": "[thresholds]\nalpha = true",
    "alpha that is none": "[thresholds]\nalpha = nan",
    "coverage above all": "[thresholds]\nmin_coverage = 1.5",
    "negative evidence": "[thresholds]\nmin_log10_lr = -1",
    "artists as text": '[artists]\nof_concern = "ada-alder"',
    "absent as a number": "[artists]\nabsent = 1",
    "absent as another word": '[artists]\nabsent = "ignore"',
    "artists as array": 'artists = ["ada-alder"]',
    "blocking nobody": '[block]\nverdicts = ["NO_MATCH"]',
    "blocking what was not audited": '[block]\nverdicts = ["OUT_OF_SCOPE"]',
    "ignore without reason": f'[[ignore]]\nsha256 = "{A}"\nexpires = 2030-01-01',
    "ignore with an empty reason": f'[[ignore]]\nsha256 = "{A}"\nreason = " "\nexpires = 2030-01-01',
    "ignore for ever": f'[[ignore]]\nsha256 = "{A}"\nreason = "x"',
    "ignore until a text": f'[[ignore]]\nsha256 = "{A}"\nreason = "x"\nexpires = "2030-01-01"',
    "ignore until an hour": f'[[ignore]]\nsha256 = "{A}"\nreason = "x"\nexpires = 2030-01-01T00:00:00Z',
    "ignore without digest": '[[ignore]]\nreason = "x"\nexpires = 2030-01-01',
    "ignore with two digests": f'[[ignore]]\nsha256="{A}"\ntensor_sha256="{B}"\nreason="x"\nexpires=2030-01-01',
    "ignore by a short digest": '[[ignore]]\nsha256 = "abc"\nreason = "x"\nexpires = 2030-01-01',
    "ignore by path": f'[[ignore]]\nsha256="{A}"\npath = "x"\nreason = "x"\nexpires = 2030-01-01',
    "ignore as table": '[ignore]\nreason = "x"',
    "no baseline file": '[baseline]\nfile = "nosuch.json"',
    "baseline without file": "[baseline]\npath = 1",
    "baseline that is no audit": '[baseline]\nfile = "policy.toml"',
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_not_understood_is_refused(tmp_path: Path, case: str) -> None:
    with pytest.raises(UsageError, match=r"policy\.toml|nosuch"):
        load_policy(policy_file(tmp_path, WRONG[case]))


def test_a_policy_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_policy(tmp_path / "policy.toml")


def test_the_level_is_given_in_one_place(tmp_path: Path) -> None:
    policy = load_policy(policy_file(tmp_path, "[thresholds]\nalpha = 0.01"))
    assert (level_of(None, None), level_of(0.1, None), level_of(None, policy), level_of(0.01, policy)) == (
        ALPHA, 0.1, 0.01, 0.01
    )  # fmt: skip
    with pytest.raises(UsageError, match="contradicts"):
        level_of(0.05, policy)


# --- judging ----------------------------------------------------------------------------------------------------------


@given(
    st.sampled_from(["CONSISTENT", "DERIVATIVE", "INCONCLUSIVE", "NO_MATCH", "OUT_OF_SCOPE"]),
    st.lists(st.sampled_from(BLOCKABLE), unique=True),
)
def test_only_what_the_policy_blocks_blocks(
    tmp_path_factory: pytest.TempPathFactory, known: Audit, label: str, block: list[str]
) -> None:
    text = f"[block]\nverdicts = {json.dumps(block)}"
    policy = load_policy(policy_file(tmp_path_factory.mktemp("p"), text))
    assert judge(labelled(known, label), policy).blocks == (label in block)


@pytest.mark.parametrize(
    ("artist", "code"), [("ada-alder", "blocked"), ("cleo-cedar", "not-of-concern"), (None, "not-of-concern")]
)
def test_artists_of_concern(tmp_path: Path, known: Audit, artist: str | None, code: str) -> None:
    policy = load_policy(policy_file(tmp_path, '[artists]\nof_concern = ["ada-alder"]'))
    outcome = judge(labelled(known, "CONSISTENT", artist), policy)
    assert (outcome.code, outcome.blocks) == (code, code == "blocked")


@pytest.mark.parametrize("name", ["Ada Alder", "ADA_ALDER", "Àda  alder"])
def test_artists_of_concern_may_be_written_as_people_do(
    tmp_path: Path, known: Audit, reference: ReferenceSet, name: str
) -> None:
    text = f'[artists]\nof_concern = ["{name}"]'
    policy = load_policy(policy_file(tmp_path, text)).read_for(reference)
    assert judge(labelled(known, "CONSISTENT", "ada-alder"), policy).blocks
    assert judge(labelled(known, "CONSISTENT", "ben-birch"), policy).code == "not-of-concern"
    ignoring = f'[[ignore]]\nsha256 = "{A}"\nreason = "x"\nexpires = 2030-01-31\nartist = "{name}"'
    policy = load_policy(policy_file(tmp_path, ignoring)).read_for(reference)
    assert judge(labelled(known, "CONSISTENT", "ada-alder"), policy).code == "ignored"


IGNORING = f'[[ignore]]\nsha256 = "{A}"\nreason = "x"\nexpires = 2030-01-31\nartist = "Ada Aldr"'


@pytest.mark.parametrize("text", ['[artists]\nof_concern = ["ben-birch", "Ada Aldr"]', IGNORING])
def test_an_artist_whom_the_set_lacks_is_an_error_unless_the_policy_is_for_several_sets(
    tmp_path: Path, known: Audit, reference: ReferenceSet, text: str
) -> None:
    with pytest.raises(UsageError, match=r"'Ada Aldr', who is not in the reference set.*Did you mean ada-alder"):
        load_policy(policy_file(tmp_path, text)).read_for(reference)
    shared = text.replace("[artists]", '[artists]\nabsent = "allow"') if "[artists]" in text else None
    policy = load_policy(policy_file(tmp_path, shared or f'{text}\n[artists]\nabsent = "allow"')).read_for(reference)
    assert policy.unknown_artists(reference.artists) == (["Ada Aldr"] if shared else [])
    outcome = judge(labelled(known, "CONSISTENT", "ada-alder"), policy)
    assert outcome.code == ("not-of-concern" if shared else "blocked")


def test_a_policy_that_protects_only_whom_the_set_lacks_does_not_protect_everybody(
    tmp_path: Path, known: Audit, reference: ReferenceSet
) -> None:
    text = '[artists]\nof_concern = ["Pablo Picasso"]\nabsent = "allow"'
    policy = load_policy(policy_file(tmp_path, text)).read_for(reference)
    assert judge(labelled(known, "CONSISTENT", "ada-alder"), policy).code == "not-of-concern"


@pytest.mark.parametrize(
    ("day", "code"),
    [("2030-01-30", "ignored"), ("2030-01-31", "ignored"), ("2030-02-01", "blocked"), ("2031-01-01", "blocked")],
)
@pytest.mark.parametrize("kind", ["sha256", "tensor_sha256"])
def test_an_ignored_file_is_ignored_until_its_date_and_then_says_so(
    tmp_path: Path, known: Audit, day: str, code: str, kind: str
) -> None:
    digest = A if kind == "sha256" else B
    text = f'[[ignore]]\n{kind} = "{digest.upper()}"\nreason = "licence 12"\nexpires = 2030-01-31'
    outcome = judge(labelled(known, "CONSISTENT", when=f"{day}T23:59:59Z"), load_policy(policy_file(tmp_path, text)))
    assert outcome.code == code
    assert "licence 12" in outcome.reason
    assert ("expired on 2030-01-31" in outcome.reason) == (code == "blocked")


def test_an_ignored_file_is_not_ignored_for_another_artist(tmp_path: Path, known: Audit) -> None:
    text = f'[[ignore]]\nsha256 = "{A}"\nreason = "x"\nexpires = 2030-01-31\nartist = "ada-alder"'
    policy = load_policy(policy_file(tmp_path, text))
    assert not judge(labelled(known, "CONSISTENT", "ada-alder"), policy).blocks
    assert judge(labelled(known, "CONSISTENT", "ben-birch"), policy).blocks


def test_a_baseline_knows_the_same_tensors_with_the_same_verdict_only(tmp_path: Path, known: Audit) -> None:
    old = labelled(known, "CONSISTENT")
    (tmp_path / "base.json").write_text(render_json([old.to_dict(), known.to_dict()]), encoding="utf-8")
    policy = load_policy(policy_file(tmp_path, '[baseline]\nfile = "base.json"'))
    assert policy.baseline_sha256 == hashlib.sha256((tmp_path / "base.json").read_bytes()).hexdigest()
    assert judge(old, policy).code == "known"
    assert judge(known, policy).code == "known"
    assert judge(labelled(known, "DERIVATIVE"), policy).blocks
    assert judge(labelled(known, "CONSISTENT", "ben-birch"), policy).blocks
    moved = replace(old, suspect=replace(old.suspect, tensor_sha256="c" * 64))
    assert judge(moved, policy).blocks


def test_what_was_not_audited_is_never_judged(tmp_path: Path, reference: ReferenceSet) -> None:
    audit = not_audited("x", MalformedFile("broken.", advice="Mend it."), reference)
    note = gated(audit, load_policy(policy_file(tmp_path, ""))).options["policy"]
    assert (note["outcome"], note["blocks"]) == ("not-audited", False)


# --- thresholds change the verdict ----------------------------------------------------------------------------------


def fresh(folder: Path, artist: int) -> Path:
    return mini_set.save(folder / "x.safetensors", writing.kohya(mini_set.lora(artist, mini_set.FILES), 2.0))


def test_thresholds_only_ever_take_a_verdict_back(tmp_path: Path, reference: ReferenceSet) -> None:
    path = fresh(tmp_path, 0)
    seen: list[Placed] = []
    plain = check(path, reference, alpha=0.2, resamples=5, observe=seen.append)
    assert plain.verdict.label == "CONSISTENT"
    assert "thresholds" not in plain.options
    ratio, most = plain.artists[0].log10_lr, seen[0].view.calibration.limits[1]
    assert ratio is not None
    for least, label in ((ratio - 1e-6, "CONSISTENT"), (ratio + 1e-6, "INCONCLUSIVE"), (most + 1, "INCONCLUSIVE")):
        found = check(path, reference, alpha=0.2, resamples=5, thresholds=Thresholds(min_log10_lr=least))
        assert found.verdict.label == label
        assert found.options["thresholds"] == {"min_coverage": 0.25, "min_log10_lr": least}
        assert ("No file can reach it" in found.verdict.sentence) == (least > most)
        assert found.artists == plain.artists


@pytest.mark.parametrize(("ratio", "most", "reachable"), [(-0.4, 0.3, False), (-0.4, 0.6, True), (0.0, 0.0, False)])
def test_what_no_file_can_reach_is_told_by_how_far_the_set_speaks_for_an_artist(
    known: Audit, ratio: float, most: float, reachable: bool
) -> None:
    """The bound beside a ratio below 1 is how far the set speaks against: 1.2 here."""
    assert known.open_set
    assert known.coverage
    first = replace(known.artists[0], p=0.01, log10_lr=ratio, lr_bound=1.2)
    opened = replace(known.open_set, p=0.01, alpha=0.05, null_artists=99)
    found = decide(opened, [first], known.coverage, {}, None, Thresholds(min_log10_lr=0.5), most)
    assert found.label == "INCONCLUSIVE"
    assert ("No file can reach it" in found.sentence) == (not reachable)
    assert ("bound is 1.2" in found.sentence) is False


def test_least_coverage(tmp_path: Path, reference: ReferenceSet) -> None:
    made = {p: f for p, f in mini_set.lora(0, mini_set.FILES).items() if not p.endswith("attn1.to_k")}
    path = mini_set.save(tmp_path / "part.safetensors", writing.diffusers(made))
    fraction = check(path, reference, alpha=0.2, resamples=5).coverage
    assert fraction is not None
    for least, stays in ((fraction.fraction, True), (min(1.0, fraction.fraction + 0.01), False)):
        found = check(path, reference, alpha=0.2, resamples=5, thresholds=Thresholds(min_coverage=least))
        assert (found.verdict.label == "CONSISTENT") == stays


# --- the command ----------------------------------------------------------------------------------------------------


def told(done: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_check_with_a_policy(tmp_path: Path, set_folder: Path, lora_folder: Path) -> None:
    copy = lora_folder / mini_set.ARTISTS[0] / "0.safetensors"
    base = ["check", copy, "--refs", set_folder, "--format", "json", "--resamples", "5"]
    assert processes.audit(tmp_path, *base).returncode == 11

    calm = policy_file(tmp_path, '[block]\nverdicts = ["CONSISTENT"]')
    done = processes.audit(tmp_path, *base, "--policy", calm)
    assert done.returncode == 0
    note = told(done)["options"]["policy"]
    assert note["sha256"] == hashlib.sha256(calm.read_bytes()).hexdigest()
    assert (note["outcome"], note["blocks"]) == ("not-blocking", False)

    strict = policy_file(tmp_path, '[artists]\nof_concern = ["ada-alder", "nobody-known"]\nabsent = "allow"')
    done = processes.audit(tmp_path, *base, "--policy", strict)
    assert done.returncode == 11
    assert "nobody-known" in done.stderr
    assert "blocked" in done.stderr
    assert processes.audit(tmp_path, *base, "--policy", strict, "--fail-on", "never").returncode == 0
    for wrong in (["--fail-on", "match"], ["--alpha", "0.3"]):
        policy_file(tmp_path, "[thresholds]\nalpha = 0.2")
        assert processes.audit(tmp_path, *base, "--policy", strict, *wrong).returncode == 2


def test_reproduce_judges_again_by_a_policy_and_tells_another_one(
    tmp_path: Path, set_folder: Path, lora_folder: Path
) -> None:
    copy = lora_folder / mini_set.ARTISTS[0] / "0.safetensors"
    rules = policy_file(tmp_path, '[block]\nverdicts = ["CONSISTENT"]')
    done = processes.audit(
        tmp_path, "check", copy, "--refs", set_folder, "--format", "json", "--resamples", "5", "--policy", rules
    )
    (tmp_path / "audit.json").write_text(done.stdout, encoding="utf-8")
    again = ["reproduce", "audit.json", copy, "--refs", set_folder, "--json", "--policy"]
    renamed = rules.rename(tmp_path / "renamed.toml")
    assert told(processes.audit(tmp_path, *again, renamed))["same_bytes"] is True
    other = policy_file(tmp_path, '[block]\nverdicts = ["DERIVATIVE"]')
    found = told(processes.audit(tmp_path, *again, other))
    assert [cause.partition(":")[0] for cause in found["causes"]] == ["digest of the policy"]
    assert {d["field"]: d["found"] for d in found["results"]}["options.policy.blocks"] is True


@pytest.mark.parametrize(("name", "code"), [("Ada Alder", 11), ("Ada Aldr", 2), ("Nobody Known", 2)])
def test_a_misspelt_artist_stops_the_command(
    tmp_path: Path, set_folder: Path, lora_folder: Path, name: str, code: int
) -> None:
    copy = lora_folder / mini_set.ARTISTS[0] / "0.safetensors"
    rules = policy_file(tmp_path, f'[artists]\nof_concern = ["{name}"]')
    base = ["check", copy, "--refs", set_folder, "--resamples", "5", "--policy", rules]
    done = processes.audit(tmp_path, *base)
    assert done.returncode == code, done.stderr
    assert ("Did you mean ada-alder?" in done.stderr) == (name == "Ada Aldr")


def test_reproduce_reads_a_policy_as_the_audit_did(tmp_path: Path, set_folder: Path, lora_folder: Path) -> None:
    copy = lora_folder / mini_set.ARTISTS[0] / "0.safetensors"
    rules = policy_file(tmp_path, '[artists]\nof_concern = ["Ada Alder"]')
    options = ["--refs", set_folder, "--policy", rules]
    done = processes.audit(tmp_path, "check", copy, "--format", "json", "--resamples", "5", *options)
    assert told(done)["options"]["policy"]["outcome"] == "blocked"
    (tmp_path / "audit.json").write_text(done.stdout, encoding="utf-8")
    again = processes.audit(tmp_path, "reproduce", "audit.json", copy, "--json", *options)
    assert told(again)["same_bytes"] is True


def test_an_expired_entry_is_said_on_stderr(tmp_path: Path, set_folder: Path, lora_folder: Path) -> None:
    copy = lora_folder / mini_set.ARTISTS[0] / "0.safetensors"
    digest = hashlib.sha256(copy.read_bytes()).hexdigest()
    path = policy_file(tmp_path, f'[[ignore]]\nsha256 = "{digest}"\nreason = "licence 12"\nexpires = 2023-11-14')
    base = ["check", copy, "--refs", set_folder, "--resamples", "5", "--policy", path]
    last_day, next_day = "1700000000", "1700010000"
    done = processes.audit(tmp_path, *base, env={"SOURCE_DATE_EPOCH": last_day})
    assert done.returncode == 0
    assert "ignored" in done.stderr
    done = processes.audit(tmp_path, *base, env={"SOURCE_DATE_EPOCH": next_day})
    assert done.returncode == 11
    assert "expired on 2023-11-14" in done.stderr


def test_a_policy_in_the_audited_or_working_folder_is_not_read(
    tmp_path: Path, set_folder: Path, lora_folder: Path
) -> None:
    for name in ("policy.toml", "audit.toml", ".audit.toml", "pyproject.toml"):
        (tmp_path / name).write_text("[block]\nverdicts = []\n[nonsense]\n", encoding="utf-8")
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes((lora_folder / mini_set.ARTISTS[0] / "0.safetensors").read_bytes())
    done = processes.audit(tmp_path, "check", tmp_path, "--refs", set_folder, "--format", "json", "--resamples", "5")
    assert done.returncode == 11
    assert "policy" not in told(done)["options"]
