"""Who is named in merges?  `python benchmarks/mixtures.py SET_WITH_FEATURES LORAS` prints a table.

For each fold a quarter of the artists leaves the set (and its whole fit).  Merges of validation suspects then have
parts inside and outside the set.  Found: each part's artist is listed; wrong name: somebody is listed who is not in
the merge; accused: the audit's open-set test rejects and its first artist is not in the merge.  Asked: the audit, asked
about that part's artist alone, chosen independently of the file, names it; out: asked about it, it rules it out.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import launder
import numpy as np
from study import Study, Table, add_to_card, printed

from auditor.embedding.points import cosines
from auditor.evidence.mixtures import mixture, strongest_left
from auditor.evidence.significance import open_set
from auditor.policy import rules_out, stands_out

WEIGHTS = ((1.0,), (0.5, 0.5), (0.7, 0.3), (0.9, 0.1), (1 / 3, 1 / 3, 1 / 3))
ALPHA = 0.05
COLUMNS = ("part 1", "part 2", "part 3", "share 1", "wrong name", "accused", "asked 1", "asked 2", "out 1", "out 2")
"""Of the table."""


Made = list[tuple[list[str], tuple[float, ...], np.ndarray]]


def merges(study: Study, method: str, count: int, rng: np.random.Generator) -> Made:
    """(artists, weights, features) of `count` merges for every list of weights."""
    made = []
    for weights in WEIGHTS if method == "concatenation" else WEIGHTS[1:4]:
        for _ in range(count):
            files = rng.permutation(len(study.suspects))
            chosen = [study.suspects[files[0]]]
            for i in files[1:]:
                if len(chosen) < len(weights) and study.suspects[i].artist not in {c.artist for c in chosen}:
                    chosen.append(study.suspects[i])
            merged = launder.MERGERS[method]([launder.read(c.path) for c in chosen], weights)
            made.append(([c.artist for c in chosen], weights, study.features(merged)))
    return made


def judged(names: list[str], view: Any, artists: list[str], row: np.ndarray) -> dict[str, float]:
    """What the audit would say of one merge."""
    point = view.projection(row)
    rows = mixture(SimpleNamespace(artists=names), view, point, ALPHA)  # type: ignore[arg-type]
    found = [r["artist"] for r in rows]
    best, p = strongest_left(view, cosines(point, view.centres), view.centres, [])
    outcome = {f"part {i + 1}": float(a in found) if a in names else np.nan for i, a in enumerate(artists)}
    outcome["share 1"] = next((r["share"] for r in rows if r["artist"] == artists[0]), np.nan)
    outcome["wrong name"] = float(bool(set(found) - set(artists)))
    outcome["accused"] = float(p <= ALPHA and names[best] not in artists)
    for i, artist in enumerate(artists):
        if artist in names:
            opened = open_set(view, point, ALPHA, 1, 0, asked=(names.index(artist),))
            outcome[f"asked {i + 1}"] = float(stands_out(opened) and names[best] == artist)
            outcome[f"out {i + 1}"] = float(rules_out(opened))
    return outcome


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", type=Path)
    parser.add_argument("loras", type=Path)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--halves", default="ab", help="halves of works that references are from; a: suspects from b")
    parser.add_argument("--card", type=Path, help="card.json to add the table to")
    parser.add_argument("--methods", nargs="*", default=list(launder.MERGERS))
    given = parser.parse_args()
    rng, study = np.random.default_rng(0), Study(given.set, given.loras)
    study.suspects = [s for s in study.suspects if given.halves == "ab" or s.half not in given.halves]
    made = {m: merges(study, m, given.count if m == "concatenation" else given.count // 2, rng) for m in given.methods}
    table: dict[tuple[str, str, str], list[dict[str, float]]] = defaultdict(list)
    for fold in range(given.folds):
        names, view = study.without_fold(fold, given.halves)
        for method, rows in made.items():
            for artists, weights, row in rows:
                where = "".join("i" if a in names else "o" for a in artists)
                key = method, "/".join(f"{100 * w:.0f}" for w in weights), where
                table[key].append(judged(names, view, artists, study.seen_by(view, row)))
    rows = summary(table)
    print(printed(rows))
    if given.card:
        works = "same works" if given.halves == "ab" else "other works"
        note = "i: the artist is in the set, o: not.  Part: share that list it; wrong name: that list another.  Asked: "
        note += "named when asked about alone, chosen independently; out: ruled out when asked about."
        add_to_card(given.card, f"mixtures, {works}", f"Merges, {works}", note, rows)


def summary(table: dict[tuple[str, str, str], list[dict[str, float]]]) -> Table:
    """Means of every kind of merge."""
    rows: Table = []
    for (method, weights, where), outcomes in sorted(table.items()):
        row: dict[str, str | float] = {"merge": method, "weights": weights, "parts": where, "n": len(outcomes)}
        for column in COLUMNS:
            seen = [o[column] for o in outcomes if not np.isnan(o.get(column, np.nan))]
            row[column] = float(np.mean(seen)) if seen else float("nan")
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
