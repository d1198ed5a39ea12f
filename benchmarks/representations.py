"""Which representation tells artists apart best, chosen honestly: `python benchmarks/representations.py LORAS`.

Every candidate is tried by the protocol of the validity card (references of one half of the works, suspects of other
recipes from the other half, both ways round).  Artists are cut into folds: on each fold's suspects stands the figure of
the candidate that was best on the *other* folds' suspects, so that no figure of the choice saw its own test artists.

Two stand beside it for comparison and are not chosen from: B alone (A's rows taken as orthonormal, so that ΔWΔWᵀ
becomes BBᵀ, the gradient's side) and two-covariance PLDA in place of the cosine.  `--only NAME…` tries some of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from study import Table, add_to_card, printed

from auditor.embedding.features import Factored, common_directions, factor, triangle
from auditor.embedding.fit import Fit, Settings, fit
from auditor.embedding.grams import Grams
from auditor.embedding.points import Floats, Labels, unit
from auditor.lora import load_lora
from auditor.lora.weights import LoraModule
from auditor.reference.build import DIRECTIONS, Read
from auditor.reference.calibrate import SETTINGS
from auditor.reference.protocol import (
    Fold,
    Matrix,
    Pool,
    all_modules,
    embedding_matrix,
    filled,
    is_reference,
    join,
    kind_of_recipe,
    make_fold,
    pool,
    read_corpus,
)
from auditor.reference.trials import judge
from auditor.statistics.metrics import auc

DEFAULT = "output covariance (root) + ΔW"
FOLDS = 5
ALPHA = 0.05


def input_covariance(f: Factored, into: np.ndarray) -> np.ndarray:
    """Root of ΔWᵀΔW in the references' input directions: what the update listens to, mostly the random initial A."""
    seen = (f.right.T * np.sqrt(f.singular)).T @ into
    return triangle(seen.T @ seen / np.linalg.norm(f.singular))


def output_subspace(f: Factored, out: np.ndarray) -> np.ndarray:
    """Projector on the span of ΔW's outputs, singular values ignored."""
    seen = out.T @ (f.left / f.singular)
    return triangle(seen @ seen.T / np.sqrt(len(f.singular)))


def flattened_covariance(f: Factored, out: np.ndarray) -> np.ndarray:
    """ΔWΔWᵀ with every direction's strength taken to the fourth root: between covariance and subspace."""
    seen = out.T @ (f.left / f.singular**0.75)
    return triangle(seen @ seen.T / np.linalg.norm(np.sqrt(f.singular)))


def sided(side: str, feature: Callable[[Factored, np.ndarray], np.ndarray]) -> Matrix:
    """Features of one side of every module, in directions fitted on the fold's references only."""

    def build(fold: Fold, modules: list[str]) -> tuple[np.ndarray, list[slice]]:
        parts, blocks, start = [], [], 0
        everyone = [*fold.references, *fold.suspects]
        for path in modules:
            have = [one.factored[path] for one in fold.references if path in one.factored]
            if not have:
                continue
            pieces = [f.left / np.sqrt(f.singular) if side == "out" else f.right.T * f.singular for f in have]
            basis = common_directions(pieces, DIRECTIONS, 0)
            width = basis.shape[1] * (basis.shape[1] + 1) // 2
            rows = [one.factored.get(path) for one in everyone]
            parts.append(np.stack([np.zeros(width) if f is None else feature(f, basis) for f in rows]))
            blocks.append(slice(start, start + width))
            start += width
        return np.concatenate(parts, 1), blocks

    return build


def up_alone(loras: Path, one: Read) -> Read:
    """The file with orthonormal rows in place of A: its features are those of B.

    B as it is saved, not free of gauge: factors that were rewritten after training (SVD, resizing) change it.
    """
    modules = load_lora(loras / one.entry["file"]).modules
    bare = {
        path: factor(LoraModule(path, m.up, np.eye(m.rank, m.shape[1], dtype=np.float32), 1.0))
        for path, m in modules.items()
        if path in one.factored
    }
    return replace(one, factored=bare)


PLDA_DIMENSIONS = 50
"""Less than artists - 1 in every fit: a set without an artist must have as many dimensions, or the scores shift."""


def plda(fitted: Fit, artist: Labels, artists: int, kept: np.ndarray) -> Floats:
    """(N, C) log likelihood ratios of two-covariance PLDA on unit coordinates, covariances diagonal.

    H1: the file shares its mean with the artist's kept files; H2: its mean is another artist's.  NaN for an artist
    without files.
    """
    y = unit(fitted.points[:, :PLDA_DIMENSIONS])
    names = np.unique(artist[kept])
    count = np.array([(artist[kept] == a).sum() for a in names])
    means = np.stack([y[kept & (artist == a)].mean(0) for a in names])
    rest = y[kept] - means[np.searchsorted(names, artist[kept])]
    within = (rest**2).sum(0) / (len(rest) - len(names))
    grand = means.mean(0)
    between = np.maximum(means.var(0, ddof=1) - within * np.mean(1 / count), 1e-6 * within)
    spread = 1 / (1 / between + count[:, None] / within)
    centre = grand + spread * (count[:, None] / within) * (means - grand)

    def log_density(x: Floats, mean: Floats, variance: Floats) -> Floats:
        return np.asarray(-0.5 * ((x - mean) ** 2 / variance + np.log(variance)).sum(-1))

    near = np.stack([log_density(y, c, v + within) for c, v in zip(centre, spread, strict=True)], axis=1)
    found = np.full((len(y), artists), np.nan)
    found[:, names] = near - log_density(y, grand, between + within)[:, None]
    return found


def plda_pool(corpus: Sequence[Read], matrix: Matrix, settings: Settings, crossed: bool) -> Pool:
    """`pool` of the suspects that adapt all layers, with PLDA in place of the cosine."""
    found = []
    modules = all_modules(corpus)
    for half in ("a", "b"):
        fold = filled(make_fold(corpus, half, crossed), modules)
        x, columns = matrix(fold, modules)
        n, of = len(fold.references), fold.suspect_artist
        everyone, artists = np.concatenate([fold.reference_artist, of]), len(fold.artists)
        references = np.arange(len(everyone)) < n
        grams = Grams(x, columns, everyone, references)
        inside = plda(fit(grams, references, settings), everyone, artists, references)[n:]
        null, without = np.full((n, artists), np.nan), np.full((len(of), artists), np.nan)
        for a in range(artists):
            kept = references & (everyone != a)
            scores = plda(fit(grams, kept, settings), everyone, artists, kept)
            null[fold.reference_artist == a] = scores[:n][fold.reference_artist == a]
            without[of == a] = scores[n:][of == a]
        without[of < 0] = inside[of < 0]
        found.append((fold, judge(null, fold.reference_artist, inside, without, of)))
    return join(found)


def candidates() -> dict[str, tuple[Matrix, Settings]]:
    """Name → features and back end."""
    default, like = embedding_matrix(), SETTINGS
    return {
        DEFAULT: (default, like),
        "output covariance (root)": (embedding_matrix(("root-gram",)), like),
        "output covariance": (embedding_matrix(("gram",)), like),
        "ΔW": (embedding_matrix(("delta",)), like),
        "all three": (embedding_matrix(("root-gram", "gram", "delta")), like),
        "output subspace": (sided("out", output_subspace), like),
        "output covariance (fourth root)": (sided("out", flattened_covariance), like),
        "input covariance": (sided("in", input_covariance), like),
        "… + ΔW, 48 directions": (embedding_matrix(k=DIRECTIONS * 3 // 2), like),
        "… + ΔW, 16 directions": (embedding_matrix(k=DIRECTIONS // 2), like),
        "ΔW, 48 directions": (embedding_matrix(("delta",), DIRECTIONS * 3 // 2), like),
        "… + ΔW, no whitening": (default, replace(like, shrink=1.0)),
        "… + ΔW, whitening shrunk by .2": (default, replace(like, shrink=0.2)),
        "… + ΔW, whitening shrunk by .8": (default, replace(like, shrink=0.8)),
        "… + ΔW, 60 components": (default, replace(like, components=60)),
        "… + ΔW, blocks alike": (default, replace(like, weigh=False)),
    }


def judged(found: Pool, names: np.ndarray) -> tuple[float, float, float, float]:
    """(top-1, open-set AUC, found at α, false attribution) of the suspects by some artists."""
    t = found.rows(np.isin(found.name, names)).trials
    right = t.named == t.artist
    return (
        float(right.mean()),
        auc(t.genuine, t.impostor),
        float(np.mean((t.p_genuine <= ALPHA) & right)),
        float(np.mean(t.p_impostor <= ALPHA)),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("loras", type=Path)
    parser.add_argument("--card", type=Path, help="card.json to add the table to")
    parser.add_argument("--seed", type=int, default=0, help="of the folds")
    parser.add_argument("--only", nargs="*", help="these candidates, the default and the two for comparison")
    options = parser.parse_args()
    corpus = read_corpus(options.loras)
    crossed = all(map(is_reference, corpus))
    recipe = "reference" if crossed else "other"
    tried = partial(pool, crossed=crossed, views=("all",))
    chosen = {n: c for n, c in candidates().items() if options.only is None or n in (DEFAULT, *options.only)}
    pools = {
        name: tried(corpus, matrix, settings).where("other", recipe) for name, (matrix, settings) in chosen.items()
    }
    bare = [up_alone(options.loras, one) for one in corpus if kind_of_recipe(one) in ("reference", "other")]
    beside = {
        "B alone (root of BBᵀ)": tried(bare, embedding_matrix(("root-gram",)), SETTINGS).where("other", recipe),
        f"{DEFAULT}, PLDA": plda_pool(corpus, embedding_matrix(), SETTINGS, crossed).where("other", recipe),
    }
    artists = np.unique(next(iter(pools.values())).name)
    folds = np.array_split(np.random.default_rng(options.seed).permutation(artists), FOLDS)
    columns = ("top-1", "open-set AUC", "found", "false attribution")
    rows: Table = [
        {"representation": name, **dict(zip(columns, judged(p, artists), strict=True))}
        for name, p in (pools | beside).items()
    ]
    best = [max(pools, key=lambda n: judged(pools[n], np.setdiff1d(artists, fold))[1]) for fold in folds]
    apart = np.array([judged(pools[n], fold) for n, fold in zip(best, folds, strict=True)])
    share = np.array([len(fold) for fold in folds]) / len(artists)
    honest = dict(zip(columns, map(float, share @ apart), strict=True))
    rows.append({"representation": "chosen on other artists", **honest})
    print(printed(rows))
    print("chosen, fold by fold:", "; ".join(best))
    if options.card:
        note = f"Suspects that adapt all layers; other works, {recipe} recipe. Chosen, fold by fold: {'; '.join(best)}."
        add_to_card(options.card, "representations", "Search for the representation, artist-disjoint", note, rows)


if __name__ == "__main__":
    main()
