"""Exact search among 10⁴ … 10⁶ embeddings, beside numpy's whole product, faiss and usearch; prints a table.

    python benchmarks/search.py [DIMENSION] [LARGEST] [LARGEST GRAPH] [FIGURE.svg]

Milliseconds of wall (least of many) and CPU, k = 10, THREADS of the environment (else the cores there are).  The
corpus is mapped from disk, as `audit search` has it.  `array` is the corpus, `extra` what one query allocates beside it
(as far as numpy makes it).  Contenders are asked in turn, so that other work on the machine slows all of them.  Recall
of an index is after re-scoring.  faiss, usearch and LanceDB are left out where not installed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
THREADS = int(os.environ.get("THREADS", os.cpu_count() or 1))
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(THREADS)

import numpy as np  # noqa: E402
from loglog import draw  # noqa: E402

from auditor.corpus.index import nearest  # noqa: E402

K, QUERIES = 10, 40
GRAPH = int(float(sys.argv[3])) if len(sys.argv) > 3 else 100_000  # largest corpus that a graph is built for


def costs(works, queries) -> dict[str, tuple[float, float]]:
    """Name → (least wall, mean CPU) milliseconds of a query; every query goes to each in turn."""
    least, cpu = dict.fromkeys(works, 1e9), dict.fromkeys(works, 0.0)
    for query in queries:
        for name, work in works.items():
            before, started = time.process_time(), time.perf_counter()
            work(query)
            least[name] = min(least[name], time.perf_counter() - started)
            cpu[name] += time.process_time() - before
    return {name: (1000 * least[name], 1000 * cpu[name] / len(queries)) for name in works}


def extra(work, query) -> float:
    """MiB that a query allocates."""
    tracemalloc.start()
    work(query)
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return peak


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

        faiss.omp_set_num_threads(THREADS)
        flat = faiss.IndexFlatIP(points.shape[1])
        flat.add(np.asarray(points))
        found["faiss, flat"] = (lambda q: flat.search(q[None], K)[1][0], 0.0)
    except ImportError:
        pass
    try:
        from usearch.index import Index, MetricKind, search

        held = np.asarray(points)

        def flat_usearch(query):
            return np.asarray(search(held, query, K, MetricKind.IP, exact=True, threads=THREADS).keys, np.intp)

        found["usearch, flat"] = (flat_usearch, 0.0)
        if len(points) > GRAPH:
            return found
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
    return found | lance(points, folder)


def lance(points, folder) -> dict:
    """LanceDB's own scan and its index of quantised vectors, if it is installed; its threads are its own."""
    try:
        import lancedb
        import pyarrow as pa
        from lancedb.index import HnswSq
    except ImportError:
        return {}
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.asarray(points).ravel()), points.shape[1])
    table = lancedb.connect(folder).create_table("x", pa.table({"id": np.arange(len(points)), "vector": values}))

    def asked(query, count):
        return (
            table.search(query)
            .distance_type("dot")
            .limit(count)
            .select(["id", "_distance"])
            .to_arrow()["id"]
            .to_numpy()
        )

    def rescored(query):
        keys = np.sort(
            indexed.search(query).limit(4 * K).nprobes(20).select(["id", "_distance"]).to_arrow()["id"].to_numpy()
        )
        return keys[nearest(points[keys], query, K)[0]]

    started = time.perf_counter()
    indexed = lancedb.connect(folder).create_table("y", table.to_arrow())
    indexed.create_index("vector", config=HnswSq(distance_type="dot"))
    built = time.perf_counter() - started
    return {"LanceDB, flat": (lambda q: asked(q, K), 0.0), "LanceDB, re-scored": (rescored, built)}


def main() -> None:
    """Sizes from 10⁴ on."""
    d = int(sys.argv[1]) if len(sys.argv) > 1 else 55
    largest = int(float(sys.argv[2])) if len(sys.argv) > 2 else 1_000_000
    print(f"d = {d}, k = {K}, {THREADS} threads")
    columns = ("wall ms", "× audit", "CPU ms", "× audit", "recall", "build s", "array", "extra")
    print(f"{'':24}{'files':>10}" + "".join(f"{c:>9}" for c in columns))
    ran: dict[str, list[tuple[float, float]]] = {}
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
            asked = contenders(mapped, folder)
            took = costs({name: work for name, (work, _) in asked.items()}, queries)
            first = took["audit, exact"]
            for name, (work, built) in asked.items():
                recall = np.mean([len(truth[i] & set(np.asarray(work(q)).tolist())) / K for i, q in enumerate(queries)])
                wall, cpu = took[name]
                ran.setdefault(name, []).append((n, cpu))
                figures = f"{wall:9.2f}{wall / first[0]:9.2f}{cpu:9.2f}{cpu / first[1]:9.2f}{recall:9.3f}{built:9.1f}"
                print(
                    f"{name:24}{n:>10}{figures}{points.nbytes / 2**20:9.0f}{extra(work, queries[0]):9.1f}", flush=True
                )
        n *= 10
    if len(sys.argv) > 4:
        draw(
            Path(sys.argv[4]),
            f"Ten nearest of n embeddings, d = {d}, {THREADS} threads",
            "files",
            "CPU ms of a query",
            ran,
        )


if __name__ == "__main__":
    main()
