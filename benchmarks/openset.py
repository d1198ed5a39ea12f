"""Which statistic tells best that an artist is of the set?  `python benchmarks/openset.py LORAS` prints a table.

One protocol, one embedding, the cosines computed once; what changes from row to row is how a file's cosines with the
artists become scores, and scores become one figure.  Each statistic's null is the same figure of references whose own
artist was left out of fit, normalisation and spread.  Found: right artist first and p ≤ .05; in brackets false
attribution, the suspects' own artist left out.  The last row is chosen honestly: on each fold of artists stands the
statistic that found most, over all columns, on the other folds' artists.  Decisions 0026 and 0027 rest on this table.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from study import Table, add_to_card, printed

from auditor.embedding.backend import (
    CLOSENESS,
    Floats,
    Labels,
    fit_normaliser,
    impostor_scores,
    lead,
    measures,
    normaliser_of,
    quartiles,
    t_norm,
)
from auditor.reference.build import DIRECTIONS
from auditor.reference.calibrate import SETTINGS, VIEWS, view_modules
from auditor.reference.protocol import (
    Fold,
    all_modules,
    embedding_matrix,
    filled,
    is_reference,
    kind_of_recipe,
    make_fold,
    read_corpus,
)
from auditor.reference.trials import trial_cosines
from auditor.statistics.conformal import conformal_p
from auditor.statistics.metrics import auc

ALPHA = 0.05
NEIGHBOURS = 5  # of CSLS
FOLDS = 5

Scorer = Callable[[Floats], Floats]
"""Cosines (n, C) → scores (n, C)."""
Normalisation = Callable[[Floats, Labels], Scorer]
"""Fitted on the leave-artist-out cosines (N, C) of files by artists (N,)."""


def plain(null: Floats, artist: Labels) -> Scorer:
    """No normalisation."""
    return lambda cosine: cosine


def by_artist(null: Floats, artist: Labels) -> Scorer:
    """z-norm: each artist's cosines with strangers to mean 0 and spread 1."""
    fitted = normaliser_of(np.nan_to_num(null), ~np.isnan(null), artist)
    return lambda cosine: (cosine - fitted.centre) / fitted.spread


def by_file(null: Floats, artist: Labels) -> Scorer:
    """t-norm: each file's cosines to mean 0 and spread 1."""
    return t_norm


def csls(null: Floats, artist: Labels) -> Scorer:
    """2 cos - mean of the file's five nearest artists - mean of the artist's five nearest strangers."""
    crowd = np.nanmean(-np.sort(-np.nan_to_num(null, nan=-9), axis=0)[:NEIGHBOURS], axis=0)
    return lambda cosine: 2 * cosine - nearest(cosine)[:, None] - crowd


def nearest(cosine: Floats) -> Floats:
    """Mean of each row's five largest (n,)."""
    return np.asarray(-np.sort(-np.nan_to_num(cosine, nan=-9), axis=1)[:, :NEIGHBOURS].mean(1))


def ahead(scores: Floats, after: int) -> Floats:
    """How far the best of each row (n, C) is above the mean of the next `after`."""
    ranked = -np.sort(-np.nan_to_num(scores, nan=-99), axis=1)
    return np.asarray(ranked[:, 0] - ranked[:, 1 : 1 + after].mean(1))


def best(scores: Floats) -> Floats:
    """The best of each row."""
    return np.asarray(np.nanmax(scores, axis=1))


@dataclass(frozen=True)
class Judged:
    """Statistic of null files (N,) and of suspects (n,), and who is first among the suspects' artists (n,)."""

    null: Floats
    suspects: Floats
    first: Labels


Statistic = Callable[[Floats, Labels, Floats], Judged]
"""Null cosines (N, C), their artists (N,), suspects' cosines (n, C)."""


def of_scores(normalise: Normalisation, reduce: Callable[[Floats], Floats]) -> Statistic:
    """A figure of scores alone."""

    def judged(null: Floats, artist: Labels, cosine: Floats) -> Judged:
        seen = np.full_like(null, np.nan)
        for a in np.unique(artist):
            own = artist == a
            seen[own] = normalise(null[~own], artist[~own])(null[own])
        scores = normalise(null, artist)(cosine)
        return Judged(reduce(seen), reduce(scores), np.nanargmax(scores, axis=1))

    return judged


def of_both(factor: float) -> Statistic:
    """The larger of lead and closeness, closeness times `factor` (`auditor.embedding.backend.Prominence`)."""

    def judged(null: Floats, artist: Labels, cosine: Floats) -> Judged:
        weight, result = np.array([1.0, factor / CLOSENESS]), np.empty(len(null))
        seen, everyone = measures(impostor_scores(null, artist), null), np.ones(len(null), bool)
        for a in np.unique(artist):
            centre, spread = quartiles(seen, artist, artist != a)
            result[artist == a] = ((seen[artist == a] - centre) / spread * weight).max(1)
        centre, spread = quartiles(seen, artist, everyone)
        scores = fit_normaliser(null, artist)(cosine)
        found = ((measures(scores, cosine) - centre) / spread * weight).max(1)
        return Judged(result, found, np.nanargmax(scores, axis=1))

    return judged


STATISTICS: dict[str, Statistic] = {
    "default: lead or closeness": of_both(CLOSENESS),
    "lead over the next three": of_scores(fit_normaliser, lead),
    "lead over the next": of_scores(fit_normaliser, partial(ahead, after=1)),
    "lead over the next five": of_scores(fit_normaliser, partial(ahead, after=5)),
    "lead over the next twenty": of_scores(fit_normaliser, partial(ahead, after=20)),
    "best score": of_scores(fit_normaliser, best),
    "best score, normalised by artist": of_scores(by_artist, best),
    "best score, normalised by file": of_scores(by_file, best),
    "best cosine": of_scores(plain, best),
    "best by CSLS": of_scores(csls, best),
    "lead over the next three by CSLS": of_scores(csls, lead),
    **{f"lead or closeness, factor {f:g}": of_both(f) for f in (0.8, 1.0, 1.25, 1.5, 2.0)},
}


@dataclass(frozen=True)
class Asked:
    """One fit's cosines and its suspects."""

    fold: Fold
    null: Floats
    inside: Floats
    without: Floats


def asked(fold: Fold, modules: list[str]) -> Asked:
    """Cosines of a fold's files that adapt all `modules`."""
    seen = filled(fold, modules)
    x, columns = embedding_matrix(k=DIRECTIONS)(seen, modules)
    return Asked(seen, *trial_cosines(x, columns, seen.reference_artist, seen.suspect_artist, SETTINGS))


@dataclass(frozen=True)
class Outcome:
    """Suspects of one kind (n,): their artists, whether each was found, and whether it was attributed to another."""

    artist: Labels
    found: NDArray[np.bool_]
    wrong: NDArray[np.bool_]
    auc: float

    def shares(self, artists: Labels) -> tuple[float, float]:
        """Found and false attribution among the suspects by some artists."""
        rows = np.isin(self.artist, artists)
        return float(self.found[rows].mean()), float(self.wrong[rows].mean())


def outcome(statistic: Statistic, trials: list[Asked], works: str, recipe: str) -> Outcome:
    """All suspects of one kind."""
    whose, genuine, impostor, found, wrong = [], [], [], [], []
    for one in trials:
        artist, own = one.fold.reference_artist, one.fold.suspect_artist
        rows = (one.fold.works == works) & (one.fold.recipe == recipe) & (own >= 0)
        if not rows.any():
            continue
        judged = statistic(one.null, artist, one.inside[rows])
        genuine.append(judged.suspects)
        hits = (judged.first == own[rows]) & (conformal_p(judged.suspects, judged.null, artist) <= ALPHA)
        for a in np.unique(own[rows]):
            left, others = artist != a, np.arange(one.null.shape[1]) != a
            relabelled = artist[left] - (artist[left] > a)
            cosine = one.without[np.ix_(rows & (own == a), others)]
            alone = statistic(one.null[np.ix_(left, others)], relabelled, cosine)
            impostor.append(alone.suspects)
            wrong.append(conformal_p(alone.suspects, alone.null, relabelled) <= ALPHA)
            whose.append(np.full(len(cosine), a))
            found.append(hits[own[rows] == a])
    area = auc(np.concatenate(genuine), np.concatenate(impostor))
    return Outcome(np.concatenate(whose), np.concatenate(found), np.concatenate(wrong), area)


KINDS = {
    "other works": ("other", "other"),
    "other works, reference": ("other", "reference"),
    "same works, other": ("same", "other"),
    "same works, foreign": ("same", "foreign"),
    "whole set, other": ("whole set", "other"),
    "whole set, foreign": ("whole set", "foreign"),
}
"""Column → works and recipe of its suspects."""
Outcomes = dict[str, Outcome]


def value(found: Outcomes, artists: Labels) -> float:
    """Mean share found over all kinds; nothing for a statistic that attributes more than α of strangers."""
    shares = np.array([one.shares(artists) for one in found.values()])
    return float(shares[:, 0].mean()) if shares[:, 1].mean() <= ALPHA else 0.0


def chosen_elsewhere(table: dict[str, Outcomes], artists: int, seed: int) -> tuple[dict[str, str | float], list[str]]:
    """A row of shares, on each fold of artists by the statistic that was best on the others; and these statistics."""
    folds = np.array_split(np.random.default_rng(seed).permutation(artists), FOLDS)
    best = [max(table, key=lambda n: value(table[n], np.setdiff1d(np.arange(artists), fold))) for fold in folds]
    row: dict[str, str | float] = {"statistic": "chosen on other artists"}
    for kind in KINDS:
        pairs = [(table[name][kind], np.isin(table[name][kind].artist, f)) for name, f in zip(best, folds, strict=True)]
        found = np.concatenate([one.found[rows] for one, rows in pairs])
        row[kind] = shown(float(found.mean()), float(np.concatenate([one.wrong[rows] for one, rows in pairs]).mean()))
    return row, best


def shown(found: float, wrong: float) -> str:
    """A cell."""
    return f"{found:.2f} ({wrong:.2f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("loras", type=Path)
    parser.add_argument("--card", type=Path, help="card.json to add the table to")
    parser.add_argument("--seed", type=int, default=0, help="of the folds")
    given = parser.parse_args()
    corpus = [one for one in read_corpus(given.loras) if kind_of_recipe(one) != "far"]
    halves = [make_fold(corpus, half, crossed=True) for half in "ab"]
    together = [r for r in corpus if is_reference(r)], [s for s in corpus if not is_reference(s)]
    names, kinds = halves[0].artists, np.array([kind_of_recipe(s) for s in together[1]])
    whole = Fold(*together, names, np.full(len(kinds), "whole set"), kinds)
    modules = view_modules(all_modules(corpus), VIEWS["all"])
    trials = [asked(fold, modules) for fold in (*halves, whole)]
    table = {n: {kind: outcome(of, trials, *which) for kind, which in KINDS.items()} for n, of in STATISTICS.items()}
    everybody = np.arange(len(names))
    rows: Table = []
    for name, found in table.items():
        row: dict[str, str | float] = {"statistic": name}
        row |= {kind: shown(*one.shares(everybody)) for kind, one in found.items()}
        rows.append(row | {"AUC, other works": found["other works"].auc})
    last, best = chosen_elsewhere(table, len(names), given.seed)
    rows.append(last | {"AUC, other works": float("nan")})
    print(printed(rows))
    print("chosen, fold by fold:", "; ".join(best))
    if given.card:
        note = "Suspects that adapt all layers.  Found at .05, false attribution in brackets.  Chosen, fold by fold: "
        note += "; ".join(best)
        add_to_card(given.card, "open-set statistics", "Open-set statistics, one protocol", note, rows)


if __name__ == "__main__":
    main()
