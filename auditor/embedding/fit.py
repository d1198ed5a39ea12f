"""Features → calibrated coordinates → scores per artist: the back end of speaker verification, in Gram space.

Each block without the direction of the references' mean, PCA, within-artist covariance normalisation with shrinkage,
length normalisation, cosine with each artist's mean direction, normalisation of scores.  With N references and D ≫ N
features everything is done on the N×N Gram matrix, so that leaving an artist out is an exact refit at the price of one
N×N eigenproblem, and a left-out file's coordinates are out-of-sample coordinates, just as a suspect's are (the cure of
projection drift, METHOD.md §3).

Why the direction and not the mean itself: a trainer that leaves less of everything in a block (a Kronecker product, a
layer that was not adapted, noise) has less of the mean too, and what it lacks of it, the same for all its files, would
outweigh the artist (docs/decisions/0032).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auditor.embedding.grams import NO_MEAN, Grams
from auditor.embedding.points import Floats, Labels, artist_weights, centroids, unit
from auditor.errors import ReferenceSetError


@dataclass(frozen=True)
class Settings:
    """What changes the fit."""

    components: int = 300
    """PCA dimensions."""
    shrink: float = 0.5
    """Weight of the identity in the within-artist covariance, 0…1; 1 = no within-artist normalisation."""
    weigh: bool = True
    """Weigh blocks of features by how well they separate the references' artists."""


@dataclass(frozen=True)
class Fit:
    """A fitted projection: coordinates of all N files, and what maps features to them.

    points: (N, d), not yet of unit length, fitted and left-out files alike; coefficients: (N, d), zero for left-out
    files; weight: (N,), mean = weight @ X; blocks: (K,), w of each block.
    """

    points: Floats
    coefficients: Floats
    weight: Floats
    blocks: Floats

    def matrix(self, x: Floats, columns: Sequence[slice]) -> Floats:
        """(D, d) with points = (X - mean) @ matrix, of the features (N, D) and blocks that were fitted.

        In every block it is orthogonal to the mean: points = X @ matrix as well.
        """
        found, mean = x.T @ self.coefficients, self.weight @ x
        square = np.einsum("n,nd,nd->d", self.weight, x, x)
        for block, w in zip(columns, self.blocks, strict=True):
            there = mean[block] @ mean[block] > NO_MEAN * square[block].sum()
            direction = unit(mean[block]) * there
            found[block] = w * (found[block] - np.outer(direction, direction @ found[block]))
        return np.asarray(found)


def fit(grams: Grams, kept: NDArray[np.bool_], settings: Settings) -> Fit:
    """Block weights, PCA, shrunken within-artist whitening, leading discriminants: fitted on the `kept` files only.

    Raises ReferenceSetError where the kept files do not differ, or are of a single artist.
    """
    artist = grams.artist
    if len(np.unique(artist[kept])) < 2:
        raise indistinguishable()
    gram, blocks = grams.combined(kept, settings.weigh)
    weight = artist_weights(artist, kept)
    row = gram @ weight  # zero but for single precision, which would be an axis of its own
    gram = gram - row[:, None] - row[None, :] + weight @ row
    root = np.sqrt(weight[kept])
    values, vectors = np.linalg.eigh(gram[np.ix_(kept, kept)] * root[:, None] * root[None, :])
    if not values[-1] > 1e-12 * float(weight @ np.diag(gram)):
        raise indistinguishable()
    top = np.argsort(values)[::-1][: settings.components]
    top = top[values[top] > 1e-9 * values[top[0]]]
    axes = np.zeros((len(gram), len(top)))
    axes[kept] = root[:, None] * vectors[:, top] / np.sqrt(values[top])
    y = gram @ axes
    turn = within_whitening(y[kept], artist[kept], settings)
    return Fit(y @ turn, axes @ turn, weight, blocks)


def indistinguishable() -> ReferenceSetError:
    """References that nothing can be learned from."""
    return ReferenceSetError(
        "These references cannot be told apart: their features are the same, or all are of one artist.",
        advice="Give trained LoRAs of several artists; `audit inspect FILE` shows what a file holds.",
    )


def within_whitening(y: Floats, artist: Labels, settings: Settings) -> Floats:
    """(k, d) map under which the shrunken within-artist covariance of y (n, k) is the identity, d = artists - 1.

    Covariance: (1 - shrink) · S_w + shrink · (mean variance) · I; of the whitened axes the leading discriminants stay.
    Where no artist has two differing files there is no within-artist variance to remove, and the axes are only turned.
    """
    names, member, count = np.unique(artist, return_inverse=True, return_counts=True)
    centre = np.stack([y[member == i].mean(0) for i in range(len(names))])
    rest = (y - centre[member]) / np.sqrt(np.maximum(count[member] - 1, 1) * len(names))[:, None]
    within = rest.T @ rest
    if not np.trace(within) > 1e-12 * np.sum(y**2) / len(y):
        within = np.eye(len(within))
    within = (1 - settings.shrink) * within + settings.shrink * np.trace(within) / len(within) * np.eye(len(within))
    values, vectors = np.linalg.eigh(within)
    whiten = vectors / np.sqrt(values)
    spread, turn = np.linalg.eigh(np.atleast_2d(np.cov((centre @ whiten).T)))
    return np.asarray(whiten @ turn[:, np.argsort(spread)[::-1][: len(names) - 1]])


@dataclass(frozen=True)
class HeldOut:
    """One group left out of fit and centres: its rows, their unit coordinates, and the other artists' directions."""

    rows: Labels
    points: Floats
    """(rows, d) unit, out-of-sample."""
    centres: Floats
    """(C, d), see `centroids`; NaN for an artist that has no file left."""


def leave_out(grams: Grams, groups: Labels, settings: Settings) -> Iterator[HeldOut]:
    """Refit without each group of files in turn.

    groups = artists gives the null of METHOD.md §4 B; groups = parts of artists (half of the works) gives genuine
    files whose works the fit has not seen.
    """
    artist = grams.artist
    artists = int(artist.max()) + 1
    for group in np.unique(groups):
        out = groups == group
        fitted = fit(grams, ~out, settings)
        yield HeldOut(np.flatnonzero(out), unit(fitted.points[out]), centroids(fitted.points, artist, artists, ~out))


def left_out_cosines(grams: Grams, groups: Labels, settings: Settings) -> Floats:
    """Cosines (N, C) of every file with the artists, by the fit without the file's group (N,); all N are references.

    NaN for an artist that has no file left.
    """
    found = np.full((len(grams.artist), int(grams.artist.max()) + 1), np.nan)
    for left in leave_out(grams, groups, settings):
        found[left.rows] = left.points @ left.centres.T
    return found
