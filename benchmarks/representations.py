"""Which representation tells artists apart best, chosen honestly: `python benchmarks/representations.py LORAS`.

Every candidate is tried by the protocol of the validity card (references of one half of the works, suspects of other
recipes from the other half, both ways round).  Artists are cut into folds: on each fold's suspects stands the figure of
the candidate that was best on the *other* folds' suspects, so that no figure of the choice saw its own test artists.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from study import Table, add_to_card, printed

from auditor.embedding.backend import Settings
from auditor.embedding.features import Factored, common_directions, triangle
from auditor.reference.build import DIRECTIONS
from auditor.reference.calibrate import SETTINGS
from auditor.reference.protocol import Fold, Matrix, Pool, embedding_matrix, is_reference, pool, read_corpus
from auditor.statistics.metrics import auc

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


def candidates() -> dict[str, tuple[Matrix, Settings]]:
    """Name → features and back end."""
    default, like = embedding_matrix(), SETTINGS
    return {
        "output covariance (root) + ΔW": (default, like),
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
    options = parser.parse_args()
    corpus = read_corpus(options.loras)
    recipe = "reference" if all(map(is_reference, corpus)) else "other"
    tried = partial(pool, corpus, crossed=recipe == "reference", views=("all",))
    pools = {name: tried(matrix, settings).where("other", recipe) for name, (matrix, settings) in candidates().items()}
    artists = np.unique(next(iter(pools.values())).name)
    folds = np.array_split(np.random.default_rng(options.seed).permutation(artists), FOLDS)
    columns = ("top-1", "open-set AUC", "found", "false attribution")
    rows: Table = [
        {"representation": name, **dict(zip(columns, judged(p, artists), strict=True))} for name, p in pools.items()
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
