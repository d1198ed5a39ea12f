"""Can artists be ruled out?  H0: the suspect is by one of them; small p-values mean that it scores too low for that.

Of everybody in the set (nobody asked about), or of the artists asked about.  How they came to be asked about is nothing
to this test, but its rate, too, is an average over artists: some artists' own LoRAs score low far more often than
others' (`own_no_match`).
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from auditor.embedding.points import Floats, artist_weights
from auditor.evidence.impostors import Asked, impostors_of
from auditor.evidence.kept import kept
from auditor.reference.set import View
from auditor.statistics.conformal import ConformalNull, left_out_p


def members(view: View, single: bool) -> Floats:
    """The score (n,) by which a reference is told from its own artists' files, its half of the works left out.

    single: its score with its own artist; else the best with anybody, for where a member's own score is low a
    neighbour's is usually the best.
    """
    return view.genuine_scores if single else view.member_best


def member_p(view: View, best: ArrayLike, single: bool = False) -> Floats:
    """p-value (m,) of the best score (m,) with anybody of the set, or with `single` artists asked about.

    H0: the suspect comes from an artist of the set (from one of those asked about), and is exchangeable with references
    whose own half of the works was left out.  All artists' references together: one artist has too few to rule anybody
    out, so that the rate holds for artists on average.
    """
    null = kept(view, ("members", single), lambda: ConformalNull.of(-members(view, single), view.artist))
    return null(-np.asarray(best, float))


def outsiders_no_match(view: View, alpha: float, asked: Asked = ()) -> float:
    """Share of LoRAs by other artists than those asked about (by outside artists) that are told so at α, 0…1.

    Artists weigh equally.  Who stands out when tested for alone is never ruled out (`auditor.policy.stands_out`).
    """
    others = impostors_of(view, asked)
    told = member_p(view, others.best, bool(asked)) <= alpha
    if asked:
        told &= others.left_out_p > alpha
    return float(artist_weights(others.artist, np.ones(len(told), bool)) @ told)


def own_no_match(view: View, alpha: float, asked: Asked) -> dict[str, int]:
    """{files, ruled_out}: how many of an artist's own references, their half of the works left out, have p ≤ α without
    that artist's in the null; of the artist asked about of whom the largest share has.
    """
    p = kept(view, "members left out", partial(left_out_p, -members(view, True), view.artist))
    own = [p[view.artist == a] <= alpha for a in asked]
    worst = max(own, key=lambda out: float(out.mean()))
    return {"files": len(worst), "ruled_out": int(worst.sum())}
