"""Trials: suspects whose artist is known, audited with their artist in the set and with their artist left out.

A genuine trial asks the set about a file of one of its artists; an impostor trial asks the same set, refitted without
that artist, about the same file.  All on one Gram matrix of references and suspects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auditor.embedding.backend import (
    Floats,
    Labels,
    Normaliser,
    Settings,
    centroids,
    fit,
    fit_normaliser,
    impostor_scores,
    leave_out,
    unit,
)
from auditor.statistics.conformal import conformal_p


@dataclass(frozen=True)
class Trials:
    """Outcome for each suspect (m,); artist = -1 marks an outsider, which has no genuine trial."""

    artist: Labels
    genuine: Floats
    """Open-set statistic with the own artist in the set; NaN for outsiders."""
    named: Labels
    """The artist that the set names in the genuine trial (for outsiders: in the impostor trial)."""
    p_genuine: Floats
    impostor: Floats
    """Open-set statistic with the own artist left out."""
    p_impostor: Floats
    own_score: Floats
    """Normalised score with the own artist; NaN for outsiders."""
    other_scores: Floats
    """(m, C) normalised scores with other artists, own artist left out; NaN in the own column."""

    def rows(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Trials:
        """Some of the trials."""
        return Trials(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


def run_trials(gram: Floats, reference_artist: Labels, suspect_artist: Labels, settings: Settings) -> Trials:
    """Audit every suspect; gram (n + m, n + m) holds the n references first."""
    n, m = len(reference_artist), len(suspect_artist)
    artists = int(reference_artist.max()) + 1
    null = np.full((n, artists), np.nan)
    without = np.full((m, artists), np.nan)
    for left in leave_out(gram[:n, :n], reference_artist, reference_artist, settings):
        null[left.rows] = left.points @ left.centres.T
    everyone = np.concatenate([reference_artist, suspect_artist])
    references = np.arange(n + m) < n
    full = fit(gram, everyone, references, settings)
    inside = unit(full.points[n:]) @ centroids(full.points, everyone, artists, references).T
    for a in np.unique(suspect_artist):
        rows = np.flatnonzero(suspect_artist == a)
        kept = references & (everyone != a)
        fitted = fit(gram, everyone, kept, settings) if a >= 0 else full
        without[rows] = unit(fitted.points[n + rows]) @ centroids(fitted.points, everyone, artists, kept).T
    return judge(null, reference_artist, inside, without, suspect_artist)


def judge(null: Floats, reference_artist: Labels, inside: Floats, without: Floats, suspect_artist: Labels) -> Trials:
    """Cosines → normalised scores, statistics, p-values."""
    normaliser = fit_normaliser(null, reference_artist)
    null_statistic = np.nanmax(impostor_scores(null, reference_artist), 1)
    scores = normaliser(inside)
    outsider = suspect_artist < 0
    genuine, p_genuine = scores.max(1), conformal_p(scores.max(1), null_statistic, reference_artist)
    others = np.full_like(without, np.nan)
    impostor, p_impostor = np.zeros(len(without)), np.zeros(len(without))
    for a in np.unique(suspect_artist):
        rows = suspect_artist == a
        kept = np.ones(null.shape[1], bool)
        normal, fit_rows = normaliser, np.ones(len(null), bool)
        if a >= 0:  # the set as it would be without this artist: its references leave null and columns
            kept[a], fit_rows = False, reference_artist != a
            shrunk = fit_normaliser(null[np.ix_(fit_rows, kept)], reference_artist[fit_rows])
            normal = Normaliser(shrunk.centre, shrunk.spread)
        seen = normal(without[np.ix_(rows, kept)])
        others[np.ix_(rows, kept)] = seen
        impostor[rows] = seen.max(1)
        reduced = np.nanmax(impostor_scores(null[np.ix_(fit_rows, kept)], reference_artist[fit_rows]), 1) if a >= 0 else null_statistic
        p_impostor[rows] = conformal_p(impostor[rows], reduced, reference_artist[fit_rows])
    own = np.where(outsider, np.nan, scores[np.arange(len(scores)), np.maximum(suspect_artist, 0)])
    genuine, p_genuine = np.where(outsider, np.nan, genuine), np.where(outsider, np.nan, p_genuine)
    return Trials(suspect_artist, genuine, scores.argmax(1), p_genuine, impostor, p_impostor, own, others)
