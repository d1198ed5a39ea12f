"""What a file has of all references: files of the set's base much, whatever else they are; noise nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from auditor.audit import check
from auditor.embedding.factored import factor
from auditor.embedding.features import features
from auditor.evidence.in_common import in_common
from auditor.lora.weights import LoraModule
from auditor.policy import LEAST_IN_COMMON
from auditor.reference.set import ReferenceSet, View

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.safetensors"))


@pytest.fixture(scope="module")
def shipped() -> ReferenceSet:
    return ReferenceSet.load(ROOT / "reference_sets" / "default")


def noise(view: View, rng: np.random.Generator, rank: int) -> float:
    """The figure of a file that nobody trained."""
    made = {}
    for path, out in view.bases.out.items():
        up, down = rng.standard_normal((len(out), rank)), rng.standard_normal((rank, len(view.bases.into[path])))
        made[path] = factor(LoraModule(path, up, down, 1.0))
    found = in_common(view, *features(made, view.bases))
    assert found is not None
    return found


def test_noise_has_the_spread_that_is_claimed_for_it(shipped: ReferenceSet) -> None:
    rng, view = np.random.default_rng(0), shipped.views["attention"]
    drawn = np.array([noise(view, rng, rank) for rank in (1, 8, 32) for _ in range(12)])
    assert abs(drawn.mean()) < 3 / np.sqrt(len(drawn))
    assert 0.5 < drawn.std() < 1.5


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_has_much_of_it(path: Path, shipped: ReferenceSet) -> None:
    coverage = check(path, shipped, resamples=50).coverage
    assert coverage is not None
    assert coverage.in_common is not None
    assert coverage.in_common > 8 * LEAST_IN_COMMON


def test_a_file_that_nobody_trained_is_not_told_to_be_nobodys(shipped: ReferenceSet, tmp_path: Path) -> None:
    """It scores as low as NO_MATCH asks for, which says nothing about whose it is."""
    rng, tensors = np.random.default_rng(1), load_file(EXAMPLES[0])
    scored = []
    for number in range(6):
        drawn = {
            name: value if value.ndim < 2 else rng.standard_normal(value.shape).astype(value.dtype)
            for name, value in tensors.items()
        }
        save_file(drawn, tmp_path / f"{number}.safetensors")
        audit = check(tmp_path / f"{number}.safetensors", shipped, resamples=50)
        assert audit.open_set is not None
        assert audit.verdict.label == "INCONCLUSIVE"
        scored.append(audit.open_set.p_member)
        assert "another base model" in audit.verdict.sentence
        assert {one.log10_lr for one in audit.artists} == {None}
        assert {one.p_exclusion for one in audit.artists} == {1.0}
    assert min(scored) <= 0.05


def test_a_set_whose_references_share_nothing_does_not_ask(shipped: ReferenceSet) -> None:
    view = shipped.views["attention"]
    vector, present = np.ones(len(view.projection.mean)), np.ones(len(view.bases.paths), bool)
    assert in_common(view, vector, present) is not None
    assert in_common(view, vector, ~present) is None
    alone = replace(view, projection=replace(view.projection, mean=0.01 * view.projection.mean))
    assert in_common(alone, vector, present) is None
