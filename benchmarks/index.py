"""How quick is the index of many audits in a real browser?  Prints a table of milliseconds.

    python benchmarks/index.py [ROWS…]        100, 1000 and 10000 by default

Rows are the audits of the shipped examples under ever new names.  Load: to the end of the load event; filter, search
and sort: to the second frame after the act, least of five.  Needs node, Chromium and `make browser-env`.
"""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from auditor import check  # noqa: E402
from auditor.report.html import render_index  # noqa: E402

MODULES = ROOT / "tests" / "report" / "browser"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def page(rows: int, target: Path) -> float:
    """Write an index of so many rows; seconds that it took."""
    audits = [check(path).to_dict() for path in sorted((ROOT / "examples").glob("*.safetensors"))]
    many, links = [], []
    for i in range(rows):
        one = copy.deepcopy(audits[i % len(audits)])
        one["suspect"]["path"] = f"uploads/{i:06d}-{Path(one['suspect']['path']).name}"
        many.append(one)
        links.append((f"{i:06d}.html",))
    begin = time.perf_counter()
    target.write_text(render_index(many, links), encoding="utf-8")
    return time.perf_counter() - begin


def main() -> None:
    """Print the table."""
    sizes = [int(n) for n in sys.argv[1:]] or [100, 1000, 10_000]
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None or not (MODULES / "node_modules" / "playwright-core").is_dir():
        sys.exit("needs node, Chromium and `make browser-env`")
    with tempfile.TemporaryDirectory() as folder:
        pages = [Path(folder) / f"index-{n}.html" for n in sizes]
        made = [page(n, target) for n, target in zip(sizes, pages, strict=True)]
        command = ["node", str(ROOT / "benchmarks" / "index.mjs"), str(MODULES), browser, *map(str, pages)]
        seen = json.loads(subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout)
        print(f"{'rows':>8}{'KiB':>8}{'made s':>8}{'load':>8}{'filter':>8}{'search':>8}{'sort':>8}")
        for n, target, took, row in zip(sizes, pages, made, seen, strict=True):
            times = "".join(f"{row[name]:>8.0f}" for name in ("load", "filter", "search", "sort"))
            print(f"{n:>8}{target.stat().st_size / 1024:>8.0f}{took:>8.1f}{times}")


if __name__ == "__main__":
    main()
