"""The quick way to singular values, roots and fingerprints agrees with the plain one, or steps aside."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.embedding.factored import Factored, Folded
from auditor.embedding.features import Bases, features, half, held
from auditor.embedding.many import ERROR, Rooted, factor_all, rooted
from auditor.embedding.projection import Projection
from auditor.embedding.sketches import CANCELLING, ROUGH, fingerprint, gross_norm, rough_fingerprint
from auditor.lora.weights import LoraModule, LoraWeights

KINDS = ("root-gram", "gram", "delta")


def layer(seed: int, path: str, shape: tuple[int, int], rank: int, decay: float = 1.0) -> LoraModule:
    """A module in which each rank is `decay` times as strong as the one before."""
    rng = np.random.default_rng([seed, *path.encode()])
    up = rng.standard_normal((shape[0], rank)) * decay ** np.arange(rank)
    return LoraModule(path, up.astype(np.float32), rng.standard_normal((rank, shape[1])).astype(np.float32), -0.7)


def file_of(modules: list[LoraModule]) -> LoraWeights:
    return LoraWeights({m.path: m for m in modules}, "test", ("lora",), "unknown")


def several(seed: int, rank: int, decay: float = 1.0) -> LoraWeights:
    shapes = {"a": (40, 24), "b": (40, 24), "c": (24, 64), "d": (40, 24)}
    return file_of([layer(seed, path, shape, rank, decay) for path, shape in shapes.items()])


def bases_of(weights: LoraWeights, kinds: tuple[str, ...], k: int = 5) -> Bases:
    rng = np.random.default_rng(0)
    out, into = (
        {p: half(np.linalg.qr(rng.standard_normal((m.shape[side], k)))[0]) for p, m in weights.modules.items()}
        for side in (0, 1)
    )
    return Bases(out, into, kinds)


def by_svd(module: LoraModule) -> Factored:
    """What the definition says, from the dense matrix."""
    u, s, vt = np.linalg.svd(module.scale * module.up.astype(float) @ module.down.astype(float), full_matrices=False)
    return Factored(u[:, : module.rank] * s[: module.rank], vt[: module.rank], s[: module.rank], module)


@given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([1.0, 0.8, 0.6]))
def test_features_are_those_of_a_decomposition_without_squares(seed: int, rank: int, decay: float) -> None:
    weights = several(seed, rank, decay)
    quick = factor_all(weights, weights.modules)
    bases = bases_of(weights, KINDS)
    slow = {path: by_svd(module) for path, module in weights.modules.items()}
    for path, f in quick.items():
        np.testing.assert_allclose(f.singular, slow[path].singular, rtol=1e-7)
        np.testing.assert_allclose(f.left @ f.right, slow[path].left @ slow[path].right, atol=1e-10)
    np.testing.assert_allclose(features(quick, bases)[0], features(slow, bases)[0], atol=ERROR)
    np.testing.assert_allclose(features(held(quick), bases)[0], features(slow, bases)[0], atol=ERROR)


def test_layers_of_one_shape_and_rank_are_worked_on_together() -> None:
    weights = several(3, 4)
    assert all(isinstance(f, Rooted) for f in factor_all(weights, weights.modules).values())


@pytest.mark.parametrize(
    "change",
    [
        lambda m: replace(m, up=np.repeat(m.up[:, :1], m.rank, 1)),  # one direction alone
        lambda m: replace(m, down=np.repeat(m.down[:1], m.rank, 0)),
        lambda m: replace(m, up=m.up * np.float32(10.0) ** -np.arange(m.rank, dtype=np.float32)),  # a long tail
        lambda m: replace(m, down=np.zeros_like(m.down)),
    ],
)
def test_what_squares_would_spoil_goes_the_other_way(change: object) -> None:
    """One bad layer among good ones of its shape: it alone is refused, and the features are right all the same."""
    weights = several(5, 6)
    bad = change(weights.modules["b"])  # type: ignore[operator]
    weights = replace(weights, modules=weights.modules | {"b": bad})
    assert [m is None for m in rooted(list(weights.modules.values()))] == [False, True, False, False]
    found = factor_all(weights, weights.modules)
    assert isinstance(found.get("b", Folded), type) or isinstance(found["b"], Folded)
    bases = bases_of(weights, ("root-gram",))
    whole = {p: by_svd(m) for p, m in weights.modules.items() if p in found}
    kept = {
        p: Factored(f.left[:, s], f.right[s], f.singular[s])
        for p, f in whole.items()
        if (s := f.singular > 1e-6 * f.singular[0]).any()
    }
    np.testing.assert_allclose(features(found, bases)[0], features(kept, bases)[0], atol=1e-7)


@given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([1.0, 0.5, 0.05]))
def test_the_rough_fingerprint_is_near_the_exact_one(seed: int, rank: int, decay: float) -> None:
    weights = several(seed, rank, decay)
    factored = factor_all(weights, weights.modules)
    rough = rough_fingerprint(factored)
    if rough is not None:
        assert np.linalg.norm(rough - fingerprint(factored)) < ROUGH / 100
    else:  # then the terms cancel, or chance made the fingerprint small
        gross = np.sqrt(sum(gross_norm(m.scale, m.up, m.down.T) ** 2 for m in weights.modules.values()))
        assert gross > CANCELLING / 3 * np.sqrt(sum(np.sum(f.singular**2) for f in factored.values()))


def test_factors_that_cancel_get_no_rough_fingerprint() -> None:
    """ΔW a thousandth of its factors: single precision has lost too much of it."""
    one = layer(0, "a", (40, 24), 1)
    twice = replace(one, up=np.hstack([one.up, -one.up * np.float32(0.999)]), down=np.vstack([one.down, one.down]))
    assert rough_fingerprint(factor_all(file_of([one]), ["a"])) is not None
    assert rough_fingerprint(factor_all(file_of([twice]), ["a"])) is None


def test_numbers_beyond_single_precision_get_no_rough_fingerprint() -> None:
    one = layer(0, "a", (40, 24), 2)
    strong = replace(one, up=one.up * np.float32(3e37))
    factored = factor_all(file_of([strong]), ["a"])
    assert rough_fingerprint(factored) is None
    np.testing.assert_allclose(fingerprint(factored), fingerprint(factor_all(file_of([one]), ["a"])), atol=1e-6)


def test_shares_of_the_projection_add_up() -> None:
    rng = np.random.default_rng(1)
    projection = Projection(
        rng.standard_normal(60), rng.uniform(0.5, 2, 60), rng.integers(-31, 32, (60, 7)).astype(np.int8)
    )
    x = rng.standard_normal(60)
    shares = projection.shares(x, [10, 35, 60])
    np.testing.assert_allclose(shares[1], projection.part(x[None], slice(10, 35))[0], rtol=1e-12)
    np.testing.assert_allclose(shares.sum(0), projection(x)[0], rtol=1e-12)
