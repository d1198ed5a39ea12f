"""What the shipped set is made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from auditor.reference.build import read_genres
from auditor.training.default_set import MORE, ORDER, OUTSIDERS, default_jobs, write_genres
from auditor.training.recipes import REFERENCE

ARTISTS = ("ada-alder", "ben-birch", OUTSIDERS[0])


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Folders of pictures of noise, and a catalogue beside them that knows two of the artists and a stranger."""
    rng, folder = np.random.default_rng(0), tmp_path / "art" / "artists"
    for artist in ARTISTS:
        (folder / artist).mkdir(parents=True)
        for i in range(20):
            Image.fromarray(rng.integers(0, 256, (70, 70, 3), np.uint8)).save(folder / artist / f"{i}.png")
    rows = ["artists/ada-alder/0.png,ada-alder,1900,baroque,One", "background/cy-cedar/0.png,cy-cedar,1800,cubism,Two"]
    rows.append('artists/ben-birch/0.png,ben-birch,1850,"rococo, late",Three')
    (folder.parent / "CATALOGUE.csv").write_text("\n".join(["file,artist,died,genre,title", *rows]), encoding="utf-8")
    return folder


def test_genres_come_from_the_catalogue_of_the_same_source(images: Path, tmp_path: Path) -> None:
    write_genres(images, tmp_path / "loras")
    known = read_genres(tmp_path / "loras")
    assert known == {
        "ada-alder": {"genre": "baroque", "died": 1900},
        "ben-birch": {"genre": "rococo, late", "died": 1850},
    }
    (images.parent / "CATALOGUE.csv").unlink()
    write_genres(images, tmp_path / "others")
    assert read_genres(tmp_path / "others") == {}


def test_a_recipe_more_or_less_changes_no_other_ones_pictures(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan counts all recipes of the base, whether the set trains them or not."""
    full = {job.name: job for job in default_jobs(images, 0)}
    planned = {job.recipe for job in full.values() if "--ref-" in job.name}
    assert planned == {r.name for r in REFERENCE if "mini" in r.bases}
    assert not any(job.artist in OUTSIDERS and "--ref-" in name for name, job in full.items())
    monkeypatch.setattr("auditor.training.default_set.ORDER", tuple(name for name in ORDER if name != MORE[0]))
    fewer = {job.name: job for job in default_jobs(images, 0)}
    assert fewer == {name: job for name, job in full.items() if job.recipe != MORE[0]}
    assert len(fewer) < len(full)
