"""How well LoRAs group by artist and by genre without being told: k-means against labels.

ARI (Hubert & Arabie 1985) and NMI compare two partitions of the same files, blind to names; silhouette (Rousseeuw 1987)
says how much closer files lie to their own label's files than to the next label's.  Descriptions of a set, no tests.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
MOST = 2000
"""Files a silhouette is computed on; of more, a seeded sample."""
STARTS = 10


@dataclass(frozen=True)
class Clustering:
    """Figures of one embedding against one labelling."""

    space: str
    label: str
    clusters: int
    ari: float
    """1 same partition, 0 chance."""
    nmi: float
    """1 same partition, 0 independent."""
    silhouette: float
    """-1 … 1, of the labels themselves (cosine distance)."""


def describe(space: str, label: str, points: Floats, labels: ArrayLike, seed: int = 0) -> Clustering:
    """Cluster unit directions of points (n, d) into as many groups as there are labels (n,), and compare."""
    names, truth = np.unique(np.asarray(labels), return_inverse=True)
    x = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-300)
    found = k_means(x, len(names), seed)
    return Clustering(
        space,
        label,
        len(names),
        adjusted_rand(truth, found),
        normalised_information(truth, found),
        silhouette(x, truth, seed),
    )


def k_means(x: Floats, k: int, seed: int = 0) -> NDArray[np.intp]:
    """Cluster of each row of x (n, d): the best of STARTS seeded k-means++ runs."""
    from scipy.cluster.vq import kmeans2  # slow to import

    best, least = np.zeros(len(x), np.intp), np.inf
    for start in range(STARTS):
        with warnings.catch_warnings():  # an emptied cluster is no fault: its start is then seldom the best one
            warnings.simplefilter("ignore", UserWarning)
            centres, member = kmeans2(x, k, minit="++", seed=np.random.default_rng([seed, start]))
        spread = float(np.square(x - centres[member]).sum())
        if spread < least:
            best, least = member.astype(np.intp), spread
    return best


def contingency(a: ArrayLike, b: ArrayLike) -> Floats:
    """Counts (|a|, |b|) of two labellings."""
    _, i = np.unique(np.asarray(a), return_inverse=True)
    _, j = np.unique(np.asarray(b), return_inverse=True)
    counts = np.zeros((i.max() + 1, j.max() + 1))
    np.add.at(counts, (i, j), 1)
    return counts


def adjusted_rand(a: ArrayLike, b: ArrayLike) -> float:
    """Adjusted Rand index of two labellings (n,): 1 for one partition, 0 on average by chance."""
    counts = contingency(a, b)

    def pairs(n: Floats) -> float:
        return float((n * (n - 1) / 2).sum())

    both, rows, columns = pairs(counts), pairs(counts.sum(1)), pairs(counts.sum(0))
    total = counts.sum() * (counts.sum() - 1) / 2
    chance = rows * columns / total if total else 0.0
    most = (rows + columns) / 2
    return (both - chance) / (most - chance) if most != chance else 1.0


def normalised_information(a: ArrayLike, b: ArrayLike) -> float:
    """Mutual information over the mean of the two entropies, 0 … 1; 1 when neither labelling says anything."""
    share = contingency(a, b)
    share = share / share.sum()
    row, column = share.sum(1, keepdims=True), share.sum(0, keepdims=True)
    seen = share > 0
    information = float((share[seen] * np.log(share[seen] / (row @ column)[seen])).sum())
    entropy = -float((row * np.log(row)).sum() + (column * np.log(column)).sum()) / 2
    return information / entropy if entropy > 0 else 1.0


def silhouette(x: Floats, labels: ArrayLike, seed: int = 0) -> float:
    """Mean silhouette of unit rows x (n, d) by cosine distance; a file alone in its label counts 0."""
    truth = np.unique(np.asarray(labels), return_inverse=True)[1]
    if len(x) > MOST:
        kept = np.random.default_rng(seed).permutation(len(x))[:MOST]
        x, truth = x[kept], np.unique(truth[kept], return_inverse=True)[1]
    member = truth[:, None] == np.arange(truth.max() + 1)
    size = member.sum(0)
    if len(size) < 2:
        return 0.0
    sums = (1.0 - x @ x.T) @ member
    rows = np.arange(len(x))
    own = sums[rows, truth] / np.maximum(size[truth] - 1, 1)
    others = sums / size
    others[rows, truth] = np.inf
    next_best = others.min(1)
    worth = (next_best - own) / np.maximum(np.maximum(own, next_best), 1e-300)
    return float(np.where(size[truth] > 1, worth, 0.0).mean())
