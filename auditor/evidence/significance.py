"""Is the suspect by an artist of the set, or by one who was asked about?  The open-set test and its range.

Some artists may be asked about, and only they can be named then.  Whoever was chosen because the pictures look alike is
most often the nearest of the set, as if all had been looked through, and so the test is of the nearest of all.  Only
where the choice is declared to be `independent` of the file does it test for those artists alone; the others of the set
are background then: compared with, and never named.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.embedding.points import Floats, Labels, distinct
from auditor.embedding.scores import lead
from auditor.evidence.impostors import Asked, Impostors, best_of, impostors_of, p_of, scores_of
from auditor.evidence.kept import kept
from auditor.evidence.membership import member_p, members, outsiders_no_match, own_no_match
from auditor.reference.set import View
from auditor.result import OpenSet
from auditor.statistics.conformal import conformal_p, p_floor, rate_limits

NOT_TESTED: dict[str, Any] = {"p_member": 1.0, "outsiders_no_match": 0.0}
"""Of membership, where nobody knows which works the references are of."""
CHUNK = 10_000  # resamples drawn at a time: memory stays small however many are asked for


def open_set(
    view: View,
    point: Floats,
    alpha: float,
    resamples: int,
    seed: int,
    names: Sequence[str] = (),
    *,
    genres: Sequence[str] = (),
    works_split: bool = True,
    asked: Asked = (),
    independent: bool = False,
) -> OpenSet:
    """Is the suspect by an artist of the set?  independent: by one of those `asked` about, see above.

    H0: the suspect comes from an artist who is none of them, and is exchangeable with the references of such an artist
    who is left out of the whole fit.  Statistic: how far the first of them leads (`lead`), so that looking at many is
    paid for by the maximum over them.  `names` of the set's artists, if given, go into the result, so that readers can
    compute p again from it.  genres (C,): of the artists.  works_split: see `OpenSet`.
    """
    tested = asked if independent else ()
    scores, others = scores_of(view, point), impostors_of(view, tested)
    observed = float(lead(scores[None], tested)[0])
    groups = others.null.groups
    best = float(scores[best_of(scores, asked)])
    reverse = reversed_test(view, best, alpha, resamples, seed, asked) if works_split else NOT_TESTED
    alike = lookalikes(view, best_of(scores, tested), alpha, tested) if names else {}
    return OpenSet(
        p=float(others.null(observed)[0]),
        p_min=p_floor(groups),
        null_artists=groups,
        statistic=observed,
        null=[round(float(v), 5) for v in others.statistic],
        alpha=alpha,
        p_interval=p_interval(others.statistic >= observed, view, resamples, seed, others.artist),
        threshold=kept(view, ("limit", alpha, tested), partial(threshold, others.statistic, others.artist, alpha)),
        null_names=list(names),
        null_owner=[int(a) for a in others.artist] if names else [],
        works_split=works_split,
        lookalikes=[{"artist": names[a], "share": share} for a, share in alike.items()],
        asked=[names[a] for a in asked] if names else [],
        independent=independent,
        p_otherwise=p_of(view, scores, () if independent else asked) if asked else None,
        same_genre=same_genre(others, observed, genres) if genres else None,
        **reverse,
    )


def reversed_test(view: View, best: float, alpha: float, resamples: int, seed: int, asked: Asked) -> dict[str, Any]:
    """What `OpenSet` tells of the test of membership; best: score with anybody, or with whom was asked about."""
    single = bool(asked)
    found: dict[str, Any] = {
        "p_member": float(member_p(view, best, single)[0]),
        "p_member_interval": p_interval(members(view, single) <= best, view, resamples, seed),
        "outsiders_no_match": kept(view, ("unmatched", alpha, asked), partial(outsiders_no_match, view, alpha, asked)),
        "membership": kept(view, ("membership", alpha, single), partial(membership, view, alpha, single)),
    }
    if asked:
        found["own_no_match"] = kept(view, ("own", alpha, asked), partial(own_no_match, view, alpha, asked))
    return found


def membership(view: View, alpha: float, single: bool) -> dict[str, Any]:
    """{null, owner, threshold}: what `p_member` is computed from; see `OpenSet.membership`."""
    scores = members(view, single)
    limit = threshold(-scores, view.artist, alpha)
    rounded = [round(float(score), 5) for score in scores]
    return {"null": rounded, "owner": view.artist.tolist(), "threshold": None if limit is None else -limit}


def same_genre(others: Impostors, observed: float, genres: Sequence[str]) -> dict[str, Any] | None:
    """{genre, artists, files, reached}: how many LoRAs by the other artists of the genre of a single artist tested for
    stand out for that artist as clearly as `observed`; None where there are none.

    These are the strangers to expect where the choice was not quite as independent as it was said to be.
    """
    if len(others.asked) != 1 or not genres[others.asked[0]]:
        return None
    genre = genres[others.asked[0]]
    rows = np.array([genres[a] == genre for a in others.artist])
    if not rows.any():
        return None
    reached = int(np.sum(others.statistic[rows] >= observed))
    return {"genre": genre, "artists": len(distinct(others.artist[rows])), "files": int(rows.sum()), "reached": reached}


def lookalikes(view: View, artist: int, alpha: float, asked: Asked = ()) -> dict[int, float]:
    """Whose references would be taken for `artist` by the set without these references' own artist: index → share of
    them, 0…1, most first; artists with none are left out.

    No test: it tells readers for whom the average error rate is far too low.  The mean over all pairs is the error
    rate of held-out references.
    """
    others = impostors_of(view, asked)
    taken = (others.left_out_p <= alpha) & (others.first == artist)
    shares = np.bincount(others.artist, taken, len(view.centres)) / np.maximum(np.bincount(view.artist), 1)
    return {int(a): float(shares[a]) for a in np.argsort(-shares, kind="stable") if shares[a] > 0}


def threshold(null: Floats, artist: Labels, alpha: float) -> float | None:
    """The value of a null (n,) that a statistic must exceed for p ≤ alpha; None when no statistic can.

    artist (n,): whose file each value is of.
    """
    values = np.sort(null)
    beyond = values[conformal_p(np.nextafter(values, np.inf), null, artist) <= alpha]
    return float(beyond[0]) if len(beyond) else None


def p_interval(
    reached: NDArray[np.bool_], view: View, resamples: int, seed: int, artist: Labels | None = None
) -> tuple[float, float]:
    """95 % range of the chance that a p-value estimates: how often files come as far as the suspect, 0…1.

    reached: which references of the view do (n,); artist (n,): whose they are, where they are not all of them.  The
    wider, on either side, of two: their artists drawn again (seeded), which sees how unlike they are, and the exact
    limits for so many of so many artists, which still say something where none or all of them do.
    """
    owner = view.artist if artist is None else artist
    files = np.bincount(owner)
    share = np.bincount(owner, reached)[files > 0] / files[files > 0]
    rng, sums = np.random.default_rng(seed), np.empty(resamples)
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        sums[start : start + size] = share[rng.integers(0, len(share), (size, len(share)))].sum(1)
    low, high = np.percentile((1 + sums) / (len(share) + 1), (2.5, 97.5))
    hits = float(share.sum())
    least, most = kept(view, ("limits", hits, len(share)), partial(rate_limits, hits, len(share)))
    return min(float(low), least), max(float(high), most)
