"""Numbers and untrusted text as a reader sees them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from specimen import audit

import auditor.report
from auditor.report.texts import TEXTS
from auditor.report.untrusted import LIMIT, show
from auditor.report.view import build, command, date, number, percent, probability, ratio, size, threshold


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


def test_numbers() -> None:
    assert number(-1.234) == "\u22121.23"
    assert number(-0.001) == "0.00"
    assert number(float("nan")) == "–"
    assert percent(0.9999).startswith("99")
    assert percent(0.0001).startswith("<")
    assert (ratio(1.0), ratio(-1.0), ratio(0.0), ratio(None)) == ("10", "1/10", "1.0", "–")
    assert ratio(2.397) == "250"
    assert size(0) == "0 bytes"
    assert size(19_083_264).startswith("18.2 MiB")
    assert date("2025-01-15T09:30:00Z") == "15 January 2025, 09:30 UTC"
    assert date("<b>") == "<b>"


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


def test_command_is_quoted_and_visible() -> None:
    assert command(audit(hostile=True).to_dict()).startswith("audit check '../x\" onmouseover=")
    assert "\n" not in command(audit(hostile=True).to_dict())
    assert command(audit().to_dict()).endswith("--alpha 0.05 --resamples 10000 --seed 0")


def test_view_is_the_same_from_both_ends() -> None:
    assert build(audit().to_dict()) == build(audit().to_dict())


def test_every_sentence_is_used() -> None:
    room = Path(auditor.report.__file__).parent
    files = [*room.glob("*.py"), *room.glob("templates/*.jinja")]
    used = "\n".join(p.read_text("utf-8") for p in files if p.name != "texts.py")
    by_name = ("label.", "meaning.", "control.", "row.path", "row.tensor_sha256", "rule.")
    assert [k for k in TEXTS if f'"{k}"' not in used and f"'{k}'" not in used and not k.startswith(by_name)] == []


def test_every_sentence_asked_for_exists() -> None:
    room = Path(auditor.report.__file__).parent
    used = "\n".join(p.read_text("utf-8") for p in [*room.glob("*.py"), *room.glob("templates/*.jinja")])
    assert set(re.findall(r"""say\(["']([a-z_.A-Z0-9-]+)["']""", used)) <= set(TEXTS)
