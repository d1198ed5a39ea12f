"""The pages in a real browser: accessibility rules, no network, no width too large, and what the script adds.

Needs node, Chromium and the packages of tests/report/browser (`make browser-env`); skipped where one is missing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from specimen import audit, skipped

from auditor.report import render_html, render_index

ROOM = Path(__file__).parent / "browser"
NODE = shutil.which("node")
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the browser found on a report, a hostile one, a short one and an index."""
    if not (NODE and CHROMIUM and (ROOM / "node_modules/axe-core").is_dir()):
        pytest.skip("needs node, Chromium and the packages of tests/report/browser")
    folder = tmp_path_factory.mktemp("pages")
    kinds = ["CONSISTENT", "INCONCLUSIVE", "NO_MATCH", "DERIVATIVE"]
    audits = [audit(label).to_dict() for label in kinds] + [
        skipped(code).to_dict() for code in ("malformed", "out-of-scope")
    ]
    audits[2]["suspect"]["path"] = "needle.safetensors"
    pages = {
        "report.html": render_html(audit("DERIVATIVE", alarm=True).to_dict()),
        "hostile.html": render_html(audit(hostile=True).to_dict()),
        "short.html": render_html(audits[4]),
        "index.html": render_index(audits, [[f"{i}.html", f"{i}.pdf"] for i in range(6)]),
    }
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
    command = [str(NODE), "check.mjs", CHROMIUM, *(str(folder / name) for name in pages)]
    done = subprocess.run(command, cwd=ROOM, capture_output=True, encoding="utf-8", timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_no_fault_of_accessibility(seen: dict[str, Any]) -> None:
    assert seen["faults"] == []


def test_nothing_is_asked_of_a_network_and_nothing_breaks_the_policy(seen: dict[str, Any]) -> None:
    assert seen["requests"] == []
    assert seen["messages"] == []


def test_no_page_is_wider_than_its_window(seen: dict[str, Any]) -> None:
    assert seen["wide"] == []


def test_index_filters_sorts_and_does_without_a_script(seen: dict[str, Any]) -> None:
    index = seen["index"]
    assert (index["all"], index["without"], index["withoutScript"]) == (6, 5, 5)
    assert index["found"] == 1
    assert index["status"] == "1 of 6 files shown"
    ps = [float(p) for p in index["ps"] if p != "–"]
    assert len(ps) == 4
    assert ps == sorted(ps)
    assert index["ps"][-2:] == ["–", "–"]
    assert index["sorted"] == "ascending"
    assert not index["searchWithoutScript"]


def test_table_of_artists_opens_sorts_and_the_map_is_labelled(seen: dict[str, Any]) -> None:
    report = seen["report"]
    assert (report["few"], report["all"]) == (10, 60)
    assert report["names"] == sorted(report["names"], key=str.lower)
    assert " · rank " in report["tip"]
