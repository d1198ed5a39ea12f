"""Features → calibrated coordinates → scores per artist: the back end of speaker verification, in Gram space.

Centre, PCA, within-artist covariance normalisation with shrinkage, length normalisation, cosine with each artist's
mean direction, normalisation of scores.  With N references and D ≫ N features everything is done on the N×N Gram
matrix, so that leaving an artist out is an exact refit at the price of one N×N eigenproblem, and a left-out file's
coordinates are out-of-sample coordinates, just as a suspect's are (the cure of projection drift, METHOD.md §3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Floats = NDArray[np.float64]
Labels = NDArray[np.intp]


@dataclass(frozen=True)
class Settings:
    """What changes the fit: PCA dimensions, shrinkage of the within-artist covariance, discriminant directions kept."""

    components: int = 200
    shrink: float = 0.3
    between: int | None = None


@dataclass(frozen=True)
class Fit:
    """A fitted projection: coordinates of all N files, and what maps features to them.

    points: (N, d), not yet of unit length, fitted and left-out files alike; coefficients: (N, d), zero for left-out
    files, so that matrix = Xᵀ coefficients; weight: (N,), mean = weight @ X.
    """

    points: Floats
    coefficients: Floats
    weight: Floats


@dataclass(frozen=True)
class Projection:
    """x → coordinates (x - mean) @ matrix.  mean (D,), matrix (D, d)."""

    mean: Floats
    matrix: Floats

    def __call__(self, x: Floats) -> Floats:
        """Coordinates (n, d) of features (n, D) or (D,), before length normalisation."""
        return np.asarray((np.atleast_2d(x) - self.mean) @ self.matrix)


def unit(x: Floats) -> Floats:
    """Rows of x (n, d) divided by their norm; a zero row stays zero."""
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-300))


def artist_weights(artist: Labels, kept: NDArray[np.bool_]) -> Floats:
    """Weights (N,) of kept files: artists equal, files of an artist equal, sum 1; left-out files 0."""
    weight = np.zeros(len(artist))
    names, member, count = np.unique(artist[kept], return_inverse=True, return_counts=True)
    weight[kept] = 1.0 / count[member] / len(names)
    return weight


def fit(gram: Floats, artist: Labels, kept: NDArray[np.bool_], settings: Settings) -> Fit:
    """PCA, then shrunken within-artist whitening, fitted on the `kept` files of the Gram matrix (N, N)."""
    weight = artist_weights(artist, kept)
    row = gram @ weight
    centred = gram - row[:, None] - row[None, :] + weight @ row
    root = np.sqrt(weight[kept])
    values, vectors = np.linalg.eigh(centred[np.ix_(kept, kept)] * root[:, None] * root[None, :])
    top = np.argsort(values)[::-1][: settings.components]
    top = top[values[top] > 1e-9 * values[top[0]]]
    axes = np.zeros((len(gram), len(top)))
    axes[kept] = root[:, None] * vectors[:, top] / np.sqrt(values[top])
    y = centred @ axes
    turn = within_whitening(y[kept], artist[kept], settings)
    coefficients = axes @ turn
    return Fit(y @ turn, coefficients - weight[:, None] * coefficients.sum(0), weight)


def within_whitening(y: Floats, artist: Labels, settings: Settings) -> Floats:
    """(k, d) map under which the shrunken within-artist covariance of y (n, k) is the identity.

    Covariance: (1 - shrink) · S_w + shrink · (mean variance) · I; `between` leading discriminants are kept, or all.
    """
    names, member, count = np.unique(artist, return_inverse=True, return_counts=True)
    centre = np.stack([y[member == i].mean(0) for i in range(len(names))])
    rest = (y - centre[member]) / np.sqrt(np.maximum(count[member] - 1, 1) * len(names))[:, None]
    within = rest.T @ rest
    within = (1 - settings.shrink) * within + settings.shrink * np.trace(within) / len(within) * np.eye(len(within))
    values, vectors = np.linalg.eigh(within)
    whiten = vectors / np.sqrt(values)
    if settings.between is None:
        return np.asarray(whiten)
    spread, turn = np.linalg.eigh(np.cov((centre @ whiten).T))
    return np.asarray(whiten @ turn[:, np.argsort(spread)[::-1][: settings.between]])


def centroids(points: Floats, artist: Labels, artists: int, kept: NDArray[np.bool_]) -> Floats:
    """Unit mean direction of each artist's kept files, (artists, d); NaN for an artist without any."""
    directions = unit(points)
    means = np.full((artists, points.shape[1]), np.nan)
    for a in np.unique(artist[kept]):
        means[a] = directions[kept & (artist == a)].mean(0)
    return unit(means)


def cosines(points: Floats, centres: Floats) -> Floats:
    """Cosine of points (n, d) with artists' centres (C, d): (n, C), NaN where a centre is missing."""
    return np.asarray(unit(points) @ centres.T)


@dataclass(frozen=True)
class HeldOut:
    """One group left out of fit and centres: its rows, their unit coordinates, and the other artists' directions."""

    rows: Labels
    points: Floats
    """(rows, d) unit, out-of-sample."""
    centres: Floats
    """(C, d) unit; NaN for an artist that has no file left."""


def leave_out(gram: Floats, artist: Labels, groups: Labels, settings: Settings) -> Iterator[HeldOut]:
    """Refit without each group of files in turn.

    groups = artists gives the null of METHOD.md §4 B; groups = parts of artists (half of the works) gives genuine
    files whose works the fit has not seen.
    """
    artists = int(artist.max()) + 1
    for group in np.unique(groups):
        out = groups == group
        fitted = fit(gram, artist, ~out, settings)
        yield HeldOut(np.flatnonzero(out), unit(fitted.points[out]), centroids(fitted.points, artist, artists, ~out))


def mixture_shares(centres: Floats, x: Floats) -> Floats:
    """Non-negative least-squares weights (C,) of unit directions (C, d) for unit x (d,); NaN directions get 0."""
    there = ~np.isnan(centres[:, 0])
    shares = np.zeros(len(centres))
    shares[there] = nnls(centres[there].T, x)[0]
    return shares


def t_norm(scores: Floats) -> Floats:
    """Each row (n, C) minus its mean over its spread: how far an artist stands out for this file.  NaN stays NaN."""
    return np.asarray((scores - np.nanmean(scores, 1, keepdims=True)) / np.nanstd(scores, 1, keepdims=True))


@dataclass(frozen=True)
class Normaliser:
    """Location and spread (C,) of each artist's t-normalised scores with impostors: artists become comparable."""

    centre: Floats
    spread: Floats

    def __call__(self, cosine: Floats) -> Floats:
        """Normalised scores of cosines (n, C)."""
        return np.asarray((t_norm(cosine) - self.centre) / self.spread)


def fit_normaliser(null: Floats, artist: Labels) -> Normaliser:
    """From the leave-artist-out cosines (N, C); every impostor artist counts equally."""
    scores = t_norm(null)
    weight = artist_weights(artist, np.ones(len(artist), bool))[:, None] * ~np.isnan(scores)
    weight = weight / weight.sum(0)
    filled = np.nan_to_num(scores)
    centre = (weight * filled).sum(0)
    spread = np.sqrt((weight * (filled - centre) ** 2).sum(0))
    return Normaliser(centre, spread)


def impostor_scores(null: Floats, artist: Labels) -> Floats:
    """Normalised scores (N, C) of the leave-artist-out cosines, each file by a normaliser that has not seen its artist.

    A suspect is not among the impostors that normalise it.  Left in, an extreme file widens the very spread that it
    is measured with, the null shrinks, and strangers are accused: with 28 artists 24 % at a claimed 10 %.
    """
    scores = np.full_like(null, np.nan)
    for a in np.unique(artist):
        own = artist == a
        normaliser = fit_normaliser(null[~own], artist[~own])
        with np.errstate(invalid="ignore"):
            scores[own] = normaliser(null[own])
    return scores
