"""The HTML page: every label renders, nothing of the suspect becomes markup, nothing is loaded, one mark per datum."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from specimen import audit, skipped

from auditor.report import figures
from auditor.report.build import build
from auditor.report.html import adjusted, render_html, render_index
from auditor.texts import LISTS, TEXTS, WORDS

LABELS = ["CONSISTENT", "INCONCLUSIVE", "NO_MATCH", "DERIVATIVE", "OUT_OF_SCOPE"]
TAGS = """
    html head meta title style body main header section footer p h1 h2 h3 ul li dl div dt dd span strong bdi code pre
    table thead tbody tr th td details summary figure figcaption a svg desc circle rect line path polygon text tspan
    script input label
"""
ATTRIBUTES = """
    dir lang charset http-equiv content name class id role title scope tabindex aria-labelledby aria-label aria-hidden
    data-label data-shown data-tip data-v tabindex type for viewbox cx cy r rx x y x1 y1 x2 y2
    width height points d text-anchor href
"""
FORBIDDEN = ("stolen", "proves", "proof", "was trained on")


class Page(HTMLParser):
    """Collects tags, attributes, visible text and unclosed elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, k, v) for k, v in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data


def page(label: str = "CONSISTENT", **kwargs: bool) -> str:
    return render_html(audit(label, **kwargs).to_dict())


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("hostile", [False, True])
def test_only_our_markup(label: str, hostile: bool) -> None:
    found = Page(page(label, hostile=hostile))
    assert found.tags <= set(TAGS.split())
    assert {k for _, k, _ in found.attributes} <= set(ATTRIBUTES.split())
    assert found.open == []
    assert label in found.text


def test_hostile_text_is_shown_and_inert() -> None:
    html = page(hostile=True)
    text = Page(html).text
    assert "<script>alert(1)</script>" in text
    assert "\\u202egpj.tenoM\\u202c" in text
    assert "\\x1b[31mred\\x07\\x00" in text
    assert "{{ 7*7 }}" in text
    assert "904 more characters" in text
    assert "lone \\ud800 half, noncharacter \\uffff, line\\u2028separator" in text
    assert not re.search(
        "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", html
    )
    html.encode()


@pytest.mark.parametrize("label", LABELS)
def test_nothing_is_loaded(label: str) -> None:
    html = page(label, hostile=True)
    found = Page(html)
    assert not [a for a in found.attributes if a[1] in ("src", "href", "action", "style", "xlink:href")]
    style = re.search("<style>(.*?)</style>", html, re.DOTALL)
    assert style
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    policy = next(v for t, k, v in found.attributes if t == "meta" and k == "content" and v and "default-src" in v)
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    for kind, tag in (("style", "style"), ("script", "script")):
        inline = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert len(inline) == 1
        digest = base64.b64encode(hashlib.sha256(inline[0].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_size_stays_small_whatever_the_file_declares() -> None:
    big = audit(hostile=True).to_dict()
    big["suspect"]["declared"] = {f"k{i}": "<&\"'>" * 2000 for i in range(300)}
    big["suspect"]["warnings"] = ["<" * 4000] * 500
    html = render_html(big)
    assert len(html.encode()) <= 300_000
    assert "more values are in the JSON document" in html


def test_many_artists_stay_small() -> None:
    many = audit().to_dict()
    many["artists"] = [{**many["artists"][i % 60], "rank": i + 1, "artist": f"Artist {i}"} for i in range(700)]
    many["map"]["artists"] = [{**many["map"]["artists"][i % 60], "artist": f"Artist {i}"} for i in range(700)]
    many["open_set"]["null"] = [i / 1000 for i in range(5000)]
    assert len(render_html(many).encode()) <= 350_000


@pytest.mark.parametrize("label", LABELS)
def test_no_text_claims_too_much(label: str) -> None:
    text = page(label).lower()
    assert TEXTS[f"meaning.{label}"].lower() in Page(page(label)).text.lower()
    assert not [word for word in FORBIDDEN if word in text]


def test_catalogue_claims_nothing() -> None:
    catalogue = " ".join(
        [*TEXTS.values(), *(t for group in LISTS.values() for t in group), *(t for w in WORDS for t in w)]
    )
    assert not [word for word in FORBIDDEN if word in catalogue.lower()]


def looked_up(key: str, source: str) -> bool:
    """Whether a text's key stands in the source, whole, or in parts: f"head.{…}" or lines("head", …) and its tail."""
    if f'"{key}"' in source or f"'{key}'" in source:
        return True
    parts = key.removesuffix(".note").split(".")
    cuts = [(re.escape(".".join(parts[:n])), re.escape(".".join(parts[n:]))) for n in range(1, len(parts))]
    return any(
        re.search(rf'f"{head}\.\{{|lines\("{head}", ', source) and re.search(rf"\b{tail}\b", source)
        for head, tail in cuts
    )


def test_catalogue_is_used() -> None:
    package = Path(build.__code__.co_filename).parents[1]
    files = [p for p in package.rglob("*") if p.suffix in (".py", ".jinja", ".js", ".typ") and p.name != "texts.py"]
    source = "\n".join(p.read_text(encoding="utf-8") for p in files)
    variants = re.compile(r"\.(asked|declared)$")
    keys = (*TEXTS, *LISTS)
    assert not [k for k in keys if not looked_up(k, source) and not looked_up(variants.sub("", k), source)]
    assert not looked_up("col.nonesuch", source)
    assert not looked_up("nonesuch", source)


@pytest.mark.parametrize("code", ["out-of-scope", "malformed"])
def test_not_audited_never_reads_as_clean(code: str) -> None:
    text = Page(render_html(skipped(code).to_dict())).text.lower()
    for word in ("clean", "no match", "no_match", "nothing found", "not found", "passed", "p-value", "resembles"):
        assert word not in text
    assert "not audited" in text
    assert "must not be read as a result" in text


def test_out_of_scope_without_reason_still_explains() -> None:
    bare = {**skipped().to_dict(), "skipped": None}
    assert TEXTS["skipped.default"] in render_html(bare)


def test_p_in_words() -> None:
    text = Page(page()).text
    assert "Of 100 LoRAs by artists outside the set, about 2 would point at least this clearly" in text
    assert "Of those examined none did, but about 2 in 100 (1 in 61) is the smallest figure that 60 artists can" in text
    assert "the range is 1 to 2 in 100" in text
    assert "The limit set for this audit is 5 in 100 (α = 0.05): 2 is within it." in text.replace("\u00a0", " ")


def test_control_that_attributes_is_said_loudly_and_early() -> None:
    quiet, loud = Page(page()).text, Page(page(alarm=True)).text
    assert "Caution" not in quiet
    assert "No control singles out an artist" in quiet
    assert loud.index("Caution: a control that knows nothing of style also names Berthe Morisot") < loud.index(
        "How sure?"
    )


def test_one_mark_per_datum() -> None:
    data = audit().to_dict()
    view = build(data)
    assert view.null
    assert view.map
    assert view.parts
    assert figures.null_figure(view.null).count('class="datum') == len(data["open_set"]["null"]) == 180
    assert figures.map_figure(view.map).count('class="datum') == 60
    assert figures.map_figure(view.map).count('class="label"') == 5
    assert figures.parts_figure(view.parts).count("datum tick") == 3 * 59
    assert figures.parts_figure(view.parts).count("datum bar") == 3
    assert figures.pips(17, "LoRAs").count('class="pip on"') == 17
    assert page().count('<tr role="row"') - 1 == 60
    assert sum(n for _, _, n in figures.null_table(view.null)) == 180


def test_a_large_null_becomes_bars_that_hold_all() -> None:
    data = audit().to_dict()
    data["open_set"]["null"] = [i / 1000 for i in range(4000)]
    view = build(data)
    assert view.null
    drawn = figures.null_figure(view.null)
    assert "<circle" not in drawn
    assert ">LoRAs</text>" in drawn
    heights = [int(n) for n in re.findall(r'class="num" text-anchor="end">(\d+)<', drawn)]
    assert heights == sorted(heights)
    assert heights[-1] <= max(n for _, _, n in figures.null_table(view.null, 48))
    assert 20 < drawn.count('class="datum') <= 48


def test_the_parts_have_a_scale_with_its_zero() -> None:
    view = build(audit().to_dict())
    assert view.parts
    drawn = figures.parts_figure(view.parts)
    zero = re.search(r'<text x="([\d.]+)" y="[\d.]+" class="num" text-anchor="middle">0</text>', drawn)
    assert zero
    assert f'<line x1="{zero[1]}" y1="30" x2="{zero[1]}"' in drawn


@pytest.mark.parametrize("null", [[], [1.0], [2.0] * 60])
def test_figures_take_degenerate_data(null: list[float]) -> None:
    data = audit("INCONCLUSIVE").to_dict()
    data["open_set"]["null"] = null
    data["artists"] = data["artists"][:1]
    data["map"] = {
        "artists": [{"artist": "A", "genre": "", "x": 0.0, "y": 0.0}],
        "suspect": [0.0, 0.0],
        "explained": 0.0,
    }
    data["artists"][0]["subnetworks"] = {}
    data["coverage"]["fraction"] = 0.0
    view, html = build(data), render_html(data)
    text = Page(html).text
    assert view.null
    assert view.map
    assert view.parts is None
    assert figures.null_figure(view.null).count('class="datum') == len(null)
    assert figures.map_figure(view.map).count('class="datum') == 1
    assert html.count('<tr role="row"') - 1 == 1
    assert data["artists"][0]["artist"] in text
    assert "INCONCLUSIVE" in text
    assert not re.search(r"\b(nan|inf)\b", text.lower())


def test_figures_have_names_and_tables() -> None:
    html = page()
    ids = re.findall('aria-labelledby="([a-z]+-t) ([a-z]+-d)"', html)
    assert len(ids) == 5
    assert all(f'id="{i}"' in html for pair in ids for i in pair)
    assert html.count('class="twin"') == 3
    assert html.count('class="twin full"') == 1


def test_index_links_and_adjusts() -> None:
    audits = [audit(label).to_dict() for label in LABELS]
    html = render_index(audits, [[f"{label}.html", f"{label}.pdf"] for label in LABELS])
    found = Page(html)
    links = [v for tag, k, v in found.attributes if tag == "a" and k == "href"]
    assert links == [f"{label}.{ending}" for label in LABELS for ending in ("html", "pdf")]
    shown = [v for tag, k, v in found.attributes if tag == "use" and k == "href"]
    assert set(shown) == {f"#i-{label}" for label in LABELS}
    assert adjusted([0.01, None, 0.04, 0.03], "abcd") == ["0.030", "–", "0.040", "0.040"]
    assert adjusted([None], "a") == ["–"]
    assert adjusted([0.01, 0.04, 0.03, 0.01, 0.01], "acdaa") == ["0.030", "0.040", "0.040", "0.030", "0.030"]  # copies


def test_same_audit_same_bytes() -> None:
    slow = audit().to_dict()
    slow["timing_s"] = {"read": 99.0}
    assert render_html(slow) == page()


def test_sentences_run_from_left_to_right_whatever_name_they_begin_with() -> None:
    """Without a direction of its own, a sentence that begins with such a name is laid out backwards, figures too."""
    found = audit().to_dict()
    found["verdict"].update(sentence="אבג 12 %, דהו 33 %", reasons=["אבג 12 %, דהו 33 %"])
    text = '<bdi dir="ltr">\u2068אבג\u2069 12 %, \u2068דהו\u2069 33 %</bdi>'
    assert render_html(found).count(text) == 2
    assert text in render_index([found])
