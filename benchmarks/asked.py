"""Whom can an audit rule out that was asked about one artist?  `python benchmarks/asked.py SET LORAS` prints a table.

`audit check --artist NAME` says NO_MATCH where "by that artist" is rejected.  Of the file's own artist that is the
wrong answer, of everybody else the right one.  Files on the references' own works and by outsiders are placed as audits
place them; of works that the set does not know, the artist's half of the works is left out of the whole set.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from no_match import KINDS, half_out_scores
from numpy.typing import NDArray
from study import Table, add_to_card, printed

import auditor
from auditor.audit import Placed
from auditor.embedding.points import Floats
from auditor.evidence.impostors import p_of, scores_of
from auditor.evidence.membership import member_p, own_no_match
from auditor.policy import MOST_OWN
from auditor.reference.protocol import read_corpus
from auditor.reference.set import ReferenceSet, View

ALPHA = 0.05


class Shares:
    """How often artists are ruled out for one kind of files, by who they are to the file."""

    def __init__(self) -> None:
        """Nothing seen."""
        self.seen: dict[str, list[float]] = defaultdict(list)
        self.files = 0

    def add(self, view: View, scores: Floats, own: int | None, genre: list[str]) -> None:
        """One file: its scores (C,) in a view, its own artist's number, the artists' genres."""
        kind = "" if own is None else genre[own]
        out, others = ruled_out(view, scores), np.arange(len(scores)) != own
        self.files += 1
        if own is not None:
            self.seen["own"].append(out[own])
        self.seen["others"].append(out[others].mean())
        alike = others & (np.array(genre) == kind) & (kind != "")
        if alike.any():
            self.seen["genre"].append(out[alike].mean())
        self.seen["nearest"].append(out[np.argmax(np.where(others, scores, -np.inf))])

    def row(self, name: str) -> dict[str, object]:
        """As a row of the table."""
        cells = {key: f"{np.mean(found):.2f}" for key, found in self.seen.items()}
        heads = {"own": "own artist", "others": "another", "genre": "of the same genre", "nearest": "the nearest other"}
        return {"files": name, "n": self.files} | {head: cells.get(key, "–") for key, head in heads.items()}


def ruled_out(view: View, scores: Floats) -> NDArray[np.bool_]:
    """Of which artists (C,) an audit asked about them alone says NO_MATCH; see `auditor.policy.outside`."""
    everybody = range(len(scores))
    far = member_p(view, scores, single=True) <= ALPHA
    alone = np.array([p_of(view, scores, (a,)) for a in everybody])
    own = [own_no_match(view, ALPHA, (a,)) for a in everybody]
    spared = np.array([out["ruled_out"] <= MOST_OWN * ALPHA * out["files"] for out in own])
    return np.asarray(far & (alone > ALPHA) & spared)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", type=Path)
    parser.add_argument("loras", type=Path)
    parser.add_argument("--known", type=Path, nargs="*", default=[], help="more folders of files on the set's works")
    parser.add_argument("--outsiders", type=Path, nargs="*", default=[], help="folders of further artists' files")
    parser.add_argument("--card", type=Path, help="card.json to add the table to")
    given = parser.parse_args()
    reference = ReferenceSet.load(given.set)
    names, genres = reference.artists, reference.genres
    found: dict[str, Shares] = defaultdict(Shares)
    view = reference.views["all"]
    fold, scores = half_out_scores(view, names, read_corpus(given.loras))
    for row, own, recipe in zip(scores, fold.suspect_artist, fold.recipe, strict=True):
        kind = f"own artists, unknown works, {KINDS[recipe]}"
        found[kind].add(view, row, int(own), genres)
    for folder in (given.loras, *given.known, *given.outsiders):
        for path in sorted(folder.glob("*/*.safetensors")):
            seen: list[Placed] = []
            if "--ref-" in path.name or auditor.check(path, reference, observe=seen.append).skipped:
                continue
            name, at = path.parent.name, seen[0].view
            own = names.index(name) if name in names else None
            row = scores_of(at, seen[0].point)
            recipe = KINDS[next((k for k in ("foreign", "far") if f"-{k}-" in path.stem), "other")]
            recipe = "further trainers" if folder in given.known else recipe
            kind = f"own artists, references' works, {recipe}" if own is not None else "artists outside the set"
            found[kind].add(at, row, own, genres)
    rows: Table = [found[kind].row(kind) for kind in sorted(found, reverse=True)]
    print(printed(rows))
    if given.card:
        note = "Shares of files for which an artist who was asked about is ruled out at .05: the file's own artist, "
        note += "others, others of its genre, the nearest other.  Works as in the table of “no match”."
        add_to_card(given.card, "asked", "Whom an audit rules out that is asked about one artist", note, rows)


if __name__ == "__main__":
    main()
