"""Is the suspect of the set at all?  The open-set test, its range, and the test of membership."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auditor.embedding.backend import Floats, artist_weights, cosines, lead
from auditor.evidence.kept import kept
from auditor.reference.set import View
from auditor.result import OpenSet
from auditor.statistics.conformal import ConformalNull, conformal_p, p_floor, rate_limits

CHUNK = 10_000  # resamples drawn at a time: memory stays small however many are asked for


def scores_of(view: View, point: Floats) -> Floats:
    """Normalised score (C,) of one point with each artist."""
    return np.asarray(view.normaliser(cosines(point, view.centres))[0])


def null_of(view: View) -> ConformalNull:
    """The null of the open-set test, made ready once."""
    return kept(view, "null", lambda: ConformalNull.of(view.null_statistic, view.artist))


def open_set(
    view: View,
    point: Floats,
    alpha: float,
    resamples: int,
    seed: int,
    names: Sequence[str] = (),
    *,
    works_split: bool = True,
) -> OpenSet:
    """Is the suspect of the set at all?

    H0: the suspect comes from an artist outside the set, and is exchangeable with the references of an artist who is
    left out of the whole fit.  Statistic: how far the first artist's score leads (`lead`).  `names` of the
    artists, if given, go into the result, so that readers can compute p again from it.  works_split: see `OpenSet`.
    """
    scores = scores_of(view, point)
    observed = float(lead(scores[None])[0])
    p = float(null_of(view)(observed)[0])
    groups = null_of(view).groups
    null = [round(float(v), 5) for v in view.null_statistic]
    interval = p_interval(view.null_statistic >= observed, view, resamples, seed)
    limit = kept(view, ("limit", alpha), partial(threshold, view, alpha))
    owners = [int(a) for a in view.artist] if names else []
    member, unmatched, within = 1.0, 0.0, (0.0, 1.0)
    if works_split:
        member = float(member_p(view, scores.max())[0])
        within = p_interval(view.member_best <= scores.max(), view, resamples, seed)
        unmatched = kept(view, ("unmatched", alpha), partial(outsiders_no_match, view, alpha))
    figures = p, p_floor(groups), groups, observed, null, alpha, interval, member, unmatched
    alike = lookalikes(view, int(np.argmax(scores)), alpha) if names else {}
    taken = [{"artist": names[a], "share": share} for a, share in alike.items()]
    return OpenSet(*figures, limit, list(names), owners, works_split, taken, within)


def member_p(view: View, best: ArrayLike) -> Floats:
    """p-value (m,) of best scores (m,); small means too low for any artist of the set.

    H0: the suspect comes from an artist of the set, and is exchangeable with references whose own half of the works
    was left out, whoever of the artists it is.  Statistic: the best normalised score over artists, so that one test
    answers for all of them: where a member's own score is low, a neighbour's is usually the best.
    """
    null = kept(view, "members", lambda: ConformalNull.of(-view.member_best, view.artist))
    return null(-np.asarray(best, float))


def outsiders_no_match(view: View, alpha: float) -> float:
    """Share of LoRAs by outside artists that `member_p` tells from the set's own at α; artists weigh equally."""
    told = member_p(view, view.null_best) <= alpha
    return float(artist_weights(view.artist, np.ones(len(told), bool)) @ told)


def lookalikes(view: View, artist: int, alpha: float) -> dict[int, float]:
    """Whose references would be taken for `artist` by the set without these references' own artist: index → share of
    them, 0…1, most first; artists with none are left out.

    No test: it tells readers for whom the average error rate is far too low.  The mean over all pairs is the error
    rate of held-out references.
    """
    taken = (view.left_out_p <= alpha) & (view.null_first == artist)
    shares = np.bincount(view.artist, taken, len(view.centres)) / np.maximum(np.bincount(view.artist), 1)
    return {int(a): float(shares[a]) for a in np.argsort(-shares, kind="stable") if shares[a] > 0}


def threshold(view: View, alpha: float) -> float | None:
    """The null value that a statistic must exceed for p ≤ alpha; None when no statistic can."""
    values = np.sort(view.null_statistic)
    beyond = values[conformal_p(np.nextafter(values, np.inf), view.null_statistic, view.artist) <= alpha]
    return float(beyond[0]) if len(beyond) else None


def p_interval(reached: NDArray[np.bool_], view: View, resamples: int, seed: int) -> tuple[float, float]:
    """95 % range of the chance that a p-value estimates: how often files come as far as the suspect, 0…1.

    reached: which of the view's references do (n,).  The wider, on either side, of two: their artists drawn again
    (seeded), which sees how unlike they are, and the exact limits for so many of so many artists, which still say
    something where none or all of them do.
    """
    share = np.bincount(view.artist, reached) / np.bincount(view.artist)
    rng, sums = np.random.default_rng(seed), np.empty(resamples)
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        sums[start : start + size] = share[rng.integers(0, len(share), (size, len(share)))].sum(1)
    low, high = np.percentile((1 + sums) / (len(share) + 1), (2.5, 97.5))
    hits = float(share.sum())
    least, most = kept(view, ("limits", hits), partial(rate_limits, hits, len(share)))
    return min(float(low), least), max(float(high), most)
