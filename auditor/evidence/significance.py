"""Is the suspect by an artist of the set, or by one who was asked about?  The open-set test, its range, the reverse.

Some artists may be asked about, of whom alone it is then said whether the file is theirs, or whether they can be ruled
out.  Ruling out asks nothing of how they came to be asked about.  For a resemblance it matters: whoever was chosen
because the pictures look alike is most often the nearest of the set, as if all had been looked through, and so the test
is of the nearest of all.  Only where the choice is `independent` of how the file looks does it test for them alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auditor.embedding.backend import Floats, Labels, artist_weights, cosines, lead
from auditor.evidence.kept import kept
from auditor.reference.set import View
from auditor.result import OpenSet
from auditor.statistics.conformal import ConformalNull, conformal_p, left_out_p, p_floor, rate_limits

CHUNK = 10_000  # resamples drawn at a time: memory stays small however many are asked for
Asked = tuple[int, ...]
"""Which artists are asked about, ascending; () is all of the set."""


def scores_of(view: View, point: Floats) -> Floats:
    """Normalised score (C,) of one point with each artist."""
    return np.asarray(view.normaliser(cosines(point, view.centres))[0])


@dataclass(frozen=True)
class Impostors:
    """References whose own artist was left out, tested for the same artists as the suspect."""

    scores: Floats
    """(n, C) normalised; own column NaN."""
    artist: Labels
    """(n,) whose each is.  Where a single artist is tested for, its own files are none: it is left out for them."""
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
    """The impostors of a view for the artists asked about, made ready once."""
    return kept(view, ("impostors", asked), partial(_impostors, view, asked))


def _impostors(view: View, asked: Asked) -> Impostors:
    if len(asked) != 1:
        return Impostors(view.null_scores, view.artist, asked)
    rows = view.artist != asked[0]
    return Impostors(view.null_scores[rows], view.artist[rows], asked)


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

    H0: the suspect comes from an artist who is none of them, and is exchangeable with the references of an artist who
    is left out of the whole fit.  Statistic: how far the first of them leads (`lead`), so that looking at many is paid
    for by the maximum over them.  `names` of the set's artists, if given, go into the result, so that readers can
    compute p again from it.  genres (C,): of the artists.  works_split: see `OpenSet`.
    """
    tested = asked if independent else ()
    scores, others = scores_of(view, point), impostors_of(view, tested)
    observed = float(lead(scores[None], tested)[0])
    groups = others.null.groups
    member, unmatched, within = 1.0, 0.0, (0.0, 1.0)
    if works_split:
        best = scores[list(asked)].max() if asked else scores.max()
        member = float(member_p(view, best, asked)[0])
        within = p_interval(members(view, asked) <= best, view, resamples, seed)
        unmatched = kept(view, ("unmatched", alpha, asked), partial(outsiders_no_match, view, alpha, asked))
    alike = lookalikes(view, best_of(scores, tested), alpha, tested) if names else {}
    alone = None
    if asked and not independent:
        alone = float(impostors_of(view, asked).null(lead(scores[None], asked))[0])
    return OpenSet(
        p=float(others.null(observed)[0]),
        p_min=p_floor(groups),
        null_artists=groups,
        statistic=observed,
        null=[round(float(v), 5) for v in others.statistic],
        alpha=alpha,
        p_interval=p_interval(others.statistic >= observed, view, resamples, seed, others.artist),
        p_member=member,
        outsiders_no_match=unmatched,
        threshold=kept(view, ("limit", alpha, tested), partial(threshold, others, alpha)),
        null_names=list(names),
        null_owner=[int(a) for a in others.artist] if names else [],
        works_split=works_split,
        lookalikes=[{"artist": names[a], "share": share} for a, share in alike.items()],
        p_member_interval=within,
        asked=[names[a] for a in asked] if names else [],
        independent=independent,
        p_if_independent=alone,
        same_genre=same_genre(others, observed, genres) if genres else None,
    )


def same_genre(others: Impostors, observed: float, genres: Sequence[str]) -> dict[str, Any] | None:
    """{genre, artists, share}: how many LoRAs by the other artists of the genre of a single artist asked about stand
    out for that artist as clearly as `observed`, 0…1, artists weighing equally; None where there are none.

    These are the strangers to expect where the choice was not quite as independent as it was said to be.
    """
    if len(others.asked) != 1 or not genres[others.asked[0]]:
        return None
    genre = genres[others.asked[0]]
    rows = np.array([genres[a] == genre for a in others.artist])
    if not rows.any():
        return None
    share = artist_weights(others.artist, rows) @ (others.statistic >= observed)
    return {"genre": genre, "artists": len(np.unique(others.artist[rows])), "share": float(share)}


def best_of(scores: Floats, asked: Asked) -> int:
    """The first artist by scores (C,) among those asked about."""
    return asked[int(np.argmax(scores[list(asked)]))] if asked else int(np.argmax(scores))


def members(view: View, asked: Asked) -> Floats:
    """The score (n,) by which a reference could be told from its own artists' files, its half of the works left out.

    Everybody asked about, the best over artists, for where a member's own score is low a neighbour's is usually the
    best; else its own artist's.  Pooled over artists: one alone has too few references to rule anybody out.
    """
    return view.genuine_scores if asked else view.member_best


def member_p(view: View, best: ArrayLike, asked: Asked = ()) -> Floats:
    """p-value (m,) of best scores (m,) among the artists asked about; small means too low for any of them.

    H0: the suspect comes from one of these artists, and is exchangeable with references whose own half of the works
    was left out, whoever of the artists it is.  Statistic: see `members`.
    """
    null = kept(view, ("members", bool(asked)), lambda: ConformalNull.of(-members(view, asked), view.artist))
    return null(-np.asarray(best, float))


def outsiders_no_match(view: View, alpha: float, asked: Asked = ()) -> float:
    """Share of LoRAs by other artists than those asked about that `member_p` tells from theirs at α; artists weigh
    equally.
    """
    others = impostors_of(view, asked)
    told = member_p(view, others.best, asked) <= alpha
    return float(artist_weights(others.artist, np.ones(len(told), bool)) @ told)


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


def threshold(others: Impostors, alpha: float) -> float | None:
    """The null value that a statistic must exceed for p ≤ alpha; None when no statistic can."""
    values = np.sort(others.statistic)
    beyond = values[conformal_p(np.nextafter(values, np.inf), others.statistic, others.artist) <= alpha]
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
