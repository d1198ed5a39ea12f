"""Which artists of the set does the suspect carry, and in what shares?"""

from __future__ import annotations

from typing import Any

import numpy as np

from auditor.embedding.points import Floats, Labels, cosines, unit
from auditor.embedding.scores import Normaliser, fit_normaliser, impostor_scores, lead
from auditor.evidence.impostors import impostors_of
from auditor.evidence.kept import kept
from auditor.reference.set import ReferenceSet, View
from auditor.statistics.conformal import ConformalNull
from auditor.statistics.mixture import shares, taken_out

MOST_PARTS = 5  # artists that are looked for in one file


def mixture(reference: ReferenceSet, view: View, point: Floats, alpha: float) -> list[dict[str, Any]]:
    """Artists of the set that the suspect carries, strongest first: {artist, share, p} each; empty if none is found.

    Found one after another (see `strongest_left`), each at α, so that the chance of naming any artist who is not in a
    file stays at α: the first wrong name needs a first wrong rejection.  p: H0, what the artists before it leave of
    the suspect comes from artists outside the set.
    """
    cosine, gram = cosines(point, view.centres), view.centres @ view.centres.T
    found: list[int] = []
    p = [0.0]
    while len(found) < min(MOST_PARTS, len(gram) - 3):
        artist, value = strongest_left(view, cosine, gram, found)
        if value > alpha:
            break
        found.append(artist)
        p.append(max(p[-1], value))
    rows = zip(found, strengths(view, point, found), p[1:], strict=True)
    return [{"artist": reference.artists[a], "share": float(s), "p": v} for a, s, v in rows]


def strongest_left(view: View, cosine: Floats, gram: Floats, found: list[int]) -> tuple[int, float]:
    """The artist nearest to what is left of a suspect without the directions of the artists `found`, and its p-value.

    H0: what is left comes from artists outside the set, and is exchangeable with references whose own artist was left
    out, treated alike.  cosine (1, C): of the suspect; gram (C, C): of the artists' directions.  With nothing found
    yet this is the open-set test.
    """
    if not found:
        best = np.argmax(view.normaliser(cosine)[0])
        return int(best), float(impostors_of(view).null(view.statistic(cosine))[0])
    left = np.setdiff1d(np.arange(len(gram)), found)
    without = sorted(found)  # what is left does not depend on who was found first
    normaliser, null = kept(view, ("left", *without), lambda: null_left(view, gram, without, left))
    scores = normaliser(taken_out(cosine, gram, without)[:, left])
    return int(left[np.argmax(scores[0])]), float(null(lead(scores))[0])


def null_left(view: View, gram: Floats, found: list[int], left: Labels) -> tuple[Normaliser, ConformalNull]:
    """How references of the artists `left` score without the directions `found`: the null of `strongest_left`."""
    rows = np.isin(view.artist, left)
    null, artist = taken_out(view.null[rows], gram, found)[:, left], np.searchsorted(left, view.artist[rows])
    return fit_normaliser(null, artist), ConformalNull.of(lead(impostor_scores(null, artist)), artist)


def strengths(view: View, point: Floats, found: list[int]) -> Floats:
    """Share (len(found),) of each artist, 0…1, sum ≤ 1: non-negative least squares on their directions.

    1 is how far a held-out LoRA of one artist alone goes in its artist's direction (median over references).  What is
    missing to a sum of 1 is unexplained: training noise, or artists outside the set.
    """
    directions = unit(view.centres)
    own = np.arange(len(view.artist)), view.artist
    alone = float(np.nanmedian(view.genuine[own] / np.linalg.norm(view.centres, axis=1)[view.artist]))
    part = shares(directions[found], unit(point)[0]) / max(alone, 1e-12)
    return part / max(1.0, float(part.sum()))
