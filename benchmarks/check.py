"""What does a cold and a warm `audit check` cost beside Python's own start and `sha256sum`?  Prints tables with ratios.

    python benchmarks/check.py [FILE…]
    python benchmarks/check.py --growth [FIGURE.svg]        cold, against the size of the file

Compiled modules are made once before anything is measured, as installing makes them.  CPU seconds (user + system, of
the process and its children) are what to compare: wall seconds tell of the machine's other work as well.  Commands are
interleaved, so that a busy machine slows all of them.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import process

RUNS = 5
GROWTH_RUNS = 2
ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "01-serov-kohya-r6.safetensors"


def measure(command: list[str]) -> tuple[float, float, float]:
    """CPU seconds, wall seconds and peak resident MiB of one finished process."""
    found = process.cost(command)
    return found.cpu, found.wall, found.peak


def cold(file: str, folder: str) -> None:
    """Whole processes."""
    audit = [sys.executable, "-m", "auditor.cli", "check", file]
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import numpy": [sys.executable, "-c", "import numpy"],
        "sha256sum": ["sha256sum", file],
        "audit check": audit,
        "audit check, html": [*audit, "--format", "html", "-o", folder],
    }
    seen: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
    for _ in range(RUNS):
        for name, command in commands.items():
            seen[name].append(measure(command))
    base = statistics.median(cpu for cpu, _, _ in seen["python -c pass"])
    print(f"\n{Path(file).name}, {os.path.getsize(file) / 2**20:.1f} MiB")
    print(f"{'cold':20} {'CPU s':>7} {'least wall':>11} {'× python':>9} {'peak MiB':>9}")
    for name, rows in seen.items():
        cpu = statistics.median(row[0] for row in rows)
        least = min(row[1] for row in rows)
        print(f"{name:20} {cpu:7.2f} {least:11.2f} {cpu / base:9.1f} {max(row[2] for row in rows):9.0f}")


WARM = """
import hashlib, sys, time
from auditor import ReferenceSet, check
from auditor.lora import load_lora, read_artifact
started = time.process_time(); reference = ReferenceSet.load(); loaded = time.process_time() - started
def cost(work, n=5):
    work()
    started = time.process_time()
    for _ in range(n): work()
    return (time.process_time() - started) / n
raw = cost(lambda: hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())
names = {"read and sha256": raw, "read_artifact (two digests)": cost(lambda: read_artifact(sys.argv[1])),
         "load_lora": cost(lambda: load_lora(sys.argv[1])),
         "check, set loaded": cost(lambda: check(sys.argv[1], reference))}
print(f"{'warm':28} {'CPU ms':>8} {'× hash':>8}")
print(f"{'load the set':28} {1000 * loaded:8.1f} {loaded / raw:8.1f}")
for name, seconds in names.items():
    print(f"{name:28} {1000 * seconds:8.1f} {seconds / raw:8.1f}")
"""


def growth(figure: Path) -> None:
    """Cold checks against size, beside sha256sum; log-log."""
    from loglog import draw
    from scan import written, xl_shapes

    from auditor import ReferenceSet

    series: dict[str, list[tuple[float, float]]] = {}
    own = ReferenceSet.load().shapes
    with tempfile.TemporaryDirectory() as folder:
        made = [("the set's base", own, rank) for rank in (4, 32, 256)]
        made += [("another base", xl_shapes(128), rank) for rank in (1, 8, 64)]
        for kind, shapes, rank in made:
            file = str(written(Path(folder) / f"{len(shapes)}-{rank}.safetensors", shapes, rank, 0))
            size = os.path.getsize(file) / 2**20
            audit = [measure([sys.executable, "-m", "auditor.cli", "check", file]) for _ in range(GROWTH_RUNS)]
            hashed = [measure(["sha256sum", file])[0] for _ in range(GROWTH_RUNS)]
            cost, sha, peak = min(a[0] for a in audit), max(min(hashed), 1e-3), max(a[2] for a in audit)
            series.setdefault(f"check, {kind}", []).append((size, cost))
            series.setdefault("sha256sum", []).append((size, sha))
            print(
                f"{kind:15} rank {rank:3} {size:7.1f} MiB: check {cost:.2f} s CPU, sha256sum {sha:.3f}, {peak:.0f} MiB"
            )
    series["sha256sum"].sort()
    draw(figure, "audit check, cold", "MiB", "CPU seconds", series)


def main() -> None:
    """Every file, cold and warm."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.path.insert(0, str(ROOT))
    measure([sys.executable, "-m", "auditor.cli", "check", str(EXAMPLE)])
    if "--growth" in sys.argv:
        growth(Path([*sys.argv, str(ROOT / "docs" / "figures" / "check.svg")][2]))
        return
    with tempfile.TemporaryDirectory() as folder:
        for file in sys.argv[1:] or [str(EXAMPLE)]:
            cold(os.path.abspath(file), folder)
            subprocess.run([sys.executable, "-c", WARM, os.path.abspath(file)], check=True, cwd=ROOT)


if __name__ == "__main__":
    main()
