"""Cosines → scores per artist, and how far the first leads: the open-set statistic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auditor.embedding.points import Floats, Labels, artist_weights, distinct


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
