"""`audit map`: every mark where the numbers say, nothing from outside, nothing hidden from readers without scripts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import mini_set
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor import ReferenceSet, check
from auditor.corpus.clusters import MOST, describe, sampled_silhouette
from auditor.corpus.map import Artist, StyleMap, genre_hulls, hull, style_map
from auditor.corpus.map_page import frame, render_page, render_svg

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "</script><script>alert(1)</script>\u202e&\"'"


@pytest.fixture(scope="session")
def drawn(set_folder, lora_folder) -> StyleMap:
    """The mini set with one suspect."""
    import lora_writing as writing

    path = mini_set.save(lora_folder.parent / "suspects" / "s.safetensors", writing.diffusers(mini_set.lora(2, 33)))
    seen = []
    audit = check(path, set_folder, observe=seen.append)
    return style_map(ReferenceSet.load(set_folder), [("s.safetensors", seen[0], audit)])


def test_centroids_are_means_of_their_references(drawn):
    for number, artist in enumerate(drawn.artists):
        mine = drawn.references[drawn.reference_artist == number]
        assert np.allclose((artist.x, artist.y), mine.mean(0))
        assert artist.files == len(mine) == mini_set.FILES


def test_a_suspect_lies_with_its_artist(drawn):
    suspect = drawn.suspects[0]
    distances = {a.name: np.hypot(a.x - suspect.x, a.y - suspect.y) for a in drawn.artists}
    assert suspect.nearest == mini_set.ARTISTS[2]
    assert sorted(distances, key=distances.get).index(suspect.nearest) < 4


def test_a_reference_as_suspect_lies_on_itself(set_folder, lora_folder):
    reference = ReferenceSet.load(set_folder)
    entry = reference.manifest["references"][5]
    seen = []
    audit = check(lora_folder / entry["file"], reference, observe=seen.append)
    view = style_map(reference, [("x", seen[0], audit)])
    own = view.references[view.reference_names.index(entry["file"])]
    assert np.allclose(own, (view.suspects[0].x, view.suspects[0].y), atol=2e-3)


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=3, max_size=40))
def test_hulls_hold_their_points(points):
    from scipy.spatial import ConvexHull, QhullError

    corners = hull(np.array(points))
    assert {tuple(c) for c in corners} <= {(float(x), float(y)) for x, y in points}
    try:
        expected = ConvexHull(np.array(points)).volume
    except QhullError:
        return
    x, y = corners.T
    area = 0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
    assert area == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_hulls_only_of_known_genres_with_three_artists():
    artists = [
        Artist(str(i), g, float(i), float(i * i), 1) for i, g in enumerate(["a", "a", "a", "b", "b", "", "", ""])
    ]
    assert [h.genre for h in genre_hulls(artists)] == ["a"]


def page_data(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def unpacked(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<u2").reshape(-1, 2) / 65535


def test_the_page_allows_its_own_style_and_script_only(drawn):
    page = render_page(drawn)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert policy.startswith("default-src &#39;none&#39;") or policy.startswith("default-src 'none'")
    for tag in ("style", "script"):
        body = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[1]
        assert base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() in policy
    assert "unsafe" not in policy
    assert not re.search(r"(src|href)\s*=", page)
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", page)
    still = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"\son[a-z]+\s*=|\sstyle\s*=", still)


def test_the_data_are_the_places(drawn):
    data = page_data(render_page(drawn))
    low, span = frame(drawn)
    assert np.allclose(unpacked(data["references"]) * span + low, drawn.references, atol=span.max() / 60000)
    centroids = [(a.x, a.y) for a in drawn.artists]
    assert np.allclose(unpacked(data["centroids"]) * span + low, centroids, atol=span.max() / 60000)
    assert len(data["artists"]) == len(drawn.artists)


def test_without_scripts_there_is_a_picture_and_tables(drawn):
    page = re.sub(r"<script.*?</script>", "", render_page(drawn), flags=re.DOTALL)
    assert page.count('class="file') == len(drawn.references)
    for artist in drawn.artists:
        assert page.count(artist.name.replace("-", " ").title()) >= 1
        assert f"{artist.x:.2f}" in page
    assert drawn.suspects[0].label in page


def test_names_cannot_break_out(drawn):
    hostile = replace(
        drawn,
        set_name=HOSTILE,
        artists=[replace(a, name=HOSTILE, genre=HOSTILE) for a in drawn.artists],
        suspects=[replace(s, name=HOSTILE, nearest=HOSTILE) for s in drawn.suspects],
        hulls=[replace(h, genre=HOSTILE) for h in drawn.hulls],
        reference_names=[HOSTILE] * len(drawn.reference_names),
    )
    page = render_page(hostile)
    assert page.count("<script") == 2
    assert "\u202e" not in page
    assert page_data(page)["referenceNames"]
    ElementTree.fromstring(render_svg(hostile))


def test_the_picture_stands_alone(drawn):
    root = ElementTree.fromstring(render_svg(drawn))
    marks = [e.get("class", "") for e in root.iter()]
    assert sum(m.startswith("centroid") for m in marks) == len(drawn.artists)
    assert sum(m.startswith("star") for m in marks) == 1


def test_a_hundred_thousand_points_stay_light(drawn):
    n = 100_000
    many = np.random.default_rng(0).standard_normal((n, 2))
    page = render_page(
        replace(drawn, corpus=many, corpus_names=[f"file-{i}.safetensors" for i in range(n)], corpus_files=n)
    )
    assert page.count('class="corpus"') <= 3000
    assert len(page) < 45 * n
    assert len(unpacked(page_data(page)["corpus"])) == n


def test_the_command(set_folder, tmp_path):
    def run(*words):
        command = [sys.executable, "-m", "auditor.cli", "map", "--refs", set_folder, *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    for name in ("m.html", "m.svg"):
        done = run("-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / name).stat().st_size > 5000
    first = (tmp_path / "m.html").read_bytes()
    assert run("-o", tmp_path / "m.html").returncode == 0
    assert (tmp_path / "m.html").read_bytes() == first
    assert run("-o", tmp_path / "m.png").returncode == 2


# ---------------------------------------------------------------------------------------------- clusters


def test_separate_groups_are_found():
    rng = np.random.default_rng(2)
    truth = np.repeat(np.arange(5), 20)
    x = np.eye(8)[truth] + 0.05 * rng.standard_normal((100, 8))
    found = describe("space", "label", x, truth)
    assert found.ari == found.nmi == pytest.approx(1)
    assert found.silhouette > 0.8
    assert describe("space", "label", rng.standard_normal((100, 8)), truth).ari < 0.2


def test_a_silhouette_of_many_files_is_that_of_a_sample():
    truth = np.repeat(np.arange(4), MOST // 2)
    x = np.eye(4)[truth]
    assert sampled_silhouette(x, truth) == pytest.approx(1)
    mixed = np.random.default_rng(0).permutation(truth)
    assert sampled_silhouette(x, mixed, seed=1) == sampled_silhouette(x, mixed, seed=1) == pytest.approx(0, abs=0.05)


def test_the_artist_nearest_to_a_suspect_gets_a_name_before_all_others(drawn):
    """However far inside it lies, and however many lie around it."""
    middle = drawn.references.mean(0)
    inner = replace(drawn.artists[0], name="in-ner", x=float(middle[0]), y=float(middle[1]))
    crowd = [replace(inner, name=f"crowd-{i}", x=inner.x + 1e-4 * i) for i in range(1, 40)]
    suspect = replace(drawn.suspects[0], nearest="in-ner", x=inner.x + 50.0, y=inner.y)
    picture = render_svg(replace(drawn, artists=[*crowd, inner], suspects=[suspect], hulls=[]))
    assert "In Ner" in picture
    other = replace(suspect, nearest="crowd-1")
    assert "In Ner" not in render_svg(replace(drawn, artists=[*crowd, inner], suspects=[other], hulls=[]))
