"""A translation is one file: with another catalogue, no English of ours is left in verdicts and documents."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from processes import ROOT, environment

from auditor.words import pretty

PLAIN = re.compile(r"[A-Za-z]{2,}")
UNITS = {"KiB", "MiB"}
OURS = {"audit", "check", "refs", "seed", "alpha", "resamples", "policy", "sha256", "kind", "value"}
"""The tool's name, commands and options, which no language changes."""


class Words(HTMLParser):
    """What a page says: its text, and the attributes that are read aloud or shown."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside += [tag] if tag in ("style", "script", "code") else []
        self.found += [v for k, v in attrs if k in ("aria-label", "title", "alt", "data-tip", "data-label") and v]

    def handle_endtag(self, tag: str) -> None:
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        if not self.inside:
            self.found.append(data)


def words_of(page: str) -> set[str]:
    """Words in plain letters."""
    reader = Words()
    reader.feed(page)
    return {word for text in reader.found for word in PLAIN.findall(text)} - UNITS - OURS


def strings(value: object) -> Iterator[str]:
    """Keys and values of a JSON document, however deep."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from (key, *strings(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield from (value, pretty(value) if re.fullmatch(r"[\w -]+", value) else "")


def data_of(document: object) -> set[str]:
    """Words in plain letters that are data: names, genres, figures' names, what the file declares."""
    found = {word for text in strings(document) for word in PLAIN.findall(text)}
    return found | {word.capitalize() for word in found}


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents of all examples and of what is none, in the other catalogue, and the card's page."""
    place = tmp_path_factory.mktemp("translated")
    (place / "broken.safetensors").write_bytes(b"no header")
    (place / "policy.toml").write_text('[block]\nverdicts = ["CONSISTENT"]\n', encoding="utf-8")
    given = [*sorted((ROOT / "examples").glob("*.safetensors")), place / "broken.safetensors"]
    script = ROOT / "tests" / "report" / "translated.py"
    card = ROOT / "reference_sets" / "default" / "card.json"
    options = ["--offline", "--format", "html", "--format", "json", "--fail-on", "never", "-o", place / "out"]
    command = [sys.executable, script, card, place / "card.html", "check", *given, *options]
    done = subprocess.run(
        [*map(str, command), "--policy", str(place / "policy.toml")],
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )
    assert done.returncode in (0, 3), done.stderr
    return place


def audits_of(place: Path) -> list[dict[str, Any]]:
    """All audits of the run."""
    found: list[dict[str, Any]] = json.loads((place / "out" / "audits.json").read_text(encoding="utf-8"))["audits"]
    return found


def test_verdicts_are_in_the_other_language(documents: Path) -> None:
    audits = audits_of(documents)
    labels = {a["verdict"]["label"] for a in audits}
    assert {"CONSISTENT", "INCONCLUSIVE", "DERIVATIVE", "OUT_OF_SCOPE"} <= labels
    for audit in audits:
        names = data_of({k: v for k, v in audit.items() if k not in ("verdict", "options")})
        said = " ".join([audit["verdict"]["sentence"], *audit["verdict"]["would_change"]])
        said += " ".join(audit["verdict"]["reasons"]) + audit["options"]["policy"]["reason"]
        assert {w for w in PLAIN.findall(said) if w not in names} <= {audit["verdict"]["label"]}


def test_pages_hold_no_words_but_the_catalogue_s_and_data(documents: Path) -> None:
    audits = {Path(a["suspect"]["path"]).stem: a for a in audits_of(documents)}
    pages = sorted(p for p in (documents / "out").glob("*.html") if p.name != "index.html")
    assert len(pages) == len(audits) == 9
    for page in pages:
        audit = audits[page.stem.rpartition("-")[0]]
        assert not words_of(page.read_text(encoding="utf-8")) - data_of(audit), page.name


def test_the_index_holds_no_words_but_the_catalogue_s_and_data(documents: Path) -> None:
    index = (documents / "out" / "index.html").read_text(encoding="utf-8")
    assert not words_of(index) - data_of(audits_of(documents))


def test_the_card_holds_no_words_but_the_catalogue_s_and_data(documents: Path) -> None:
    card = json.loads((ROOT / "reference_sets" / "default" / "card.json").read_text(encoding="utf-8"))
    plots = {"ROC", "ECE", "PAV"}
    left = words_of((documents / "card.html").read_text(encoding="utf-8")) - data_of(card) - plots
    assert not left - {"Tippett"}
