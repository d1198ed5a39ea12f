"""`audit scan --duplicates`: what was laundered is found again, what was not is left alone."""

from __future__ import annotations

from pathlib import Path

import lora_writing as writing
import mini_set
import numpy as np
import pytest

pytest.importorskip("pyarrow")
import pyarrow.parquet as pq

from auditor.corpus import duplicates, nearby
from auditor.corpus.duplicates import Groups, candidates, pairs, pairs_file
from auditor.corpus.names import expand
from auditor.corpus.rows import Options
from auditor.corpus.scan import scan


def resized(made: writing.Lora, rank: int) -> writing.Lora:
    """The best approximation of a lower rank."""
    found = {}
    for path, (up, down) in made.items():
        u, s, vt = np.linalg.svd(up.astype(float) @ down, full_matrices=False)
        found[path] = ((u[:, :rank] * s[:rank]).astype(np.float32), vt[:rank].astype(np.float32))
    return found


def later(made: writing.Lora, amount: float) -> writing.Lora:
    """The same run, trained on."""
    rng = np.random.default_rng(8)
    return {
        p: (
            up + amount * np.linalg.norm(up) / np.sqrt(up.size) * rng.standard_normal(up.shape).astype(np.float32),
            down,
        )
        for p, (up, down) in made.items()
    }


@pytest.fixture(scope="session")
def laundered(set_folder, tmp_path_factory) -> tuple[Path, dict[frozenset[str], str]]:
    """(scan, true pairs): eight originals, of some of which there are copies."""
    folder = tmp_path_factory.mktemp("laundry")
    originals = [mini_set.lora(mini_set.STRANGER + a, 0) for a in range(8)]
    files: dict[str, writing.Lora] = {f"o{a}": made for a, made in enumerate(originals)}
    files |= {
        "strong": {p: (3 * up, down) for p, (up, down) in originals[0].items()},
        "small": resized(originals[1], 3),
    }
    files |= {"later": later(originals[2], 0.5), "merged": resized(mini_set.mix(originals[3], originals[4], 0.5), 6)}
    for name, made in files.items():
        mini_set.save(folder / "in" / f"{name}.safetensors", writing.diffusers(made))
    mini_set.save(folder / "in" / "resaved.safetensors", writing.kohya(originals[0], 2.0))
    again = folder / "in" / "again.safetensors"
    again.write_bytes((folder / "in" / "o5.safetensors").read_bytes())
    mini_set.save(folder / "in" / "retitled.safetensors", writing.diffusers(originals[6]), {"title": "mine"})
    out = folder / "out.parquet"
    scan(expand([str(folder / "in")], []), out, Options(str(set_folder), duplicates=True), workers=2)
    truth = {("o0", "strong"): "same_update", ("o0", "resaved"): "same_update",
             ("resaved", "strong"): "same_update",
             ("o1", "small"): "resized", ("o2", "later"): "same_run",
             ("o3", "merged"): "merge", ("o4", "merged"): "merge",
             ("o5", "again"): "same_file", ("o6", "retitled"): "same_tensors"}  # fmt: skip
    return out, {frozenset(pair): relation for pair, relation in truth.items()}


def test_exactly_the_laundered_pairs_with_their_relation(laundered):
    out, truth = laundered
    found = {frozenset((Path(p["a"]).stem, Path(p["b"]).stem)): p["relation"] for p in pairs(pairs_file(out))}
    assert found == truth


def test_groups_hold_relatives_together(laundered):
    out, truth = laundered
    group = {Path(row["path"]).stem: row["group"] for row in pq.read_table(out, columns=["path", "group"]).to_pylist()}
    for pair in truth:
        a, b = pair
        assert group[a] is not None
        assert group[a] == group[b]
    assert group["o7"] is None
    assert len({g for g in group.values() if g is not None}) == 6


def planted(n=400, d=512):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d)).astype(np.float32)
    for i in range(0, 60, 2):
        x[i + 1] = x[i] + rng.standard_normal(d) * (0.2 + 0.05 * i)
    x[77] = 0
    return x


def test_candidates_are_all_pairs_above_the_least_cosine(monkeypatch):
    monkeypatch.setattr(duplicates, "BLOCK", 96)
    x = planted()
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)
    cosines = np.triu(unit @ unit.T, 1)
    expected = {(int(i), int(j)) for i, j in zip(*np.nonzero(cosines >= duplicates.LEAST), strict=True)}
    found = candidates(x)
    assert {(i, j) for i, j, _ in found} == expected
    assert all(abs(c - cosines[i, j]) < 1e-5 for i, j, c in found)
    assert len(expected) > 25


def test_hashing_finds_the_same_candidates_from_cosine_a_half_on():
    x = planted()
    exact = {(i, j): c for i, j, c in candidates(x) if c > 0.5}
    hashed = {(i, j): c for i, j, c in candidates(x, exact=0)}
    assert len(exact) > 12
    assert exact.keys() <= hashed.keys()
    assert all(abs(hashed[pair] - c) < 1e-5 for pair, c in exact.items())
    assert candidates(x, exact=0) == candidates(x, exact=0)


def test_hashing_finds_the_lesser_source_in_what_the_greater_one_leaves(monkeypatch):
    """A cosine that hashing itself hardly sees: about 0.3 with the second source of a merge."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((300, 512)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    for i in range(0, 90, 3):
        x[i + 2] = 0.8 * x[i] + 0.27 * x[i + 1]
    lesser = {(i + 1, i + 2) for i in range(0, 90, 3)}
    assert lesser <= {(i, j) for i, j, c in candidates(x, exact=0) if c < 0.45}
    monkeypatch.setattr(duplicates, "_rests", lambda unit, *_: (np.zeros(0, np.int64), unit[:0]))
    assert len(lesser & {(i, j) for i, j, _ in candidates(x, exact=0)}) < len(lesser)


@pytest.mark.parametrize("d", [20, 64, 100, 512])
def test_a_turn_keeps_angles_and_mixes_every_entry(d):
    """Else keys would hang on a few entries of a sketch, and files that differ elsewhere would share them all."""
    rng = np.random.default_rng(d)
    x = rng.standard_normal((6, d)).astype(np.float32)
    whole = -(-d // nearby.COLUMNS) * nearby.COLUMNS
    turned = nearby.Turn(d, 2 * whole, rng)(x)
    assert turned.shape == (6, 2 * whole)
    for half in (turned[:, :whole], turned[:, whole:]):
        np.testing.assert_allclose(half @ half.T, x @ x.T, atol=1e-3)
    one = nearby.Turn(d, whole, rng)(np.eye(1, d, dtype=np.float32))
    assert np.count_nonzero(np.abs(one) > 1e-6) == whole


def test_hashing_looks_at_pairs_in_proportion_to_the_files(monkeypatch):
    """Not in proportion to the pairs: sixteen times as many files, and each is looked at with hardly more of them."""
    monkeypatch.setattr(nearby, "CROWD", 8.0)
    looked: list[int] = []
    meetings = nearby.meetings

    def counted(*given):
        for owner, left, right in meetings(*given):
            looked.append(sum(map(len, left)))
            yield owner, left, right

    monkeypatch.setattr(nearby, "meetings", counted)
    shares = []
    for count in (2_000, 32_000):
        looked.clear()
        x = np.random.default_rng(count).standard_normal((count, 512), np.float32)
        nearby.near(x / np.linalg.norm(x, axis=1, keepdims=True), 0.3, 16, tables=2)
        shares.append(sum(looked) / count)
    assert shares[0] > 1
    assert shares[1] < 4 * shares[0]


def test_candidates_stay_linear_in_one_large_family():
    x = np.tile(np.eye(1, 512, dtype=np.float32), (500, 1))
    alike = x + np.random.default_rng(0).standard_normal(x.shape).astype(np.float32) * 1e-3
    for exact in (duplicates.EXACT, 0):
        found = candidates(alike, exact)
        assert 500 <= len(found) <= 500 * duplicates.NEIGHBOURS
        groups = Groups()
        for i, j, _ in found:
            groups.join(str(i), str(j))
        assert set(groups.numbered().values()) == {0}


def test_groups_are_connected_components():
    groups = Groups()
    for a, b in ("ab", "cd", "ef", "bd", "gh", "hg"):
        groups.join(a, b)
    numbers = groups.numbered()
    assert len(set(map(numbers.get, "abcd"))) == 1
    assert len({numbers["a"], numbers["e"], numbers["g"]}) == 3


def test_a_corpus_without_any_sketch_has_no_pairs(set_folder, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "text.bin").write_bytes(b"hello there, no weights\n" * 9)
    out = tmp_path / "out.parquet"
    found = scan(expand([str(tmp_path / "in")], []), out, Options(str(set_folder), duplicates=True))
    assert (found.rows, found.groups) == (1, 0)
    assert pq.read_table(out).num_rows == 1
    assert pairs(pairs_file(out)) == []
