"""What is drawn from names stays what it is: sets and scans that were made before hold numbers that rest on it."""

from __future__ import annotations

import numpy as np
import pytest

from auditor.corpus.sketch import _draws as draws
from auditor.embedding.features import raw_sketch, sketch_bases
from auditor.embedding.seeds import seed_of
from auditor.embedding.sketches import packed_signs
from auditor.lora.weights import LoraModule

PATH = "unet.ä.to_q"


def test_seeds_are_the_first_bytes_of_a_digest() -> None:
    assert seed_of("abc") == 0xBA7816BF8F01CFEA  # FIPS 180-2, appendix B.1
    assert seed_of(7, "a") == seed_of("7|a") != seed_of("7", "", "a")


def test_directions_and_sums_of_a_sketch() -> None:
    """Directions: drawn numbers made orthogonal one after another, none turned round; sums: with drawn signs."""
    bases = sketch_bases({PATH: (5, 4)}, 3, 4, 7)
    found: list[np.ndarray] = []
    for column in np.random.default_rng(seed_of(7, PATH)).standard_normal((5, 3)).T:
        rest = column - sum((one * (one @ column) for one in found), np.zeros(5))
        found.append(rest / np.linalg.norm(rest))
    assert bases.out[PATH] == pytest.approx(np.array(found).T * np.sqrt(5 / 3), abs=1e-12)
    assert bases.out[PATH][0] == pytest.approx([0.7386, 0.5059, 0.6106], abs=1e-4)
    assert bases.thrown(PATH, np.arange(1.0, 7.0)).tolist() == [0, 5, 7, -1]


def test_signs_of_fingerprints() -> None:
    left, right = packed_signs(PATH, 9, 4)
    assert left[:4].tolist() == [[206, 128], [98, 0], [102, 128], [244, 128]]
    assert right[:4].tolist() == [[0], [128], [32], [192]]


def test_cells_and_signs_of_sketches_for_copies() -> None:
    cell, sign = draws(PATH, "out", 9, 16)
    assert cell.tolist() == [12, 8, 0, 15, 0, 15, 13, 2, 0]
    assert sign.tolist() == [-1, 1, -1, 1, 1, 1, 1, -1, 1]


def test_cells_and_signs_of_raw_factors() -> None:
    module = LoraModule(PATH, np.arange(6, dtype=np.float32).reshape(3, 2), np.ones((2, 4), np.float32), 1.0)
    expected = np.zeros(64)
    expected[[6, 12, 20, 25, 28, 29, 31, 33, 36, 47, 48, 57]] = [-1, 4, -3, -1, -1, 3, 5, -1, -1, 1, 1, 1]
    assert raw_sketch(module) * np.sqrt(8 + 55) == pytest.approx(expected)
