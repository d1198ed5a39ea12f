"""The validity card: measured on files whose artist is known, by the split of works that the trainer recorded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import lora_writing as writing
import mini_set
import numpy as np
import processes
import pytest
from safetensors.numpy import load_file

from auditor.errors import ReferenceSetError
from auditor.reference import ReferenceSet, calibrate, evaluate, export_sketch, import_folder
from auditor.reference.set import headline_figures
from auditor.reference.validity import certificate
from auditor.report.card import certified, render_card

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
    shown = ReferenceSet.load(folder).validity()
    assert {name: {k: v for k, v in f.items() if k != "same_works"} for name, f in shown.items()} == card["headline"]
    assert card["headline_of"].startswith("other works")
    same = "same works, other recipe"
    assert shown["found_at_alpha"]["same_works"] == card["conditions"][same]["found_at_alpha"]
    assert shown["cllr"]["same_works"] == card["likelihood"][same]["figures"]["cllr"]
    assert shown["asked_auc"]["same_works"] == card["asked"][same]["auc"]
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
            of = len(OUTSIDERS) if "outside" in name else 40 if "random" in name else mini_set.COUNT
            assert figure["of"] == of, name
    outside = {"false_attribution", "false_attribution_at_02"}
    for name in ("artists outside the set", "random weights, no training"):
        assert set(card["conditions"][name]) == outside


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


def test_a_set_without_validation_suspects_is_judged_by_its_references(tmp_path: Path) -> None:
    loras = write_corpus(tmp_path / "loras", (3, 4))
    for path in [*loras.glob("*/*--suspect-*")]:
        path.unlink()
    card = evaluate(made_set(loras, tmp_path / "set"), loras, settings=mini_set.SETTINGS)
    assert card["headline_of"] == "other works, reference recipe"
    assert card["headline"]["top1"]["value"] > 0.9
    assert card["ablations"]["default"]["top1"]["value"] > 0.9
    json.dumps(card, allow_nan=False)
    assert render_card(card)


def test_what_cannot_certify_is_refused(corpus: tuple[Path, Path], lora_folder: Path) -> None:
    """Without a plan there are no halves; the refusal says what the set could reach at best."""
    loras, folder = corpus
    with pytest.raises(ReferenceSetError, match="not known") as refusal:
        evaluate(folder, lora_folder)
    assert f"no level below α = {1 / mini_set.COUNT:.3f}" in str(refusal.value)
    assert f"no likelihood ratio above {mini_set.COUNT}" in str(refusal.value)
    assert loras.is_dir()


def test_an_artist_with_one_half_is_named_and_nothing_is_judged(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    """Without references of a half nobody could be found by it, and rates would be of other artists than they say."""
    loras = shutil.copytree(corpus[0], tmp_path / "loras")
    artist = mini_set.ARTISTS[3]
    for path in [*(loras / artist).glob("*--ref-b-*")]:
        path.unlink()
    with pytest.raises(ReferenceSetError, match=f"{artist} .half b."):
        evaluate(corpus[1], loras, settings=mini_set.SETTINGS)


def test_a_view_that_some_artist_lacks_is_no_part_of_the_card(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    """As no set has such a view: its suspects are compared in the views that everybody fills."""
    loras = shutil.copytree(corpus[0], tmp_path / "loras")
    for path in (loras / mini_set.ARTISTS[3]).glob("*--ref-*"):
        kept = {key: array for key, array in load_file(path).items() if ".ff." not in key}
        mini_set.save(path, kept)
    card = evaluate(made_set(loras, tmp_path / "set"), loras, settings=mini_set.SETTINGS)
    assert sum(card["suspects"].values()) > 0
    assert card["headline"]["top1"]["value"] > 0.9


def test_twelve_artists_are_measured_but_not_certified(card: dict[str, Any]) -> None:
    judged = card["certificate"]
    assert not judged["certified"]
    assert "nobody can be named below α = 0.083" in judged["reasons"][0]
    assert judged["best_reachable"] == {"p": pytest.approx(1 / 13), "log10_lr": pytest.approx(np.log10(12)), "lr": 12}


def test_likelihood_figures_and_curves_fit_each_other(card: dict[str, Any]) -> None:
    for ratios in card["likelihood"].values():
        cost = {name: f["value"] for name, f in ratios["figures"].items()}
        assert cost["cllr"] == pytest.approx(cost["cllr_min"] + cost["cllr_cal"])
        at_even_odds = ratios["ece"]["prior_log10_odds"].index(0.0)
        assert ratios["ece"]["ratios"][at_even_odds] == pytest.approx(cost["cllr"], abs=1e-3)
        assert ratios["ece"]["recalibrated"][at_even_odds] == pytest.approx(cost["cllr_min"], abs=1e-3)
        assert ratios["ece"]["silent"][at_even_odds] == pytest.approx(1)
        low, high = ratios["bounds"]["elub"]
        assert -np.log10(13) <= low <= 0 <= high <= np.log10(13)
        assert max(map(abs, ratios["pav"]["log10_lr"])) <= np.log10(mini_set.COUNT)
    roc = card["curves"]["roc"]
    for line in roc.values():
        assert (line[0], line[-1]) == (1, 0)
    assert card["curves"]["null_uniformity"]["share"][-1] == 1


def test_drift_is_shown_with_and_without_its_cure(card: dict[str, Any]) -> None:
    drift = card["drift"]
    assert drift["own_cosine"]["fitted"] > drift["own_cosine"]["held_out"]
    assert drift["strangers_cosine_spread"]["fitted"] != drift["strangers_cosine_spread"]["held_out"]
    assert drift["false_attribution"]["uncalibrated"] == 0  # twelve artists give no p-value below α
    assert drift["false_attribution"]["calibrated"] <= 0.1
    assert card["separation"]["p"] < 0.05
    assert card["clustering"]["silhouette_artist"] > 0


def test_without_files_the_held_out_references_are_the_suspects(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    """One condition; a card measured on files is not replaced by it, and a missing one is written."""
    _, folder = corpus
    copy = shutil.copytree(folder, tmp_path / "set")
    (copy / "card.json").unlink(missing_ok=True)
    card = evaluate(copy, seed=3)
    assert list(card["conditions"]) == [card["headline_of"]] == ["held-out half of the works, reference recipe"]
    assert not card["certificate"]["certified"]
    assert any("not measured" in reason for reason in card["certificate"]["reasons"])
    assert card["headline"]["top1"]["value"] > 0.9
    assert json.loads((copy / "card.json").read_text(encoding="utf-8"))["headline"] == card["headline"]
    kept = card | {"ablations": {}, "set": "measured on files"}
    (copy / "card.json").write_text(json.dumps(kept), encoding="utf-8")
    evaluate(copy)
    assert json.loads((copy / "card.json").read_text(encoding="utf-8"))["set"] == "measured on files"


def test_works_that_nobody_knows_are_not_called_halves(set_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(set_folder, tmp_path / "set"))
    mini_set.rename_parts(copy, {"a": "part-0", "b": "part-1"})
    card = evaluate(copy, seed=3)
    assert list(card["conditions"]) == ["held-out files, on works unknown, reference recipe"]
    assert not card["certificate"]["certified"]


def test_a_certificate_needs_a_rate_that_holds_and_more_than_chance() -> None:
    counts = {"hits": 2, "of": 40, "artists": 40, "low": 0.006, "high": 0.17}
    able, blind = ({"open_set_auc": {"value": v, "low": v - 0.1, "high": v + 0.1}} for v in (0.8, 0.55))
    given = certificate(40, counts, able)
    assert given["certified"]
    assert given["rate"] == {"hits": 2, "of": 40, "low": 0.006, "high": 0.17}
    assert "2 of 40" in certified({"certificate": given})
    assert "0.006 and 0.170" in certified({"certificate": given})
    for refused in (
        certificate(40, counts, blind),
        certificate(40, counts | {"low": 0.051}, able),
        certificate(18, counts, able),
        certificate(40, counts, able, ["said before"]),
    ):
        assert not refused["certified"]
        assert len(refused["reasons"]) == 1
        assert certified({"certificate": refused}) == ""


def test_the_page_of_a_card_shows_every_row_and_escapes_names(card: dict[str, Any]) -> None:
    evil = "<script>alert(1)</script>"
    table = {"title": evil, "note": "n", "columns": ["attack"], "rows": [["fp8 & noise"]]}
    page = render_card(card | {"set": evil, "by_recipe": {evil: card["headline"]}, "measured": {"laundering": table}})
    assert "fp8 &amp; noise" in page
    assert "<script>alert" not in page
    assert "&lt;script" in page
    for name in (*card["conditions"], *card["ablations"]):
        assert name.replace("'", "&#39;") in page
    assert "Not certified" in page
    assert page.count("<svg") == 3 + 3 * len(card["likelihood"])
    assert "http" not in page.replace("http-equiv", "")
    assert render_card({k: v for k, v in card.items() if k not in ("curves", "likelihood", "drift", "certificate")})


def test_a_sketch_is_not_evaluated_on_files(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    """Its directions are random ones, and the protocol fits directions on every fold's references."""
    loras, folder = corpus
    sketch = tmp_path / "sketch"
    export_sketch(folder, loras, sketch)
    done = processes.audit(tmp_path, "refs", "evaluate", sketch, "--loras", loras)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Evaluate the set it was made from." in done.stderr
    assert "fault of audit itself" not in done.stderr
    assert not (sketch / "card.json").exists()


def test_a_headline_of_the_references_own_works_has_no_figures_beside_it() -> None:
    figure = {"value": 0.5, "low": 0.4, "high": 0.6, "of": 12}
    card = {"headline": {"top1": figure}, "conditions": {"same works, other recipe": {"top1": figure}}}
    assert headline_figures(card | {"headline_of": "same works, other recipe"}) == {"top1": figure}
    assert headline_figures(card) == {"top1": figure}
    assert headline_figures(card | {"headline_of": "other works, other recipe"})["top1"]["same_works"] == figure
