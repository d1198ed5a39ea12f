"""`check` from file to verdict, on a small synthetic set."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import lora_writing as writing
import mini_set
import numpy as np
import pytest

import auditor
from auditor.audit import check
from auditor.errors import MalformedFile, ReferenceSetError, UsageError
from auditor.lora.hashes import MAX_REFUSED
from auditor.lora.inspect import inspect
from auditor.reference import ReferenceSet
from auditor.report import render, schema
from auditor.report.json import render_json
from auditor.result import Audit
from auditor.scope import choose_view

ALPHA = 0.2  # twelve artists: the least p is 1/13
FRESH = mini_set.FILES
"""First number of a file that is no reference."""


@pytest.fixture(scope="module")
def reference(set_folder: Path) -> ReferenceSet:
    return ReferenceSet.load(set_folder)


def audited(path: Path, reference: ReferenceSet, **options: Any) -> Audit:
    return check(path, reference, **{"alpha": ALPHA, "resamples": 50} | options)


def document(audit: Audit) -> dict[str, Any]:
    """As a reader of the JSON gets it."""
    found: dict[str, Any] = json.loads(render_json(audit.to_dict()))
    return found


def suspect(folder: Path, artist: int, number: int = FRESH, rank: int = 4, alpha: float = 2.0) -> Path:
    name = folder / f"{artist}-{number}.safetensors"
    return mini_set.save(name, writing.kohya(mini_set.lora(artist, number, rank), alpha))


# --- the verdict ---------------------------------------------------------------------------------------------------


def test_the_artist_of_other_works_ranks_first(reference: ReferenceSet, tmp_path: Path) -> None:
    named, found = [], []
    for a in range(mini_set.COUNT):
        audit = audited(suspect(tmp_path, a, rank=2 + a % 6), reference)
        assert audit.artists[0].artist == mini_set.ARTISTS[a]
        assert audit.artists[0].nearest_reference.startswith(f"{mini_set.ARTISTS[a]}/")
        found.append([m["artist"] for m in audit.mixture])
        assert audit.derivative is None
        named.append(audit.verdict.artist)
    assert sum(name is not None for name in named) >= 1
    assert all(found[a][0] == name for a, name in enumerate(named) if name)
    assert sum(names[0] == mini_set.ARTISTS[a] for a, names in enumerate(found) if names) == sum(map(bool, found))
    assert sum(len(names) > 1 for names in found) <= 0.5 * mini_set.COUNT  # at a claimed error rate of 0.2
    assert [n for n in named if n] == [mini_set.ARTISTS[a] for a, n in enumerate(named) if n]


def test_strangers_score_lower_than_any_artists_own_work(reference: ReferenceSet, tmp_path: Path) -> None:
    own = [audited(suspect(tmp_path, a), reference).open_set for a in range(mini_set.COUNT)]
    strange = [audited(suspect(tmp_path, mini_set.STRANGER + a), reference).open_set for a in range(mini_set.COUNT)]
    assert min(t.statistic for t in own if t) > np.median([t.statistic for t in strange if t])
    assert np.median([t.p for t in own if t]) < np.median([t.p for t in strange if t])


def test_the_level_cannot_be_met_by_a_set_that_is_too_small(reference: ReferenceSet, tmp_path: Path) -> None:
    audit = audited(suspect(tmp_path, 0), reference, alpha=0.05)
    assert audit.open_set is not None
    assert audit.open_set.p >= audit.open_set.p_min == pytest.approx(1 / 13)
    assert audit.verdict.label != "CONSISTENT"
    assert audit.reference_set.alpha_floor == audit.open_set.names_from == pytest.approx(1 / 12)


def test_figures_fit_each_other(reference: ReferenceSet, tmp_path: Path) -> None:
    audit = audited(suspect(tmp_path, 3), reference)
    tested, rows = audit.open_set, audit.artists
    assert tested is not None
    assert tested.statistic == pytest.approx(rows[0].score - np.mean([row.score for row in rows[1:4]]))
    assert len(tested.null) == mini_set.TOTAL
    assert [r.rank for r in rows] == list(range(1, mini_set.COUNT + 1))
    assert sorted(r.artist for r in rows) == sorted(mini_set.ARTISTS)
    for one, next_ in pairwise(rows):
        assert one.score >= next_.score
        assert one.p <= next_.p
        assert one.p_exclusion >= next_.p_exclusion
        assert next_.log10_lr is next_.lr_bound is next_.verbal is None  # nothing is said of who is behind
    for row in rows:
        assert 0 < row.p <= 1
        assert row.p >= tested.p
        assert row.interval[0] < row.score < row.interval[1]
        assert set(row.subnetworks) == {"ff", "self_attention", "cross_attention"}
        assert row.genre in ("trees", "shrubs")
    assert abs(rows[0].log10_lr or 9) <= (rows[0].lr_bound or 0) <= np.log10(mini_set.COUNT)
    assert audit.map is not None
    assert 0 < audit.map.explained <= 1
    assert set(audit.controls) == {"rank_only", "norm_only", "spectrum_only"}
    assert audit.coverage is not None
    assert audit.coverage.suspect_modules == 20
    assert audit.coverage.matched_modules == audit.coverage.reference_modules <= 20
    assert audit.coverage.fraction == 1.0
    assert all(m["p"] <= ALPHA for m in audit.mixture)
    assert 0 <= sum(m["share"] for m in audit.mixture) < 1.001


def test_a_merge_ranks_both_artists_first(reference: ReferenceSet, tmp_path: Path) -> None:
    """Whether both are told from strangers is a question of the set; here they are at a claimed error rate of 0.5."""
    made = mini_set.mix(mini_set.lora(1, FRESH), mini_set.lora(4, FRESH), 0.5)
    path = mini_set.save(tmp_path / "merge.safetensors", writing.diffusers(made))
    audit = audited(path, reference, alpha=0.5)
    both = {mini_set.ARTISTS[1], mini_set.ARTISTS[4]}
    assert {a.artist for a in audit.artists[:2]} == both
    assert {m["artist"] for m in audit.mixture[:2]} == both
    assert [m["share"] for m in audit.mixture[:2]] == pytest.approx([0.5, 0.5], abs=0.15)
    assert audit.mixture[0]["p"] <= audit.mixture[1]["p"]
    assert audited(path, reference, alpha=0.05).mixture == []


@pytest.mark.parametrize(("feed_forward", "parts"), [(False, {"self_attention", "cross_attention"}), (True, {"ff"})])
def test_a_part_of_the_network_is_compared_with_that_part(
    reference: ReferenceSet, tmp_path: Path, feed_forward: bool, parts: set[str]
) -> None:
    """Leaving out half of the network is no way around an audit."""
    made = {p: f for p, f in mini_set.lora(2, FRESH).items() if (".ff." in p) == feed_forward}
    audit = audited(mini_set.save(tmp_path / "a.safetensors", writing.diffusers(made)), reference)
    assert audit.coverage is not None
    assert audit.coverage.reference_modules <= 16
    assert audit.coverage.fraction == 1.0
    assert audit.artists[0].artist == mini_set.ARTISTS[2]
    assert set(audit.artists[0].subnetworks) == parts


def test_a_larger_view_goes_before_one_that_is_covered_hardly_better(reference: ReferenceSet) -> None:
    modules = reference.views.modules("all")
    attention = reference.views.modules("attention")
    assert choose_view(modules, reference).name == "all"
    assert choose_view(attention, reference).name == "attention"
    assert choose_view(set(modules) - set(attention), reference).name == "feed_forward"
    assert choose_view([p for p in modules if ".up_blocks." in p], reference).name == "all"
    assert choose_view([p for p in attention if p.endswith(".to_q")], reference).name == "attention"


@pytest.mark.parametrize("artist", [2, mini_set.STRANGER])
def test_few_layers_are_inconclusive(reference: ReferenceSet, tmp_path: Path, artist: int) -> None:
    made = {p: f for p, f in mini_set.lora(artist, FRESH).items() if p.endswith("attn1.to_q")}
    audit = audited(mini_set.save(tmp_path / "few.safetensors", writing.diffusers(made)), reference)
    assert audit.verdict.label == "INCONCLUSIVE"
    assert audit.coverage is not None
    assert audit.coverage.fraction < 0.5
    jsonschema.validate(document(audit), schema())


# --- known files ---------------------------------------------------------------------------------------------------


def test_a_references_own_file_is_that_reference(reference: ReferenceSet, lora_folder: Path) -> None:
    for entry in (reference.manifest["references"][0], reference.manifest["references"][-1]):
        audit = audited(lora_folder / entry["file"], reference)
        assert (audit.verdict.label, audit.verdict.artist) == ("DERIVATIVE", entry["artist"])
        assert audit.derivative is not None
        assert (audit.derivative["of"], audit.derivative["relation"]) == (entry["file"], "same_tensors")
        assert audit.derivative["figures"]["cos_delta_w"] == pytest.approx(1, abs=1e-3)


COPIES = {
    "other dialect": lambda made: writing.kohya(made, 4.0),
    "half strength": lambda made: writing.kohya(made, 2.0),
    "other gauge": lambda made: writing.diffusers(
        {p: (2 * up[:, ::-1], 0.5 * down[::-1]) for p, (up, down) in made.items()}
    ),
    "half precision": lambda made: {k: v.astype(np.float16) for k, v in writing.diffusers(made).items()},
    "a trace of noise": lambda made: writing.diffusers(
        {p: (up + np.float32(1e-4), down) for p, (up, down) in made.items()}
    ),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_laundered_reference_is_still_that_reference(reference: ReferenceSet, tmp_path: Path, name: str) -> None:
    made = mini_set.lora(2, 0, rank=4)  # the reference's rank: 2 + (artist + number) % 4
    audit = audited(mini_set.save(tmp_path / "copy.safetensors", COPIES[name](made)), reference)
    assert audit.verdict.label == "DERIVATIVE"
    assert audit.derivative is not None
    assert (audit.derivative["of"], audit.derivative["relation"]) == (
        f"{mini_set.ARTISTS[2]}/0.safetensors",
        "same_update",
    )


def test_new_metadata_do_not_hide_a_reference(reference: ReferenceSet, tmp_path: Path) -> None:
    made = mini_set.DIALECTS[0](mini_set.lora(0, 0, rank=2))
    audit = audited(mini_set.save(tmp_path / "new.safetensors", made, {"ss_output_name": "mine"}), reference)
    assert audit.derivative is not None
    assert audit.derivative["relation"] == "same_tensors"
    assert audit.suspect.declared == {"ss_output_name": "mine"}


# --- laws: what does not change --------------------------------------------------------------------------------------


def shear(up: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A gauge that mixes ranks."""
    gauge = np.eye(len(down)) + np.diag(np.full(len(down) - 1, 0.5), 1)
    return (up @ gauge).astype(np.float32), (np.linalg.inv(gauge) @ down).astype(np.float32)


def each(made: writing.Lora, change: Any) -> writing.Lora:
    return {path: change(up, down) for path, (up, down) in made.items()}


WRITINGS = {  # of a LoRA of rank 4 with alpha 2, that is, scale 1/2
    "alpha folded, diffusers": lambda made: writing.diffusers(each(made, lambda up, down: (up / 2, down))),
    "alpha folded, PEFT": lambda made: writing.peft(each(made, lambda up, down: (up / 2, down))),
    "ranks in another order": lambda made: writing.kohya(each(made, lambda up, down: (up[:, ::-1], down[::-1])), 2.0),
    "ranks mixed": lambda made: writing.kohya(each(made, shear), 2.0),
    "empty ranks": lambda made: writing.kohya(
        each(made, lambda up, down: (np.pad(up, ((0, 0), (0, 4))), np.vstack([down, down]))), 4.0
    ),
    "tensors in another order": lambda made: dict(reversed(writing.kohya(made, 2.0).items())),
    "stronger": lambda made: writing.kohya(made, 16.0),
    "weaker": lambda made: writing.diffusers(each(made, lambda up, down: (up / 1024, down))),
}


@pytest.mark.parametrize("artist", [3, mini_set.STRANGER])
@pytest.mark.parametrize("name", WRITINGS)
def test_writing_and_strength_of_a_file_change_no_conclusion(
    reference: ReferenceSet, tmp_path: Path, name: str, artist: int
) -> None:
    made = mini_set.lora(artist, FRESH)
    before = audited(suspect(tmp_path, artist), reference)
    after = audited(writing.save(tmp_path / "other.safetensors", WRITINGS[name](made)), reference)
    assert after.suspect.sha256 != before.suspect.sha256
    assert after.verdict == before.verdict
    assert after.open_set is not None
    assert before.open_set is not None
    assert after.open_set == replace(before.open_set, statistic=after.open_set.statistic)
    assert after.open_set.statistic == pytest.approx(before.open_set.statistic, abs=1e-6)
    assert after.coverage == before.coverage
    for a, b in zip(after.artists, before.artists, strict=True):
        for exact in ("artist", "rank", "p", "p_exclusion", "verbal", "nearest_reference"):
            assert getattr(a, exact) == getattr(b, exact), exact
        assert a.score == pytest.approx(b.score, abs=1e-6)
        assert a.log10_lr == pytest.approx(b.log10_lr, abs=1e-6)
        assert a.subnetworks == pytest.approx(b.subnetworks, abs=1e-6)
        assert a.interval == pytest.approx(b.interval, abs=1e-6)
    assert [m["artist"] for m in after.mixture] == [m["artist"] for m in before.mixture]
    assert [m["share"] for m in after.mixture] == pytest.approx([m["share"] for m in before.mixture], abs=1e-6)
    assert after.controls == before.controls


def test_same_inputs_give_the_same_document(reference: ReferenceSet, tmp_path: Path, fixed_time: str) -> None:
    path = suspect(tmp_path, 1)
    first, second = (audited(path, refs, seed=7).to_dict() for refs in (reference, reference.folder))
    assert first["created_at"] == second["created_at"] == fixed_time
    assert set(first.pop("timing_s")) == set(second.pop("timing_s")) == {"read", "embed", "score", "render"}
    assert first == second
    assert first["seed"] == 7


def test_the_seed_moves_the_range_of_p_and_nothing_else(
    reference: ReferenceSet, tmp_path: Path, fixed_time: str
) -> None:
    path = suspect(tmp_path, mini_set.STRANGER)
    first, second = (audited(path, reference, seed=seed).to_dict() for seed in (1, 2))
    for found in (first, second):
        del found["timing_s"], found["seed"], found["open_set"]["p_interval"]
    assert first == second
    assert fixed_time == first["created_at"]


def test_time_is_now_in_utc_unless_it_is_set(
    reference: ReferenceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import UTC, datetime

    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    made = datetime.fromisoformat(audited(suspect(tmp_path, 1), reference).created_at)
    assert abs((datetime.now(UTC) - made).total_seconds()) < 300


# --- documents -----------------------------------------------------------------------------------------------------


def test_the_document_is_the_contracts(reference: ReferenceSet, tmp_path: Path, lora_folder: Path) -> None:
    paths = [
        suspect(tmp_path, 0),
        suspect(tmp_path, mini_set.STRANGER),
        lora_folder / mini_set.ARTISTS[0] / "0.safetensors",
    ]
    (tmp_path / "garbage.safetensors").write_bytes(b"garbage" * 99)
    audits = [audited(p, reference) for p in [*paths, tmp_path / "garbage.safetensors"]]
    for audit in audits:
        jsonschema.validate(document(audit), schema())
    jsonschema.validate(json.loads(render_json([a.to_dict() for a in audits])), schema())
    digest = reference.manifest["digest"]
    assert {a.reference_set.digest for a in audits} == {digest}
    assert audits[0].options.items() >= {"refs": "mini", "alpha": ALPHA, "resamples": 50}.items()


def test_declared_metadata_are_cut(reference: ReferenceSet, tmp_path: Path) -> None:
    made = writing.kohya(mini_set.lora(1, FRESH), 2.0)
    path = mini_set.save(tmp_path / "long.safetensors", made, {"k" * 1000: "v" * 100_000})
    declared = audited(path, reference).suspect.declared
    assert {len(k) for k in declared} == {256}
    assert {len(v) for v in declared.values()} == {4096}


def test_no_more_declared_metadata_are_kept_than_anybody_writes(reference: ReferenceSet, tmp_path: Path) -> None:
    suspects = []
    for count in (1000, 20_000):
        declared = {f"k{number}": "v" * 1000 for number in range(count)}
        path = mini_set.save(tmp_path / "m.safetensors", writing.kohya(mini_set.lora(1, mini_set.FILES)), declared)
        suspects.append(audited(path, reference).suspect)
    assert [len(suspect.declared) for suspect in suspects] == [1000, 1000]
    assert not any("left out" in warning for warning in suspects[0].warnings)
    assert suspects[1].warnings[-1] == "19000 more entries of the metadata that the file declares were left out."


# --- files that cannot be audited ----------------------------------------------------------------------------------


def out_of_scope(path: Path, reference: ReferenceSet) -> Audit:
    audit = audited(path, reference)
    assert audit.verdict.label == "OUT_OF_SCOPE"
    assert audit.verdict.artist is None
    assert audit.skipped is not None
    assert audit.skipped.advice
    assert audit.skipped.reason in audit.verdict.sentence
    assert (audit.open_set, audit.artists, audit.mixture, audit.map) == (None, [], [], None)
    jsonschema.validate(document(audit), schema())
    return audit


@pytest.mark.parametrize("content", [b"", b"hello", bytes(range(256)) * 40], ids=["empty", "text", "bytes"])
def test_garbage_is_skipped(reference: ReferenceSet, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    skipped = out_of_scope(tmp_path / "x.safetensors", reference).skipped
    assert skipped is not None
    assert skipped.code in ("malformed", "not-a-lora")


def test_what_is_not_audited_is_still_told_apart_by_its_bytes(reference: ReferenceSet, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"hello")
    suspect = out_of_scope(tmp_path / "x.safetensors", reference).suspect
    assert (suspect.sha256, suspect.bytes) == (hashlib.sha256(b"hello").hexdigest(), 5)
    (found,) = json.loads(render([document(audited(tmp_path / "x.safetensors", reference))], "sarif"))["runs"]
    assert found["artifacts"][0]["hashes"] == {"sha-256": suspect.sha256}
    assert out_of_scope(tmp_path / "nosuch.safetensors", reference).suspect.sha256 is None


def test_large_files_that_are_no_lora_are_refused_without_being_hashed(reference: ReferenceSet, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"\xff" * 16)
    try:
        os.truncate(path, MAX_REFUSED + 1)
    except OSError:
        pytest.skip("the file system has no sparse files of this size")
    started = time.monotonic()
    suspect = out_of_scope(path, reference).suspect
    with pytest.raises(MalformedFile, match="no safetensors file"):
        inspect(path)
    assert (suspect.sha256, suspect.bytes) == (None, None)
    assert time.monotonic() - started < 2


def test_a_missing_file_is_skipped(reference: ReferenceSet, tmp_path: Path) -> None:
    assert "nosuch" in out_of_scope(tmp_path / "nosuch.safetensors", reference).verdict.sentence


def test_a_file_that_is_no_lora_is_skipped(reference: ReferenceSet, tmp_path: Path) -> None:
    path = mini_set.save(tmp_path / "c.safetensors", {"unet.conv_in.weight": np.zeros((4, 4), np.float32)})
    skipped = out_of_scope(path, reference).skipped
    assert skipped is not None
    assert skipped.code == "not-a-lora"


def test_another_base_is_out_of_scope(reference: ReferenceSet, tmp_path: Path) -> None:
    made = writing.diffusers(writing.make(writing.mini_paths()))
    audit = out_of_scope(mini_set.save(tmp_path / "mini.safetensors", made), reference)
    assert audit.skipped is not None
    assert audit.skipped.code == "out-of-scope"
    assert "audit-mini" in audit.verdict.sentence


def test_the_same_names_in_other_widths_are_another_base(reference: ReferenceSet, tmp_path: Path) -> None:
    wide = writing.make(mini_set.shapes((("down_blocks.0", 40), ("up_blocks.0", 36))))
    out_of_scope(mini_set.save(tmp_path / "wide.safetensors", writing.diffusers(wide)), reference)


def test_a_few_layers_in_other_widths_are_not_compared(reference: ReferenceSet, tmp_path: Path) -> None:
    """Never a traceback: the layers that fit are audited, or the file is refused."""
    made = mini_set.lora(1, FRESH)
    wrong = writing.make({p: (o + 8, i) for p, (o, i) in mini_set.shapes().items() if p.endswith("attn2.to_k")})
    path = mini_set.save(tmp_path / "odd.safetensors", writing.diffusers(made | wrong))
    audit = audited(path, reference)
    if audit.verdict.label != "OUT_OF_SCOPE":
        assert audit.coverage is not None
        assert audit.coverage.matched_modules < audit.coverage.reference_modules
        assert audit.coverage.matched_modules <= 18
        assert audit.artists[0].artist == mini_set.ARTISTS[1]


@pytest.mark.parametrize("empty", ["up", "down", "scale"])
def test_a_lora_without_effect_is_out_of_scope(reference: ReferenceSet, tmp_path: Path, empty: str) -> None:
    made = mini_set.lora(1, FRESH)
    made = each(made, lambda up, down: (up * (empty != "up"), down * (empty != "down")))
    path = mini_set.save(tmp_path / "zero.safetensors", writing.kohya(made, 0.0 if empty == "scale" else 4.0))
    assert "no effect" in out_of_scope(path, reference).verdict.sentence


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora", "corda", "loftq", "PiSSA"])
def test_factors_that_hold_parts_of_the_base_are_out_of_scope(
    reference: ReferenceSet, tmp_path: Path, start: str
) -> None:
    packed = json.dumps({"unet.r": 4, "unet.lora_alpha": 4, "unet.init_lora_weights": start})
    tensors = writing.diffusers_ab(mini_set.lora(0, mini_set.FILES))
    path = mini_set.save(tmp_path / "a.safetensors", tensors, {"lora_adapter_metadata": packed})
    found = check(path, reference)
    assert found.verdict.label == "OUT_OF_SCOPE"
    assert found.skipped is not None
    assert "base's own weights" in found.skipped.reason
    assert "Convert" in found.skipped.advice


@pytest.mark.parametrize("start", [True, False, "gaussian", "eva", "orthogonal", None, 7])
def test_other_starts_are_audited(reference: ReferenceSet, tmp_path: Path, start: object) -> None:
    packed = json.dumps({"unet.r": 4, "unet.lora_alpha": 4, "unet.init_lora_weights": start})
    tensors = writing.diffusers_ab(mini_set.lora(0, mini_set.FILES))
    path = mini_set.save(tmp_path / "a.safetensors", tensors, {"lora_adapter_metadata": packed})
    assert check(path, reference).verdict.label != "OUT_OF_SCOPE"


def test_a_text_encoder_alone_is_out_of_scope(reference: ReferenceSet, tmp_path: Path) -> None:
    made = writing.diffusers(writing.make(writing.text_paths(48)))
    audit = out_of_scope(mini_set.save(tmp_path / "te.safetensors", made), reference)
    assert audit.skipped
    assert "adapts no layer that the reference set" in audit.skipped.reason
    assert "speaks only about" not in audit.skipped.reason
    assert "text encoder" in audit.skipped.advice


@pytest.mark.parametrize(
    "options",
    [{"alpha": 0.0}, {"alpha": 1.0}, {"alpha": float("nan")}, {"resamples": 0}, {"resamples": 10**11}, {"seed": -1}],
    ids=str,
)
def test_options_out_of_range_are_refused(reference: ReferenceSet, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        audited(suspect(tmp_path, 0), reference, **options)


def test_features_and_sets_that_do_not_exist_are_refused(reference: ReferenceSet, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="paper"):
        audited(suspect(tmp_path, 0), reference, features_name="paper")
    with pytest.raises(ReferenceSetError, match="nosuch"):
        check(suspect(tmp_path, 0), tmp_path / "nosuch")


# --- what is imported ----------------------------------------------------------------------------------------------


def test_check_imports_no_training_stack(set_folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom auditor.audit import check\n"
        f"audit = check({str(suspect(tmp_path, 0))!r}, {str(set_folder)!r}, resamples=5)\n"
        "heavy = {'torch', 'diffusers', 'peft', 'transformers', 'pandas', 'matplotlib', 'sklearn', 'safetensors'}\n"
        "print(audit.artists[0].artist, sorted(heavy & set(sys.modules)))"
    )
    root = str(Path(auditor.__file__).resolve().parents[1])
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == [mini_set.ARTISTS[0], "[]\n"]


def test_a_copy_goes_by_the_name_of_what_was_copied(set_folder: Path, tmp_path: Path) -> None:
    style = mini_set.save(tmp_path / "tmp-1", writing.diffusers(mini_set.lora(0, mini_set.FILES)))
    (tmp_path / "tmp-2").write_bytes(b"no weights")
    for path in (style, tmp_path / "tmp-2", tmp_path / "tmp-3"):
        plain = check(path, set_folder, resamples=5)
        named = plain.renamed(str(path), "hf://a/b@c")
        assert named.suspect.path == "hf://a/b@c"
        assert str(tmp_path) not in json.dumps(named.to_dict())
        assert (named.open_set, named.artists, named.verdict.label) == (
            plain.open_set, plain.artists, plain.verdict.label
        )  # fmt: skip
        if named.skipped:
            assert named.verdict.reasons == [named.skipped.reason]
            assert named.skipped.reason in named.verdict.sentence
    assert named.skipped
    assert "hf://a/b@c" in named.skipped.reason
