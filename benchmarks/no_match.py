"""How often is an artist of the set told "no match"?  `python benchmarks/no_match.py SET LORAS` prints a table.

NO_MATCH rejects "by an artist of the set": for that artist's own files it is the wrong answer, for all others the right
one.  Two kinds of trials: files on the references' own works and files by outsiders (LORAS and --outsiders), audited as
users audit them; and files on works that the set does not know, their artist's half of the works left out of the whole
set, which is what the test's null is made of, but by recipes that no reference has.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from study import Table, add_to_card, printed

import auditor
from auditor.embedding.fit import fit
from auditor.embedding.grams import Grams
from auditor.embedding.points import Floats, centroids, cosines
from auditor.evidence.membership import member_p
from auditor.reference.build import DIRECTIONS, Read
from auditor.reference.calibrate import SETTINGS, VIEWS, view_modules
from auditor.reference.protocol import (
    Fold,
    all_modules,
    embedding_matrix,
    filled,
    is_reference,
    kind_of_recipe,
    part_key,
    read_corpus,
)
from auditor.reference.set import ReferenceSet, View

Found = dict[str, list[float]]
"""Kind of files → p that the file is by an artist of the set."""
KINDS = {"other": "other recipes", "foreign": "foreign trainer", "far": "trained far too short"}


def audited(reference: ReferenceSet, folder: Path) -> Found:
    """Suspects below a folder, the whole road; files that the set cannot audit are left out."""
    found: Found = defaultdict(list)
    for path in sorted(folder.glob("*/*.safetensors")):
        opened = None if "--ref-" in path.name else auditor.check(path, reference).open_set
        if opened is None:
            continue
        own = path.parent.name in reference.artists
        name = path.stem.partition("--suspect-")[2][2:]
        recipe = KINDS[next((k for k in ("foreign", "far") if name.startswith(k)), "other")]
        kind = f"own artists, references' works, {recipe}" if own else "artists outside the set"
        found[kind].append(opened.p_member)
    return found


def unknown_works(view: View, names: list[str], loras: Path) -> Found:
    """Suspects by the set's artists, each scored by the whole set without the half of the works that it is from."""
    fold, scores = half_out_scores(view, names, read_corpus(loras))
    p = member_p(view, scores.max(1))
    return {f"own artists, unknown works, {KINDS[k]}": p[fold.recipe == k].tolist() for k in KINDS if k in fold.recipe}


def half_out_scores(view: View, names: list[str], corpus: list[Read]) -> tuple[Fold, Floats]:
    """The suspects by artists `names`, and their scores (n, C) by the whole set without their half of the works."""
    suspects = [s for s in corpus if not is_reference(s) and s.entry["artist"] in names]
    kinds = np.array([kind_of_recipe(s) for s in suspects])
    fold = Fold([r for r in corpus if is_reference(r)], suspects, names, np.full(len(suspects), "half-out"), kinds)
    modules = view_modules(all_modules(corpus), VIEWS["all"])
    fold = filled(fold, modules)
    return fold, scores_without(view, fold, *embedding_matrix(k=DIRECTIONS)(fold, modules))


def scores_without(view: View, fold: Fold, x: Floats, columns: list[slice]) -> Floats:
    """Scores (n, C) of each suspect by fits without the references on its artist's same half of the works."""
    artist = np.concatenate([fold.reference_artist, fold.suspect_artist])
    number = {key: i for i, key in enumerate(sorted({part_key(r) for r in fold.references + fold.suspects}))}
    parts = np.array([number[part_key(r)] for r in fold.references + fold.suspects])
    reference = np.arange(len(artist)) < len(fold.references)
    grams = Grams(x, columns, artist, reference)
    scores = np.full((len(artist), len(fold.artists)), np.nan)
    for part in np.unique(parts[~reference]):
        kept, rows = reference & (parts != part), ~reference & (parts == part)
        points = fit(grams, kept, SETTINGS).points
        scores[rows] = view.normaliser(cosines(points[rows], centroids(points, artist, len(fold.artists), kept)))
    return scores[~reference]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", type=Path)
    parser.add_argument("loras", type=Path)
    parser.add_argument("--outsiders", type=Path, help="a folder of further artists' files, none of them in the set")
    parser.add_argument("--card", type=Path, help="card.json to add the table to")
    given = parser.parse_args()
    reference = ReferenceSet.load(given.set)
    found = unknown_works(reference.views["all"], reference.artists, given.loras)
    for folder in filter(None, (given.loras, given.outsiders)):
        for kind, p in audited(reference, folder).items():
            found.setdefault(kind, []).extend(p)
    rows: Table = []
    for kind, values in sorted(found.items(), reverse=True):
        p = np.array(values)
        rows.append({"files": kind, "n": len(p), "p ≤ .05": int((p <= 0.05).sum()), "p ≤ .02": int((p <= 0.02).sum())})
    print(printed(rows))
    if given.card:
        note = "p of “by an artist of the set”; at or below α the verdict is NO_MATCH: wrong for the set's own "
        note += "artists, right for all others.  Files on the references' works and of outsiders are audited as users "
        note += "audit them; of unknown works, their artist's half of the works is left out of the whole set."
        add_to_card(given.card, "no match", "How often “no match” is said, and to whom", note, rows)


if __name__ == "__main__":
    main()
