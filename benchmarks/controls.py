"""Would a control notice a recipe that stands for an artist?  `python benchmarks/controls.py [--loras DIR …]`.

Controls see ranks, norms and spectra only, so that any file's figures can stand for any artist's.  For each recipe of a
set, one artist after another gets figures of that recipe alone, taken from files of others, and all other artists lose
theirs of it.  Caught: further files of the recipe are told to be that artist's.  With --loras, how often a control
singles out anybody in files of the set as it is, where all artists have all recipes: these are false alarms.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from study import Table, add_to_card, printed

import auditor
from auditor.evidence.controls import fit_recipe
from auditor.reference.set import ReferenceSet, View

ALPHA, EVERY, TRIED = 0.05, 4, 15


def caught(figures: np.ndarray, view: View, recipe: np.ndarray, rng: np.random.Generator) -> float:
    """Share of a recipe's files that point to the one artist who has it; recipe (n,): which references are of it."""
    hits = total = 0
    for artist in range(0, len(view.centres), EVERY):
        mine = np.flatnonzero(view.artist == artist)
        others = rng.permutation(np.flatnonzero((view.artist != artist) & recipe))
        known, tried = figures.copy(), others[len(mine) : len(mine) + TRIED]
        known[mine] = figures[others[: len(mine)]]
        kept = (view.artist == artist) | ~recipe
        world = replace(view, artist=view.artist[kept], points=view.points[kept])
        model = fit_recipe(known[kept], world)
        found = [model.test(figures[row]) for row in tried]
        hits += sum(first == artist and p <= ALPHA for first, p in found)
        total += len(tried)
    return hits / total


def rows_of(reference: ReferenceSet) -> Table:
    """One row a recipe: the share caught by each control, in the largest view."""
    view = max(reference.views.values(), key=lambda v: len(v.bases.paths))
    columns = [reference.modules.index(path) for path in view.bases.paths]
    entries = [reference.manifest["references"][row] for row in view.rows]
    names = np.array([entry["recipe"] for entry in entries])
    rng = np.random.default_rng(0)
    table: Table = []
    for name in np.unique(names):
        row: dict[str, str | float] = {"the artist's only recipe": str(name)}
        for control, figures in reference.controls.items():
            row[control] = caught(figures[view.rows][:, columns], view, names == name, rng)
        table.append(row)
    return table


def alarms(reference: ReferenceSet, folders: list[Path]) -> dict[str, str | float]:
    """How many files of all folders each control singles out somebody for, and how often the verdict's artist."""
    audits = [auditor.check(path, reference) for folder in folders for path in sorted(folder.glob("*/*.safetensors"))]
    seen = [audit for audit in audits if audit.open_set]
    row: dict[str, str | float] = {"the artist's only recipe": f"none ({len(seen)} files: singled out)"}
    for control in reference.controls:
        found = [audit for audit in seen if audit.controls[control]["p"] <= ALPHA]
        first = sum(audit.artists[0].artist == audit.controls[control]["top_artist"] for audit in found)
        row[control] = f"{len(found) / max(1, len(seen)):.2f} ({first} the artist who comes first)"
    return row


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--refs", help="set; the default one if left out")
    parser.add_argument("--loras", type=Path, nargs="*", default=[], help="folders of files to audit, one an artist")
    parser.add_argument("--card", type=Path, help="card.json to add the table to")
    given = parser.parse_args()
    reference = ReferenceSet.load(given.refs)
    rows = rows_of(reference) + ([alarms(reference, given.loras)] if given.loras else [])
    print(printed(rows))
    if given.card:
        note = "One artist has one recipe alone and nobody else has it: share of further files of it told to be theirs."
        add_to_card(given.card, "controls", "Would a control notice?", note, rows)


if __name__ == "__main__":
    main()
