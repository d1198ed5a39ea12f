"""Coordinates of files as directions: unit vectors, weights by artist, artists' centres, cosines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.intp]


def unit(x: Floats) -> Floats:
    """Rows of x (n, d) divided by their norm; a zero row stays zero."""
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-300))


def distinct(labels: Labels) -> Labels:
    """Labels that occur, ascending.  (`numpy.unique` would import masked arrays for it: 14 ms of a cold start.)"""
    return np.flatnonzero(np.bincount(labels))


def artist_weights(artist: Labels, kept: NDArray[np.bool_]) -> Floats:
    """Weights (N,) of kept files: artists equal, files of an artist equal, sum 1; left-out files 0."""
    weight = np.zeros(len(artist))
    names, member, count = np.unique(artist[kept], return_inverse=True, return_counts=True)
    weight[kept] = 1.0 / count[member] / len(names)
    return weight


def centroids(points: Floats, artist: Labels, artists: int, kept: NDArray[np.bool_]) -> Floats:
    """Mean of the unit directions of each artist's kept files, (artists, d); NaN for an artist without any.

    Not scaled to unit length again: a product with it is the mean cosine with the files, which does not grow with their
    number.  (Cosines with unit means favour artists with many references, whose means hold less noise.)
    """
    directions = unit(points)
    means = np.full((artists, points.shape[1]), np.nan)
    for a in distinct(artist[kept]):
        means[a] = directions[kept & (artist == a)].mean(0)
    return means


def cosines(points: Floats, centres: Floats) -> Floats:
    """Mean cosine of points (n, d) with artists' files, from centres (C, d): (n, C), NaN where a centre is missing."""
    return np.asarray(unit(points) @ centres.T)
