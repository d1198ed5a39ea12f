"""Numbers and untrusted text as a reader sees them."""

from __future__ import annotations

import io
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from specimen import audit, skipped

import auditor.report
from auditor.embedding.scores import DISCOUNT
from auditor.report.build import brief, build
from auditor.report.console import render_console
from auditor.report.null import threshold
from auditor.report.numbers import date, number, percent, person, probability, ratio, size
from auditor.report.provenance import command
from auditor.report.sections import first_page, sections, together
from auditor.report.untrusted import LIMIT, show
from auditor.texts import METHOD, TEXTS
from auditor.words import decimals, pretty


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (1 / 61, "0.016"),
        (0.00004, "< 0.0001"),
        (0.0034, "0.0034"),
        (0.5, "0.50"),
        (0.999, "> 0.99"),
        (1, "1.00"),
    ],
)
def test_probability(value: float | None, shown: str) -> None:
    assert probability(value) == shown


@given(st.floats(0, 1), st.sampled_from([0.05, 0.02, 0.01, 0.1, 0.005]))
def test_a_p_value_is_shown_on_its_side_of_the_level(p: float, alpha: float) -> None:
    """No page says that .050 is above .05."""
    assert (float(decimals(p, alpha)) <= alpha) == (p <= alpha)
    shown = probability(p, alpha)
    if shown[0] not in "<>":
        assert (float(shown) <= alpha) == (p <= alpha)


def test_numbers() -> None:
    assert number(-1.234) == "\u22121.23"
    assert number(-0.001) == "0.00"
    assert number(float("nan")) == "–"
    assert percent(0.9999).startswith("99")
    assert percent(0.0001).startswith("<")
    assert [ratio(v) for v in (1.0, -1.0, 0.0, -0.01, None)] == ["10", "1/10", "1.0", "1.0", "–"]
    assert ratio(9999.0)
    assert ratio(2.397) == "250"
    assert size(0) == "0 bytes"
    assert size(19_083_264).startswith("18.2 MiB")
    assert date("2025-01-15T09:30:00Z") == "15 January 2025, 09:30 UTC"
    assert date("<b>") == "<b>"
    assert date("9999-12-31T23:59:59-12:00") == "9999-12-31T23:59:59-12:00"


def test_show() -> None:
    assert show("naïve Tōshūsai 葛飾北斎 👩") == "naïve Tōshūsai 葛飾北斎 👩"
    assert show("a\u202eb\x00\n\u2066\ufeff\U000e0041") == "a\\u202eb\\x00\\n\\u2066\\ufeff\\U000e0041"
    assert show("x" * (LIMIT + 5)).endswith("x […5 more characters]")
    assert len(show("z" + "\u0301" * 500)) == 4


def test_threshold_agrees_with_p() -> None:
    null, artists = [float(i) for i in range(60)], 60
    opened = {"null": null, "null_artists": artists, "alpha": 0.05, "p_min": 1 / 61}
    limit = threshold(opened)
    assert limit is not None

    def p(statistic: float) -> float:
        return (1 + sum(v >= statistic for v in null)) / (artists + 1)

    assert p(limit + 1e-9) <= 0.05 < p(limit)
    assert threshold({**opened, "alpha": 0.01}) is None


def test_threshold_of_the_audit_itself_comes_first() -> None:
    opened = audit().to_dict()["open_set"]
    assert threshold({**opened, "threshold": 2.5}) == 2.5
    stated = build({**audit().to_dict(), "open_set": {**opened, "threshold": 2.5}}).null
    assert stated
    assert "more than 2.50." in stated.lead
    old = {k: v for k, v in opened.items() if k not in ("threshold", "null_names", "null_owner")}
    view = build({**audit().to_dict(), "open_set": old}).null
    assert view
    assert "more than about" in view.lead
    assert [who for who, _ in view.listing] == [""]


def test_the_method_tells_how_much_of_the_crowd_is_taken_off() -> None:
    assert DISCOUNT == 3 / 4
    assert any("less three quarters of the cosine that the strangers" in line for line in METHOD)


def test_the_whole_null_is_told_by_artist() -> None:
    opened = audit().to_dict()["open_set"]
    view = build(audit().to_dict()).null
    assert view
    told = {who: sorted(map(float, values.split()), reverse=True) for who, values in view.listing}
    for i, name in enumerate(opened["null_names"]):
        owned = [v for v, owner in zip(opened["null"], opened["null_owner"], strict=True) if owner == i]
        assert told[name] == [round(v, 2) for v in sorted(owned, reverse=True)]
    assert view.artists == tuple(opened["null_names"])


def test_names_of_folders_become_names_of_people() -> None:
    assert person("anders-zorn") == "Anders Zorn"
    assert person("louise_elisabeth-vigee") == pretty("louise_elisabeth-vigee") == "Louise Elisabeth Vigee"
    assert person("anthony-van-dyck") == "Anthony van Dyck"
    assert person("adriaen-van-de-venne") == pretty("adriaen-van-de-venne") == "Adriaen van de Venne"
    assert person("da-vinci") == "Da Vinci"
    for name in ("M. C. Escher", "葛飾北斎", "Anna Boch", "a--b", "-a"):
        assert person(name) == name


def test_figures_of_the_card_have_units_and_no_invented_range() -> None:
    card = {
        "top1": {"value": 1.0, "low": 1.0, "high": 1.0, "of": 56},
        "cllr": {"value": 1.05, "low": 1.05, "high": 1.05, "of": 56},
        "eer": {"value": 0.3, "low": 0.2, "high": 0.4, "of": 7200, "unit": "pairs"},
    }
    found = audit().to_dict()
    found["reference_set"]["validity"] = card
    rows = build(found).validity
    assert [r.of.replace("\u202f", " ") for r in rows] == ["56 artists", "56 artists", "7 200 pairs"]
    assert [r.interval for r in rows] == ["1.000 … 1.000", "–", "0.200 … 0.400"]
    assert any("Cllr 1.05" in f.note for f in build(found).facts)
    assert not any("Cllr" in f.note for f in build(audit().to_dict()).facts)


def test_a_mixture_says_what_it_does_not_explain() -> None:
    rows = build(audit().to_dict()).mixture
    assert [(m.share.replace("\u202f", " "), m.rest) for m in rows] == [
        ("71 %", False),
        ("12 %", False),
        ("17 %", True),
    ]


def test_command_names_the_policy_that_was_in_force() -> None:
    plain = audit().to_dict()
    note = {"file": "our policy.toml", "sha256": "ab" * 32, "baseline_sha256": None, "blocks": True}
    ruled = plain | {"options": plain["options"] | {"policy": note}}
    assert command(ruled)[-1] == "--policy 'our policy.toml'"
    assert "--policy" not in " ".join(command(plain))
    told = [row.value for row in build(ruled).reproduce if "policy" in row.name]
    assert told == ["ab" * 32, "It blocks this file. "]


def test_command_is_quoted_and_visible() -> None:
    hostile = command(audit(hostile=True).to_dict())
    assert hostile[0].startswith("audit check '../x\" onmouseover=")
    assert not any("\n" in piece for piece in hostile)
    assert command(audit().to_dict())[-3:] == ("--alpha 0.05", "--resamples 10000", "--seed 0")


def test_view_is_the_same_from_both_ends() -> None:
    assert build(audit().to_dict()) == build(audit().to_dict())


@pytest.mark.parametrize("name", ["plain.safetensors", "\u05d3\u05d5\u05d3 x.safetensors", "\u202egpj.exe"])
@pytest.mark.parametrize("label", ["CONSISTENT", "INCONCLUSIVE", "NO_MATCH", "DERIVATIVE", "OUT_OF_SCOPE", "skipped"])
def test_a_brief_is_part_of_the_view(label: str, name: str) -> None:
    found = (skipped() if label == "skipped" else audit(label)).to_dict()
    found["suspect"]["path"] = name
    short, whole = brief(found), build(found)
    assert all(getattr(short, field.name) == getattr(whole, field.name) for field in fields(short))


def test_every_sentence_is_used() -> None:
    room = Path(auditor.report.__file__).parent
    files = [
        *room.glob("*.py"),
        *room.parent.glob("*.py"),
        *room.glob("templates/*.jinja"),
        *room.glob("templates/*.typ"),
    ]
    used = "\n".join(p.read_text("utf-8") for p in files if p.name != "texts.py")
    by_name = (
        "card.axis.",
        "card.same_",
        "card.different_",
        "card.adjusted_",
        "card.mutual_",
        "card.silhouette_",
        "verdict.not_audited.",
        "col.",
        "label.",
        "meaning.",
        "control.",
        "row.path",
        "row.tensor_sha256",
        "row.alpha",
        "row.res",
        "rule.",
    )
    variants = re.compile(r"\.(asked|declared)$")  # by `told`, `said` and `about`
    found = {k for k in TEXTS for name in (k, variants.sub("", k)) if f'"{name}"' in used or f"'{name}'" in used}
    assert [k for k in TEXTS if k not in found and not k.startswith(by_name)] == []


def test_the_configuration_beside_the_file_is_told_with_its_digest() -> None:
    plain, told = audit().to_dict(), audit().to_dict()
    told["suspect"] |= {"config_name": "adapter_config.json", "config_sha256": "ef" * 32}
    for rows in ("suspect", "reproduce"):
        extra = set(getattr(build(told), rows)) - set(getattr(build(plain), rows))
        assert {row.value for row in extra} == {"adapter_config.json", "ef" * 32}


def test_every_sentence_asked_for_exists() -> None:
    room = Path(auditor.report.__file__).parent
    files = [*room.glob("*.py"), *room.parent.glob("*.py"), *room.glob("templates/*.jinja")]
    used = "\n".join(p.read_text("utf-8") for p in files)
    key = r"""\(["']([a-z_.A-Z0-9-]+[^.])["']"""
    assert set(re.findall("(?:say|plain|told)" + key, used)) <= set(TEXTS)
    declared, asked = (set(re.findall(name + key, used)) for name in ("said", "about"))
    assert min(len(declared), len(asked)) > 3
    assert {f"{name}.declared" for name in declared} <= set(TEXTS)
    assert {f"{name}.asked" for name in asked} <= set(TEXTS)


def copied(**figures: float) -> dict[str, Any]:
    """A DERIVATIVE of a file that a house knows, with a control that names the artist it is of."""
    found = audit("DERIVATIVE").to_dict()
    found["derivative"] = {"of": "a/b.safetensors", "artist": None, "relation": "resized", "figures": figures}
    found["controls"] = {"norm_only": {"top_artist": found["artists"][0]["artist"], "p": 0.001}}
    return found


def test_a_copy_is_told_by_its_weights_and_not_by_style() -> None:
    view = build(copied(cos_delta_w=0.4, cos_delta_w_common=0.97))
    assert "0.970" in view.copied[0]
    facts = {f.name: f for f in view.facts}
    assert facts["agreement of the weights"].value == "0.970"
    assert facts["relation"].value == "the same weights at another rank"
    assert "p-value" not in facts
    assert not view.controls_alarm
    page = auditor.report.render_html(copied(cos_delta_w=0.97))
    assert page.index(view.copied[1]) < page.index('<h2 id="not"')
    assert "would point at least this clearly" not in page
    assert build(audit().to_dict()).copied == ()


def test_known_files_stand_in_words_in_rows_and_in_the_command() -> None:
    found = audit().to_dict()
    assert "among the set’s references only" in build(found).known
    names = [f"{i:02}.safetensors" for i in range(12)]
    note = {"folder": "my originals", "count": 3, "digest": "ab" * 32, "files": [], "unread_count": 12, "unread": names}
    found["options"]["known"] = note
    view = build(found)
    assert "“my originals”" in view.known
    assert "It goes back to none of them." in view.known
    assert view.known_unread.endswith("09.safetensors, 2 more")
    assert "--known 'my originals'" in command(found)
    assert {"3", "ab" * 32} <= {row.value for row in view.reproduce}
    found["derivative"] = copied()["derivative"] | {"sha256": "cd" * 32}
    view = build(found)
    assert "It goes back to one of them." in view.known
    assert "cd" * 32 in {row.value for row in view.derivative}


def test_a_ratio_that_no_file_can_raise_is_called_not_measurable() -> None:
    found = audit().to_dict()
    found["artists"][0] |= {"log10_lr": 0.04, "lr_bound": 0.05, "verbal": "no support for either proposition"}
    (fact,) = (f for f in build(found).facts if f.name == "strength of evidence")
    assert fact.value == "not measurable with this set"
    assert "1.1" in fact.note
    found["artists"][0]["log10_lr"] = -0.04  # the bound is now how far the set speaks against: nothing is known of for
    (fact,) = (f for f in build(found).facts if f.name == "strength of evidence")
    assert fact.value == "no support for either proposition"
    found["artists"][0] |= {"log10_lr": 0.04, "lr_bound": 1.2}
    (fact,) = (f for f in build(found).facts if f.name == "strength of evidence")
    assert fact.value == "no support for either proposition"


def test_a_range_of_p_of_one_point_is_no_range() -> None:
    found = audit().to_dict()
    found["open_set"]["p_interval"] = [0.016, 0.016]
    assert "range" not in build(found).facts[0].note
    found["open_set"]["p_interval"] = [0.016, 0.05]
    assert "0.016 to 0.050" in build(found).facts[0].note
    found["open_set"]["p_interval"] = [0.0, 0.064]
    assert "0 to 0.064" in build(found).facts[0].note


def test_what_was_not_looked_at_has_no_figures() -> None:
    found = skipped().to_dict()
    found["suspect"] |= {"dialect": None, "modules": 0, "rank": None}
    assert "0" not in {row.value for row in build(found).suspect}


@pytest.mark.parametrize(
    ("p", "alpha", "words"),
    [
        (0.0175, 0.05, "5 in 100 (α = 0.05): 2 is within it."),
        (0.054, 0.05, "5 in 100 (α = 0.05): 5.4 is above it."),
        (0.05, 0.05, "5 in 100 (α = 0.05): 5 is within it."),
        (0.0499, 0.045, "4.5 in 100 (α = 0.045): 5 is above it."),
        (0.004, 0.05, "5 in 100 (α = 0.05): 0.4 is within it."),
        (0.29, 0.29, "29 in 100 (α = 0.29): 29 is within it."),
    ],
)
def test_p_and_level_are_told_of_a_hundred_on_the_side_where_they_are(p: float, alpha: float, words: str) -> None:
    found = audit().to_dict()
    found["open_set"] |= {"p": p, "p_min": 0.001, "alpha": alpha}
    sure = build(found).sure
    assert sure
    assert sure.compared.replace("\u00a0", " ").endswith(words)


def test_a_level_that_no_file_can_reach_is_said_everywhere() -> None:
    found = audit("INCONCLUSIVE").to_dict()
    usual = build(found)
    found["open_set"] |= {"alpha": 0.001}
    view = build(found)
    assert view.sure
    assert usual.sure
    assert "No file can come to a match at α" in view.sure.compared
    assert not view.sure.reachable
    assert view.sure.floor == ""
    assert "\n" not in usual.sure.brief
    assert not any("too weak" in line for line in view.does_not_say)
    assert any("too weak" in line for line in usual.does_not_say)


def test_the_box_names_who_would_pass_for_an_artist_tested_for_alone() -> None:
    found = audit().to_dict()
    found["options"] |= {"artists": [found["artists"][0]["artist"]], "independent": True}
    assert "Another artist whose style is close could look the same." in build(found).meaning
    found["open_set"]["lookalikes"] = [{"artist": "francesco-guardi", "share": 1.0}]
    assert "Francesco Guardi (nearly all)" in build(found).meaning
    assert "could look the same" not in build(found).meaning


def test_a_likelihood_ratio_is_told_for_both_propositions() -> None:
    found = audit().to_dict()
    (fact,) = (f for f in build(found).facts if f.name == "strength of evidence")
    words = "so clear a resemblance is 24 times as likely if the file was made from works by Berthe Morisot as if from"
    assert f"{words} works by an artist outside the set" in fact.note
    assert fact.wide
    found["artists"][0] |= {"log10_lr": -0.85}
    (fact,) = (f for f in build(found).facts if f.name == "strength of evidence")
    assert "7.1 times as likely if the file was made from works by an artist outside the set as if from" in fact.note


def test_the_reason_of_a_file_that_was_not_audited_stands_once() -> None:
    found = skipped("malformed").to_dict()
    reason = found["skipped"]["reason"]
    found["verdict"]["sentence"] = f"Not audited: the file could not be read. {reason}"
    view = build(found)
    assert view.sentence == "Not audited: the file could not be read."
    assert auditor.report.render([found], "md").count("the file ends after 4 096") == 1
    console = Console(file=io.StringIO(), width=400)
    render_console(found, console)
    assert console.file.getvalue().count("the file ends after 4 096") == 1  # type: ignore[attr-defined]


def test_a_file_without_tensors_has_no_digest_of_them() -> None:
    found = skipped("malformed").to_dict()
    found["suspect"] |= {"dialect": None, "tensor_sha256": found["suspect"]["sha256"]}
    for rows in (build(found).suspect, build(found).identity):
        assert [r.value for r in rows if r.name == "SHA-256 of the tensors"] == ["–"]
    found["suspect"] |= {"tensor_sha256": "ab" * 32}
    assert "ab" * 32 in [r.value for r in build(found).suspect]


def test_figures_of_a_copy_have_names_in_words() -> None:
    names = [row.name for row in build(copied(cos_delta_w=0.4, cos_delta_w_common=0.97)).derivative]
    assert "Agreement of the weights (cosine)" in names
    assert not any("cos " in name for name in names)


def test_figures_of_the_references_very_works_stand_beside_the_others() -> None:
    found = audit().to_dict()
    assert not build(found).works_apart
    assert "Same works" not in auditor.report.render_html(found)
    found["reference_set"]["validity"]["found_at_alpha"]["same_works"] = {"value": 0.991, "low": 0.9, "high": 1.0}
    view = build(found)
    assert view.works_apart
    rows = {row.name: row.same for row in view.validity}
    assert rows["Found at α = 0.05"] == "0.991"
    assert rows["Right artist ranked first"] == "–"
    for form in ("html", "md"):
        page = str(auditor.report.render([found], form))
        assert "0.991" in page
        assert "works that the references were not made from" in page


def test_figures_of_declared_choices_stand_only_where_one_was_declared() -> None:
    found = audit().to_dict()
    found["reference_set"]["validity"]["asked_auc"] = {"value": 0.9, "low": 0.8, "high": 1.0, "of": 60}
    assert not any("Declared" in row.name for row in build(found).validity)
    found["options"] |= {"artists": [found["artists"][0]["artist"]], "independent": True}
    assert any("Declared" in row.name for row in build(found).validity)


def test_each_column_of_the_table_of_artists_has_its_own_note() -> None:
    view = build(audit().to_dict())
    assert [note.split(":")[0] for note in view.notes] == [
        "Nearest single reference",
        "p",
        "p of exclusion",
        "Evidence",
    ]
    page = auditor.report.render_html(audit().to_dict())
    assert all(f'<li><bdi dir="ltr">{note}</bdi></li>' in page for note in view.notes)


def test_headings_words_and_figures_stay_together() -> None:
    runs = together(sections(build(audit().to_dict())))
    assert [block for run in runs for block in run] == list(sections(build(audit().to_dict())))
    kinds = [[block.kind for block in run] for run in runs]
    assert kinds.count(["heading", "text", "figure"]) == 3  # the null, the map, the parts
    assert not any(run == ["figure"] for run in kinds)
    assert not any("figure" in run[:-1] for run in kinds)


@pytest.mark.parametrize(
    ("validity", "certified", "reasons", "words"),
    [
        ({}, None, [], "was never evaluated"),
        ({"top1": 0.5}, False, ["By chance <b>."], "is not certified by its own validity card: By chance"),
        ({"top1": 0.5}, True, [], ""),
        ({"top1": 0.5}, None, [], ""),
    ],
)
def test_page_one_warns_of_a_set_that_is_not_shown_to_work(
    validity: dict[str, float], certified: bool | None, reasons: list[str], words: str
) -> None:
    found = audit().to_dict()
    found["reference_set"] |= {"validity": validity, "certified": certified, "not_certified": reasons}
    caution = build(found).caution
    assert (words in caution) if words else not caution
    assert any(block.text == caution for block in first_page(build(found))) or not words
    found["verdict"]["label"] = "DERIVATIVE"
    found["derivative"] = {"of": "x", "relation": "same_update", "figures": {"cos_delta_w": 1.0}}
    assert not build(found).caution  # it does not rest on style


def test_whose_figure_it_is_where_somebody_else_stands_nearer() -> None:
    found = audit("INCONCLUSIVE").to_dict()
    first, second = (found["artists"][k]["artist"] for k in (0, 1))
    found["artists"][0] |= {"log10_lr": 0.5, "verbal": "weak support for this artist"}
    found["options"] |= {"artists": [second]}
    view = build(found)
    assert view.sure
    assert f"Here that is {pretty(first)}, who was not asked about: it is no figure of {pretty(second)}." in (
        view.sure.words
    )
    assert not view.artists[0].verbal
    assert "of " + pretty(second) + " only" in " ".join(view.notes)
    found["options"] |= {"artists": [first]}
    view = build(found)
    assert view.sure
    assert "Here that is" not in view.sure.words
    assert view.artists[0].verbal


def test_no_ratio_in_favour_stands_beside_no_match() -> None:
    found = audit("NO_MATCH").to_dict()
    found["artists"][0] |= {"log10_lr": 0.5, "verbal": "weak support for this artist"}
    view = build(found)
    assert not any(one.verbal for one in view.artists)
    assert any("No likelihood ratio is shown" in note for note in view.notes)


def test_a_pages_messages_have_quotation_marks_for_a_terminals() -> None:
    found = skipped().to_dict()
    reason, advice = "A `b` c.", "Run `audit refs list`, then `audit check`."
    found["skipped"] |= {"reason": reason, "advice": advice}
    found["verdict"]["sentence"] = f"Not audited. {reason}"
    view = build(found)
    assert view.skipped
    assert view.skipped.advice == "Run “audit refs list”, then “audit check”."
    assert (view.skipped.reason, view.sentence) == ("A “b” c.", "Not audited.")
