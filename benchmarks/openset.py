"""Which statistic tells best that an artist is of the set?  `python benchmarks/openset.py LORAS` prints a table.

One protocol, one embedding, the cosines computed once; what changes from row to row is how a file's cosines with the
artists become scores, and scores become one figure.  Each statistic's null is the same figure of references whose own
artist was left out of fit, normalisation and spread.  Found: right artist first and p ≤ .05; in brackets false
attribution, the suspects' own artist left out.  The last row is chosen honestly: on each fold of artists stands the
statistic that found most, over all columns, on the other folds' artists.  Decisions 0026, 0027, 0029 and 0030
rest on it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from study import Table, add_to_card, printed

from auditor.embedding.points import Floats, Labels, artist_weights
from auditor.embedding.scores import CROWD, DISCOUNT, fit_normaliser, lead, t_norm
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


def discounted(share: float = CROWD, discount: float = DISCOUNT, spread: float = 0.0) -> Normalisation:
    """The default's scores with another crowd or discount; spread: power of each file's spread it is divided by."""

    def normalise(null: Floats, artist: Labels) -> Scorer:
        def flat(cosine: Floats) -> Floats:
            return np.asarray(cosine / np.nanstd(cosine, 1, keepdims=True) ** spread)

        worth = 1 / np.bincount(artist)[artist]
        known = np.nan_to_num(flat(null), nan=-9)
        order = np.argsort(-known, axis=0)
        ranked, weight = np.take_along_axis(known, order, axis=0), worth[order]
        taken = np.clip(share - (np.cumsum(weight, axis=0) - weight), 0, weight)
        crowd = (taken * ranked).sum(0) / taken.sum(0)
        return lambda cosine: flat(cosine) - discount * crowd

    return normalise


def by_artist(null: Floats, artist: Labels) -> Scorer:
    """z-norm: each artist's cosines with strangers to mean 0 and spread 1."""
    weight = artist_weights(artist, np.ones(len(artist), bool))[:, None] * ~np.isnan(null)
    weight, seen = weight / weight.sum(0), np.nan_to_num(null)
    centre = (weight * seen).sum(0)
    spread = np.sqrt((weight * (seen - centre) ** 2).sum(0))
    return lambda cosine: (cosine - centre) / spread


def by_file(null: Floats, artist: Labels) -> Scorer:
    """t-norm: each file's cosines to mean 0 and spread 1."""
    return t_norm


def by_both(null: Floats, artist: Labels) -> Scorer:
    """t-norm, then z-norm."""
    second = by_artist(t_norm(null), artist)
    return lambda cosine: second(t_norm(cosine))


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


def measures(normalise: Normalisation, null: Floats, artist: Labels, cosine: Floats) -> tuple[Floats, Labels]:
    """Lead and cosine of the first artist (n, 2), and who it is (n,)."""
    scores = normalise(null, artist)(cosine)
    first = np.nanargmax(scores, axis=1)
    return np.stack([lead(scores), cosine[np.arange(len(cosine)), first]], axis=1), first


def quartiles(values: Floats, artist: Labels, kept: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Median (2,) of the kept rows (N, 2), and the distance between their quartiles; artists weigh equally."""
    weight = artist_weights(artist, kept)
    order = np.argsort(values, axis=0)
    below = np.cumsum(weight[order], axis=0) - weight[order] / 2
    ranked = np.take_along_axis(values, order, axis=0)
    found = np.stack([np.interp((0.25, 0.5, 0.75), below[:, k], ranked[:, k]) for k in range(values.shape[1])])
    return found[:, 1], found[:, 2] - found[:, 0]


def of_both(factor: float) -> Statistic:
    """The larger of lead and closeness, each in spreads of strangers, closeness times `factor` (decision 0027)."""

    def judged(null: Floats, artist: Labels, cosine: Floats) -> Judged:
        weight, result, seen = np.array([1.0, factor]), np.empty(len(null)), np.empty((len(null), 2))
        for a in np.unique(artist):
            own = artist == a
            seen[own] = measures(by_both, null[~own], artist[~own], null[own])[0]
        for a in np.unique(artist):
            centre, spread = quartiles(seen, artist, artist != a)
            result[artist == a] = ((seen[artist == a] - centre) / spread * weight).max(1)
        centre, spread = quartiles(seen, artist, np.ones(len(null), bool))
        found, first = measures(by_both, null, artist, cosine)
        return Judged(result, ((found - centre) / spread * weight).max(1), first)

    return judged


STATISTICS: dict[str, Statistic] = {
    "default": of_scores(fit_normaliser, lead),
    "discount 0": of_scores(discounted(discount=0.0), lead),
    "discount .5": of_scores(discounted(discount=0.5), lead),
    "discount 1": of_scores(discounted(discount=1.0), lead),
    "crowd of a tenth": of_scores(discounted(share=0.1), lead),
    "crowd of one artist": of_scores(discounted(share=1.0), lead),
    "lead over the next": of_scores(fit_normaliser, partial(ahead, after=1)),
    "lead over the next two": of_scores(fit_normaliser, partial(ahead, after=2)),
    "lead over the next five": of_scores(fit_normaliser, partial(ahead, after=5)),
    "best score": of_scores(fit_normaliser, best),
    "divided by the root of the file's spread": of_scores(discounted(spread=0.5), lead),
    "divided by the file's spread": of_scores(discounted(spread=1.0), lead),
    "t- and z-norm: lead or closeness (0027)": of_both(1.4),
    "t- and z-norm: lead": of_scores(by_both, lead),
    "t- and z-norm: best score": of_scores(by_both, best),
    "z-norm: best score": of_scores(by_artist, best),
    "t-norm: best score": of_scores(by_file, best),
    "best cosine": of_scores(plain, best),
    "CSLS: lead": of_scores(csls, lead),
    "CSLS: best score": of_scores(csls, best),
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
    """Suspects of one kind (n,): artist, file; whether the artist came first, was found, and another was attributed in
    its absence; the test's figure with the artist in the set and without."""

    artist: Labels
    file: NDArray[np.str_]
    named: NDArray[np.bool_]
    found: NDArray[np.bool_]
    wrong: NDArray[np.bool_]
    genuine: Floats
    impostor: Floats

    @property
    def auc(self) -> float:
        """How well the figure orders files with their artist in the set before files without."""
        return auc(self.genuine, self.impostor)

    def of(self, rows: NDArray[np.bool_]) -> Outcome:
        """Some of the suspects."""
        return Outcome(*(getattr(self, one.name)[rows] for one in fields(self)))

    def shares(self, artists: Labels) -> tuple[float, float]:
        """Found and false attribution among the suspects by some artists."""
        some = self.of(np.isin(self.artist, artists))
        return float(some.found.mean()), float(some.wrong.mean())


def together(outcomes: list[Outcome]) -> Outcome:
    """All of them."""
    return Outcome(*(np.concatenate([getattr(o, one.name) for o in outcomes]) for one in fields(Outcome)))


def outcome(statistic: Statistic, trials: list[Asked], works: str, recipe: str) -> Outcome:
    """All suspects of one kind.  Raises ValueError where there are none."""
    seen = []
    for one in trials:
        artist, own = one.fold.reference_artist, one.fold.suspect_artist
        rows = np.flatnonzero((one.fold.works == works) & (one.fold.recipe == recipe) & (own >= 0))
        if not len(rows):
            continue
        judged = statistic(one.null, artist, one.inside[rows])
        first = judged.first == own[rows]
        hits = first & (conformal_p(judged.suspects, judged.null, artist) <= ALPHA)
        for a in np.unique(own[rows]):
            his, left, others = own[rows] == a, artist != a, np.arange(one.null.shape[1]) != a
            relabelled = artist[left] - (artist[left] > a)
            cosine = one.without[np.ix_(rows[his], np.flatnonzero(others))]
            alone = statistic(one.null[np.ix_(left, others)], relabelled, cosine)
            wrong = conformal_p(alone.suspects, alone.null, relabelled) <= ALPHA
            files = np.array([one.fold.suspects[k].entry["file"] for k in rows[his]])
            whose = np.full(len(files), a)
            found = whose, files, first[his], hits[his], wrong, judged.suspects[his], alone.suspects
            seen.append(Outcome(*found))
    return together(seen)


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
