"""Every artist of the set against the suspect: scores, p-values, likelihood ratio, nearest file, sub-networks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from auditor.embedding.points import Floats, centroids, cosines, distinct, unit
from auditor.embedding.scores import lead, t_norm
from auditor.evidence.impostors import Asked, best_of, p_of, scores_of
from auditor.evidence.kept import kept
from auditor.evidence.membership import member_p
from auditor.reference.set import ReferenceSet, View, sub_modules
from auditor.result import ArtistScore
from auditor.statistics.conformal import ConformalNull, holm
from auditor.statistics.likelihood import LogisticCalibration, verbal


def per_artist_p(view: View, scores: Floats) -> Floats:
    """p-value (C,) of each artist.  H0: the suspect is of another artist, exchangeable with the impostors' files."""
    nulls = kept(view, "impostors of each artist", lambda: [strangers_of(view, a) for a in range(len(scores))])
    return np.array([null(score)[0] for null, score in zip(nulls, scores, strict=True)])


def strangers_of(view: View, a: int) -> ConformalNull:
    """The scores with artist `a` of all files that are not by `a`."""
    others = view.artist != a
    return ConformalNull.of(view.null_scores[others, a], view.artist[others])


def exclusion_p(view: View, scores: Floats) -> Floats:
    """p-value (C,) of excluding each artist.

    H0: the suspect is of this artist, exchangeable with references whose own half of the works was left out; pooled
    over artists, since one artist alone has too few references to exclude anybody at α.
    """
    return member_p(view, scores, single=True)


def score_spread(view: View) -> tuple[float, float]:
    """5th and 95th percentile of how a score moves when a LoRA of the same artist is trained again.

    From the held-out references: the differences between the scores of two files of an artist with that artist, in
    either order; artists weigh equally.  Other pictures, seeds and recipes are in it; a stranger's may move more.
    """
    own = [view.genuine_scores[view.artist == a] for a in distinct(view.artist)]
    moves = [(scores[:, None] - scores)[~np.eye(len(scores), dtype=bool)] for scores in own if len(scores) > 1]
    size, order = np.concatenate(moves), np.argsort(np.concatenate(moves), kind="stable")
    weight = np.concatenate([np.full(len(some), 1 / len(some) / len(moves)) for some in moves])[order]
    high = float(size[order][np.searchsorted(np.cumsum(weight), 0.95)])
    return -high, high


def artist_scores(reference: ReferenceSet, view: View, given: Floats, tested: Asked = ()) -> list[ArtistScore]:
    """Every artist of the set, closest first; p-values adjusted as in `stepwise`.  given: `View.shares`.

    tested: artists who are tested for alone; the first of them gets the larger of the open-set p-value and of its own,
    tested for without the others.  Only the first of all, or a single artist tested for, has a likelihood ratio.
    """
    point = given.sum(0, keepdims=True)
    scores = scores_of(view, point)
    low, high = kept(view, "score spread", lambda: score_spread(view))
    against = per_artist_p(view, scores)
    excluded = exclusion_p(view, scores) if reference.works_split else np.ones(len(scores))
    statistic, best = float(lead(scores[None], tested)[0]), best_of(scores, tested)
    p_open = p_of(view, scores, tested)
    if tested:  # rejecting "none of them" does not say which: the artist's own test does
        adjusted = holm(against)
        adjusted[best] = max(p_open, p_of(view, scores, (best,)))
    else:
        adjusted = stepwise(against, scores, p_open)
    calibration, other_works = calibrations(view, tested)
    ratio = float(calibration.log10_lr(statistic)) if calibration else None
    other = float(other_works.log10_lr(statistic)) if other_works and reference.works_split else None
    nearest = nearest_references(reference, view, point)
    parts = subnetwork_scores(view, given)
    order = np.argsort(-scores, kind="stable")
    return [
        ArtistScore(
            artist=reference.artists[a],
            genre=reference.genres[a],
            score=float(scores[a]),
            interval=(float(scores[a]) + low, float(scores[a]) + high),
            rank=rank,
            p=float(adjusted[a]),
            p_exclusion=float(excluded[a]),
            log10_lr=ratio if a == best else None,
            lr_bound=calibration.limit_of(ratio) if calibration and ratio is not None and a == best else None,
            verbal=verbal(ratio, "other" if tested else "outside") if ratio is not None and a == best else None,
            nearest_reference=nearest[a],
            subnetworks={name: float(values[a]) for name, values in parts.items()},
            log10_lr_other_works=other if a == best else None,
        )
        for rank, a in enumerate(order, start=1)
    ]


def without_claims(ranked: list[ArtistScore]) -> list[ArtistScore]:
    """The scores of a file that the set cannot speak about: no likelihood ratio, and nobody excluded."""
    return [
        replace(one, p_exclusion=1.0, log10_lr=None, lr_bound=None, verbal=None, log10_lr_other_works=None)
        for one in ranked
    ]


def calibrations(view: View, tested: Asked) -> tuple[LogisticCalibration | None, LogisticCalibration | None]:
    """What makes likelihood ratios, of any works and of other works than the references', of whom is tested for."""
    if not tested:
        return view.calibration, view.other_works
    return (view.asked, view.asked_other_works) if len(tested) == 1 else (None, None)


def largest_ratio(view: View, tested: Asked) -> float | None:
    """The largest log10 likelihood ratio of any file, of whom is tested for; None where there is none."""
    calibration = calibrations(view, tested)[0]
    return calibration.limits[1] if calibration else None


def stepwise(raw: Floats, scores: Floats, p_open: float) -> Floats:
    """Adjusted p-value (C,) of each artist, named only after the open-set test.

    The first artist gets the larger of its own p and the open-set p, which is asked of whoever comes first: an outsider
    is named no more often than the open-set test rejects, and looking through all artists costs nothing more.  The
    others get Holm's, kept monotone in the score.
    """
    adjusted = holm(raw)
    best = int(np.argmax(scores))
    adjusted[best] = max(float(raw[best]), p_open)
    order = np.argsort(-scores, kind="stable")
    adjusted[order] = np.maximum.accumulate(adjusted[order])
    return adjusted


def nearest_references(reference: ReferenceSet, view: View, point: Floats) -> list[str]:
    """File name of each artist's closest reference."""
    closeness = unit(view.points) @ unit(point)[0]
    own = kept(view, "rows", lambda: [np.flatnonzero(view.artist == a) for a in range(len(view.centres))])
    best = (view.rows[rows[np.argmax(closeness[rows])]] for rows in own)
    return [reference.manifest["references"][r]["file"] for r in best]


def subnetwork_scores(view: View, given: Floats) -> dict[str, Floats]:
    """t-normalised scores (C,) from one sub-network's modules alone; given (modules, d): `View.shares`."""
    found = {}
    for name in view.parts:
        mine, centres = kept(view, ("sub-network", name), partial(_subnetwork, view, name))
        found[name] = t_norm(cosines(given[mine].sum(0, keepdims=True), centres))[0]
    return found


def _subnetwork(view: View, name: str) -> tuple[NDArray[np.bool_], Floats]:
    """Which modules are a sub-network's, and the artists' directions in them."""
    mine = sub_modules(view.bases, name)
    everyone = np.ones(len(view.artist), bool)
    return mine, centroids(view.parts[name], view.artist, len(view.centres), everyone)
