"""Decompositions of odd modules: dependent columns, ranks above the sides, Kronecker products; what is left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from auditor.embedding.factored import Factored, Paired, factor
from auditor.embedding.many import factor_all
from auditor.embedding.sketches import fingerprint
from auditor.lora.algebra import canonical, inner_product, output_inner, rough_spectrum, spectrum
from auditor.lora.batches import turns
from auditor.lora.toil import MOST, affordable, toil
from auditor.lora.weights import LoraModule, LoraWeights
from auditor.lora.whole import KroneckerModule, WholeModule


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def low(up: np.ndarray, down: np.ndarray, scale: float = -0.5) -> LoraModule:
    return LoraModule("unet.conv_in", up.astype(np.float32), down.astype(np.float32), scale)


def kronecker(one: np.ndarray, two: np.ndarray, scale: float = -0.5, span: tuple[int, int] | None = None):
    made = KroneckerModule("unet.conv_in", (one, two), scale, "none", "lokr", 1)
    return made if span is None else made.copy("unet.conv_in", span, "")


def whole(matrix: np.ndarray, scale: float = -0.5) -> WholeModule:
    return WholeModule("unet.conv_in", (matrix,), scale, "none", "full", 1)


def dense(module: LoraModule) -> np.ndarray:
    return module.scale * (module.up.astype(np.float64) @ module.down.astype(np.float64))


ODD = {
    "one column": low(np.ones((9, 4)), draw(4, 7)),
    "half the columns zero": low(draw(9, 4) * [0, 1, 0, 1], draw(4, 7)),
    "rows twice": low(draw(9, 4), np.repeat(draw(2, 7), 2, axis=0)),
    "more ranks than sides": low(draw(5, 40), draw(40, 3)),
    "as many ranks as one side": low(draw(9, 5), draw(5, 5)),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_columns_are_decomposed_without_whole_singular_vectors(name: str) -> None:
    module = ODD[name]
    found = turns([module])[0]
    assert found is not None
    left, right = module.up.astype(float) @ found.left, found.right @ module.down.astype(float)
    np.testing.assert_allclose(left @ right, dense(module), atol=1e-6)
    expected = np.linalg.svd(dense(module), compute_uv=False)
    expected = expected[expected > 1e-6 * expected[0]]
    np.testing.assert_allclose(found.singular, expected, rtol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(left, axis=0), expected, rtol=1e-9)
    np.testing.assert_allclose(right @ right.T, np.eye(len(expected)), atol=1e-9)
    np.testing.assert_allclose(rough_spectrum(module)[: len(expected)], expected, rtol=1e-6)


def test_a_module_of_zeros_has_no_directions() -> None:
    found = turns([low(np.zeros((9, 4)), draw(4, 7)), low(np.zeros((3, 9)), draw(9, 4))])
    assert [one.singular.size for one in found if one is not None] == [0, 0]


@pytest.mark.parametrize("scale", [0.7, -0.7])
def test_a_kronecker_product_is_what_its_matrix_is(scale: float) -> None:
    """Features and fingerprint of the factored form are those of the dense one."""
    module = kronecker(draw(3, 4), draw(6, 5), scale)
    one, two = factor(module), factor(whole(module.matrix, scale))
    assert isinstance(one, Paired)
    assert one.shape == (18, 20)
    np.testing.assert_allclose(one.singular, two.singular, rtol=1e-6)
    np.testing.assert_allclose(one.left @ one.right, dense(module), atol=1e-6)
    probes, across = draw(7, 18).astype(float), draw(20, 6).astype(float)
    np.testing.assert_allclose(one.left_by(probes), probes @ one.left, atol=1e-9)
    np.testing.assert_allclose(one.right_by(across), one.right @ across, atol=1e-9)
    np.testing.assert_allclose(fingerprint({"a": one}), fingerprint({"a": two}), atol=1e-6)
    seen, other = one.left_by(probes), two.left_by(probes)
    np.testing.assert_allclose((seen / one.singular) @ seen.T, (other / two.singular) @ other.T, atol=1e-5)


def test_a_product_of_many_layers_is_held_as_its_factors() -> None:
    modules = {f"unet.{n}": kronecker(draw(8, 8), draw(40, 40)) for n in range(3)}
    found = factor_all(LoraWeights(modules, "kohya", ("lokr",), "sdxl"), modules)
    held = [array for one in found.values() if isinstance(one, Paired) for half in one.halves for array in half]
    assert len(held) == 18
    assert max(array.size for array in held) <= 40 * 40


PAIRS = {
    "products": (kronecker(draw(3, 4), draw(6, 5)), kronecker(draw(3, 2), draw(6, 10))),
    "products of other blocks": (kronecker(draw(3, 4), draw(6, 5)), kronecker(draw(6, 4), draw(3, 5))),
    "a product cut in a block": (kronecker(draw(3, 4), draw(7, 5), span=(2, 20)), kronecker(draw(3, 4), draw(6, 5))),
    "a matrix and factors": (whole(draw(18, 20)), low(draw(18, 3), draw(3, 20))),
    "a matrix and too many ranks": (whole(draw(18, 20)), low(draw(18, 30), draw(30, 20))),
    "factors and too many ranks": (low(draw(18, 2), draw(2, 20)), low(draw(18, 30), draw(30, 20))),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_products_of_whole_modules(name: str) -> None:
    one, two = PAIRS[name]
    for a, b in ((one, two), (two, one), (one, one), (two, two)):
        assert inner_product(a, b) == pytest.approx(float(np.sum(dense(a) * dense(b))), rel=1e-4)
        assert output_inner(a, b) == pytest.approx(float(np.square(dense(a).T @ dense(b)).sum()), rel=1e-4)


@pytest.mark.parametrize(("one", "two"), [((4, 3), (3, 2)), ((3, 4), (4, 3)), ((3, 2), (2, 3))])
def test_halves_of_a_product_change_places(one: tuple[int, int], two: tuple[int, int]) -> None:
    module = kronecker(draw(*one), draw(*two))
    half = module.shape[0] // 2
    swapped = module.swapped()
    np.testing.assert_array_equal(swapped.matrix, np.concatenate([module.matrix[half:], module.matrix[:half]]))
    assert isinstance(swapped, KroneckerModule) == (one[0] % 2 == 0)


def test_modules_that_cost_too_much_are_left_out_cheapest_first() -> None:
    big, small = whole(np.zeros((1300, 1300), np.float32)), whole(np.zeros((100, 100), np.float32))
    usual = low(np.zeros((4000, 512)), np.zeros((512, 4000)))
    assert toil(usual) == 0
    assert toil(big) > MOST > 100 * toil(small)
    assert toil(replace(usual, up=np.zeros((4000, 600), np.float32), down=np.zeros((600, 4000), np.float32))) > 0
    assert affordable({"c": big, "b": usual, "a": small}) == ["b", "a"]
    several = {str(n): whole(np.zeros((700, 700), np.float32)) for n in range(9)}
    kept = affordable(several)
    assert kept == ["0", "1", "2", "3", "4"]
    assert kept == affordable(dict(reversed(several.items())))[::-1]


def test_a_product_costs_what_its_factors_cost() -> None:
    side = np.zeros((90, 90), np.float32)
    assert toil(kronecker(side, side)) < MOST / 1000
    assert toil(kronecker(side, side, span=(45, 4000))) > MOST
    assert isinstance(factor(low(draw(9, 2), draw(2, 7))), Factored)
    assert spectrum(kronecker(draw(2, 2), draw(3, 3))).size == canonical(kronecker(draw(2, 2), draw(3, 3)))[1].size
