"""JSON and its schema, SARIF, JUnit, Markdown, the terminal, and the choice between them."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import jsonschema
import pytest
from rich.console import Console
from specimen import audit, skipped

from auditor import result
from auditor.errors import AuditorError, UsageError
from auditor.report import FORMATS, render, render_console, render_json, render_markdown, schema
from auditor.report.markdown import code, text
from auditor.report.sarif import uri

SARIF_SCHEMA = Path(__file__).parent / "browser/node_modules/@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json"
LABELS = ["CONSISTENT", "INCONCLUSIVE", "NO_MATCH", "DERIVATIVE", "OUT_OF_SCOPE"]


def every() -> list[dict]:
    return [audit(label).to_dict() for label in LABELS] + [
        skipped("malformed").to_dict(),
        audit(hostile=True).to_dict(),
    ]


def test_schema_is_a_schema_and_knows_every_field() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    pairs = {
        "audit": result.Audit,
        "suspect": result.Suspect,
        "reference_set": result.ReferenceSetInfo,
        "coverage": result.Coverage,
        "verdict": result.Verdict,
        "open_set": result.OpenSet,
        "artist": result.ArtistScore,
        "map": result.StyleMap,
        "skipped": result.Skipped,
    }
    for name, kind in pairs.items():
        assert set(schema()["$defs"][name]["properties"]) == {f.name for f in dataclasses.fields(kind)}


@pytest.mark.parametrize("found", every(), ids=lambda a: a["verdict"]["label"])
def test_json_is_valid_and_round_trips(found: dict) -> None:
    written = render_json(found)
    read = json.loads(written)
    jsonschema.Draft202012Validator(schema()).validate(read)
    assert render_json(read) == written
    assert written.isascii()
    assert next(iter(read)) == "schema_version"


def test_json_of_several() -> None:
    read = json.loads(render(every(), "json"))
    jsonschema.Draft202012Validator(schema()).validate(read)
    assert list(read) == ["schema_version", "audits"]
    assert len(read["audits"]) == 7


def test_schema_refuses_what_is_wrong() -> None:
    wrong = audit().to_dict()
    wrong["verdict"]["label"] = "GUILTY"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate(json.loads(render_json(wrong)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_json_refuses_what_it_cannot_say(value: object) -> None:
    wrong = audit().to_dict()
    wrong["open_set"]["null"][3] = value
    with pytest.raises(AuditorError, match=r"\$\.open_set\.null\[3\]"):
        render_json(wrong)


@pytest.mark.parametrize("format", FORMATS)
def test_a_derivative_found_before_style_was_scored(format: str) -> None:
    early = audit("DERIVATIVE").to_dict()
    early.update(open_set=None, coverage=None, artists=[], mixture=[], controls={}, map=None)
    assert "resized" in render([early], format)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("label", LABELS)
def test_every_format_takes_what_json_gives_back(format: str, label: str) -> None:
    fresh = audit(label, hostile=True).to_dict()
    assert render([json.loads(render_json(fresh))], format) == render([fresh], format)
    assert render([fresh, fresh], format)


def test_formats_that_are_not_there() -> None:
    for format in ("pdf", "docx"):
        with pytest.raises(UsageError):
            render([audit().to_dict()], format)
    with pytest.raises(UsageError):
        render([], "json")


def test_sarif() -> None:
    run = json.loads(render(every(), "sarif"))["runs"][0]
    rules = [r["id"] for r in run["tool"]["driver"]["rules"]]
    assert rules == ["style-match", "derivative", "malformed", "out-of-scope"]
    found = [(r["ruleId"], r["kind"], r["level"]) for r in run["results"]]
    assert found == [
        ("style-match", "fail", "warning"),
        ("style-match", "review", "none"),
        ("derivative", "fail", "warning"),
        ("out-of-scope", "fail", "warning"),
        ("malformed", "fail", "error"),
        ("style-match", "fail", "warning"),
    ]
    assert [a["properties"]["verdict"] for a in run["artifacts"]] == [*LABELS, "CONSISTENT"]
    for entry in run["results"]:
        assert entry["partialFingerprints"] == {"tensorSha256/v1": audit().suspect.tensor_sha256}
        assert rules[entry["ruleIndex"]] == entry["ruleId"]
        assert entry["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].isascii()


def test_sarif_follows_the_official_schema() -> None:
    if not SARIF_SCHEMA.is_file():
        pytest.skip("needs the packages of tests/report/browser")
    official = json.loads(SARIF_SCHEMA.read_text(encoding="utf-8"))
    validator = jsonschema.validators.validator_for(official)(official, format_checker=jsonschema.FormatChecker())
    several = json.loads(render(every(), "sarif"))
    assert [e.message for e in validator.iter_errors(several)] == []
    for one in every():
        assert [e.message for e in validator.iter_errors(json.loads(render([one, one], "sarif")))] == []
    several["runs"][0]["results"][0]["level"] = "guilty"
    assert list(validator.iter_errors(several))


def test_fingerprints_stay_when_a_file_is_saved_again_or_moved() -> None:
    def prints(found: dict) -> list[tuple[str, dict]]:
        return [
            (r["ruleId"], r["partialFingerprints"]) for r in json.loads(render([found], "sarif"))["runs"][0]["results"]
        ]

    first, moved, other = (audit(seed=s).to_dict() for s in (7, 8, 7))
    moved["suspect"].update(path="elsewhere/x.safetensors", sha256="0" * 64)
    other["suspect"]["tensor_sha256"] = "1" * 64
    assert prints(first) == prints(moved)
    assert prints(first) != prints(other)


def test_junit() -> None:
    suite = ET.fromstring(render(every(), "junit")).find("testsuite")
    assert suite is not None
    assert {k: suite.get(k) for k in ("tests", "failures", "errors", "skipped")} == {
        "tests": "7",
        "failures": "3",
        "errors": "2",
        "skipped": "1",
    }
    assert [case.find("error") is not None for case in suite.findall("testcase")] == [False] * 4 + [True, True, False]


def test_junit_keeps_to_its_schema() -> None:
    etree = pytest.importorskip("lxml.etree")
    form = etree.XMLSchema(etree.parse(str(Path(__file__).with_name("junit.xsd"))))
    hostile = [*every(), audit(hostile=True).to_dict()]
    for audits in (every(), every()[:1], hostile):
        form.assertValid(etree.fromstring(render(audits, "junit").encode("utf-8")))
    wrong = etree.fromstring(render(every(), "junit").encode("utf-8"))
    del wrong[0].attrib["errors"]
    assert not form.validate(wrong)


def test_markdown_is_inert() -> None:
    found = render_markdown(audit(hostile=True).to_dict())
    outside = re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "", found)
    for bad in ("<", "http://evil", "](", "@someone"):
        assert bad not in outside
    assert "\x1b" not in found
    assert "\u202e" not in found


def test_markdown_escapes() -> None:
    shown = "\\[a\\](http:&#8203;//b) @&#8203;c &lt;d&gt; \\#1 \\*e\\*"
    assert text("[a](http://b) @c <d> #1 *e*") == shown
    assert (text("0.016"), text("1. item"), text("- item")) == ("0.016", "1\\. item", "\\- item")
    assert code("a `` b | c") == "``` a `` b \\x7c c ```"
    assert code("plain") == "`plain`"


def test_markdown_short_form() -> None:
    found = render_markdown(skipped().to_dict()).lower()
    assert "not audited" in found
    assert "clean" not in found
    assert "no match" not in found


def printed(found: result.Audit, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    render_console(found.to_dict(), console, ["out/report.html"])
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("width", [40, 100])
def test_console(label: str, width: int) -> None:
    found = printed(audit(label, hostile=True), width)
    assert "out/report.html" in found
    assert "\u202e" not in found
    assert "\x1b" not in found


def test_console_content() -> None:
    found = printed(audit())
    assert "Berthe Morisot" in found
    assert "least p of this set 0.016" in found
    assert len([line for line in found.splitlines() if line.strip()[:1].isdigit()]) == 5
    assert "clean" not in printed(skipped()).lower()


def under(label: str, outcome: str, blocks: bool) -> dict:
    """An audit with the note of a policy."""
    found = audit(label).to_dict()
    note = {"file": "p.toml", "sha256": "ab" * 32, "baseline_sha256": None, "blocks": blocks}
    found["options"]["policy"] = note | {"outcome": outcome, "reason": "Ignored until 2027-01-31: licence 12"}
    return found


@pytest.mark.parametrize(
    ("label", "outcome", "blocks", "expected"),
    [
        ("CONSISTENT", "blocked", True, ("fail", "warning", False, "failure")),
        ("CONSISTENT", "ignored", False, ("fail", "note", True, "skipped")),
        ("DERIVATIVE", "known", False, ("fail", "note", True, "skipped")),
        ("DERIVATIVE", "not-blocking", False, ("fail", "note", False, "skipped")),
        ("INCONCLUSIVE", "blocked", True, ("fail", "warning", False, "failure")),
        ("INCONCLUSIVE", "not-blocking", False, ("review", "none", False, "skipped")),
        ("OUT_OF_SCOPE", "not-audited", False, ("fail", "warning", False, "error")),
    ],
)
def test_documents_for_ci_follow_the_policy(label: str, outcome: str, blocks: bool, expected: tuple) -> None:
    found = under(label, outcome, blocks)
    (result_,) = json.loads(render([found], "sarif"))["runs"][0]["results"]
    case = ET.fromstring(render([found], "junit")).find(".//testcase")
    assert case is not None
    (kind,) = (c.tag for c in case if c.tag != "properties")
    assert (result_["kind"], result_["level"], "suppressions" in result_, kind) == expected
    if "suppressions" in result_:
        assert result_["suppressions"][0]["justification"].endswith("licence 12")
    assert "licence 12" in render([found], "md") or label == "OUT_OF_SCOPE"
    if SARIF_SCHEMA.exists():
        official = json.loads(SARIF_SCHEMA.read_text(encoding="utf-8"))
        jsonschema.validators.validator_for(official)(official).validate(json.loads(render([found], "sarif")))


def test_no_match_stays_a_pass_under_a_policy() -> None:
    found = under("NO_MATCH", "not-blocking", False)
    assert json.loads(render([found], "sarif"))["runs"][0]["results"] == []
    case = ET.fromstring(render([found], "junit")).find(".//testcase")
    assert case is not None
    assert [c.tag for c in case] == ["properties"]


@pytest.mark.parametrize(
    ("path", "address"),
    [("a b/x.safetensors", "a%20b/x.safetensors"), ("/a/x", "file:///a/x"), ("hf://o/r/x@1", "hf://o/r/x%401"),
     ("HF://o/r", "HF://o/r"), ("civitai:12@3/x y", "civitai:12%403/x%20y")],
)  # fmt: skip
def test_remote_suspects_keep_their_scheme_in_sarif(path: str, address: str) -> None:
    assert uri({"suspect": {"path": path}}) == address
