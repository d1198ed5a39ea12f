"""What everybody else's files look like: references whose own artist was left out, tested as a suspect is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from auditor.embedding.points import Floats, Labels, cosines
from auditor.embedding.scores import lead
from auditor.evidence.kept import kept
from auditor.reference.set import View
from auditor.statistics.conformal import ConformalNull, left_out_p

Asked = tuple[int, ...]
"""Which artists are asked about, ascending; () is all of the set."""


def scores_of(view: View, point: Floats) -> Floats:
    """Normalised score (C,) of one point with each artist."""
    return np.asarray(view.normaliser(cosines(point, view.centres))[0])


def best_of(scores: Floats, asked: Asked) -> int:
    """The first artist by scores (C,) among those asked about."""
    return asked[int(np.argmax(scores[list(asked)]))] if asked else int(np.argmax(scores))


@dataclass(frozen=True)
class Impostors:
    """References of artists who are not asked about, their own artist left out, tested for those who are."""

    scores: Floats
    """(n, C) normalised; own column NaN."""
    artist: Labels
    """(n,) whose each is."""
    asked: Asked

    @cached_property
    def statistic(self) -> Floats:
        """(n,) see `open_set`."""
        return lead(self.scores, self.asked)

    @cached_property
    def first(self) -> Labels:
        """(n,) the artist of the set who comes first, asked about or not."""
        return np.asarray(np.nanargmax(self.scores, axis=1), dtype=np.intp)

    @cached_property
    def best(self) -> Floats:
        """(n,) the best score among the artists asked about."""
        return np.asarray(np.nanmax(self.scores[:, list(self.asked)] if self.asked else self.scores, axis=1))

    @cached_property
    def left_out_p(self) -> Floats:
        """(n,) p-value of each by the set without its artist, who is in no null then."""
        return left_out_p(self.statistic, self.artist)

    @cached_property
    def null(self) -> ConformalNull:
        """The null of the open-set test."""
        return ConformalNull.of(self.statistic, self.artist)


def impostors_of(view: View, asked: Asked = ()) -> Impostors:
    """The impostors of a view for the artists asked about, or for all (everybody's references), made ready once."""
    return kept(view, ("impostors", asked), partial(_impostors, view, asked))


def _impostors(view: View, asked: Asked) -> Impostors:
    if not asked:
        return Impostors(view.null_scores, view.artist, asked)
    rows = ~np.isin(view.artist, asked)
    return Impostors(view.null_scores[rows], view.artist[rows], asked)


def p_of(view: View, scores: Floats, tested: Asked) -> float:
    """The open-set p-value of a suspect with these scores (C,), tested for some artists or for all."""
    return float(impostors_of(view, tested).null(lead(scores[None], tested))[0])
