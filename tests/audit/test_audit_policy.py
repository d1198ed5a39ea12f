"""The policy as a table: which figures give which verdict."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.limits import COPY as COPY_FROM
from auditor.limits import SAME_SOURCE, UNRELATED
from auditor.policy import decide
from auditor.result import ArtistScore, Coverage, OpenSet, Verdict
from auditor.words import pretty

COPY = {
    "of": "ada-alder/0.safetensors",
    "artist": "ada-alder",
    "relation": "same_update",
    "figures": {"cos_delta_w": 0.999},
}
ALARM = {"norm_only": {"top_artist": "ada-alder", "p": 0.05}}
QUIET = {
    "norm_only": {"top_artist": "ada-alder", "p": 0.051},
    "rank_only": {"top_artist": "ben-birch", "p": 0.01},
    "x": None,
}


def artist(name: str, rank: int, p: float, p_exclusion: float) -> ArtistScore:
    return ArtistScore(name, "", 3.0 - rank, (0.0, 1.0), rank, p, p_exclusion, 0.5, 1.7, "weak support", "file", {})


def verdict(
    p_open: float = 0.02,
    p: float = 0.02,
    excluded: tuple[float, ...] = (0.6, 0.01, 0.01),
    fraction: float = 1.0,
    controls: dict[str, Any] | None = None,
    derivative: dict[str, Any] | None = None,
    alpha: float = 0.05,
    p_member: float = 0.5,
    outsiders: float = 0.4,
    in_common: float | None = None,
) -> Verdict:
    tested = OpenSet(p_open, 0.01, 99, 3.0, [0.0], alpha, (p_open, p_open), p_member, outsiders)
    names = ("ada-alder", "ben-birch", "cleo-cedar")
    rows = [artist(n, i + 1, p if i == 0 else 1.0, q) for i, (n, q) in enumerate(zip(names, excluded, strict=True))]
    return decide(tested, rows, Coverage(10, 20, 10, fraction, in_common), controls or {}, derivative)


TABLE = {
    "both tests reject": (dict(), "CONSISTENT", "ada-alder"),
    "at the level itself": (dict(p_open=0.05, p=0.05), "CONSISTENT", "ada-alder"),
    "quiet controls": (dict(controls=QUIET), "CONSISTENT", "ada-alder"),
    "a quarter of the layers": (dict(fraction=0.25), "CONSISTENT", "ada-alder"),
    "an excluded artist cannot undo two rejections": (dict(excluded=(0.01, 0.01, 0.01)), "CONSISTENT", "ada-alder"),
    "a control names the artist as well": (dict(controls=ALARM), "INCONCLUSIVE", None),
    "one control of several": (dict(controls=QUIET | {"norm_only": ALARM["norm_only"]}), "INCONCLUSIVE", None),
    "stands out, but nobody in particular": (dict(p=0.051), "INCONCLUSIVE", None),
    "as near as strangers are, nobody excluded": (dict(p_open=0.3, excluded=(0.9, 0.5, 0.4)), "INCONCLUSIVE", None),
    "one artist cannot be excluded": (dict(p_open=0.3, excluded=(0.01, 0.01, 0.051)), "INCONCLUSIVE", None),
    "nearest cannot be excluded": (dict(p_open=0.051, excluded=(0.051, 0.01, 0.01)), "INCONCLUSIVE", None),
    "each excluded, but not by the test that answers for all": (
        dict(p_open=0.3, excluded=(0.05, 0.01, 0.01)), "INCONCLUSIVE", None
    ),
    "too far for an artist of the set": (dict(p_open=0.3, p_member=0.05), "NO_MATCH", None),
    "nearly too far": (dict(p_open=0.3, p_member=0.051), "INCONCLUSIVE", None),
    "too far, with nothing of what all references share": (
        dict(p_open=0.3, p_member=0.01, in_common=4.9), "INCONCLUSIVE", None
    ),
    "too far, with something of it": (dict(p_open=0.3, p_member=0.01, in_common=5.0), "NO_MATCH", None),
    "both tests reject, whatever it has of it": (dict(in_common=0.0), "CONSISTENT", "ada-alder"),
    "too far, by a set that tells outsiders just often enough": (
        dict(p_open=0.3, p_member=0.01, outsiders=0.1), "NO_MATCH", None
    ),
    "too far, by a set with which outsiders are hardly ever so": (
        dict(p_open=0.3, p_member=0.01, outsiders=0.099), "INCONCLUSIVE", None
    ),
    "too far, and a control alarm beside it": (dict(p_open=0.3, p_member=0.01, controls=ALARM), "NO_MATCH", None),
    "few layers": (dict(fraction=0.249), "INCONCLUSIVE", None),
    "few layers and nothing found": (dict(fraction=0.49, p_open=0.9, p_member=0.01), "INCONCLUSIVE", None),
    "a copy": (dict(derivative=COPY), "DERIVATIVE", "ada-alder"),
    "a copy of few layers": (dict(derivative=COPY, fraction=0.1), "DERIVATIVE", "ada-alder"),
    "a copy, whatever the scores": (
        dict(derivative=COPY, p_open=0.9, p=1.0, p_member=0.01, controls=ALARM), "DERIVATIVE", "ada-alder"
    ),
    "a stricter level": (dict(alpha=0.01), "INCONCLUSIVE", None),
    "a laxer level": (dict(alpha=0.1, p_open=0.1, p=0.1), "CONSISTENT", "ada-alder"),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_table(case: str) -> None:
    given_figures, label, named = TABLE[case]
    found = verdict(**given_figures)
    assert (found.label, found.artist) == (label, named)


def test_a_file_cut_down_is_told_how_little_is_left() -> None:
    few = verdict(fraction=0.1)
    assert "10 of the 10 layers" in few.sentence
    assert "(10%)" in few.sentence
    assert "25% is asked for" in few.sentence
    far = verdict(fraction=0.49, p_open=0.9, p_member=0.01)
    assert "does not decide" in far.sentence
    assert any("changes only 10 of the 10 layers" in reason for reason in far.reasons)
    whole = verdict(fraction=0.5, p_open=0.9, p_member=0.2)
    assert not any("layers" in reason for reason in whole.reasons)


def test_a_file_with_nothing_of_what_references_share_is_told_so_first() -> None:
    for p_member in (0.01, 0.9):
        found = verdict(p_open=0.3, p_member=p_member, in_common=-0.4)
        assert (found.label, found.artist) == ("INCONCLUSIVE", None)
        assert "another base model" in found.sentence
        assert "has -0.4 standard deviations" in found.reasons[0]
        assert "own artists" not in " ".join(found.reasons)
    assert "another base model" not in verdict(p_open=0.3, p_member=0.9, in_common=5.0).sentence


def test_where_somebody_nearer_was_not_asked_about_it_is_a_reason() -> None:
    tested = OpenSet(0.02, 0.01, 99, 3.0, [0.0], 0.05, (0.02, 0.02), 0.01, 0.4, asked=("ben-birch",), p_otherwise=0.9)
    rows = [artist("ada-alder", 1, 0.5, 1.0), artist("ben-birch", 2, 0.5, 1.0)]
    for in_common, told in ((0.0, True), (5.0, False)):
        found = decide(tested, rows, Coverage(10, 10, 10, 1.0, in_common), {}, None)
        assert any("another base model" in reason for reason in found.reasons) == told
        assert found.label == ("INCONCLUSIVE" if told else "NO_MATCH")


P = st.floats(0.001, 1)


@given(P, P, st.tuples(P, P, P), st.floats(0, 1), st.sampled_from([{}, ALARM, QUIET]), st.floats(0.01, 0.2), P, P)
def test_no_accusation_without_two_rejections_and_no_all_clear_without_one(
    p_open: float,
    p: float,
    excluded: tuple[float, ...],
    fraction: float,
    controls: dict[str, Any],
    alpha: float,
    p_member: float,
    outsiders: float,
) -> None:
    found = verdict(p_open, p, excluded, fraction, controls, None, alpha, p_member, outsiders)
    if found.label == "CONSISTENT":
        assert max(p_open, p) <= alpha
        assert fraction >= 0.25
        assert not any(c and c["top_artist"] == found.artist and c["p"] <= alpha for c in controls.values())
    if found.label == "NO_MATCH":
        assert p_open > alpha
        assert p_member <= alpha
        assert outsiders >= 2 * alpha
        assert fraction >= 0.5
    assert (found.artist is None) == (found.label != "CONSISTENT")
    assert found.label in ("CONSISTENT", "INCONCLUSIVE", "NO_MATCH")
    assert found.sentence
    assert found.reasons
    assert found.would_change


def test_a_smaller_level_never_turns_doubt_into_an_accusation() -> None:
    labels = [verdict(alpha=alpha).label for alpha in (0.001, 0.01, 0.02, 0.05, 0.2)]
    assert labels == ["INCONCLUSIVE", "INCONCLUSIVE", "CONSISTENT", "CONSISTENT", "CONSISTENT"]


@pytest.mark.parametrize("p", [1 / 7, 1 / 41, 1 / 61, 0.05, 0.0123, 0.0602, 0.0051])
def test_the_sentence_says_p_to_the_nearest_hundredth_and_that_it_is_an_estimate(p: float) -> None:
    for found in (verdict(p_open=p, p=p, alpha=0.2), verdict(p_open=p, p=p, alpha=0.001)):
        claimed = re.search(r"about (\d+) in 100", found.sentence)
        assert claimed is not None
        assert abs(p - int(claimed[1]) / 100) <= 0.005
    assert "fewer than 1 in 100" in verdict(p_open=0.0049, p=0.0049, alpha=0.2).sentence


def test_sentences_name_the_figures() -> None:
    assert "Ada Alder" in verdict().sentence
    assert "20%" in verdict(fraction=0.2).sentence
    assert "49%" in " ".join(verdict(fraction=0.49, p_open=0.9, p_member=0.05).reasons)
    assert "norm_only" in verdict(controls=ALARM).sentence
    copied = verdict(derivative=COPY)
    assert "a reference file of this set, a LoRA made from works by Ada Alder" in copied.sentence
    assert any("ada-alder/0.safetensors" in reason for reason in copied.reasons)
    assert any(f"from an estimate of {COPY_FROM:g} on" in reason for reason in copied.reasons)
    known = verdict(derivative=COPY | {"artist": None})
    assert "those of a known file, ada-alder/0.safetensors." in known.sentence
    assert f"reach {UNRELATED:g} at most" in known.reasons[0]
    assert f"from {SAME_SOURCE:g} on" in known.reasons[0]
    assert "0.051" in verdict(p=0.051).sentence
    assert "1 of 3" in " ".join(verdict(p_open=0.3, excluded=(0.01, 0.01, 0.2)).reasons)


def test_who_would_be_mistaken_for_the_artist_named_is_said() -> None:
    tested = OpenSet(0.02, 0.01, 99, 3.0, [0.0], 0.05, (0.02, 0.02), 0.5, 0.4)
    alike = replace(tested, lookalikes=[{"artist": "ben-birch", "share": 0.5}, {"artist": "cy-elm", "share": 0.0625}])
    one = artist("ada-alder", 1, 0.02, 0.6)
    for opened, words in (
        (tested, "none was taken for Ada Alder"),
        (alike, "Ben Birch (about 50 in 100), Cy Elm (about 6 in 100)"),
    ):
        found = decide(opened, [one], Coverage(10, 10, 10, 1.0), {}, None)
        assert found.label == "CONSISTENT"
        assert any(words in reason for reason in found.reasons)


def test_names_for_people() -> None:
    assert pretty("anders-zorn") == pretty("anders_zorn") == "Anders Zorn"
    assert pretty("james-mcneill-whistler") == "James McNeill Whistler"
    assert pretty("mc-escher") == "Mc Escher"


@pytest.mark.parametrize("name", ["JMW Turner", "Leonardo da Vinci", "El Greco", "ten-", "a--b", "Ada-alder", ""])
def test_what_a_person_has_written_stays(name: str) -> None:
    assert pretty(name) == name


def test_a_copy_without_an_artist_names_none() -> None:
    assert verdict(derivative={k: v for k, v in COPY.items() if k != "artist"}).artist is None
    assert replace(verdict(derivative=COPY), label="DERIVATIVE") == verdict(derivative=COPY)


def test_where_most_outsiders_point_as_clearly_nobody_is_named() -> None:
    far, near = verdict(p_open=0.6), verdict(p_open=0.3)
    assert "Ada Alder" in near.sentence
    assert "Ada Alder" not in far.sentence
    assert "No artist of the set stands out: about 60 in 100" in far.sentence


def test_a_level_that_no_file_can_reach_is_what_would_have_to_change() -> None:
    found, usual = verdict(alpha=0.001), verdict(p_open=0.3)
    assert found.would_change == [
        "A set with more artists: this one names nobody at a level below α = 0.011, whatever the file."
    ]
    assert "More references of the nearest artists, covering more of their works." in usual.would_change


def test_a_level_between_the_floors_of_both_tests_names_nobody_and_says_why() -> None:
    tested = OpenSet(0.01, 0.01, 99, 3.0, [0.0], 0.0101, (0.0, 0.1), 0.5, 0.2)
    assert tested.p <= tested.alpha < tested.names_from == pytest.approx(1 / 99)
    found = decide(tested, [artist("ada-alder", 1, 1 / 99, 0.5)], Coverage(10, 10, 10, 1.0), {}, None)
    assert found.label == "INCONCLUSIVE"
    assert "too few artists to name one of them: it can do so from α = 0.011 on" in found.sentence
    assert "A set with more artists" in found.would_change[0]
    alone = replace(tested, asked=["ada-alder"], independent=True, p_otherwise=0.5)
    assert alone.names_from == tested.p_min


@pytest.mark.parametrize(
    ("p_open", "words"),
    [(0.3, "Bea Birch, who was not asked about, stands nearer"), (0.7, "no artist of the set stands out")],
)
def test_the_figure_of_somebody_else_is_not_told_of_the_artist_asked_about(p_open: float, words: str) -> None:
    tested = OpenSet(p_open, 0.01, 99, 3.0, [0.0], 0.05, (0.2, 0.8), 0.5, 0.2, asked=["ada-alder"], p_otherwise=0.9)
    ranked = [artist("bea-birch", 1, p_open, 0.5), artist("ada-alder", 2, 0.9, 0.5)]
    found = decide(tested, ranked, Coverage(10, 10, 10, 1.0), {}, None)
    assert "about Ada Alder" in found.sentence
    assert words in found.sentence


@pytest.mark.parametrize(("ruled_out", "words"), [(0, "None of 14 LoRAs made from works by Ada"), (1, "Of 14 LoRAs")])
def test_own_files_that_were_held_back_are_told_by_the_artist(ruled_out: int, words: str) -> None:
    tested = OpenSet(0.5, 0.01, 99, 3.0, [0.0], 0.05, (0.4, 0.6), 0.01, 0.9)
    asked = replace(tested, asked=["ada-alder"], p_otherwise=0.9, own_no_match={"files": 14, "ruled_out": ruled_out})
    found = decide(asked, [artist("ada-alder", 1, 0.5, 0.01)], Coverage(10, 10, 10, 1.0), {}, None)
    assert found.label == "NO_MATCH"
    assert any(words in reason for reason in found.reasons)
