"""A reference set in two dimensions: references, artists' centroids, genre hulls, suspects, and a whole corpus if
wanted.

Axes: the first two principal axes of the artists' mean directions, or UMAP of all points (an extra).  The map is a
picture of 55 dimensions in two; what it hides is said by `explained`, and no verdict rests on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.audit import Placed
from auditor.corpus.clusters import Clustering, describe
from auditor.corpus.rows import coordinates_in
from auditor.embedding.axes import principal
from auditor.embedding.points import Floats, unit
from auditor.embedding.scores import t_norm
from auditor.errors import UsageError
from auditor.extras import need
from auditor.reference.calibrate import covers
from auditor.reference.set import ReferenceSet, View
from auditor.result import Audit

PARTS = {"ff": "feed-forward", "self_attention": "self-attention", "cross_attention": "cross-attention"}
BLOCK = 16_384
MOST = 200_000
"""Corpus files that are drawn; of more, a seeded sample."""


@dataclass(frozen=True)
class Artist:
    """An artist's centroid."""

    name: str
    genre: str
    x: float
    y: float
    files: int


@dataclass(frozen=True)
class Suspect:
    """A suspect's place and verdict."""

    name: str
    label: str
    nearest: str
    x: float
    y: float


@dataclass(frozen=True)
class Hull:
    """Corners of the convex hull of a genre's centroids, in order."""

    genre: str
    corners: Floats
    """(k, 2)."""


@dataclass(frozen=True)
class StyleMap:
    """Everything that is drawn, in the units of the projection."""

    set_name: str
    digest: str
    view: str
    projection: str
    explained: float | None
    """Share of the centroids' variance that two axes show, 0 … 1; None for UMAP."""
    artists: list[Artist]
    references: Floats
    """(n, 2)."""
    reference_names: list[str]
    reference_artist: NDArray[np.intp]
    hulls: list[Hull]
    suspects: list[Suspect]
    corpus: Floats
    """(m, 2)."""
    corpus_names: list[str]
    corpus_files: int
    """Files of the corpus that could have been drawn."""
    clusters: list[Clustering]


def style_map(
    reference: ReferenceSet,
    suspects: Sequence[tuple[str, Placed, Audit]] = (),
    corpus: Path | None = None,
    projection: str = "pca",
    seed: int = 0,
) -> StyleMap:
    """Place everything.  Raises UsageError for a corpus of another set, AuditorError when UMAP is not installed."""
    view = common_view(reference, [placed for _, placed, _ in suspects])
    own = unit(view.points)
    asked = [
        unit(placed.point if view is placed.view else coordinates_in(view, placed))[0] for _, placed, _ in suspects
    ]
    many, names, total = corpus_points(reference, view, corpus, seed)
    pieces = [own, many, np.reshape(asked, (len(asked), own.shape[1]))]
    flat, explained = pca(pieces, view) if projection == "pca" else (umap(np.vstack(pieces), seed), None)
    first, last = len(own), len(own) + len(many)
    placed_at = flat[:first]
    centroids = np.array([placed_at[view.artist == a].mean(0) for a in range(len(reference.artists))])
    files = np.bincount(view.artist, minlength=len(reference.artists))
    rows = zip(reference.artists, reference.genres, centroids, files, strict=True)
    artists = [Artist(name, genre, float(c[0]), float(c[1]), int(n)) for name, genre, c, n in rows]
    told = zip(suspects, flat[last:], strict=True)
    return StyleMap(
        reference.manifest["name"], reference.manifest["digest"], view.name, projection, explained, artists, placed_at,
        [reference.manifest["references"][r]["file"] for r in view.rows], view.artist, genre_hulls(artists),
        [Suspect(name, a.verdict.label, a.artists[0].artist, float(p[0]), float(p[1])) for (name, _, a), p in told],
        flat[first:last], names, total, cluster_table(reference, view, seed),
    )  # fmt: skip


def common_view(reference: ReferenceSet, placed: Sequence[Placed]) -> View:
    """The view with most modules that every suspect covers; the one of most modules if no view suits all."""
    order = sorted(reference.views.values(), key=lambda view: -len(view.bases.paths))
    return next((view for view in order if all(covers(one.factored, view.bases.paths) for one in placed)), order[0])


def corpus_points(
    reference: ReferenceSet, view: View, corpus: Path | None, seed: int
) -> tuple[NDArray[Any], list[str], int]:
    """(points (m, d), mapped where all are drawn; names; files there are) of a scanned corpus; empty without one."""
    if corpus is None:
        return np.zeros((0, view.points.shape[1])), [], 0
    from auditor.corpus.index import open_corpus
    from auditor.corpus.search import matching
    from auditor.corpus.store import parquet, settings_of

    matching(reference, settings_of(corpus), corpus)
    known = open_corpus(corpus, view.name)
    total = len(known.points)
    kept = np.sort(np.random.default_rng(seed).permutation(total)[:MOST])
    with parquet().ParquetFile(corpus) as file:
        paths = file.read(["path"]).column("path").take(known.rows[kept]).to_pylist()
    return known.points if len(kept) == total else known.points[kept], paths, total


def pca(pieces: Sequence[NDArray[Any]], view: View) -> tuple[Floats, float]:
    """(points (n, 2), share of variance) on the principal axes of the artists' mean directions.

    pieces: (n₁, d), (n₂, d) …, one below the other; worked on in blocks, for a corpus may be mapped from disk.
    """
    axes = principal(unit(view.centres))
    blocks = (piece[start : start + BLOCK] for piece in pieces for start in range(0, len(piece), BLOCK))
    return np.concatenate([axes(block.astype(np.float64)) for block in blocks]), axes.explained


def umap(points: Floats, seed: int) -> Floats:
    """UMAP (McInnes et al. 2018) by cosine, seeded, one thread."""
    if len(points) < 10:
        raise UsageError("UMAP needs ten points or more.", advice="Use --projection pca.")
    found = need("umap", "map", "the projection umap").UMAP(metric="cosine", random_state=seed, n_jobs=1)
    return np.asarray(found.fit_transform(points.astype(np.float32)), np.float64)


def genre_hulls(artists: Sequence[Artist]) -> list[Hull]:
    """A hull for every known genre of three artists or more."""
    by_genre: dict[str, list[tuple[float, float]]] = {}
    for artist in artists:
        if artist.genre:
            by_genre.setdefault(artist.genre, []).append((artist.x, artist.y))
    return [Hull(genre, hull(np.array(points))) for genre, points in sorted(by_genre.items()) if len(points) > 2]


def hull(points: Floats) -> Floats:
    """Corners (k, 2) of the convex hull of points (n, 2), counter-clockwise (Andrew 1979)."""
    ordered = sorted({(float(x), float(y)) for x, y in points})

    def half(sequence: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        kept: list[tuple[float, float]] = []
        for p in sequence:
            while len(kept) > 1 and _turn(kept[-2], kept[-1], p) <= 0:
                kept.pop()
            kept.append(p)
        return kept[:-1]

    corners = half(ordered) + half(ordered[::-1])
    return np.array(corners or ordered)


def _turn(o: tuple[float, float], a: tuple[float, float], b: tuple[float, float]) -> float:
    """Positive when o → a → b turns left."""
    return (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0])


def cluster_table(reference: ReferenceSet, view: View, seed: int) -> list[Clustering]:
    """Artists and genres found again by k-means, in the whole embedding and in each sub-network.

    'held out': profiles of scores of each reference with its own half of the works left out of the fit; the other rows
    are of coordinates that were fitted on these very files, and flatter.
    """
    spaces = {"whole, held out": np.nan_to_num(t_norm(view.genuine)), "whole, fitted": view.points}
    spaces |= {f"{PARTS.get(name, name)} alone, fitted": points for name, points in view.parts.items()}
    attention = [points for name, points in view.parts.items() if name.endswith("attention")]
    if len(attention) > 1:
        spaces["attention alone, fitted"] = np.sum(attention, axis=0)
    genres = np.array(reference.genres)[view.artist]
    labels = {"artist": view.artist.astype(str), **({"genre": genres} if len(set(genres)) > 1 else {})}
    return [describe(s, name, points, given, seed) for s, points in spaces.items() for name, given in labels.items()]
