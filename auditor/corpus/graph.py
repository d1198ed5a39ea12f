"""Approximate search through a navigable graph (usearch), for very large corpora; hits are re-scored exactly.

From how many files it pays: docs/scale.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from auditor.corpus.index import Corpus, Floats32, Keep, Search, nearest
from auditor.extras import need
from auditor.whole_file import whole_file, writable

MORE = 4
"""Candidates for each hit that is wanted; their cosines are computed anew in single precision."""


def graph_nearest(corpus: Corpus) -> Search:
    """A function like `nearest`; the graph is built on first use and kept beside the coordinates."""
    index = load(corpus)

    def find(points: Floats32, query: Floats32, k: int, keep: Keep = None) -> Any:
        keys = np.sort(np.asarray(index.search(query, MORE * k).keys, np.intp))
        at, cosines = nearest(points[keys], query, k, None if keep is None else keep[keys])
        return keys[at], cosines

    return find


def load(corpus: Corpus) -> Any:
    """The graph of a corpus' view."""
    usearch = need("usearch.index", "scale", "approximate search")
    dimension = corpus.points.shape[1]
    path = corpus.path.with_name(corpus.path.name + ".search") / f"graph-{dimension}-{len(corpus.points)}.usearch"
    index = usearch.Index(ndim=dimension, metric="ip", dtype="f16")
    if path.is_file():
        index.view(str(path))
        return index
    index.add(np.arange(len(corpus.points)), np.asarray(corpus.points))
    with writable(path, "Copy the corpus to a writable folder."), whole_file(path) as partial:
        index.save(str(partial))
    return index
