"""Pairs of unit vectors with a high cosine among very many, without looking at all pairs: cross-polytope hashing.

A vector is turned at random; the places of its largest entries then, with their signs, are its keys, and two vectors
are looked at when they share a key in some table (Andoni et al., "Practical and optimal LSH for angular distance",
2015; several places a vector: multi-probe, Lv et al. 2007).  Of those, BITS signs drop the unrelated, and the rest gets
its exact cosine.  Keys get longer with the number of vectors, so that a bucket never holds many, and a member is looked
at with the next `REACH` only: the work is the number of vectors times a constant.  What is missed depends on the cosine
(docs/scale.md gives the shares).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Places = NDArray[np.int64]

TABLES = 32
PROBES = 3
"""Largest places of a part that a vector is filed under."""
REACH = 64
"""Members of a bucket that one is looked at with."""
CROWD = 64.0
"""Unrelated vectors that one shares a bucket with, in a table, before keys are made longer."""
BITS = 512
BLOCK = 8192
STRETCH = 65_536
"""Entries of a table that are looked through at a time: their signs stay in the processor's cache."""
COLUMNS = 32
SEED = 7


@dataclass(frozen=True)
class Layout:
    """How a table's keys are made: `parts` of `width` entries of the turned vector each."""

    width: int
    parts: int

    @property
    def chance(self) -> float:
        """Chance that two unrelated vectors share a key."""
        return float((PROBES**2 / (2 * self.width)) ** self.parts)


LAYOUTS = (*(Layout(width, 2) for width in (128, 181, 256, 362)), *(Layout(width, 3) for width in (128, 181, 256)))
"""From short keys to long ones: the first that keeps buckets small is taken.  Steps of two in the number of files, so
that what a file is looked at with hardly changes with it; the third part saves entries, which grow with the width."""


def layout_for(count: int) -> Layout:
    """The layout for `count` vectors."""
    return next((layout for layout in LAYOUTS if count * layout.chance <= CROWD), LAYOUTS[-1])


def near(
    unit: Vectors, least: float, few: int, queries: Vectors | None = None, tables: int = TABLES
) -> tuple[Places, Places, Vectors]:
    """(i, j, cosine) of pairs with cosine ≥ `least`, i < j, each once, a vector's nearest `few` at most; not all.

    unit (n, d): of length 1 or 0.  queries (q, d): then only pairs of one of them, counted from n on, with one of
    `unit`.  The same input gives the same pairs.
    """
    both = unit if queries is None else np.concatenate([unit, queries])
    bits = signs(both)
    most = int(np.arccos(least) / np.pi * BITS)
    found = np.zeros(0, np.int64)
    for table in range(tables):
        alike = [found]
        for owner, left, right in meetings(both, layout_for(len(both)), table):
            near_by = bits[owner]  # in the order of the keys: those that meet lie side by side in the cache
            for here, there in zip(left, right, strict=True):
                kept = np.bitwise_count(near_by[here] ^ near_by[there]).sum(1, dtype=np.int64) <= most
                one, other = owner[here[kept]], owner[there[kept]]
                wanted = one != other
                if queries is not None:
                    wanted &= (one < len(unit)) != (other < len(unit))
                one, other = one[wanted], other[wanted]
                alike.append(np.minimum(one, other) * len(both) + np.maximum(one, other))
        found = np.unique(np.concatenate(alike))
        if len(found) > 4 * few * len(both):  # families of very many members: what is kept of them stays bounded
            found = found[nearest(both, found, few)[0]]
    kept, cosines = nearest(both, found, few)
    kept &= cosines >= least
    i, j = np.divmod(found[kept], len(both))
    return i, j, cosines[kept]


def nearest(vectors: Vectors, pairs: Places, few: int) -> tuple[NDArray[np.bool_], Vectors]:
    """Which of the pairs i · n + j are among the nearest `few` of i or of j, and the cosines of all."""
    i, j = np.divmod(pairs, len(vectors))
    cosines = inner(vectors, i, j)
    side = np.concatenate([i, j])
    order = np.lexsort((-np.tile(cosines, 2), side))
    begins = np.flatnonzero(np.diff(side[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(begins, np.diff(begins, append=len(order)))
    kept = np.zeros(len(pairs), bool)
    kept[order[rank < few] % len(pairs)] = True
    return kept, cosines


def inner(vectors: Vectors, i: Places, j: Places) -> Vectors:
    """Inner products of rows i with rows j, exact."""
    result = np.empty(len(i), np.float32)
    for start in range(0, len(i), BLOCK):
        here = slice(start, start + BLOCK)
        result[here] = np.einsum("nd,nd->n", vectors[i[here]], vectors[j[here]])
    return result


def signs(vectors: Vectors) -> NDArray[np.uint64]:
    """(n, BITS / 64) signs of random products: two vectors at an angle θ differ in a share θ / π of them."""
    turn = np.random.default_rng(SEED).standard_normal((vectors.shape[1], BITS), np.float32)
    packed = [np.packbits(vectors[a : a + BLOCK] @ turn > 0, axis=1) for a in range(0, len(vectors), BLOCK)]
    return np.concatenate(packed).view(np.uint64)


def meetings(vectors: Vectors, layout: Layout, table: int) -> Iterator[tuple[Places, list[Places], list[Places]]]:
    """Rows in the order of a table's keys, a stretch at a time, and the places in it of those that share a key.

    Yields owner (m,), left and right: for each distance up to `REACH` the places (k,) of two entries of one key.  A row
    may meet itself, and another one more than once.
    """
    rng = np.random.default_rng([SEED, table])
    turn = Turn(vectors.shape[1], layout.width * layout.parts, rng)
    shuffled = rng.permutation(len(vectors)).astype(np.uint64)  # or the same members of a full bucket would always meet
    filed = [
        keys(turn(vectors[start : start + BLOCK]), layout) << np.uint64(32) | shuffled[start : start + BLOCK, None]
        for start in range(0, len(vectors), BLOCK)
    ]
    entries = np.sort(np.concatenate(filed), axis=None)
    key, owner = entries >> np.uint64(32), np.argsort(shuffled)[(entries & np.uint64(2**32 - 1)).astype(np.int64)]
    for begin in range(0, len(key), STRETCH):
        some = key[begin : begin + STRETCH + REACH]  # what follows the stretch is met from within it
        left, lefts, rights = np.arange(min(STRETCH, len(key) - begin)), [], []
        for step in range(1, REACH + 1):
            left = left[: np.searchsorted(left, len(some) - step)]
            left = left[some[left] == some[left + step]]
            if not len(left):
                break
            lefts.append(left)
            rights.append(left + step)
        yield owner[begin : begin + STRETCH + REACH], lefts, rights


class Turn:
    """A random rotation of vectors (n, d) into some of their entries then (n, count), at a price that hardly grows.

    Entries stand as a table; its rows are turned, each in its own way, then its columns, so that every entry depends on
    all: d · (a + b) products a vector for a table of a × b in place of d · count.  Where more than d entries are
    needed, vectors are turned again in another way.  (Random rotations in place of products with random numbers, made
    of small ones: Andoni et al. 2015 take Hadamard transforms.)
    """

    def __init__(self, d: int, count: int, rng: np.random.Generator) -> None:
        """d: entries of a vector; count: entries wanted."""
        self.rows, self.count = -(-d // COLUMNS), count
        times = -(-count // (self.rows * COLUMNS))
        self.turns = [(rotations(COLUMNS, self.rows, rng), rotations(self.rows, COLUMNS, rng)) for _ in range(times)]

    def __call__(self, vectors: Vectors) -> Vectors:
        """The entries (n, count) of vectors (n, d)."""
        n = len(vectors)
        padded = np.zeros((n, self.rows * COLUMNS), np.float32)
        padded[:, : vectors.shape[1]] = vectors
        table = padded.reshape(n, self.rows, COLUMNS)
        found = [((table.transpose(1, 0, 2) @ one).transpose(2, 1, 0) @ other) for one, other in self.turns]
        return np.concatenate([part.transpose(1, 0, 2).reshape(n, -1) for part in found], 1)[:, : self.count]


def rotations(size: int, count: int, rng: np.random.Generator) -> Vectors:
    """(count, size, size) random orthogonal matrices."""
    return np.asarray(np.linalg.qr(rng.standard_normal((count, size, size)))[0], np.float32)


def keys(turned: Vectors, layout: Layout) -> NDArray[np.uint64]:
    """(n, PROBES ** parts) keys of n turned vectors: one place of each part, signs included."""
    size = np.abs(turned).reshape(len(turned), layout.parts, layout.width)
    signed = turned.reshape(size.shape) > 0
    places = []
    for _ in range(PROBES):
        top = np.argmax(size, axis=2)[..., None]
        places.append(top[..., 0] * 2 + np.take_along_axis(signed, top, 2)[..., 0])
        np.put_along_axis(size, top, -1.0, 2)
    chosen = np.stack(places, axis=2).astype(np.uint64)  # (n, parts, PROBES)
    combined = []
    for choice in product(range(PROBES), repeat=layout.parts):
        key = np.zeros(len(turned), np.uint64)
        for part, probe in enumerate(choice):
            key = key * np.uint64(2 * layout.width) + chosen[:, part, probe]
        combined.append(key)
    return np.stack(combined, axis=1)
