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
    """Cosines → normalised scores, statistics, p-values; arguments as `trial_cosines` gives them."""
    found = genuine_trials(null, reference_artist, inside, suspect_artist)
    for a in np.unique(suspect_artist):
        impostor_trials(found, suspect_artist == a, null, reference_artist, without, a)
    return found


def genuine_trials(null: Floats, reference_artist: Labels, inside: Floats, suspect_artist: Labels) -> Trials:
    """Every suspect (m,) asked about with its artist in the set; what impostor trials find is still empty."""
    scores, strange = fit_normaliser(null, reference_artist)(inside), impostor_scores(null, reference_artist)
    statistic, ahead = lead(scores), leads(scores)
    p, own_p = conformal_p(statistic, lead(strange), reference_artist), asked_p(ahead, leads(strange), reference_artist)
    outsider, own = suspect_artist < 0, (np.arange(len(scores)), np.maximum(suspect_artist, 0))

    def of_insiders(values: Floats) -> Floats:
        return np.where(outsider, np.nan, values)

    return Trials(
        artist=suspect_artist,
        genuine=of_insiders(statistic),
        named=scores.argmax(1),
        p_genuine=of_insiders(p),
        impostor=np.full(len(scores), np.nan),
        p_impostor=np.full(len(scores), np.nan),
        own_score=of_insiders(scores[own]),
        other_scores=np.full_like(scores, np.nan),
        own_rank=np.where(outsider, 0, 1 + (scores > scores[own][:, None]).sum(1)),
        accused=np.zeros(len(scores), np.intp),
        own_lead=of_insiders(ahead[own]),
        own_p=of_insiders(own_p[own]),
        other_leads=np.full_like(scores, np.nan),
        other_p=np.full_like(scores, np.nan),
    )


def impostor_trials(
    found: Trials, rows: NDArray[np.bool_], null: Floats, reference_artist: Labels, without: Floats, own: int
) -> None:
    """The suspects `rows`, all by artist `own` (-1: outsiders), asked about by the set as it would be without that
    artist: its references leave null and columns.  Fills their part of `found`.
    """
    kept, left = np.flatnonzero(np.arange(null.shape[1]) != own), reference_artist != own
    impostors, artist = null[np.ix_(left, kept)], np.searchsorted(kept, reference_artist[left])
    scores, strange = fit_normaliser(impostors, artist)(without[np.ix_(rows, kept)]), impostor_scores(impostors, artist)
    ahead, place = leads(scores), np.ix_(rows, kept)
    found.impostor[rows], found.accused[rows] = lead(scores), kept[scores.argmax(1)]
    found.p_impostor[rows] = conformal_p(found.impostor[rows], lead(strange), artist)
    found.other_scores[place], found.other_leads[place] = scores, ahead
    found.other_p[place] = asked_p(ahead, leads(strange), artist)


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
