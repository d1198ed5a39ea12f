"""The open-set test's interval against scipy.stats.permutation_test, 10⁴ … 10⁶ resamples; prints a table.

    python benchmarks/permutation.py [FIGURE.svg]

Both draw resamples of 56 artists and take the share that reaches an observed value.  Ours resamples shares of files per
artist (a bootstrap over artists, as the report's interval); scipy permutes labels of two samples of the same sizes.
"""

from __future__ import annotations

import os
import sys
import time
import tracemalloc
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from loglog import draw
from scipy.stats import permutation_test

from auditor import ReferenceSet
from auditor.evidence.significance import p_interval


def cost(work) -> tuple[float, float]:
    """(CPU seconds, peak MiB of arrays)."""
    tracemalloc.start()
    started = time.process_time()
    work()
    seconds = time.process_time() - started
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return seconds, peak


def main() -> None:
    """One row a size."""
    view = next(iter(ReferenceSet.load().views.values()))
    observed = float(np.quantile(view.null_statistic, 0.9))
    artists = len(np.unique(view.artist))
    own = np.random.default_rng(0).standard_normal(artists)

    def difference(a, b, axis):
        return np.mean(a, axis=axis) - np.mean(b, axis=axis)

    ran: dict[str, list[tuple[float, float]]] = {"audit, bootstrap over artists": [], "scipy permutation_test": []}
    print(f"{'resamples':>10}{'audit s':>10}{'MiB':>8}{'scipy s':>10}{'MiB':>8}{'scipy ÷ audit':>15}")
    for n in (10_000, 100_000, 1_000_000):
        ours, mine = cost(lambda n=n: p_interval(view.null_statistic >= observed, view, n, 0))
        samples = (own[: artists // 2], own[artists // 2 :])
        theirs, their = cost(
            lambda n=n, samples=samples: permutation_test(
                samples, difference, n_resamples=n, vectorized=True, batch=10_000, rng=np.random.default_rng(0)
            )
        )
        print(f"{n:>10}{ours:10.3f}{mine:8.0f}{theirs:10.3f}{their:8.0f}{theirs / ours:15.1f}")
        for rows, seconds in zip(ran.values(), (ours, theirs), strict=True):
            rows.append((n, seconds))
    if len(sys.argv) > 1:
        draw(Path(sys.argv[1]), "Resampling", "resamples", "CPU seconds", ran)


if __name__ == "__main__":
    main()
