"""Exact rewritings of a file change no byte of the conclusions; small losses hardly move the scores."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import lora_writing as writing
import mini_set
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import launder

from auditor.audit import check
from auditor.reference import ReferenceSet
from auditor.result import Audit

ALPHA, FRESH = 0.2, mini_set.FILES
WHO = st.sampled_from([0, 3, 7, mini_set.STRANGER, mini_set.STRANGER + 1])
SEEDS = st.integers(0, 10**6)
EXAMPLES = settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
DIALECTS = (writing.diffusers, writing.peft, writing.diffusers_ab, lambda made: writing.kohya(made, None))


@pytest.fixture(scope="module")
def reference(set_folder: Path) -> ReferenceSet:
    return ReferenceSet.load(set_folder)


def plain(artist: int, rank: int = 4) -> launder.Lora:
    return {p: (up.astype(float), down.astype(float)) for p, (up, down) in mini_set.lora(artist, FRESH, rank).items()}


def audited(folder: Path, lora: launder.Lora, reference: ReferenceSet, dialect: int = 0) -> Audit:
    single = {p: (up.astype(np.float32), down.astype(np.float32)) for p, (up, down) in lora.items()}
    path = writing.save(folder / "suspect.safetensors", DIALECTS[dialect](single))
    return check(path, reference, alpha=ALPHA, resamples=20)


def conclusions(audit: Audit) -> str:
    """All of the JSON that is a conclusion: verdict, p-values, ranks, coverage, names in the mixture, controls."""
    found = audit.to_dict()
    kept = {key: found[key] for key in ("verdict", "coverage", "controls", "derivative", "reference_set")}
    kept["open_set"] = {k: found["open_set"][k] for k in ("p", "p_min", "p_interval", "null_artists", "null", "alpha")}
    exact = ("artist", "rank", "p", "p_exclusion", "verbal", "nearest_reference")
    kept["artists"] = [{k: row[k] for k in exact} for row in found["artists"]]
    kept["mixture"] = [(row["artist"], row["p"]) for row in found["mixture"]]
    return json.dumps(kept, sort_keys=True)


@EXAMPLES
@given(WHO, SEEDS, st.floats(-3, 3), st.integers(0, 5), st.integers(0, 3))
def test_exact_rewritings_change_no_byte_of_the_conclusions(
    reference: ReferenceSet, tmp_path: Path, artist: int, seed: int, strength: float, extra: int, dialect: int
) -> None:
    """Gauge, order, zero ranks, strength and dialect at once; random in all of them."""
    rng = np.random.default_rng(seed)
    before = audited(tmp_path, plain(artist), reference)
    changed = launder.padded_with_zeros(launder.shuffled(launder.regauged(plain(artist), rng), rng), extra)
    after = audited(tmp_path, launder.scaled(changed, 10**strength), reference, dialect)
    assert conclusions(after) == conclusions(before)
    assert after.suspect.sha256 != before.suspect.sha256
    for one, other in zip(after.artists, before.artists, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-4)


@pytest.mark.parametrize(
    ("change", "least"),
    [
        (lambda lora: launder.cast(lora, "fp16"), 0.9999),
        (lambda lora: launder.cast(lora, "bf16"), 0.999),
        (lambda lora: launder.cast(lora, "fp8"), 0.97),
        (lambda lora: launder.noised(lora, 0.1, np.random.default_rng(0)), 0.95),
        (lambda lora: launder.resized(lora, lambda rank: rank), 0.999999),
    ],
    ids=["fp16", "bf16", "fp8", "noise", "full rank again"],
)
def test_small_losses_hardly_move_the_scores(
    reference: ReferenceSet, tmp_path: Path, change: launder.Attack, least: float
) -> None:
    for artist in (1, 6):
        before, after = (audited(tmp_path, lora, reference) for lora in (plain(artist), change(plain(artist))))
        scores = [{a.artist: a.score for a in audit.artists} for audit in (before, after)]
        order = sorted(scores[0])
        assert np.corrcoef([scores[0][a] for a in order], [scores[1][a] for a in order])[0, 1] > least


def test_every_number_format_rounds_as_defined() -> None:
    values = np.random.default_rng(0).standard_normal(1000) * 10.0 ** np.random.default_rng(1).integers(-3, 3, 1000)
    np.testing.assert_array_equal(launder.rounded(values, *launder.FORMATS["fp16"]), values.astype(np.float16))
    for name, share in (("bf16", 2**-8), ("fp8", 2**-4)):
        there = launder.rounded(values, *launder.FORMATS[name])
        large = np.abs(values) > 2**-5
        assert (np.abs(there - values)[large] <= share * np.abs(values)[large] * (1 + 1e-9)).all()


@given(SEEDS)
@settings(max_examples=10)
def test_mergers_agree_where_they_must(seed: int) -> None:
    """Without trimming, dropping or cutting every merger of ΔW is their weighted sum; of one file it is that file."""
    rng = np.random.default_rng(seed)
    one, other = ({"m": (rng.standard_normal((9, 2)), rng.standard_normal((2, 7)))} for _ in range(2))
    summed = 0.7 * one["m"][0] @ one["m"][1] + 0.3 * other["m"][0] @ other["m"][1]
    made = launder.concatenated([one, other], [0.7, 0.3])["m"]
    np.testing.assert_allclose(made[0] @ made[1], summed)
    dropped_none = launder.dare([one, other], [0.7, 0.3], density=1.0)["m"]
    best = launder.resized(launder.concatenated([one, other], [0.7, 0.3]), lambda _: 2)["m"]
    np.testing.assert_allclose(dropped_none[0] @ dropped_none[1], best[0] @ best[1], atol=1e-9)
    for name, merger in launder.MERGERS.items():
        if name not in ("ties", "dare"):
            alone = merger([one], [1.0])["m"]
            np.testing.assert_allclose(alone[0] @ alone[1], one["m"][0] @ one["m"][1], atol=1e-9)
    kept_all = launder.ties([one], [1.0], density=1.0)["m"]
    np.testing.assert_allclose(kept_all[0] @ kept_all[1], one["m"][0] @ one["m"][1], atol=1e-9)


def test_random_ranks_add_the_energy_they_claim() -> None:
    lora = plain(0)
    changed = launder.padded(lora, 0.5, np.random.default_rng(0))
    ratio = [
        np.linalg.norm(changed[p][0] @ changed[p][1]) ** 2 / np.linalg.norm(up @ down) ** 2
        for p, (up, down) in lora.items()
    ]
    assert np.mean(ratio) == pytest.approx(1.5, abs=0.1)
