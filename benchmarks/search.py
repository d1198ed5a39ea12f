"""Exact search among 10⁴ … 10⁶ embeddings, beside numpy's whole product, faiss and usearch; prints a table.

    python benchmarks/search.py [DIMENSION] [LARGEST] [LARGEST GRAPH]

Milliseconds of wall (least of several) and CPU, k = 10.  The corpus is mapped from disk, as `audit search` has it.
Recall of the graph is counted after its hits were re-scored.  faiss and usearch are left out where not installed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
THREADS = os.cpu_count() or 1
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(THREADS)

import numpy as np  # noqa: E402

from auditor.corpus.index import nearest  # noqa: E402

K, QUERIES = 10, 12
GRAPH = int(float(sys.argv[3])) if len(sys.argv) > 3 else 100_000  # largest corpus that a graph is built for


def cost(work, queries) -> tuple[float, float]:
    """(least wall, mean CPU) milliseconds of a query."""
    least, cpu = 1e9, time.process_time()
    for query in queries:
        started = time.perf_counter()
        work(query)
        least = min(least, time.perf_counter() - started)
    return 1000 * least, 1000 * (time.process_time() - cpu) / len(queries)


def whole(points, query):
    """What one would write first."""
    cosines = points @ query
    best = np.argpartition(cosines, -K)[-K:]
    return best[np.argsort(-cosines[best])]


def contenders(points, folder) -> dict:
    """Name → (search, seconds to build)."""
    found = {
        "audit, exact": (lambda q: nearest(points, q, K)[0], 0.0),
        "numpy, whole product": (lambda q: whole(points, q), 0.0),
    }
    try:
        import faiss

        flat = faiss.IndexFlatIP(points.shape[1])
        flat.add(np.asarray(points))
        found["faiss, flat"] = (lambda q: flat.search(q[None], K)[1][0], 0.0)
    except ImportError:
        pass
    try:
        if len(points) > GRAPH:
            return found
        from usearch.index import Index

        started = time.perf_counter()
        graph = Index(ndim=points.shape[1], metric="ip", dtype="f16")
        graph.add(np.arange(len(points)), np.asarray(points), threads=THREADS)
        built = time.perf_counter() - started

        def through(query):
            keys = np.sort(np.asarray(graph.search(query, 4 * K).keys, np.intp))
            return keys[nearest(points[keys], query, K)[0]]

        found["usearch, re-scored"] = (through, built)
    except ImportError:
        pass
    return found


def main() -> None:
    """Sizes from 10⁴ on."""
    d = int(sys.argv[1]) if len(sys.argv) > 1 else 55
    largest = int(float(sys.argv[2])) if len(sys.argv) > 2 else 1_000_000
    print(f"d = {d}, k = {K}, {THREADS} threads")
    print(f"{'':24}{'files':>10}{'wall ms':>9}{'CPU ms':>9}{'× audit':>9}{'recall':>8}{'build s':>9}{'MiB':>7}")
    n = 10_000
    while n <= largest:
        with tempfile.TemporaryDirectory() as folder:
            rng = np.random.default_rng(n)
            points = rng.standard_normal((n, d), np.float32)
            points /= np.linalg.norm(points, axis=1, keepdims=True)
            np.save(f"{folder}/x.npy", points)
            mapped = np.load(f"{folder}/x.npy", mmap_mode="r")
            queries = points[rng.integers(0, n, QUERIES)] + 0.3 * rng.standard_normal((QUERIES, d), np.float32)
            truth = [set(whole(points, q).tolist()) for q in queries]
            first = 0.0
            for name, (work, built) in contenders(mapped, folder).items():
                recall = np.mean([len(truth[i] & set(np.asarray(work(q)).tolist())) / K for i, q in enumerate(queries)])
                wall, cpu = cost(work, queries)
                first = first or cpu
                figures = f"{wall:9.2f}{cpu:9.2f}{cpu / first:9.2f}{recall:8.3f}{built:9.1f}"
                print(f"{name:24}{n:>10}{figures}{points.nbytes / 2**20:7.0f}", flush=True)
        n *= 10


if __name__ == "__main__":
    main()
