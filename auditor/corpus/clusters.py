"""How well LoRAs group by artist and by genre without being told: k-means against labels.

ARI (Hubert & Arabie 1985) and NMI compare two partitions of the same files, blind to names; silhouette (Rousseeuw 1987)
says how much closer files lie to their own label's files than to the next label's.  Descriptions of a set, no tests.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auditor.statistics.metrics import adjusted_rand, mutual_information, silhouette

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
        mutual_information(truth, found),
        sampled_silhouette(x, truth, seed),
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


def sampled_silhouette(x: Floats, labels: NDArray[np.intp], seed: int = 0) -> float:
    """Silhouette of unit rows x (n, d) by cosine distance; of more than MOST files, of a seeded sample."""
    if len(x) > MOST:
        kept = np.random.default_rng(seed).permutation(len(x))[:MOST]
        x, labels = x[kept], labels[kept]
    return silhouette(x @ x.T, labels)
