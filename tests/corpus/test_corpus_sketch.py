"""Sketches of ΔW: blind to how a LoRA is written, and right about inner products."""

from __future__ import annotations

import lora_writing as writing
import mini_set
import numpy as np
import pytest

from auditor.corpus.sketch import SIZE, sketch
from auditor.lora import LoraModule, LoraWeights, load_lora
from auditor.lora.algebra import cosine


def weights(made) -> LoraWeights:
    modules = {path: LoraModule(path, up, down, 1.0) for path, (up, down) in made.items()}
    return LoraWeights(modules, "diffusers", ("lora",), "unknown")


@pytest.fixture
def one():
    return mini_set.lora(0, 0)


def test_blind_to_factors_rank_and_strength(one):
    mixing = np.random.default_rng(5).standard_normal((4, 4)).astype(np.float32) + 3 * np.eye(4, dtype=np.float32)
    turned = {p: (up @ mixing, np.linalg.solve(mixing, down).astype(np.float32)) for p, (up, down) in one.items()}
    padded = {p: (np.pad(up, ((0, 0), (0, 3))), np.pad(down, ((0, 3), (0, 0)))) for p, (up, down) in one.items()}
    louder = {p: (7 * up, down) for p, (up, down) in one.items()}
    for other in (turned, padded, louder):
        assert np.allclose(sketch(weights(one)), sketch(weights(other)), atol=1e-5)


def test_blind_to_dialect(one, tmp_path):
    found = []
    for number, dialect in enumerate((writing.diffusers, writing.peft, writing.diffusers_ab)):
        found.append(sketch(load_lora(mini_set.save(tmp_path / f"{number}.safetensors", dialect(one)))))
    assert np.allclose(found[0], found[1], atol=1e-6)
    assert np.allclose(found[0], found[2], atol=1e-6)


def test_cosines_are_those_of_the_weights_up_to_the_stated_error(one):
    errors = []
    for number in range(40):
        other = mini_set.mix(one, mini_set.lora(50 + number, 0), 0.3 + 0.01 * number)
        estimate = sketch(weights(one)) @ sketch(weights(other))
        errors.append(float(estimate) - cosine(weights(one), weights(other)).union)
    assert abs(np.mean(errors)) < 3 / np.sqrt(SIZE) / np.sqrt(len(errors)) * 1.5
    assert np.std(errors) < 1.6 / np.sqrt(SIZE)


def test_unit_length_and_nothing_for_nothing(one):
    assert np.linalg.norm(sketch(weights(one))) == pytest.approx(1, abs=1e-5)
    assert sketch(weights({p: (0 * up, down) for p, (up, down) in one.items()})) is None
