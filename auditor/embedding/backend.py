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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.errors import ReferenceSetError

Floats = NDArray[np.float64]
Labels = NDArray[np.intp]
LEAST_SIGNAL = 0.1  # blocks with less than this share of the best block's signal-to-noise are dropped
NOTHING = 1e-9  # blocks of which less than this share lies across the mean are the same in all files
NO_MEAN = 1e-6  # a mean with less than this share of the files' squared length has no direction to speak of


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


class Grams:
    """Gram matrices of N files' features, one for each of K blocks (a module's features of one kind).

    Each block lies in two parts, along the artist-weighted mean of the files that may ever be fitted and across it, so
    that every fit can take out the direction of its own files' mean exactly.
    """

    def __init__(self, x: Floats, columns: Sequence[slice], artist: Labels, fitted: NDArray[np.bool_]) -> None:
        """x (N, D) features; columns: K blocks; artist (N,); fitted (N,): references, the files that may be fitted."""
        mean = artist_weights(artist, fitted) @ x
        directions = [unit(mean[c]) for c in columns]
        self.along = np.stack([x[:, c] @ d for c, d in zip(columns, directions, strict=True)])
        across = (x[:, c] - np.outer(a, d) for c, a, d in zip(columns, self.along, directions, strict=True))
        self.stack = np.stack([(rest @ rest.T).astype(np.float32) for rest in across])
        self.artist, self.fitted = artist, fitted
        self.diagonal = np.einsum("kii->ki", self.stack).astype(np.float64)
        self.length = self.diagonal + self.along**2
        self.differ = self.diagonal[:, fitted].sum(1) > NOTHING * self.length[:, fitted].sum(1)
        self.sums = np.stack([g[:, fitted].sum(1, dtype=np.float64) for g in self.stack])
        self.squares = np.stack([np.square(g[:, fitted]).sum(1, dtype=np.float64) for g in self.stack])

    def combined(self, kept: NDArray[np.bool_], weigh: bool) -> tuple[Floats, Floats]:
        """Σ w_k G_k (N, N) and w (K,), learned from the kept files only; G_k without the direction of their mean.

        With g = G a the products of all files with the mean of the kept, a their weights: G - g gᵀ / aᵀg.
        """
        even = self.differ / np.maximum(self.diagonal[:, kept].sum(1), 1e-12)
        weights = self.learned(kept) if weigh else even
        if not weights.any():  # nothing separates these artists; the scores will say so
            weights = even
        used = np.flatnonzero(weights)
        w, along, share = weights[used, None], self.along[used], artist_weights(self.artist, kept)
        with_mean = (self.stack @ share.astype(np.float32))[used] + (along @ share)[:, None] * along
        length, least = with_mean @ share, NO_MEAN * (self.length[used] @ share)
        taken = np.where(length > least, 1.0 / np.maximum(length, least + 1e-300), 0.0)[:, None]
        gram = np.tensordot(weights[used].astype(np.float32), self.stack[used], 1).astype(np.float64)
        return gram + along.T @ (w * along) - with_mean.T @ (w * taken * with_mean), weights

    def learned(self, kept: NDArray[np.bool_]) -> Floats:
        """(K,) weight of each block: signal / noise², from the kept files alone; 0 where there is (nearly) no signal.

        Signal: mean inner product of two files of one artist minus that of two artists; noise: standard deviation of
        the latter.  The best linear combination of independent kernels, and one number a block: little to overfit.
        """
        count = np.bincount(self.artist[kept])
        pairs, own = int(kept.sum()) ** 2, int((count**2).sum())
        same, same_squares = self.same_artist(kept)
        every, every_squares = self.all_pairs(kept)
        alike = (same - self.diagonal[:, kept].sum(1)) / max(own - int(kept.sum()), 1)
        mean = (every - same) / (pairs - own)
        noise = (every_squares - same_squares) / (pairs - own) - mean**2
        signal = np.maximum(alike - mean, 0.0)
        share = signal / np.sqrt(np.maximum(noise, 1e-300))
        told = (share >= LEAST_SIGNAL * share.max()) & self.differ
        weights = np.where(told, signal / np.maximum(noise, 1e-300), 0.0)
        return np.asarray(weights / max(weights.max(), 1e-300))

    def all_pairs(self, kept: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Sums (K,) of the products of all pairs of kept files, and of their squares: those of all references less
        those with a file left out, so that leaving few out costs little."""
        left = np.flatnonzero(self.fitted & ~kept)
        among, squares = self.square_block(left)
        return (
            self.sums[:, self.fitted].sum(1) - 2 * self.sums[:, left].sum(1) + among,
            self.squares[:, self.fitted].sum(1) - 2 * self.squares[:, left].sum(1) + squares,
        )

    def same_artist(self, kept: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Sums (K,) of the products of pairs of kept files by one artist, each file with itself too, and of squares."""
        found = [self.square_block(np.flatnonzero(kept & (self.artist == a))) for a in distinct(self.artist[kept])]
        sums, squares = np.sum(found, axis=0)
        return sums, squares

    def square_block(self, rows: Labels) -> tuple[Floats, Floats]:
        """Sums (K,) of the products of all pairs of `rows`, and of their squares."""
        block = self.stack[:, rows[:, None], rows].astype(np.float64)
        return block.sum((1, 2)), (block**2).sum((1, 2))


STEPS = 31
"""Largest whole number of a stored projection: one signed byte an entry, which packs to less than six bits."""


@dataclass(frozen=True)
class Projection:
    """x → coordinates ((x - mean) · scale) @ steps.  mean, scale (D,); steps (D, d), of any number type."""

    mean: Floats
    scale: Floats
    steps: NDArray[Any]

    def __call__(self, x: Floats) -> Floats:
        """Coordinates (n, d) of features (n, D) or (D,), before length normalisation."""
        return self.part(np.atleast_2d(x))

    def part(self, x: Floats, columns: slice | NDArray[np.bool_] = slice(None)) -> Floats:
        """What some entries of features (n, D) give to the coordinates (n, d)."""
        centred = (x[:, columns] - self.mean[columns]) * self.scale[columns]
        return np.asarray(centred @ self.steps[columns].astype(np.float64))

    def shares(self, x: Floats, ends: Sequence[int]) -> Floats:
        """What each of K blocks of features (D,), one behind the other up to `ends`, gives to the coordinates (K, d).

        The steps become numbers block by block, in the processor's cache: all at once they would be 60 MB a suspect.
        """
        centred = (x - self.mean) * self.scale
        found = np.empty((len(ends), self.steps.shape[1]))
        numbers = np.empty((max(np.diff(ends, prepend=0), default=0), self.steps.shape[1]))
        for row, begin, end in zip(found, [0, *ends], ends, strict=False):
            here = numbers[: end - begin]
            here[:] = self.steps[begin:end]
            np.matmul(centred[begin:end], here, out=row)
        return found


def in_steps(matrix: Floats) -> tuple[Floats, NDArray[np.int8]]:
    """scale (D,) in half precision and whole steps (D, d) with matrix ≈ scale · steps, to 1/62 of each row's largest.

    A sixth of the space of float32; no cosine between the shipped references moves by more than .003.  References and
    suspects go through the same rounded matrix, so rounding turns the embedding a little and is no error of either.
    """
    largest = np.abs(matrix).max(axis=1)
    scale = np.nextafter((largest / STEPS).astype(np.float16), np.float16(np.inf)).astype(np.float64)
    return scale, np.rint(matrix / scale[:, None]).astype(np.int8)


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


def t_norm(scores: Floats) -> Floats:
    """Each row (n, C) minus its mean over its spread: how far an artist stands out for this file.  NaN stays NaN."""
    spread = np.maximum(np.nanstd(scores, 1, keepdims=True), 1e-12)  # a file as close to everybody stands out nowhere
    return np.asarray((scores - np.nanmean(scores, 1, keepdims=True)) / spread)


NEXT = 3
"""Artists behind the first that it is compared with.  With fewer, a merge of two artists hides both, since each is the
other's next (docs/decisions/0030)."""


def lead(scores: Floats, asked: Sequence[int] = ()) -> Floats:
    """How far the best of each row (n, C) stands above the mean of the next three, (n,): the open-set statistic.

    asked: artists among whom the best is looked for, above the three best of all others; none: among all.  A file that
    lies close to many is nobody's; one artist standing out is what training on its works leaves.  NaN columns are left
    out; with C < 5 there are C - 2 next ones, so that a row with one artist left out has as many.  A row without any
    artist asked about has -inf.
    """
    after = max(0, min(NEXT, scores.shape[1] - 2))
    known = np.where(np.isnan(scores), -np.inf, scores)
    every, columns = np.arange(len(known)), np.asarray(asked if len(asked) else range(known.shape[1]), np.intp)
    best = columns[np.argmax(known[:, columns], axis=1)]
    first, known[every, best] = known[every, best], -np.inf
    behind = -np.sort(np.partition(-known, max(after - 1, 0), axis=1)[:, :after], axis=1)
    behind = np.where(np.isfinite(behind), behind, np.nan)
    there = (~np.isnan(behind)).sum(1)
    return np.asarray(first - np.nansum(behind, axis=1) / np.maximum(there, 1))


def leads(scores: Floats) -> Floats:
    """`lead` of every artist (n, C), each asked about alone; NaN where the score (n, C) is."""
    after = max(0, min(NEXT, scores.shape[1] - 2))
    known = np.where(np.isnan(scores), -np.inf, scores)
    first = -np.sort(np.partition(-known, after, axis=1)[:, : after + 1], axis=1)
    there = np.isfinite(first)
    sums, counts = np.cumsum(np.where(there, first, 0.0), axis=1), np.cumsum(there, axis=1)
    if not after:
        return np.asarray(np.where(np.isnan(scores), np.nan, known))
    among = known >= first[:, [after - 1]]
    behind = np.where(among, sums[:, [after]] - np.where(among, known, 0.0), sums[:, [after - 1]])
    count = np.where(among, counts[:, [after]] - 1, counts[:, [after - 1]])
    return np.asarray(scores - behind / np.maximum(count, 1))


CROWD = 1 / 3
"""Weight of the strangers who make up an artist's crowd, where all files of one artist weigh 1."""
DISCOUNT = 0.75
"""Share of its crowd's cosine that is taken off an artist's (chosen on held-out references, docs/decisions/0029)."""


@dataclass(frozen=True)
class Normaliser:
    """Cosines → scores: what an artist's crowd, the strangers who come nearest to it, has with it as well counts less.

    An artist in whose style many work is near to outsiders too.  This is the adaptive normalisation of speaker
    verification and CSLS (Conneau et al. 2018) seen from the artist; the other half of CSLS, the file's own
    neighbours, is the same for all artists and cancels in a lead.
    """

    centre: Floats
    """(C,) `DISCOUNT` · cosine of the artist's crowd + mean of all strangers."""
    spread: float
    """Standard deviation of all strangers: one unit for all artists, so that scores read alike in every set."""

    def __call__(self, cosine: Floats) -> Floats:
        """Scores of cosines (n, C)."""
        return np.asarray((cosine - self.centre) / self.spread)


@dataclass(frozen=True)
class Strangers:
    """The files nearest to each of C artists that are by others: as many as `crowd` may need; nearest first."""

    cosine: Floats
    """(m, C)."""
    artist: Labels
    """(m, C)."""
    worth: Floats
    """(m, C) 1 / number of files of the same artist; 0 where there is no further stranger."""

    def crowd(self, without: int = -1) -> Floats:
        """Mean cosine (C,) of each artist's nearest strangers, `CROWD` of an artist's weight, none by `without`."""
        worth = np.where(self.artist == without, 0.0, self.worth)
        share = np.clip(CROWD - (np.cumsum(worth, axis=0) - worth), 0.0, worth)
        return np.asarray((share * self.cosine).sum(0) / np.maximum(share.sum(0), 1e-300))


def nearest_strangers(null: Floats, artist: Labels) -> Strangers:
    """From the leave-artist-out cosines (N, C), own column NaN."""
    files = np.bincount(artist)
    most = min(len(null), int(files.max()) + int(np.ceil(CROWD * files.max())))
    known = np.where(np.isnan(null), -np.inf, null)
    nearest = np.argpartition(-known, most - 1, axis=0)[:most]
    order = np.argsort(-np.take_along_axis(known, nearest, axis=0), axis=0, kind="stable")
    nearest = np.take_along_axis(nearest, order, axis=0)
    cosine = np.take_along_axis(known, nearest, axis=0)
    there = np.isfinite(cosine)
    return Strangers(np.where(there, cosine, 0.0), artist[nearest], np.where(there, 1.0 / files[artist[nearest]], 0.0))


def level_and_spread(scores: Floats, artist: Labels) -> tuple[float, float]:
    """Mean and standard deviation of scores (N, C) with NaN, every artist's files weighing equally on both sides."""
    seen, filled = ~np.isnan(scores), np.nan_to_num(scores)
    weight = artist_weights(artist, np.ones(len(artist), bool))[:, None] * seen
    weight = weight / weight.sum()
    level = float((weight * filled).sum())
    return level, max(float(np.sqrt((weight * (filled - level) ** 2).sum())), 1e-12)


def fit_normaliser(null: Floats, artist: Labels) -> Normaliser:
    """From the leave-artist-out cosines (N, C)."""
    return less_the_crowd(null, artist, nearest_strangers(null, artist).crowd())


def less_the_crowd(null: Floats, artist: Labels, crowd: Floats) -> Normaliser:
    """From the leave-artist-out cosines (N, C) and what each artist's crowd has with it (C,)."""
    discount = DISCOUNT * crowd
    level, spread = level_and_spread(null - discount, artist)
    return Normaliser(discount + level, spread)


def impostor_scores(null: Floats, artist: Labels) -> Floats:
    """Scores (N, C) of the leave-artist-out cosines, each file by crowds without the files of its artist.

    A suspect is in nobody's crowd.  Left in, a stranger with a twin in the set would be measured against itself, the
    null would shrink, and strangers would be accused.  The unit is the whole set's: a common factor moves no p-value.
    """
    strangers = nearest_strangers(null, artist)
    everyone = strangers.crowd()
    fitted = less_the_crowd(null, artist, everyone)
    result = np.full_like(null, np.nan)
    for a in distinct(artist):
        own = artist == a
        centre = fitted.centre + DISCOUNT * (strangers.crowd(without=a) - everyone)
        result[own] = (null[own] - centre) / fitted.spread
    return result


@dataclass(frozen=True)
class Axes:
    """The first two principal axes of some directions: `axes(points (n, d))` is places (n, 2), of one point (2,)."""

    mean: Floats
    """(d,)."""
    axes: Floats
    """(d, 2), orthonormal columns, the entry of each that is largest in size positive."""
    explained: float
    """Share of the directions' variance on them, 0 … 1."""

    def __call__(self, points: Floats) -> Floats:
        """Where points (…, d) lie on the axes (…, 2)."""
        return np.asarray((points - self.mean) @ self.axes)


def principal(directions: Floats) -> Axes:
    """Of directions (n, d).  Signs are fixed: a decomposition's own are no more than its library's habit."""
    mean = directions.mean(0)
    _, s, vt = np.linalg.svd(directions - mean, full_matrices=False)
    first = vt[:2]
    signs = np.sign(first[np.arange(len(first)), np.abs(first).argmax(1)])
    return Axes(mean, (first * signs[:, None]).T, float((s[:2] ** 2).sum() / (s**2).sum()))
