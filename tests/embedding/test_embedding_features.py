"""Laws of the features: they see ΔW and nothing else, and in complete bases they are what their docstring says."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.embedding.features import (
    KINDS,
    Bases,
    Factored,
    common_directions,
    factor,
    factor_all,
    features,
    fit_bases,
    sketch_bases,
)
from auditor.embedding.sketches import FINGERPRINT, controls, fingerprint
from auditor.lora.weights import LoraModule, LoraWeights

SHAPES = {"unet.a": (14, 10), "unet.b": (8, 17), "unet.c": (11, 11)}
SEEDS = st.integers(0, 10**6)


def module(seed: int, path: str, rank: int = 3, scale: float = 0.7) -> LoraModule:
    rng = np.random.default_rng([seed, *path.encode()])
    out, into = SHAPES[path]
    return LoraModule(path, rng.standard_normal((out, rank)), rng.standard_normal((rank, into)), scale)


def lora(seed: int, rank: int = 3) -> LoraWeights:
    return LoraWeights({path: module(seed, path, rank) for path in SHAPES}, "test", ("lora",), "unknown")


def rewritten(weights: LoraWeights, change: object) -> LoraWeights:
    return replace(weights, modules={path: change(m) for path, m in weights.modules.items()})  # type: ignore[operator]


def dense(m: LoraModule) -> np.ndarray:
    return m.scale * m.up @ m.down


def embed(weights: LoraWeights, bases: Bases) -> np.ndarray:
    return features(factor_all(weights, bases.paths), bases)[0]


@pytest.fixture(scope="module")
def bases() -> Bases:
    return fit_bases([factor_all(lora(seed, 2 + seed % 3), SHAPES) for seed in range(5)], 4)


def complete(kinds: tuple[str, ...]) -> Bases:
    """Bases that leave nothing out."""
    rng = np.random.default_rng(0)
    turn = {n: np.linalg.qr(rng.standard_normal((n, n)))[0] for n in {n for shape in SHAPES.values() for n in shape}}
    return Bases({p: turn[o] for p, (o, _) in SHAPES.items()}, {p: turn[i] for p, (_, i) in SHAPES.items()}, kinds)


def other_gauge(m: LoraModule, seed: int = 0) -> LoraModule:
    rng = np.random.default_rng([seed, m.rank])
    gauge = rng.standard_normal((m.rank, m.rank)) + 3 * np.eye(m.rank)
    return replace(m, up=m.up @ gauge, down=np.linalg.solve(gauge, m.down))


WRITINGS = {
    "another gauge": other_gauge,
    "ranks in another order": lambda m: replace(m, up=m.up[:, ::-1], down=m.down[::-1]),
    "padded with empty ranks": lambda m: replace(
        m, up=np.pad(m.up, ((0, 0), (0, 2))), down=np.vstack([m.down, np.ones((2, m.down.shape[1]))])
    ),
    "padded beyond the layer's width": lambda m: replace(
        m, up=np.pad(m.up, ((0, 0), (0, 20))), down=np.pad(m.down, ((0, 20), (0, 0)))
    ),
    "alpha folded into up": lambda m: replace(m, up=m.up * m.scale, scale=1.0),
    "both signs changed": lambda m: replace(m, up=-m.up, down=-m.down),
    "a rank split in two": lambda m: replace(
        m,
        up=np.hstack([m.up, m.up[:, :1]]) * np.r_[0.3, np.ones(m.rank - 1), 0.7],
        down=np.vstack([m.down, m.down[:1]]),
    ),
    "stronger": lambda m: replace(m, scale=m.scale * 37.0),
    "stronger layer by layer": lambda m: replace(m, scale=m.scale * (1 + len(m.up))),
    "weaker": lambda m: replace(m, up=m.up * 1e-4),
}


@pytest.mark.parametrize("name", WRITINGS)
def test_features_see_the_direction_of_the_update_alone(name: str, bases: Bases) -> None:
    before, after = (embed(w, bases) for w in (lora(9), rewritten(lora(9), WRITINGS[name])))
    np.testing.assert_allclose(after, before, atol=1e-9)
    assert np.linalg.norm(before) > 0.1
    assert np.linalg.norm(before - embed(lora(10), bases)) > 0.1


@given(SEEDS, st.integers(1, 12), SEEDS)
def test_features_are_gauge_free(seed: int, rank: int, gauge: int) -> None:
    whole = complete(KINDS)
    before = embed(lora(seed, rank), whole)
    np.testing.assert_allclose(
        embed(rewritten(lora(seed, rank), lambda m: other_gauge(m, gauge)), whole), before, atol=1e-5
    )


def test_order_of_modules_does_not_matter(bases: Bases) -> None:
    weights = lora(9)
    turned = replace(weights, modules=dict(reversed(weights.modules.items())))
    backwards = Bases(dict(reversed(bases.out.items())), dict(reversed(bases.into.items())), bases.kinds)
    assert np.array_equal(embed(turned, bases), embed(weights, bases))
    assert np.array_equal(embed(weights, backwards), embed(weights, bases))


@given(SEEDS, st.integers(1, 14), st.floats(-3, 3).filter(lambda s: abs(s) > 1e-3))
def test_factors_multiply_to_the_dense_update(seed: int, rank: int, scale: float) -> None:
    m = module(seed, "unet.b", rank, scale)
    f = factor(m)
    largest = f.singular[0]
    np.testing.assert_allclose(f.left @ f.right, dense(m), atol=1e-5 * largest)
    np.testing.assert_allclose(f.right @ f.right.T, np.eye(len(f.singular)), atol=1e-8)
    np.testing.assert_allclose(f.left.T @ f.left, np.diag(f.singular**2), atol=1e-8 * largest**2)
    exact = np.linalg.svd(dense(m), compute_uv=False)[: len(f.singular)]
    np.testing.assert_allclose(f.singular, exact, atol=1e-8 * largest)


@pytest.mark.parametrize("empty", ["up", "down", "scale"])
def test_a_module_without_effect_is_absent(empty: str, bases: Bases) -> None:
    m = module(1, "unet.b")
    m = replace(m, **{empty: 0.0 * getattr(m, empty)})
    assert factor(m).singular.size == 0
    weights = lora(1)
    weights = replace(weights, modules=weights.modules | {"unet.b": m})
    vector, present = features(factor_all(weights, bases.paths), bases)
    assert present.tolist() == [True, False, True]
    start, width = bases.width("unet.a"), bases.width("unet.b")
    assert not vector[start : start + width].any()
    assert np.isfinite(vector).all()


def test_a_file_without_effect_has_no_modules(bases: Bases) -> None:
    nothing = rewritten(lora(1), lambda m: replace(m, scale=0.0))
    assert factor_all(nothing, bases.paths) == {}
    vector, present = features({}, bases)
    assert not vector.any()
    assert not present.any()
    assert len(vector) == sum(map(bases.width, bases.paths))


def test_modules_that_nobody_asked_for_are_left_alone() -> None:
    assert set(factor_all(lora(1), ["unet.a", "unet.nosuch"])) == {"unet.a"}


def root(symmetric: np.ndarray) -> np.ndarray:
    """Square root of a positive semi-definite matrix."""
    values, vectors = np.linalg.eigh(symmetric)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


COMPARED = {"delta": lambda w: w, "gram": lambda w: w @ w.T, "root-gram": lambda w: root(w @ w.T)}
"""What each kind of features is a view of."""


def compared(kind: str, dense_update: np.ndarray) -> np.ndarray:
    """The same at norm 1, of covariances what is left without the multiple of the identity."""
    found = COMPARED[kind](dense_update) / np.linalg.norm(COMPARED[kind](dense_update))
    return found if kind == "delta" else found - np.trace(found) / len(found) * np.eye(len(found))


@settings(max_examples=25)
@given(SEEDS, SEEDS, st.sampled_from(sorted(COMPARED)))
def test_in_complete_bases_inner_products_are_sums_of_cosines(a: int, b: int, kind: str) -> None:
    """Of ΔW, of the output covariance ΔWΔWᵀ, or of its square root; one cosine for each module."""
    one, two, whole = lora(a), lora(b, 4), complete((kind,))
    expected = 0.0
    for path in SHAPES:
        x, y = (compared(kind, dense(w.modules[path])) for w in (one, two))
        expected += np.sum(x * y)
    assert embed(one, whole) @ embed(two, whole) == pytest.approx(expected, abs=1e-5)
    alone = sum(np.sum(compared(kind, dense(one.modules[path])) ** 2) for path in SHAPES)
    assert embed(one, whole) @ embed(one, whole) == pytest.approx(alone, abs=1e-5)


def test_what_goes_everywhere_alike_is_no_feature(bases: Bases) -> None:
    """An update that is all noise, a multiple of a turn, has no output covariance to speak of; in drawn bases too."""
    rng = np.random.default_rng(2)
    turns = {path: np.linalg.qr(rng.standard_normal((max(shape),) * 2))[0][: shape[0], : shape[1]]
             for path, shape in SHAPES.items()}  # fmt: skip
    square = {path: turn for path, turn in turns.items() if turn.shape[0] <= turn.shape[1]}
    assert square
    drawn = sketch_bases(SHAPES, 6, 15, 0)
    for whole in (complete(("root-gram", "gram")), drawn, replace(bases, kinds=("root-gram",))):
        made = {path: LoraModule(path, turn.astype(np.float32), np.eye(len(turn.T), dtype=np.float32), 3.0)
                for path, turn in square.items()}  # fmt: skip
        vector = features({path: factor(m) for path, m in made.items()}, whole)[0]
        np.testing.assert_allclose(vector, 0, atol=1e-6)
    for path, kind, block in bases.blocks():
        if kind == "root-gram":
            seen = embed(lora(4), bases)[block]
            assert np.linalg.norm(seen) > 0.05
            assert seen @ bases.everywhere[path, kind] == pytest.approx(0, abs=1e-12)


def test_kinds_stand_side_by_side() -> None:
    one, two = lora(1), lora(2)
    alone = [embed(one, complete((kind,))) @ embed(two, complete((kind,))) for kind in KINDS]
    assert embed(one, complete(KINDS)) @ embed(two, complete(KINDS)) == pytest.approx(sum(alone))


def test_blocks_name_the_columns(bases: Bases) -> None:
    """Changing one module changes that module's columns and no other's."""
    weights = lora(4)
    other = replace(weights, modules=weights.modules | {"unet.b": module(99, "unet.b")})
    changed = embed(weights, bases) != embed(other, bases)
    for path, kind, block in bases.blocks():
        assert kind in bases.kinds
        assert changed[block].any() == (path == "unet.b")
    ends = [(block.start, block.stop) for _, _, block in bases.blocks()]
    assert ends[0][0] == 0
    assert ends[-1][1] == len(changed) == sum(map(bases.width, bases.paths))
    assert all(before[1] == after[0] for before, after in pairwise(ends))
    assert bases.only(["unet.b"]).paths == ["unet.b"]


def test_the_papers_features_see_the_factors_and_all_others_do_not(bases: Bases) -> None:
    """Raw A and B: cosines of the concatenated factors, within the error of a sketch; another gauge is another file."""
    paper = replace(bases, kinds=("paper",))
    weights = {seed: lora(seed) for seed in range(3)}
    mixed = rewritten(lora(0), other_gauge)
    near = rewritten(lora(0), lambda m: replace(m, up=m.up + 0.3 * module(50, m.path).up))
    base = embed(lora(0), paper)
    assert base @ base == pytest.approx(len(SHAPES), rel=0.4)
    assert base @ embed(near, paper) > 0.8 * (base @ base)
    assert abs(base @ embed(weights[1], paper)) < 0.5 * (base @ base)
    assert base @ embed(mixed, paper) < 0.9 * (base @ base)
    doubled = rewritten(lora(0), lambda m: replace(m, up=2 * m.up, down=2 * m.down))
    np.testing.assert_allclose(embed(doubled, paper), base, atol=1e-9)


def test_an_unknown_kind_is_refused(bases: Bases) -> None:
    with pytest.raises((ValueError, KeyError), match="nosuch"):
        embed(lora(1), replace(bases, kinds=("nosuch",)))


def test_sign_of_the_update_turns_delta_and_nothing_else() -> None:
    negative = rewritten(lora(3), lambda m: replace(m, scale=-m.scale))
    for kind in COMPARED:
        whole = complete((kind,))
        sign = -1 if kind == "delta" else 1
        np.testing.assert_allclose(embed(negative, whole), sign * embed(lora(3), whole), atol=1e-9)


def test_a_projection_never_makes_longer(bases: Bases) -> None:
    for seed in range(20, 30):
        for kind in COMPARED:
            assert np.sum(embed(lora(seed), replace(bases, kinds=(kind,))) ** 2) <= len(SHAPES) * (1 + 1e-2)


# --- bases ---------------------------------------------------------------------------------------------------------


def test_bases_are_orthonormal_and_cover_every_module(bases: Bases) -> None:
    assert bases.paths == sorted(SHAPES)
    for path, (out, into) in SHAPES.items():
        assert bases.out[path].shape == (out, 4)
        assert bases.into[path].shape == (into, 4)
        for basis in (bases.out[path], bases.into[path]):
            np.testing.assert_allclose(basis.T @ basis, np.eye(4), atol=2e-3)  # kept in half precision
            assert np.array_equal(basis, basis.astype(np.float16))


def test_bases_do_not_depend_on_the_order_of_modules_or_the_strength_of_files() -> None:
    files = [factor_all(lora(seed), SHAPES) for seed in range(4)]
    plain = fit_bases(files, 3, seed=5)
    turned = fit_bases([dict(reversed(f.items())) for f in files], 3, seed=5)
    for path in SHAPES:
        assert np.array_equal(plain.out[path], turned.out[path])
        assert np.array_equal(plain.into[path], turned.into[path])
    strong = [
        factor_all(rewritten(lora(s), lambda m, s=s: replace(m, scale=m.scale * 10**s)), SHAPES) for s in range(4)
    ]
    louder = fit_bases(strong, 3, seed=5)
    for path in SHAPES:
        same_span(plain.out[path], louder.out[path], 5e-3)


def test_bases_hold_the_directions_that_the_references_share() -> None:
    rng = np.random.default_rng(4)
    shared = rng.standard_normal((14, 2))
    files = []
    for seed in range(6):
        m = module(seed, "unet.a", 2)
        files.append({"unet.a": factor(replace(m, up=shared @ rng.standard_normal((2, 2))))})
    found = fit_bases(files, 2).out["unet.a"]
    same_span(found, np.linalg.qr(shared)[0], 5e-3)


def test_a_narrow_layer_has_fewer_directions() -> None:
    found = fit_bases([factor_all(lora(seed), SHAPES) for seed in range(6)], 12)
    assert [found.out[p].shape[1] for p in sorted(SHAPES)] == [12, 8, 11]
    assert [found.into[p].shape[1] for p in sorted(SHAPES)] == [10, 12, 11]


def test_a_module_that_one_reference_lacks_still_has_bases() -> None:
    files = [factor_all(lora(0), SHAPES), factor_all(lora(1), ["unet.a"])]
    found = fit_bases(files, 2)
    assert found.paths == sorted(SHAPES)
    _, present = features(files[1], found)
    assert present.tolist() == [True, False, False]


def same_span(a: np.ndarray, b: np.ndarray, atol: float) -> None:
    assert a.shape == b.shape
    np.testing.assert_allclose(a @ a.T, b @ b.T, atol=atol)


def test_wide_layers_by_subspace_iteration_get_what_the_eigenproblem_gives() -> None:
    """The same pieces, padded with empty rows until the layer is too wide for the direct way."""
    rng = np.random.default_rng(6)
    mixing = rng.standard_normal((40, 40)) * (0.5 ** np.arange(40))
    pieces = [mixing @ rng.standard_normal((40, 4)) * rng.uniform(0.1, 9) for _ in range(12)]
    wide = [np.pad(x, ((0, 400), (0, 0))) for x in pieces]
    direct, iterated = common_directions(pieces, 3, 0), common_directions(wide, 3, 0)
    assert iterated.shape == (440, 3)
    same_span(np.pad(direct, ((0, 400), (0, 0))), iterated, 1e-6)
    total = sum(x @ x.T / np.sum(x**2) for x in pieces)
    _, vectors = np.linalg.eigh(total)
    same_span(direct, vectors[:, -3:], 1e-9)
    assert np.array_equal(iterated, common_directions(wide, 3, 0))
    same_span(iterated, common_directions(wide, 3, 1), 1e-6)


# --- small vectors beside the embedding ----------------------------------------------------------------------------


def dense_factored(seed: int, rank: int = 3) -> dict[str, Factored]:
    return factor_all(lora(seed, rank), SHAPES)


@pytest.mark.parametrize("name", [n for n in WRITINGS if n != "stronger layer by layer"])
def test_fingerprint_sees_the_update_alone(name: str) -> None:
    again = fingerprint(factor_all(rewritten(lora(9), WRITINGS[name]), SHAPES))
    np.testing.assert_allclose(again, fingerprint(dense_factored(9)), atol=1e-9)
    assert np.linalg.norm(again) == pytest.approx(1)


def test_fingerprints_estimate_the_cosine_of_updates() -> None:
    near = rewritten(lora(9), lambda m: replace(m, up=m.up + 0.5 * module(77, m.path).up))
    flat = [np.concatenate([dense(m).ravel() for m in w.modules.values()]) for w in (lora(9), near, lora(10))]
    prints = [fingerprint(factor_all(w, SHAPES)) for w in (lora(9), near, lora(10))]
    for i in (1, 2):
        true = flat[0] @ flat[i] / np.linalg.norm(flat[0]) / np.linalg.norm(flat[i])
        assert prints[0] @ prints[i] == pytest.approx(true, abs=4 / np.sqrt(FINGERPRINT))
    assert not fingerprint({}).any()
    negative = rewritten(lora(9), lambda m: replace(m, scale=-m.scale))
    np.testing.assert_allclose(fingerprint(factor_all(negative, SHAPES)), -prints[0], atol=1e-12)


def test_controls_know_rank_norm_and_decay() -> None:
    spread = Factored(np.eye(5, 3) * [4.0, 2, 1], np.eye(3, 6), np.array([4.0, 2, 1]))
    flat = Factored(np.eye(5, 2) * 3.0, np.eye(2, 6), np.array([3.0, 3]))
    found = controls({"a": spread, "b": flat}, ["a", "b", "missing"])
    assert found["rank_only"].tolist() == [3, 2, 0]
    assert found["norm_only"][0] - found["norm_only"][1] == pytest.approx(0.5 * np.log(21 / 18))
    np.testing.assert_allclose(found["spectrum_only"], [(256 + 16 + 1) / 441, 0.5, 0.0])
    assert all(np.isfinite(v).all() for v in found.values())
    assert all(np.isfinite(v).all() for v in controls({}, ["a"]).values())


def test_controls_do_not_see_the_strength_of_the_whole_file() -> None:
    """Strength is a slider of the user; the norm of a layer counts relative to the file's."""
    before = controls(dense_factored(9), sorted(SHAPES))
    after = controls(factor_all(rewritten(lora(9), WRITINGS["stronger"]), SHAPES), sorted(SHAPES))
    for kind in before:
        np.testing.assert_allclose(after[kind], before[kind], atol=1e-9, err_msg=kind)
