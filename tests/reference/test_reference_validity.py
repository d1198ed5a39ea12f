"""The validity card: measured on files whose artist is known, by the split of works that the trainer recorded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import lora_writing as writing
import mini_set
import pytest

from auditor.errors import ReferenceSetError
from auditor.reference import ReferenceSet, calibrate, evaluate, import_folder

OUTSIDERS = ("mo-maple", "ned-nettle")


def write_corpus(folder: Path, ranks: tuple[int, ...], suspect_rank: int = 3) -> Path:
    """References of both halves by one recipe a rank, two suspects a half, and artists who are only suspects."""
    jobs = []

    def save(artist: int, name: str, tag: str, half: str, recipe: str, number: int, rank: int) -> None:
        stem = f"{name}--{tag}-{half}-{recipe}"
        made = mini_set.lora(artist, number, rank)
        if recipe == "attention":
            made = {path: factors for path, factors in made.items() if ".ff." not in path}
        mini_set.save(folder / name / f"{stem}.safetensors", writing.diffusers(made))
        jobs.append({"name": stem, "half": half, "recipe": recipe, "pictures": []})

    for a, name in enumerate(mini_set.ARTISTS):
        for h, half in enumerate("ab"):
            for r, rank in enumerate(ranks):
                save(a, name, "ref", half, f"r{rank}", 10 * h + r, rank)
            save(a, name, "suspect", half, "whole", 10 * h + 8, suspect_rank)
            save(a, name, "suspect", half, "attention", 10 * h + 9, suspect_rank)
    for a, name in enumerate(OUTSIDERS):
        save(mini_set.STRANGER + a, name, "suspect", "a", "whole", 0, suspect_rank)
    (folder / "plan.json").write_text(json.dumps({"base": "", "jobs": jobs}), encoding="utf-8")
    return folder


def made_set(loras: Path, output: Path) -> Path:
    import_folder(loras, output, k=6, name="judged")
    calibrate(output, settings=mini_set.SETTINGS)
    return output


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(LoRA files, set)."""
    loras = write_corpus(tmp_path_factory.mktemp("corpus"), (4, 16))
    return loras, made_set(loras, tmp_path_factory.mktemp("judged"))


@pytest.fixture(scope="module")
def card(corpus: tuple[Path, Path]) -> dict[str, Any]:
    loras, folder = corpus
    return evaluate(folder, loras, seed=3, settings=mini_set.SETTINGS)


def test_the_card_lies_in_the_set_and_its_headline_is_shown(corpus: tuple[Path, Path], card: dict[str, Any]) -> None:
    _, folder = corpus
    assert json.loads((folder / "card.json").read_text(encoding="utf-8")) == json.loads(
        json.dumps(card, allow_nan=False)
    )
    assert ReferenceSet.load(folder).validity() == card["headline"]
    assert (card["set"], card["artists"]) == ("judged", mini_set.COUNT)


def test_conditions_count_every_suspect_once(card: dict[str, Any]) -> None:
    """Two halves in turn: each suspect once as 'same works' and once as 'other works'."""
    counts = card["suspects"]
    assert counts["other works, other recipe"] == counts["same works, other recipe"] == 4 * mini_set.COUNT
    assert counts["other works, reference recipe"] == 4 * mini_set.COUNT
    assert counts["artists outside the set"] == len(OUTSIDERS)


def test_figures_are_shares_inside_their_intervals(card: dict[str, Any]) -> None:
    for name, figures in card["conditions"].items():
        assert figures, name
        for key, figure in figures.items():
            assert 0 <= figure["low"] <= figure["high"] <= 1, (name, key)
            assert figure["low"] - 1e-9 <= figure["value"] <= figure["high"] + 1e-9, (name, key)
            assert figure["of"] == (len(OUTSIDERS) if "outside" in name else mini_set.COUNT)
    assert set(card["conditions"]["artists outside the set"]) == {"false_attribution"}


def test_a_style_that_is_there_is_found_and_the_recipe_alone_finds_nothing(card: dict[str, Any]) -> None:
    headline = card["headline"]
    assert headline["top1"]["value"] > 0.9
    assert headline["open_set_auc"]["value"] > 0.8
    assert headline["false_attribution"]["value"] < 0.2
    assert headline["cllr"]["value"] < 0.9
    ablations = card["ablations"]
    assert ablations["default"]["top1"]["value"] > 0.9
    for control in ("rank", "norm", "spectrum"):
        assert ablations[f"control: {control} only"]["top1"]["value"] < 0.5
    raw, ours = (ablations[f"rank 16 files only: {name}"] for name in ("the paper's raw A and B", "default"))
    assert raw["top1"]["value"] < ours["top1"]["value"]


def test_the_same_seed_gives_the_same_card(corpus: tuple[Path, Path], card: dict[str, Any], tmp_path: Path) -> None:
    loras, folder = corpus
    again = evaluate(shutil.copytree(folder, tmp_path / "set"), loras, seed=3, settings=mini_set.SETTINGS)
    assert again == card


@pytest.mark.parametrize("ranks", [(3, 4), (4,)], ids=["no file of rank 16", "one rank, one file a half"])
def test_small_and_uniform_sets_have_a_card_too(tmp_path: Path, ranks: tuple[int, ...]) -> None:
    """Controls may have nothing to go by, and a half may hold a single reference of an artist."""
    loras = write_corpus(tmp_path / "loras", ranks, suspect_rank=4)
    card = evaluate(made_set(loras, tmp_path / "set"), loras, settings=mini_set.SETTINGS)
    json.dumps(card, allow_nan=False)
    assert card["headline"]["top1"]["value"] > 0.9
    assert card["ablations"]["control: rank only"]["top1"]["value"] < 0.5


def test_what_cannot_certify_is_refused(corpus: tuple[Path, Path], lora_folder: Path) -> None:
    loras, folder = corpus
    with pytest.raises(ReferenceSetError, match="LoRA files"):
        evaluate(folder)
    with pytest.raises(ReferenceSetError, match="too few"):
        evaluate(folder, lora_folder)  # no plan: no halves
    assert loras.is_dir()
