"""`audit map` and the corpus index at 10³ … 10⁵ files (or as many as asked): prints a table with ratios.

    python benchmarks/map.py [LARGEST] [FIGURE.svg]

The corpus is made up: unit points around the artists' directions, in the file that `audit scan` writes.  CPU and wall
seconds and peak memory are those of the whole command, beside Python's own start with numpy.  --keep FOLDER keeps the
pages, to be opened.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np  # noqa: E402
from loglog import draw  # noqa: E402
from process import cost  # noqa: E402

from auditor import ReferenceSet  # noqa: E402
from auditor.corpus.rows import Options  # noqa: E402
from auditor.corpus.scan import columns_for, settings_for  # noqa: E402
from auditor.corpus.store import finish, write_rows  # noqa: E402
from auditor.embedding.points import unit  # noqa: E402

PART = 20_000
MIB = 2**20


def corpus(folder: Path, files: int) -> Path:
    """A scan's file with as many rows, as scans write it: parts, then the whole."""
    reference = ReferenceSet.load()
    view = next(iter(reference.views.values()))
    rng, centres, columns = np.random.default_rng(files), unit(view.centres), columns_for(reference)
    parts = []
    for start in range(0, files, PART):
        count = min(PART, files - start)
        near = centres[rng.integers(0, len(centres), count)]
        points = unit(near + rng.standard_normal(near.shape) / 5).astype("<f4")
        rows = [
            {"path": f"corpus/{start + i:07d}.safetensors", "version": f"{start + i:032x}",
             "content": f"{start + i:064x}", "status": "audited", "label": "INCONCLUSIVE",
             "p": float(p), f"at_{view.name}": point.tobytes()}
            for i, (point, p) in enumerate(zip(points, rng.random(count), strict=True))
        ]  # fmt: skip
        parts.append(folder / f"part-{start}.parquet")
        write_rows(parts[-1], rows, columns)
    out = folder / f"corpus-{files}.parquet"
    finish(parts, out, columns, settings_for(reference, Options()), {})
    return out


def measured(command: list[str]) -> tuple[float, float, float]:
    """(CPU s, wall s, peak MiB) of a process that must succeed."""
    found = cost(command)
    assert found.code == 0, command
    return found.cpu, found.wall, found.peak


def main() -> None:
    """One row a size and command."""
    words = sys.argv[1:]
    keep = Path(words.pop(words.index("--keep") + 1)) if "--keep" in words else None
    words = [word for word in words if word != "--keep"]
    largest = int(float(words[0])) if words else 100_000
    suspect = str(min((ROOT / "examples").glob("*.safetensors")))
    audit = [sys.executable, "-m", "auditor.cli"]
    base = measured([sys.executable, "-c", "import numpy"])[0]
    columns = ("files", "CPU s", "× numpy", "wall s", "peak MiB", "KiB")
    print(f"{'':22}" + "".join(f"{c:>10}" for c in columns))
    ran: dict[str, list[tuple[float, float]]] = {}
    files = 1000
    with tempfile.TemporaryDirectory() as place:
        while files <= largest:
            heap, page = corpus(Path(place), files), Path(place) / f"map-{files}.html"
            jobs = {
                "search, first (index)": ([*audit, "search", suspect, "--corpus", str(heap), "-k", "3"], heap),
                "search, again": ([*audit, "search", suspect, "--corpus", str(heap), "-k", "3"], heap),
                "map, html": ([*audit, "map", suspect, "--corpus", str(heap), "-o", str(page)], page),
                "map, svg": ([*audit, "map", "--corpus", str(heap), "-o", str(page.with_suffix(".svg"))],
                             page.with_suffix(".svg")),
            }  # fmt: skip
            for name, (command, written) in jobs.items():
                cpu, wall, peak = measured(command)
                ran.setdefault(name, []).append((files, cpu))
                print(f"{name:22}{files:10d}{cpu:10.2f}{cpu / base:10.1f}{wall:10.2f}{peak:10.0f}", end="")
                print(f"{written.stat().st_size / 1024:10.0f}", flush=True)
            if keep:
                shutil.copy(page, keep)
                shutil.copy(heap, keep)
            files *= 10
    if len(words) > 1:
        draw(Path(words[1]), "Map and search of a corpus, whole commands", "files", "CPU seconds", ran)


if __name__ == "__main__":
    main()
