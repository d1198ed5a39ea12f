"""Gram matrices of features, block by block: what a fit with any files left out can be made from, exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from auditor.embedding.points import Floats, Labels, artist_weights, distinct, unit

LEAST_SIGNAL = 0.1  # blocks with less than this share of the best block's signal-to-noise are dropped
NOTHING = 1e-9  # blocks of which less than this share lies across the mean are the same in all files
NO_MEAN = 1e-6  # a mean with less than this share of the files' squared length has no direction to speak of


class Grams:
    """Gram matrices of N files' features, one for each of K blocks (a module's features of one kind).

    Each block lies in two parts, along the artist-weighted mean of the files that may ever be fitted and across it, so
    that every fit can take out the direction of its own files' mean exactly.
    """

    def __init__(self, x: Floats, columns: Sequence[slice], artist: Labels, fitted: NDArray[np.bool_]) -> None:
        """x (N, D) features; columns: K blocks; artist (N,); fitted (N,): references, the files that may be fitted."""
        mean = artist_weights(artist, fitted) @ x
        directions = [unit(mean[c]) for c in columns]
        self.along = np.stack([x[:, c] @ d for c, d in zip(columns, directions, strict=True)])
        across = (x[:, c] - np.outer(a, d) for c, a, d in zip(columns, self.along, directions, strict=True))
        self.stack = np.stack([(rest @ rest.T).astype(np.float32) for rest in across])
        self.artist, self.fitted = artist, fitted
        self.diagonal = np.einsum("kii->ki", self.stack).astype(np.float64)
        self.length = self.diagonal + self.along**2
        self.differ = self.diagonal[:, fitted].sum(1) > NOTHING * self.length[:, fitted].sum(1)
        self.sums = np.stack([g[:, fitted].sum(1, dtype=np.float64) for g in self.stack])
        self.squares = np.stack([np.square(g[:, fitted]).sum(1, dtype=np.float64) for g in self.stack])

    def combined(self, kept: NDArray[np.bool_], weigh: bool) -> tuple[Floats, Floats]:
        """Σ w_k G_k (N, N) and w (K,), learned from the kept files only; G_k without the direction of their mean.

        With g = G a the products of all files with the mean of the kept, a their weights: G - g gᵀ / aᵀg.
        """
        even = self.differ / np.maximum(self.diagonal[:, kept].sum(1), 1e-12)
        weights = self.learned(kept) if weigh else even
        if not weights.any():  # nothing separates these artists; the scores will say so
            weights = even
        used = np.flatnonzero(weights)
        w, along, share = weights[used, None], self.along[used], artist_weights(self.artist, kept)
        with_mean = (self.stack @ share.astype(np.float32))[used] + (along @ share)[:, None] * along
        length, least = with_mean @ share, NO_MEAN * (self.length[used] @ share)
        taken = np.where(length > least, 1.0 / np.maximum(length, least + 1e-300), 0.0)[:, None]
        gram = np.tensordot(weights[used].astype(np.float32), self.stack[used], 1).astype(np.float64)
        return gram + along.T @ (w * along) - with_mean.T @ (w * taken * with_mean), weights

    def learned(self, kept: NDArray[np.bool_]) -> Floats:
        """(K,) weight of each block: signal / noise², from the kept files alone; 0 where there is (nearly) no signal.

        Signal: mean inner product of two files of one artist minus that of two artists; noise: standard deviation of
        the latter.  The best linear combination of independent kernels, and one number a block: little to overfit.
        """
        count = np.bincount(self.artist[kept])
        pairs, own = int(kept.sum()) ** 2, int((count**2).sum())
        same, same_squares = self.same_artist(kept)
        every, every_squares = self.all_pairs(kept)
        alike = (same - self.diagonal[:, kept].sum(1)) / max(own - int(kept.sum()), 1)
        mean = (every - same) / (pairs - own)
        noise = (every_squares - same_squares) / (pairs - own) - mean**2
        signal = np.maximum(alike - mean, 0.0)
        share = signal / np.sqrt(np.maximum(noise, 1e-300))
        told = (share >= LEAST_SIGNAL * share.max()) & self.differ
        weights = np.where(told, signal / np.maximum(noise, 1e-300), 0.0)
        return np.asarray(weights / max(weights.max(), 1e-300))

    def all_pairs(self, kept: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Sums (K,) of the products of all pairs of kept files, and of their squares: those of all references less
        those with a file left out, so that leaving few out costs little."""
        left = np.flatnonzero(self.fitted & ~kept)
        among, squares = self.square_block(left)
        return (
            self.sums[:, self.fitted].sum(1) - 2 * self.sums[:, left].sum(1) + among,
            self.squares[:, self.fitted].sum(1) - 2 * self.squares[:, left].sum(1) + squares,
        )

    def same_artist(self, kept: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Sums (K,) of the products of pairs of kept files by one artist, each file with itself too, and of squares."""
        found = [self.square_block(np.flatnonzero(kept & (self.artist == a))) for a in distinct(self.artist[kept])]
        sums, squares = np.sum(found, axis=0)
        return sums, squares

    def square_block(self, rows: Labels) -> tuple[Floats, Floats]:
        """Sums (K,) of the products of all pairs of `rows`, and of their squares."""
        block = self.stack[:, rows[:, None], rows].astype(np.float64)
        return block.sum((1, 2)), (block**2).sum((1, 2))
