"""`audit search`: exact neighbours, honest p-values, and no comparison of what cannot be compared."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import lora_writing as writing
import mini_set
import numpy as np
import pytest

pytest.importorskip("pyarrow")

from auditor.corpus import index
from auditor.corpus.graph import graph_nearest
from auditor.corpus.index import nearest, nearest_cosines, open_corpus
from auditor.corpus.names import expand
from auditor.corpus.rows import Options
from auditor.corpus.scan import scan
from auditor.corpus.search import Filters, hit_p, search
from auditor.errors import AuditorError, UsageError

ROOT = Path(__file__).resolve().parents[2]


def directions(n, d=12, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("n", [1, 5, 999, 1000, 2500])
@pytest.mark.parametrize("k", [1, 7])
def test_nearest_is_what_sorting_gives(monkeypatch, n, k):
    monkeypatch.setattr(index, "BLOCK", 500)
    x, query = directions(n), directions(1, seed=9)[0]
    at, cosines = nearest(x, query, k)
    expected = np.argsort(-(x @ query), kind="stable")[:k]
    assert at.tolist() == expected.tolist()
    assert np.allclose(cosines, np.sort(x @ query)[::-1][:k], atol=1e-6)
    keep = np.arange(n) % 3 == 0
    kept, _ = nearest(x, query, k, keep)
    assert kept.tolist() == [i for i in np.argsort(-(x @ query), kind="stable") if keep[i]][:k]


def test_the_null_is_of_nearest_files_without_copies():
    x = directions(300)
    x[17] = x[5]
    sampled = np.array([5, 17, 40])
    products = x @ x.T
    np.fill_diagonal(products, -1)
    products[5, 17] = products[17, 5] = -1
    assert np.allclose(nearest_cosines(x, sampled), products[sampled].max(1), atol=1e-6)


@pytest.fixture(scope="session")
def market(set_folder, tmp_path_factory) -> Path:
    """A scanned corpus: six files of each of ten strangers."""
    folder = tmp_path_factory.mktemp("bazaar")
    for artist in range(10):
        for number in range(6):
            made = mini_set.lora(mini_set.STRANGER + artist, number)
            day = {"modelspec.author": f"Maker {artist}", "modelspec.date": f"2024-{number + 1:02d}-01"}
            mini_set.save(folder / "in" / f"{artist}-{number}.safetensors", writing.diffusers(made), day)
    out = folder / "out.parquet"
    scan(expand([str(folder / "in")], []), out, Options(str(set_folder)), workers=2)
    return out


@pytest.fixture
def suspect(tmp_path) -> Path:
    """A further file of stranger 3, in another dialect."""
    return mini_set.save(tmp_path / "s.safetensors", writing.peft(mini_set.lora(mini_set.STRANGER + 3, 99)))


def test_files_of_the_same_hand_come_first(market, set_folder, suspect):
    found = search(suspect, market, k=6, refs=str(set_folder))
    hands = [Path(hit["path"]).name[0] for hit in found["hits"]]
    assert hands[:3] == ["3"] * 3
    assert hands.count("3") >= 4
    assert found["search"] == "exact"
    cosines = [hit["cosine"] for hit in found["hits"]]
    assert cosines == sorted(cosines, reverse=True)
    assert not any(hit["same_tensors"] for hit in found["hits"])


def test_a_file_of_the_corpus_finds_itself(market, set_folder):
    own = market.parent / "in" / "7-2.safetensors"
    hit = search(own, market, k=1, refs=str(set_folder))["hits"][0]
    assert (hit["path"], hit["same_tensors"]) == (str(own), True)
    assert hit["cosine"] == pytest.approx(1, abs=1e-5)


def test_filters(market, set_folder, suspect):
    def names(**wanted):
        found = search(suspect, market, k=60, refs=str(set_folder), filters=Filters(**wanted))
        assert found["corpus"]["looked_at"] == len(found["hits"])
        return {Path(hit["path"]).stem for hit in found["hits"]}

    assert len(names()) == 60
    assert names(creator="maker 4") == {f"4-{n}" for n in range(6)}
    assert names(since="2024-03-01", until="2024-04-30") == {f"{a}-{n}" for a in range(10) for n in (2, 3)}
    assert names(base="sdxl") == set()


def test_a_corpus_of_another_set_is_refused(market, set_folder, suspect, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(set_folder, other)
    manifest = json.loads((other / "manifest.json").read_text())
    for field, change in (("digest", {"name": "another"}), ("features", {"features": "root-gram/k3/seed9/v2"})):
        (other / "manifest.json").write_text(json.dumps(manifest | change))
        mini_set.seal(other)
        with pytest.raises(UsageError, match=f"whose {field} is"):
            search(suspect, market, refs=str(other))


def test_p_values_of_unrelated_files_are_valid(market):
    """Law: for suspects like the corpus, the best hit's p-value is at most α for a share of about α of them."""
    everything = directions(1400, d=6, seed=4)
    corpus, suspects = everything[:1000], everything[1000:]
    known = open_corpus(market, "all")
    sampled = np.arange(1000)
    made = type(known)(market, {}, corpus, sampled, nearest_cosines(corpus, sampled), sampled)
    p = np.array([hit_p(made, nearest(corpus, s, 1)[1])[0] for s in suspects])
    for alpha in (0.05, 0.2, 0.5):
        assert abs((p <= alpha).mean() - alpha) < 3.5 * np.sqrt(alpha * (1 - alpha) / len(p)) + 0.01


def test_a_closer_hit_has_a_smaller_p(market):
    known = open_corpus(market, "all")
    p = hit_p(known, np.array([0.1, 0.5, 0.99999], np.float32))
    assert (np.diff(p) <= 0).all()
    assert p[-1] >= 1 / (len(known.null) + 1)


def test_the_index_follows_its_corpus(market, set_folder, tmp_path):
    out = tmp_path / "o.parquet"
    out.write_bytes(market.read_bytes())
    assert len(open_corpus(out, "all").points) == 60
    extra = mini_set.save(tmp_path / "x.safetensors", writing.peft(mini_set.lora(1, 9)))
    scan([str(extra)], out, Options(str(set_folder)))
    assert len(open_corpus(out, "all").points) == 61


def test_an_index_that_cannot_be_replaced_is_told(market, tmp_path):
    out = tmp_path / "o.parquet"
    out.write_bytes(market.read_bytes())
    (tmp_path / "o.parquet.search").write_text("mine")
    with pytest.raises(AuditorError, match=r"The index .* cannot be written"):
        open_corpus(out, "all")


def test_the_graph_finds_what_exact_search_finds(market):
    pytest.importorskip("usearch")
    known = open_corpus(market, "all")
    query = np.asarray(known.points[11])
    assert graph_nearest(known)(known.points, query, 3)[0].tolist() == nearest(known.points, query, 3)[0].tolist()


def test_the_command(market, set_folder, suspect):
    words = [sys.executable, "-m", "auditor.cli", "search", suspect, "--corpus", market, "--refs", set_folder]
    done = subprocess.run(
        [*words, "-k", "3", "--json"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    found = json.loads(done.stdout)
    assert (done.returncode, len(found["hits"])) == (0, 3)
    assert "H0" in found["null"]["hypothesis"]
    plain = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert "3-" in plain.stdout
    assert "H0" in plain.stderr
    none = subprocess.run([*words[:-3], suspect], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert none.returncode == 2
    assert "Traceback" not in none.stderr
