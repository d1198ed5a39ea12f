"""Are artists accused who are not in the set?  `python benchmarks/outsiders.py SET LORAS` prints a table.

LORAS holds a folder for each artist, none of whom is in the set.  Every file is audited as users audit it, whole
set, whole road.  False attribution: p at or below the level, whoever is named; intervals are over artists.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from study import Table, add_to_card, printed

import auditor
from auditor.reference.set import ReferenceSet
from auditor.statistics.metrics import rate_over_groups

LEVELS = 0.05, 0.02


def p_values(reference: ReferenceSet, loras: Path) -> dict[str, list[tuple[str, float]]]:
    """(artist, open-set p) of files by recipe, which their names end in; one out of scope raises AssertionError."""
    found: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for path in sorted(loras.glob("*/*.safetensors")):
        opened = auditor.check(path, reference).open_set
        assert opened is not None, path
        assert path.parent.name not in reference.artists, path
        recipe = re.search(r"--(?:suspect|ref)-[a-z]+-(.+)$", path.stem)
        found[recipe[1] if recipe else "any"].append((path.parent.name, opened.p))
    return found


def share_of(accused: np.ndarray, rows: np.ndarray) -> float:
    """Share of some files that are accused."""
    return float(np.mean(accused[rows]))


def rows_of(found: dict[str, list[tuple[str, float]]]) -> Table:
    """One row a recipe and one for all."""
    rows: Table = []
    for name, files in [*sorted(found.items()), ("all", list(chain.from_iterable(found.values())))]:
        artist, p = np.array([a for a, _ in files]), np.array([v for _, v in files])
        row: dict[str, str | float] = {"recipe": name, "files": len(files), "artists": len(set(artist.tolist()))}
        for level in LEVELS:
            share = partial(share_of, p <= level)
            figure = rate_over_groups(share, artist, np.random.default_rng(0))
            row[f"p ≤ {level}"] = f"{figure.value:.2f} ({figure.low:.2f}–{figure.high:.2f})"
        rows.append(row | {"least p": float(p.min()), "median p": float(np.median(p))})
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", type=Path)
    parser.add_argument("loras", type=Path)
    parser.add_argument("--card", type=Path, help="card.json to add the table to")
    parser.add_argument("--title", default="Artists outside the set", help="of the table in the card")
    parser.add_argument("--note", default="Audited by the whole set.", help="below the title")
    given = parser.parse_args()
    rows = rows_of(p_values(ReferenceSet.load(given.set), given.loras))
    print(printed(rows))
    if given.card:
        add_to_card(given.card, given.title.lower(), given.title, given.note, rows)


if __name__ == "__main__":
    main()
