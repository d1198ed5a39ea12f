"""Audits that were asked about some artists: whom they name, whom they rule out, and on what declaration."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import lora_writing as writing
import mini_set
import numpy as np
import pytest
from rich.console import Console

from auditor import check
from auditor.attestation import reproduce
from auditor.errors import UsageError
from auditor.evidence.membership import member_p, own_no_match
from auditor.evidence.significance import membership, open_set
from auditor.policy import rules_out
from auditor.reference.set import ReferenceSet
from auditor.report import render, render_html
from auditor.report.build import build
from auditor.report.console import render_console
from auditor.report.figures import nearest_names
from auditor.report.numbers import probability
from auditor.report.view import TOP
from auditor.words import pretty

ALPHA = 0.2
"""The mini-set's twelve artists give no p below 1 / 13."""
ADA, BEN, CLEO = mini_set.ARTISTS[:3]


@pytest.fixture(scope="module")
def reference(set_folder: Path) -> ReferenceSet:
    return ReferenceSet.load(set_folder)


@pytest.fixture(scope="module")
def suspect(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new file by the first artist of the set."""
    folder = tmp_path_factory.mktemp("asked")
    return mini_set.save(folder / "ada.safetensors", writing.diffusers(mini_set.lora(0, 77)))


def test_the_artist_asked_about_is_named_as_without_the_question(reference: ReferenceSet, suspect: Path) -> None:
    plain = check(suspect, reference, alpha=ALPHA, resamples=5)
    found = check(suspect, reference, alpha=ALPHA, resamples=5, artists=["Ada Alder"])
    assert plain.verdict.label == found.verdict.label == "CONSISTENT"
    assert found.verdict.artist == ADA
    assert found.options["artists"] == [ADA]
    assert found.open_set is not None
    assert plain.open_set is not None
    assert (found.open_set.p, found.open_set.null) == (plain.open_set.p, plain.open_set.null)
    assert [a.p for a in found.artists] == [a.p for a in plain.artists]
    assert found.open_set.asked == [ADA]
    assert found.reference_set.background_artists == 0


def test_somebody_else_is_ruled_out_and_nobody_is_named(reference: ReferenceSet, suspect: Path) -> None:
    found = check(suspect, reference, alpha=ALPHA, resamples=5, artists=[BEN])
    assert found.verdict.label == "NO_MATCH"
    assert found.verdict.artist is None
    assert "works by Ben Birch" in found.verdict.sentence
    assert found.open_set is not None
    ben = next(a for a in found.artists if a.artist == BEN)
    assert found.open_set.p_member == pytest.approx(ben.p_exclusion)
    page = render_html(found.to_dict())
    assert "No match with Ben Birch" in page.replace("\u00a0", " ")


def test_of_several_all_must_be_ruled_out_or_the_best_be_named(reference: ReferenceSet, suspect: Path) -> None:
    others = check(suspect, reference, alpha=ALPHA, resamples=5, artists=[CLEO, BEN])
    best = max((a for a in others.artists if a.artist in (BEN, CLEO)), key=lambda a: a.p_exclusion)
    assert others.open_set is not None
    assert others.open_set.p_member == pytest.approx(best.p_exclusion)
    assert others.verdict.label == "NO_MATCH"
    both = check(suspect, reference, alpha=ALPHA, resamples=5, artists=[BEN, ADA])
    assert (both.verdict.label, both.verdict.artist) == ("CONSISTENT", ADA)
    assert both.open_set is not None
    assert both.open_set.asked == [ADA, BEN]


def test_nobody_is_named_behind_somebody_nearer(reference: ReferenceSet, tmp_path: Path) -> None:
    """A merge of two artists, asked about the one who comes second and stands out as well."""
    alpha = 0.25
    made = mini_set.mix(mini_set.lora(0, 70), mini_set.lora(1, 70), 0.5)
    path = mini_set.save(tmp_path / "merge.safetensors", writing.diffusers(made))
    first, second = (a.artist for a in check(path, reference, resamples=5).artists[:2])
    assert {first, second} == {ADA, BEN}
    ahead, behind = (f"{name.split('-')[0].capitalize()} {name.split('-')[1].capitalize()}" for name in (first, second))
    for independent in (False, True):
        found = check(path, reference, alpha=alpha, resamples=5, artists=[second], independent=independent)
        assert found.open_set is not None
        assert (found.open_set.p if independent else found.open_set.p_otherwise) <= alpha
        assert found.verdict.label == "INCONCLUSIVE"
        assert any(f"{ahead} comes first, {behind} is number 2" in r for r in found.verdict.reasons)
    asked = check(path, reference, alpha=alpha, resamples=5, artists=[first], independent=True)
    assert (asked.verdict.label, asked.verdict.artist) == ("CONSISTENT", first)


def test_p_of_a_choice_independent_of_the_file_is_that_of_one_hypothesis(
    reference: ReferenceSet, suspect: Path
) -> None:
    """By hand, from the result alone: the others' references, each with its own artist left out."""
    plain = check(suspect, reference, alpha=ALPHA, resamples=5, artists=[ADA])
    found = check(suspect, reference, alpha=ALPHA, resamples=5, artists=[ADA], independent=True)
    opened = found.open_set
    assert opened is not None
    assert plain.open_set is not None
    owners, null = np.array(opened.null_owner), np.array(opened.null)
    assert 0 not in owners
    reached = [np.mean(null[owners == i] >= opened.statistic) for i in range(1, mini_set.COUNT)]
    assert opened.p == pytest.approx((1 + sum(reached)) / mini_set.COUNT)
    assert (plain.open_set.p_otherwise, opened.p_otherwise) == (opened.p, plain.open_set.p)
    assert opened.p_min == found.reference_set.alpha_floor == pytest.approx(1 / mini_set.COUNT)
    assert found.reference_set.background_artists == mini_set.COUNT - 1
    assert (found.verdict.label, found.verdict.artist) == ("CONSISTENT", ADA)
    assert found.artists[0].log10_lr is not None
    assert found.artists[0].log10_lr > 0
    assert any("rests on the declaration" in r for r in found.verdict.reasons)
    assert found.artists[0].p == opened.p
    assert any("only where the choice was independent" in r for r in plain.verdict.reasons)
    assert not any("the open-set test’s" in r for r in found.verdict.reasons)


def test_of_several_tested_for_alone_the_others_are_the_null(reference: ReferenceSet, suspect: Path) -> None:
    both = check(suspect, reference, alpha=ALPHA, resamples=5, artists=[BEN, ADA], independent=True)
    alone = check(suspect, reference, alpha=ALPHA, resamples=5, artists=[ADA], independent=True)
    assert both.open_set is not None
    assert alone.open_set is not None
    assert set(both.open_set.null_owner) == set(range(2, mini_set.COUNT))
    assert both.open_set.p_min == both.reference_set.alpha_floor == pytest.approx(1 / (mini_set.COUNT - 1))
    assert both.artists[0].p == max(both.open_set.p, alone.open_set.p)
    assert both.artists[0].log10_lr is None
    assert (both.verdict.label, both.verdict.artist) == ("CONSISTENT", ADA)
    assert "Ada Alder or Ben Birch" in both.verdict.sentence


def test_nobody_is_ruled_out_whose_own_files_often_are(reference: ReferenceSet, suspect: Path) -> None:
    """The rate is an average over artists: of some artists' own files many more score as low."""
    view = reference.views["all"]
    loose = replace(view, genuine=view.genuine.copy())
    rows = np.flatnonzero(view.artist == 1)[:2]
    loose.genuine[rows] = -1.0  # two of Ben's four
    assert own_no_match(loose, ALPHA, (1,)) == {"files": 4, "ruled_out": 2}
    assert own_no_match(loose, ALPHA, (0, 1)) == {"files": 4, "ruled_out": 2}
    opened = open_set(loose, view.points[:1], ALPHA, 5, 0, reference.artists, asked=(1,))
    assert opened.own_no_match == {"files": 4, "ruled_out": 2}
    assert not rules_out(replace(opened, p_member=0.01, p_otherwise=0.9))
    assert rules_out(
        replace(
            opened, p_member=0.01, p_otherwise=0.9, own_no_match={"files": 4, "ruled_out": 1}, outsiders_no_match=0.9
        )
    )


def test_likeness_within_the_genre_is_told(reference: ReferenceSet, suspect: Path) -> None:
    opened = check(suspect, reference, resamples=5, artists=[ADA], independent=True).open_set
    assert opened is not None
    same = [i for i, g in enumerate(reference.genres) if g == reference.genres[0] and i]
    assert same
    owners, null = np.array(opened.null_owner), np.array(opened.null)
    alike = np.isin(owners, same)
    counts = {"files": int(alike.sum()), "reached": int(np.sum(null[alike] >= opened.statistic))}
    assert opened.same_genre == {"genre": reference.genres[0], "artists": len(same), **counts}


def test_asking_about_everybody_is_asking_about_nobody(reference: ReferenceSet, suspect: Path) -> None:
    plain, found = (check(suspect, reference, resamples=5, artists=who) for who in ((), mini_set.ARTISTS))
    for audit in (plain, found):
        audit.timing_s.clear()
    assert {**plain.to_dict(), "created_at": ""} == {**found.to_dict(), "created_at": ""}


@pytest.mark.parametrize(("artists", "independent", "words"), [
    (["Ada Adler"], False, "Did you mean ada-alder"),
    (["adler"], False, "Did you mean ada-alder"),
    (["nobody at all of them"], False, "audit refs show "),
    ([], True, "Name some artists"),
    (list(mini_set.ARTISTS), True, "Name some artists"),
])  # fmt: skip
def test_what_cannot_be_asked_is_a_clear_error(
    reference: ReferenceSet, suspect: Path, artists: list[str], independent: bool, words: str
) -> None:
    with pytest.raises(UsageError) as raised:
        check(suspect, reference, artists=artists, independent=independent)
    assert words in raised.value.advice


@pytest.mark.parametrize("independent", [False, True])
def test_the_question_is_reproduced(reference: ReferenceSet, suspect: Path, independent: bool) -> None:
    found = check(suspect, reference, alpha=ALPHA, resamples=5, artists=[BEN, ADA], independent=independent)
    recorded = json.loads(json.dumps(found.to_dict()))
    assert reproduce(recorded, suspect, reference).same_bytes


def test_a_file_that_is_not_audited_keeps_the_question(reference: ReferenceSet, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"no file")
    found = check(tmp_path / "x.safetensors", reference, artists=[ADA], independent=True)
    assert found.verdict.label == "OUT_OF_SCOPE"
    assert (found.options["artists"], found.options["independent"]) == ([ADA], True)


def test_an_artist_asked_about_is_among_the_rows_that_are_shown_first(reference: ReferenceSet, suspect: Path) -> None:
    """However far down: who asks looks for that name."""
    last = check(suspect, reference, alpha=ALPHA, resamples=5).artists[-1].artist
    found = check(suspect, reference, alpha=ALPHA, resamples=5, artists=[last])
    view = build(found.to_dict())
    assert [a.asked for a in view.shown] == [False] * TOP + [True]
    assert (*view.shown[:TOP], *view.rest, view.shown[TOP]) == view.artists
    assert f"| {len(view.artists)} | {view.shown[TOP].artist} |" in render([found.to_dict()], "md")
    assert render([found.to_dict()], "html").count('class=" asked"') == 1


def test_the_figure_is_of_the_test_that_ruled_somebody_out(reference: ReferenceSet, suspect: Path) -> None:
    """p_member can be computed again from what the audit tells, and page and terminal show that test, not the other."""
    found = check(suspect, reference, alpha=ALPHA, resamples=5, artists=[BEN])
    opened = found.open_set
    assert found.verdict.label == "NO_MATCH"
    assert opened is not None
    assert opened.membership is not None
    scores, owners = np.array(opened.membership["null"]), np.array(opened.membership["owner"])
    ben = next(a for a in found.artists if a.artist == BEN)
    low = [np.mean(scores[owners == i] <= ben.score) for i in range(mini_set.COUNT)]
    assert opened.p_member == pytest.approx((1 + sum(low)) / (mini_set.COUNT + 1))
    assert ben.score < opened.membership["threshold"]
    view = build(found.to_dict())
    assert view.null is not None
    assert view.null.heading == "How LoRAs score with their own artist"
    assert view.null.statistic == ben.score
    assert sum(value <= ben.score for value in view.null.values) == view.null.beyond
    assert f"As low as the suspect with Ben Birch, or lower: {view.null.beyond} of" in view.null.lead
    assert build({**found.to_dict(), "open_set": {**found.to_dict()["open_set"], "membership": None}}).null is not None


def test_no_score_at_or_above_the_threshold_rules_out(reference: ReferenceSet) -> None:
    view = reference.views["all"]
    limit = membership(view, ALPHA, single=True)["threshold"]
    assert member_p(view, np.nextafter(limit, -np.inf), single=True)[0] <= ALPHA < member_p(view, limit, single=True)[0]
    assert membership(view, 0.01, single=True)["threshold"] is None


def test_figures_are_of_the_artist_asked_about(reference: ReferenceSet, suspect: Path) -> None:
    last = check(suspect, reference, alpha=ALPHA, resamples=5).artists[-1]
    found = check(suspect, reference, alpha=ALPHA, resamples=5, artists=[last.artist]).to_dict()
    view = build(found)
    assert view.parts is not None
    assert view.map is not None
    assert [part.value for part in view.parts.parts] == list(last.subnetworks.values())
    assert f"{last.rank} {pretty(last.artist)}" in nearest_names(view.map.dots)
    assert f"{last.rank} {pretty(last.artist)}" not in nearest_names(build(plain_of(found)).map.dots)  # type: ignore[union-attr]


def plain_of(found: dict[str, Any]) -> dict[str, Any]:
    """The same audit, nobody asked about."""
    return {**found, "options": {k: v for k, v in found["options"].items() if k != "artists"}}


def test_the_terminal_gives_the_p_value_that_decided_and_its_column(reference: ReferenceSet, suspect: Path) -> None:
    found = check(suspect, reference, alpha=ALPHA, resamples=5, artists=[BEN])
    console = Console(file=io.StringIO(), width=140)
    render_console(found.to_dict(), console)
    text = console.file.getvalue().replace("\u00a0", " ")  # type: ignore[attr-defined]
    decided = probability(next(a for a in found.artists if a.artist == BEN).p_exclusion)
    assert f"p excl. = {decided} (95 % range" in text
    heads = next(line for line in text.splitlines() if "Rank" in line)
    row = next(line for line in text.splitlines() if "Ben Birch" in line and line.split()[0].isdigit())
    assert "p excl." in heads
    assert decided in row.split()


def test_a_report_says_that_artists_count_once_and_what_zero_is(reference: ReferenceSet, suspect: Path) -> None:
    plain = build(check(suspect, reference, alpha=ALPHA, resamples=5).to_dict())
    declared = build(check(suspect, reference, alpha=ALPHA, resamples=5, artists=[ADA], independent=True).to_dict())
    assert plain.null is not None
    assert declared.null is not None
    assert f"each artist counts once, however many LoRAs (p\u00a0=\u00a0{plain.sure.p})" in plain.null.lead  # type: ignore[union-attr]
    assert "Ada Alder must also come first" in declared.null.lead
    assert "must also come first" not in plain.null.lead
