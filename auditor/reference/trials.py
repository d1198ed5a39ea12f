"""Trials: suspects whose artist is known, audited with their artist in the set and with their artist left out.

A genuine trial asks the set about a file of one of its artists; an impostor trial asks the same set, refitted without
that artist, about the same file.  All on one Gram matrix of references and suspects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auditor.embedding.fit import Settings, fit
from auditor.embedding.grams import Grams
from auditor.embedding.points import Floats, Labels, centroids, cosines
from auditor.embedding.scores import fit_normaliser, impostor_scores, lead, leads
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
    own_rank: Labels
    """Rank of the own artist in the genuine trial, 1 = first; 0 for outsiders."""
    accused: Labels
    """The artist that comes first in the impostor trial."""
    own_lead: Floats
    """How far the own artist stands out, asked about alone; NaN for outsiders."""
    own_p: Floats
    """Its open-set p-value; NaN for outsiders."""
    other_leads: Floats
    """(m, C) how far each other artist stands out, asked about alone, own artist left out; NaN in the own column."""
    other_p: Floats
    """(m, C) their open-set p-values."""

    def rows(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Trials:
        """Some of the trials."""
        return Trials(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


def run_trials(
    x: Floats, columns: Sequence[slice], reference_artist: Labels, suspect_artist: Labels, settings: Settings
) -> Trials:
    """Audit every suspect; x (n + m, D) holds the n references first, columns its blocks."""
    null, inside, without = trial_cosines(x, columns, reference_artist, suspect_artist, settings)
    return judge(null, reference_artist, inside, without, suspect_artist)


def trial_cosines(
    x: Floats, columns: Sequence[slice], reference_artist: Labels, suspect_artist: Labels, settings: Settings
) -> tuple[Floats, Floats, Floats]:
    """Cosines with the artists: of references left out with their artist (n, C), of suspects (m, C) with the whole set,
    and of suspects with their artist left out (m, C).  NaN for the artist that is left out.  Arguments as `run_trials`.
    """
    everyone = np.concatenate([reference_artist, suspect_artist])
    corpus = Corpus(x, columns, everyone, len(reference_artist), settings)
    inside = corpus.cosines(corpus.references)[corpus.n :]
    null, without = corpus.artists_left_out()
    without[suspect_artist < 0] = inside[suspect_artist < 0]
    return null, inside, without


class Corpus:
    """References and suspects together, to be seen by sets that some references were left out of."""

    def __init__(self, x: Floats, columns: Sequence[slice], artist: Labels, n: int, settings: Settings) -> None:
        """x (n + m, D): the n references first; artist (n + m,)."""
        self.n, self.artist, self.settings = n, artist, settings
        self.artists = int(artist[:n].max()) + 1
        self.references = np.arange(len(artist)) < n
        self.grams = Grams(x, columns, artist, self.references)

    def cosines(self, kept: NDArray[np.bool_]) -> Floats:
        """Of all files with the artists (n + m, C), by a set of the `kept` references."""
        fitted = fit(self.grams, kept, self.settings)
        return cosines(fitted.points, centroids(fitted.points, self.artist, self.artists, kept))

    def artists_left_out(self) -> tuple[Floats, Floats]:
        """Of references (n, C) and suspects (m, C), each by the set without its artist; NaN for outsiders."""
        found = np.full((len(self.artist), self.artists), np.nan)
        for a in range(self.artists):
            own = self.artist == a
            found[own] = self.cosines(self.references & ~own)[own]
        return found[: self.n], found[self.n :]


def run_half_out_trials(
    x: Floats,
    columns: Sequence[slice],
    reference_artist: Labels,
    reference_part: Labels,
    suspect_artist: Labels,
    suspect_part: Labels,
    settings: Settings,
) -> Trials:
    """As `run_trials`, but every genuine trial uses the whole set without the suspect's own half of its artist's works.

    Parts are numbered across artists (a part belongs to one artist); other artists keep both halves, so that the fit
    has seen how LoRAs of one artist differ from half to half, only not for this artist.
    """
    n, everyone = len(reference_artist), np.concatenate([reference_artist, suspect_artist])
    parts = np.concatenate([reference_part, suspect_part])
    corpus = Corpus(x, columns, everyone, n, settings)
    null, without = corpus.artists_left_out()
    inside, outside = np.zeros_like(without), suspect_artist < 0
    for part in np.unique(suspect_part[~outside]):
        rows = (suspect_part == part) & ~outside
        inside[rows] = corpus.cosines(corpus.references & (parts != part))[n:][rows]
    if outside.any():
        inside[outside] = without[outside] = corpus.cosines(corpus.references)[n:][outside]
    return judge(null, reference_artist, inside, without, suspect_artist)


def judge(null: Floats, reference_artist: Labels, inside: Floats, without: Floats, suspect_artist: Labels) -> Trials:
    """Cosines → normalised scores, statistics, p-values."""
    scores, outsider = fit_normaliser(null, reference_artist)(inside), suspect_artist < 0
    genuine, strange = lead(scores), impostor_scores(null, reference_artist)
    p_genuine = conformal_p(genuine, lead(strange), reference_artist)
    whole = leads(scores)
    own_column = np.arange(len(scores)), np.maximum(suspect_artist, 0)
    own_p = asked_p(whole, leads(strange), reference_artist)[own_column]
    others, other_leads, other_p = (np.full_like(without, np.nan) for _ in range(3))
    impostor, p_impostor, accused = np.zeros(len(without)), np.zeros(len(without)), np.zeros(len(without), np.intp)
    for a in np.unique(suspect_artist):
        rows = suspect_artist == a
        kept, fit_rows = np.ones(null.shape[1], bool), np.ones(len(null), bool)
        if a >= 0:  # the set as it would be without this artist: its references leave null and columns
            kept[a], fit_rows = False, reference_artist != a
        left, artist, cosine = null[np.ix_(fit_rows, kept)], reference_artist[fit_rows], without[np.ix_(rows, kept)]
        others[np.ix_(rows, kept)] = seen = fit_normaliser(left, artist)(cosine)
        impostor[rows], accused[rows] = lead(seen), np.flatnonzero(kept)[seen.argmax(1)]
        strange = impostor_scores(left, artist)
        p_impostor[rows] = conformal_p(impostor[rows], lead(strange), artist)
        place = np.ix_(rows, kept)
        other_leads[place] = ahead = leads(seen)
        other_p[place] = asked_p(ahead, leads(strange), np.searchsorted(np.flatnonzero(kept), artist))
    own = np.where(outsider, np.nan, scores[own_column])
    genuine, p_genuine = np.where(outsider, np.nan, genuine), np.where(outsider, np.nan, p_genuine)
    rank = np.where(outsider, 0, 1 + (scores > own[:, None]).sum(1))
    own_lead, own_p = (np.where(outsider, np.nan, one) for one in (whole[own_column], own_p))
    found = suspect_artist, genuine, scores.argmax(1), p_genuine, impostor, p_impostor, own, others, rank, accused
    return Trials(*found, own_lead, own_p, other_leads, other_p)


def asked_p(ahead: Floats, strange: Floats, artist: Labels) -> Floats:
    """p-values (m, C) of every artist, each asked about alone, from how far it stands out in files (m, C).

    H0: the file is not by that artist, and is exchangeable with the files (n, C) of the others, by `artist` (n,), each
    left out of the set.
    """
    found = np.empty_like(ahead)
    for a in range(ahead.shape[1]):
        others = artist != a
        found[:, a] = conformal_p(ahead[:, a], strange[others, a], artist[others])
    return found
