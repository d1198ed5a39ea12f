"""How does finding candidates of near-duplicates grow with the number of files, and what does it miss?

    python benchmarks/candidates.py [COUNT…]
    python benchmarks/candidates.py --layouts        the same recall for the key lengths of larger corpora
    python benchmarks/candidates.py --growth [COUNT…]     what two of the 32 tables cost, up to 400 000 files

Random sketches with planted relatives: pairs of each cosine below, and merges of two files (70 : 30).  Products of all
pairs against hashing, both as `audit scan --duplicates` runs them; CPU seconds of one core.  Writes
docs/figures/duplicates.svg.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from loglog import draw, slope

from auditor.corpus import nearby
from auditor.corpus.duplicates import candidates
from auditor.corpus.sketch import SIZE

FIGURE = Path(__file__).resolve().parent.parent / "docs" / "figures" / "duplicates.svg"
COUNTS = (12_500, 25_000, 50_000, 100_000)
MOST_PRODUCTS = 50_000
COSINES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.9)
EACH = 200
LEAST = 6_000
SOME = 2


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True), np.float32)


def corpus(count: int) -> tuple[np.ndarray, dict[str, list[tuple[int, int]]]]:
    """(sketches, planted pairs by kind)."""
    rng = np.random.default_rng(count)
    x = unit(rng.standard_normal((count, SIZE), np.float32))
    truth: dict[str, list[tuple[int, int]]] = {}
    at = 0
    for cosine in COSINES:
        for _ in range(EACH):
            aside = rng.standard_normal(SIZE)
            aside -= (aside @ x[at]) * x[at]
            x[at + 1] = cosine * x[at] + np.sqrt(1 - cosine**2) * unit(aside)
            truth.setdefault(f"cosine {cosine:g}", []).append((at, at + 1))
            at += 2
    for _ in range(EACH):
        x[at + 2] = unit(0.7 * x[at] + 0.3 * x[at + 1])
        truth.setdefault("merge, greater part", []).append((at, at + 2))
        truth.setdefault("merge, lesser part", []).append((at + 1, at + 2))
        at += 3
    return x, truth


def recalls(found: set[tuple[int, int]], truth: dict[str, list[tuple[int, int]]]) -> str:
    """Share of the planted pairs found, by kind."""
    return ", ".join(f"{kind} {sum(pair in found for pair in pairs) / EACH:.2f}" for kind, pairs in truth.items())


def layouts() -> None:
    """What keys of each length find; how many files there are does not matter to two that are related."""
    sketches, truth = corpus(LEAST)
    for number, layout in enumerate(nearby.LAYOUTS):
        until = f"{nearby.CROWD / layout.chance:,.0f}" if layout != nearby.LAYOUTS[-1] else "all"
        with patch.object(nearby, "LAYOUTS", nearby.LAYOUTS[number : number + 1]):
            found = {(i, j) for i, j, _ in candidates(sketches, 0)}
        print(
            f"{layout.parts} parts of {layout.width}, up to {until} files; recall: {recalls(found, truth)}", flush=True
        )


def growth(counts: list[int]) -> None:
    """Time and meetings a file of `SOME` tables among unrelated sketches: all tables are alike, so 16 times that."""
    points = []
    for count in counts:
        sketches = np.random.default_rng(count).standard_normal((count, SIZE), np.float32)
        sketches /= np.linalg.norm(sketches, axis=1, keepdims=True)
        layout = nearby.layout_for(count)
        started = time.process_time()
        nearby.near(sketches, 0.9, 1, tables=SOME)
        seconds = time.process_time() - started
        met = (len(one) for _, left, _ in nearby.meetings(sketches, layout, 0) for one in left)
        strangers = 2 * sum(met) / count
        points.append((count, seconds))
        print(f"{count:7} keys of {layout.parts} × {layout.width}: {strangers:5.0f} strangers a file and table, "
              f"{1e3 * seconds / count:.4f} ms a file", flush=True)  # fmt: skip
    print(f"cost grows with size to the power {slope(points):.2f}")


def main() -> None:
    """Every size, both ways."""
    if "--growth" in sys.argv:
        growth([int(a) for a in sys.argv[1:] if a.isdigit()] or [25_000, 50_000, 100_000, 200_000, 400_000])
        return
    if "--layouts" in sys.argv:
        layouts()
        return
    series: dict[str, list[tuple[float, float]]] = {"products of all pairs": [], "hashing": []}
    for count in [int(a) for a in sys.argv[1:]] or COUNTS:
        sketches, truth = corpus(count)
        for name, exact in (("products of all pairs", count), ("hashing", 0)):
            if exact > MOST_PRODUCTS:
                continue
            started = time.process_time()
            found = {(i, j) for i, j, _ in candidates(sketches, exact)}
            seconds = time.process_time() - started
            series[name].append((count, seconds))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{count:7} {name:22} {seconds:7.1f} s {1e3 * seconds / count:6.3f} ms a file, {len(found)} pairs, "
                  f"peak {peak:.0f} MiB; recall: {recalls(found, truth)}", flush=True)  # fmt: skip
    for name, points in series.items():
        if len(points) > 1:
            print(f"{name}: cost grows with size to the power {slope(points):.2f}")
    draw(FIGURE, "Candidates of near-duplicates", "files", "CPU seconds", series)


if __name__ == "__main__":
    main()
