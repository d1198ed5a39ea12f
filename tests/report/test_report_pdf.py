"""The PDF: what it says when read back, how it looks when drawn, what it carries, and that nothing in it is markup."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from specimen import HOSTILE, audit, skipped

pytest.importorskip("typst")
pypdf = pytest.importorskip("pypdf")
pdfium = pytest.importorskip("pypdfium2")

from auditor.errors import AuditorError  # noqa: E402
from auditor.report import fonts, pdf, schema  # noqa: E402
from auditor.report.build import build  # noqa: E402
from auditor.report.fonts import OWN, printable  # noqa: E402
from auditor.report.pdf import attachment, breakable, render_pdf  # noqa: E402
from auditor.texts import TEXTS  # noqa: E402

LABELS = ["CONSISTENT", "INCONCLUSIVE", "NO_MATCH", "DERIVATIVE", "OUT_OF_SCOPE"]
MARKUP = [
    '#panic("evaluated")',
    '#read("/etc/passwd")',
    "#let x = 1; *bold* _slanted_ $ x^2 $ `raw` <label> @reference // comment",
    "\\ ~ -- --- \\u{41} = heading",
    '"]); #pagebreak() #(["',
    "[ ] { } ( ) #[ #{ #(",
    "https://evil.example/ <script>alert(1)</script> {{ 7*7 }}",
]


def read(document: bytes) -> Any:
    return pypdf.PdfReader(io.BytesIO(document))


def words(text: str) -> str:
    """Text without the line breaks and spaces that setting moves."""
    return re.sub(r"[\s\u200b\u00ad]+", "", text)


def whole(document: bytes) -> str:
    return words("".join(page.extract_text() for page in read(document).pages))


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    return {label: render_pdf(audit(label).to_dict()) for label in LABELS}


@pytest.mark.parametrize("label", LABELS)
def test_page_one_stands_on_its_own(made: dict[str, bytes], label: str) -> None:
    found = audit(label).to_dict()
    view = build(found)
    first = words(read(made[label]).pages[0].extract_text())
    shown = [view.label_text, label, view.sentence, view.meaning, view.asked, *view.does_not_say, view.file]
    shown += [found["suspect"]["sha256"], found["suspect"]["tensor_sha256"], found["reference_set"]["digest"]]
    shown += [hashlib.sha256(attachment(found).encode()).hexdigest(), view.date]
    sure = [view.sure.words, view.sure.floor, view.sure.compared] if view.sure and view.audited else []
    shown += view.copied or sure
    shown += [view.skipped.reason, view.skipped.advice] if view.skipped else []
    assert [text for text in shown if words(text) not in first] == []


def test_the_rest_says_what_the_page_says(made: dict[str, bytes]) -> None:
    found = audit().to_dict()
    view, text = build(found), whole(made["CONSISTENT"])
    shown = [*view.reasons, *view.limits, *view.would_change, view.controls_text, view.command, view.coverage.text]  # type: ignore[union-attr]
    shown += [cell for a in view.artists for cell in (a.artist, a.score, a.interval, a.p, a.p_exclusion)]
    shown += [cell for c in view.controls for cell in (c.name, c.artist, c.p)]
    shown += [cell for r in view.validity for cell in (r.name, r.value, r.interval, r.of)]
    shown += [row.value for row in (*view.suspect, *view.reference_set, *view.declared, *view.reproduce)]
    shown += [values for _, values in view.null.listing]  # type: ignore[union-attr]
    assert [t for t in shown if words(t) not in text] == []


def test_not_audited_never_reads_as_clean() -> None:
    for code in ("out-of-scope", "malformed"):
        text = whole(render_pdf(skipped(code).to_dict())).lower()
        assert "mustnotbereadasaresult" in text
        assert not [w for w in ("clean", "nomatch", "nothingfound", "passed", "p-value") if w in text]


def test_the_audit_is_attached(made: dict[str, bytes]) -> None:
    for label, document in made.items():
        files = read(document).attachments
        assert list(files) == ["audit.json"]
        found = json.loads(files["audit.json"][0])
        jsonschema.Draft202012Validator(schema()).validate(found)
        assert found == {**json.loads(json.dumps(audit(label).to_dict())), "timing_s": {}}
        assert render_pdf(found) == document


def test_same_audit_same_bytes_in_another_process_place_and_time(made: dict[str, bytes], tmp_path: Path) -> None:
    slow = {**audit().to_dict(), "timing_s": {"read": 99.0}}
    assert render_pdf(slow) == made["CONSISTENT"]
    (tmp_path / "audit.json").write_text(json.dumps(slow), encoding="utf-8")
    code = "import json, sys, auditor.report as r; sys.stdout.buffer.write(r.render_pdf(json.load(open('audit.json'))))"
    away = {**os.environ, "TZ": "Pacific/Auckland", "LC_ALL": "C", "SOURCE_DATE_EPOCH": "7", "PYTHONHASHSEED": "7"}
    away["PYTHONPATH"] = str(Path(pdf.__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=away, capture_output=True, check=True, timeout=120
    )
    assert done.stdout == made["CONSISTENT"]
    other = audit()
    assert render_pdf({**other.to_dict(), "seed": 8}) != made["CONSISTENT"]


@pytest.mark.parametrize("stamp", ["", "yesterday", "2025-02-30T00:00:00Z", "9999-12-31T23:59:59-12:00", "<b>"])
def test_a_time_that_is_none_gives_no_other_bytes(stamp: str) -> None:
    strange = {**skipped().to_dict(), "created_at": stamp}
    assert render_pdf(strange) == render_pdf(strange)
    assert read(render_pdf(strange)).metadata.get("/CreationDate", "D:19700101") < "D:2000"


@pytest.mark.parametrize("label", LABELS)
def test_tagged_and_archival(made: dict[str, bytes], label: str) -> None:
    root = read(made[label]).trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"] == True  # noqa: E712 - a PDF boolean
    assert root["/Lang"] == "en"
    assert root["/ViewerPreferences"]["/DisplayDocTitle"] == True  # noqa: E712
    metadata = root["/Metadata"].get_object().get_data().decode()
    assert re.search(r"pdfuaid:part[>=\"]+1", metadata)
    assert re.search(r"pdfaid:part[>=\"]+3", metadata)
    tags, figures = structure(root["/StructTreeRoot"])
    assert {"H1", "H2", "L", "LI", "P", "Table", "TR", "TD"} <= set(tags)
    assert ("TH" in tags) == (label != "OUT_OF_SCOPE")
    assert tags.count("Figure") == len(figures) == {"OUT_OF_SCOPE": 0, "DERIVATIVE": 3}.get(label, 4)
    assert all(len(text) > 30 for text in figures)
    levels = [int(tag[1]) for tag in tags if re.fullmatch("H[1-6]", tag)]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


ALLOWED = {"Document": None, "LI": "L", "Lbl": "LI", "LBody": "LI", "TR": ("Table", "THead", "TBody", "TFoot"),
           "TH": "TR", "TD": "TR", "THead": "Table", "TBody": "Table", "TFoot": "Table"}  # fmt: skip
"""Structure element → where ISO 32000-1, 14.8.4 lets it stand; all others may stand anywhere."""


STANDARD = re.compile("Document|Part|Sect|Div|H[1-6]|P|L|LI|Lbl|LBody|Table|THead|TBody|TFoot|TR|TH|TD|Figure|Span|"
                      "Caption|Link|Code|Note|Em|Strong|Title")  # fmt: skip


def elements(node: Any, parent: str = "") -> Iterator[tuple[str, str, Any]]:
    """(tag, tag of its parent, element) of a structure tree, in reading order."""
    node = node.get_object()
    if not isinstance(node, dict):
        return
    tag = str(node["/S"])[1:] if "/S" in node else parent
    if "/S" in node:
        yield tag, parent, node
    kids = node.get("/K", [])
    for kid in kids if isinstance(kids, list) else [kids]:
        if not isinstance(kid, int):
            yield from elements(kid, tag)


@pytest.mark.parametrize("label", LABELS)
def test_structure_is_what_a_screen_reader_needs(made: dict[str, bytes], label: str) -> None:
    """What a checker of PDF/UA-1 asks of the tree: nesting, alternatives, header cells, titles, tab order, content."""
    document = read(made[label])
    root = document.trailer["/Root"]
    found = list(elements(root["/StructTreeRoot"]))
    roles = root["/StructTreeRoot"].get("/RoleMap", {})
    for tag, parent, node in found:
        assert STANDARD.fullmatch(tag) or STANDARD.fullmatch(str(roles.get(f"/{tag}", ""))[1:]), tag
        allowed = ALLOWED.get(tag)
        assert not allowed or parent in allowed, (tag, parent)
        if tag == "TH":
            attributes = node["/A"] if isinstance(node["/A"], list) else [node["/A"]]
            assert any(a.get_object().get("/Scope") in ("/Column", "/Row", "/Both") for a in attributes)
        if tag == "Figure":
            assert len(str(node["/Alt"])) > 30
    assert document.metadata.title
    assert root["/MarkInfo"].get("/Suspects", False) != True  # noqa: E712 - a PDF boolean
    for page in document.pages:
        content = page.get_contents().get_data()
        assert content.count(b"BDC") + content.count(b"BMC") == content.count(b"EMC")
        assert "/StructParents" in page
        assert page.get("/Tabs", "/S") == "/S"
        for font in page["/Resources"].get("/Font", {}).values():
            assert "/ToUnicode" in font.get_object()


MISREAD = {"PDFA3A-STREAM-LENGTH-001"}
"""It takes a packed byte 13 at the end of a stream for part of the end of the line."""


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("profile", ["ua1", "3a"])
def test_an_independent_checker_finds_no_fault(made: dict[str, bytes], label: str, profile: str) -> None:
    page = pytest.importorskip("page")
    found = page.validate_pdf_bytes(made[label], profile=profile)
    assert found.rules.total > 100
    assert {f.rule_id: f.message for f in found.failures if f.rule_id not in MISREAD} == {}


def test_the_checker_would_find_one(made: dict[str, bytes]) -> None:
    page = pytest.importorskip("page")
    broken = made["CONSISTENT"].replace(b"/DisplayDocTitle true", b"/DisplayDocTitle fals")
    with_fault = made["CONSISTENT"].replace(b"/Marked true", b"/Marked null")
    changed = [document for document in (broken, with_fault) if document != made["CONSISTENT"]]
    assert changed
    assert not any(page.validate_pdf_bytes(document, profile="ua1").is_compliant for document in changed)


def structure(node: Any) -> tuple[list[str], list[str]]:
    """Tags in reading order and the alternative texts of the figures."""
    node = node.get_object()
    tags, texts = [], []
    if isinstance(node, dict):
        if "/S" in node:
            tags.append(str(node["/S"])[1:])
            texts += [str(node["/Alt"])] if "/Alt" in node else []
        kids = node.get("/K", [])
        for kid in kids if isinstance(kids, list) else [kids]:
            if not isinstance(kid, int):
                more = structure(kid)
                tags, texts = tags + more[0], texts + more[1]
    return tags, texts


def test_paper() -> None:
    found = skipped().to_dict()
    sizes = {
        paper: [round(float(v)) for v in read(render_pdf(found, paper)).pages[0].mediabox[2:]] for paper in pdf.PAPERS
    }
    assert sizes == {"a4": [595, 842], "letter": [612, 792]}


@pytest.mark.parametrize("text", MARKUP)
def test_markup_of_the_typesetter_stays_text(text: str) -> None:
    bad = audit().to_dict()
    bad["suspect"].update(path=text, declared={text: text, "k": text}, warnings=[text], dialect=text, base_family=text)
    bad["suspect"]["algorithm"] = [text]
    bad["verdict"].update(sentence=text, reasons=[text], would_change=[text], artist=text)
    bad["artists"][0].update(artist=text, genre=text, verbal=text, nearest_reference=text)
    bad["reference_set"].update(name=text, base=text)
    bad["reference_set"]["validity"] = {text: {"value": text, "low": 0.1, "high": 0.2, "of": text}}
    bad["mixture"] = [{"artist": text, "share": 0.5, "p": 0.5}]
    bad["controls"] = {text: {"top_artist": text, "p": 0.01}}
    bad["map"]["artists"][0].update(artist=text, genre=text)
    bad["tool"] = {"name": text, "version": text}
    bad["options"] = {"refs": text, "features": text}
    document = render_pdf(bad)
    assert whole(document).count(words(text)) >= 15
    assert len(read(document).pages) <= 16


def test_hostile_file_is_shown_and_inert() -> None:
    document = render_pdf(audit(hostile=True).to_dict())
    text = whole(document)
    shown = ["<script>alert(1)</script>", "\\u202egpj.tenoM\\u202c", "\\x1b[31mred\\x07\\x00", "javascript:alert(1)"]
    assert [t for t in [*shown, HOSTILE["jinja"], "904morecharacters"] if words(t) not in text] == []
    assert b"/JavaScript" not in document
    assert not [a for page in read(document).pages for a in page.get("/Annots", [])]


SCRIPTS = ["葛飾北斎", "김홍도", "齐白石", "محمد سعيد", "אברהם נוימן", "Илья Репин", "Մարտիրոս Սարյան", "Δομήνικος ☺ ❤",
           "ნიკო ფიროსმანი", "अमृता शेर-गिल", "ถวัลย์ ดัชนี"]  # fmt: skip


def test_characters_that_no_font_holds_are_named_and_the_rest_is_set() -> None:
    assert printable("Tōshūsai Ωμέγα Ёж α ≤ “x”") == "Tōshūsai Ωμέγα Ёж α ≤ “x”"
    assert printable("葛 a🎨") == "葛 a[U+1F3A8 artist palette]"
    assert printable("葛 a🎨", more=False) == "[U+845B cjk unified ideograph-845b] a[U+1F3A8 artist palette]"
    assert printable("🎨" * 13) == "[U+1F3A8]" * 13
    assert printable("❤\ufe0f") == "❤"
    assert printable("a\u3099\u064b") == (
        "a[U+3099 combining katakana-hiragana voiced sound mark][U+064B arabic fathatan]"
    )
    rare = skipped().to_dict()
    rare["verdict"]["sentence"] = "A painter 🎨"
    document = render_pdf(rare)
    assert words("A painter [U+1F3A8 artist palette]") in whole(document)
    assert json.loads(read(document).attachments["audit.json"][0])["verdict"]["sentence"] == "A painter 🎨"
    assert words(TEXTS["pdf.escaped"]) in words(read(document).pages[0].extract_text())


def in_many_scripts() -> dict[str, Any]:
    found = audit().to_dict()
    for artist, name in zip(found["artists"], SCRIPTS, strict=False):
        artist["artist"] = name
    found["suspect"]["declared"] = {f"name {i}": name for i, name in enumerate(SCRIPTS)}
    return found


def test_names_in_many_scripts_are_set_as_they_are_and_need_no_note() -> None:
    assert [printable(name) for name in SCRIPTS] == SCRIPTS
    found = in_many_scripts()
    document = render_pdf(found)
    assert render_pdf(found) == document
    text = whole(document)
    simple = [name for name in SCRIPTS if name[0] not in "مאअถ"]  # the reader puts vowels elsewhere
    assert [name for name in simple if words(name) not in text] == []
    assert [c for name in SCRIPTS for c in words(name) if c not in text] == []
    assert words(TEXTS["pdf.escaped"][:40]) not in text
    used = {str(f.get_object()["/BaseFont"]) for page in read(document).pages
            for f in page["/Resources"].get("/Font", {}).values()}  # fmt: skip
    assert {name for name in ("FiraGO", "NotoSansCJK", "NotoSansSymbols") if any(name in f for f in used)} == {
        "FiraGO",
        "NotoSansCJK",
        "NotoSansSymbols",
    }


def test_figures_stay_with_names_that_run_from_right_to_left() -> None:
    found = audit().to_dict()
    found["verdict"]["reasons"] = ["אבג 12 %, דהו 33 %"]
    assert build(found).reasons == ("\u2068אבג\u2069 12 %, \u2068דהו\u2069 33 %",)
    found["suspect"]["path"] = "אבג 12.safetensors"
    view = build(found)
    assert view.file == "אבג 12.safetensors"
    assert "\u2068" not in view.command
    text = "".join(page.extract_text() for page in read(render_pdf(found)).pages)
    line = next(line for line in text.splitlines() if "12 %" in line)
    first, second = (next(i for i, c in enumerate(line) if c in name) for name in ("אבג", "דהו"))
    assert first < line.index("12") < second < line.index("33")


@pytest.mark.parametrize("heap", ["a\u3099", "葛\u0301\u064b\u0940", "\u0940", "א\u3099👩\u0e31", "✓\u0301" * 40])
def test_letters_and_marks_of_different_scripts_break_nothing(heap: str) -> None:
    strange = skipped().to_dict()
    strange["suspect"].update(path=heap, warnings=[heap], declared={heap: heap, "k": heap + "葛"})
    strange["verdict"]["sentence"] = heap
    assert render_pdf(strange).startswith(b"%PDF")


def test_where_the_fonts_together_fail_the_own_ones_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_known", lambda cluster, more: [(c, more or ord(c) < 128) for c in cluster])
    strange = skipped().to_dict()
    strange["verdict"]["sentence"] = "A painter 🎨 葛"
    text = whole(render_pdf(strange))
    assert words("A painter [U+1F3A8 artist palette] [U+845B cjk unified ideograph-845b]") in text
    assert words(TEXTS["pdf.escaped"]) in text


def test_every_character_that_is_let_through_can_be_set() -> None:
    every = [chr(c) for low, high in OWN for c in range(low, high + 1)]
    full = skipped().to_dict()
    full["suspect"]["declared"] = {str(i): " ".join(every[i : i + 200]) for i in range(0, len(every), 200)}
    full["suspect"]["warnings"] = [" ".join(every[i : i + 100]) for i in range(0, len(every), 100)]
    assert render_pdf(full).startswith(b"%PDF")


def test_words_longer_than_a_line_are_broken() -> None:
    digest = "0123456789abcdef" * 4
    assert breakable(f"a {digest} b") == f"a {digest} b"
    assert breakable("x" * 65).count("\u200b") == 4
    assert breakable("x" * 65).replace("\u200b", "") == "x" * 65


@pytest.mark.parametrize("paper", ["a4", "letter"])
def test_pages_drawn_to_png_keep_their_margins(tmp_path: Path, paper: str) -> None:
    from PIL import Image, ImageChops

    long = audit(hostile=True).to_dict()
    long["suspect"]["path"] = "very/" + "long" * 60 + ".safetensors"
    long["artists"][3]["artist"] = "An Artist With " + "Long" * 40
    document = pdfium.PdfDocument(render_pdf(long, paper))
    for i in range(len(document)):
        path = tmp_path / f"{i}.png"
        document[i].render(scale=1).to_pil().convert("RGB").save(path)
        with Image.open(path) as page:
            box = ImageChops.difference(page, Image.new("RGB", page.size, "white")).getbbox()
            colours = {colour for _, colour in page.getcolors(page.width * page.height)}
        assert box
        assert box[0] >= 55
        assert box[2] <= page.width - 55
        assert box[3] <= page.height - 25
        assert i > 0 or any(r - b > 100 for r, _, b in colours), "page one shows the colour of its verdict"


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    from auditor.cli.main import guarded

    monkeypatch.setattr(fonts, "PACKAGES", ("typst", "no_such_fonts"))
    with pytest.raises(AuditorError, match=re.escape("lora-style-audit[pdf]")):
        render_pdf(skipped().to_dict())
    assert guarded(["check", str(tmp_path / "missing"), "--format", "pdf", "-o", str(tmp_path / "out")]) == 1
    assert "lora-style-audit[pdf]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
