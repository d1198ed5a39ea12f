"""How do launderers fare?  `python benchmarks/laundering.py SET_WITH_FEATURES LORAS` prints a table.

Validation suspects are changed by each attack and audited twice: with their artist in the set (found), and by a set
whose fit never had every fourth artist, theirs among them (false attribution).  `moved` is the median change of the
open-set statistic.  Same works: the set holds both halves of each artist's works; --halves a: references from half a,
suspects from half b.  The exact rewritings must leave every p-value as it was.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import launder
import numpy as np
from study import FOLDS, Study, Suspect, Table, add_to_card, printed, shown

from auditor.embedding.backend import cosines, lead
from auditor.evidence import strongest_left
from auditor.policy import LEAST_COVERAGE
from auditor.reference.calibrate import VIEWS
from auditor.reference.set import View
from auditor.scope import ENOUGH

ALPHA = 0.05
Attack = Callable[[launder.Lora, launder.Lora, np.random.Generator], launder.Lora]
"""(suspect, another artist's suspect, randomness) → what the launderer uploads."""

EXACT: dict[str, Attack] = {
    "gauge change": lambda lora, _, rng: launder.regauged(lora, rng),
    "zero-padded rank": lambda lora, _, rng: launder.padded_with_zeros(lora, 4),
    "ranks and tensors permuted": lambda lora, _, rng: launder.shuffled(lora, rng),
    "strength × 0.1": lambda lora, _, rng: launder.scaled(lora, 0.1),
    "strength × 30": lambda lora, _, rng: launder.scaled(lora, 30.0),
}
LOSSY: dict[str, Attack] = {
    "fp16": lambda lora, _, rng: launder.cast(lora, "fp16"),
    "bf16": lambda lora, _, rng: launder.cast(lora, "bf16"),
    "fp8 (E4M3)": lambda lora, _, rng: launder.cast(lora, "fp8"),
    "rank halved (SVD)": lambda lora, _, rng: launder.resized(lora, lambda r: r // 2),
    "rank 1 (SVD)": lambda lora, _, rng: launder.resized(lora, lambda r: 1),
    "noise 10 %": lambda lora, _, rng: launder.noised(lora, 0.1, rng),
    "noise 30 %": lambda lora, _, rng: launder.noised(lora, 0.3, rng),
    "noise 100 %": lambda lora, _, rng: launder.noised(lora, 1.0, rng),
    "random ranks, energy + 10 %": lambda lora, _, rng: launder.padded(lora, 0.1, rng),
    "random ranks, energy + 50 %": lambda lora, _, rng: launder.padded(lora, 0.5, rng),
    "random ranks, energy + 100 %": lambda lora, _, rng: launder.padded(lora, 1.0, rng),
    "random ranks, energy + 400 %": lambda lora, _, rng: launder.padded(lora, 4.0, rng),
    "merged 80/20 with an unrelated LoRA": lambda a, b, rng: launder.concatenated([a, b], [0.8, 0.2]),
    "merged 50/50 with an unrelated LoRA": lambda a, b, rng: launder.concatenated([a, b], [0.5, 0.5]),
    "up blocks only": lambda lora, _, rng: launder.only(lora, lambda p: ".up_blocks." in p),
    "without mid block": lambda lora, _, rng: launder.only(lora, lambda p: "mid_block" not in p),
    "attention only": lambda lora, _, rng: launder.only(lora, lambda p: ".attn" in p),
    "feed-forward only": lambda lora, _, rng: launder.only(lora, lambda p: ".ff." in p),
}
NOT_STYLE: dict[str, Attack] = {
    "random weights": lambda lora, _, rng: launder.random_lora(lora, rng),
}


def fitting(sets: list[tuple[list[str], View]], adapted: set[str]) -> tuple[list[str], View] | None:
    """The audit's choice of view for a file that adapts some modules; None where it sees too little."""
    for names, view in sets:
        if np.mean([p in adapted for p in view.bases.paths]) >= ENOUGH:
            return names, view
    covered = [float(np.mean([p in adapted for p in view.bases.paths])) for _, view in sets]
    best = int(np.argmax(covered))
    return sets[best] if covered[best] >= LEAST_COVERAGE else None


def asked(names: list[str], view: View, row: np.ndarray) -> tuple[str, float, float]:
    """(first artist, open-set p, statistic) of features."""
    cosine = cosines(view.projection(row), view.centres)
    best, p = strongest_left(view, cosine, cosine, [])
    return names[best], p, float(lead(view.normaliser(cosine))[0])


def attacked(study: Study, attack: Attack, halves: str, most: int) -> list[tuple[str, np.ndarray, set[str]]]:
    """(artist, features, adapted modules) of every suspect after the attack."""
    rng = np.random.default_rng(0)
    chosen = [s for s in study.suspects if halves == "ab" or s.half not in halves]
    chosen = chosen[:: max(1, len(chosen) // most)]
    found = []
    for i, suspect in enumerate(chosen):
        other: Suspect = next(s for s in chosen[i + 1 :] + chosen if s.artist != suspect.artist)
        made = attack(launder.read(suspect.path), launder.read(other.path), rng)
        found.append((suspect.artist, study.features(made), set(made)))
    return found


def judged(
    study: Study, sets: list[tuple[list[str], View]], row: np.ndarray, adapted: set[str]
) -> tuple[str, float, float]:
    """(first artist, open-set p, statistic); ('', 1, nan) where the file shows too little of the network."""
    chosen = fitting(sets, adapted)
    return asked(*chosen, study.seen_by(chosen[1], row)) if chosen else ("", 1.0, np.nan)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", type=Path)
    parser.add_argument("loras", type=Path)
    parser.add_argument("--halves", default="ab")
    parser.add_argument("--most", type=int, default=80, help="suspects")
    parser.add_argument("--card", type=Path, help="card.json to add the table to")
    parser.add_argument("--attacks", nargs="*", help="only these, and the files as they were")
    given = parser.parse_args()
    study = Study(given.set, given.loras)
    whole = [study.without_fold(None, given.halves, view) for view in VIEWS]
    folds = [[study.without_fold(k, given.halves, view) for view in VIEWS] for k in range(FOLDS)]
    attacks: dict[str, Attack] = {"as it was": lambda lora, _, rng: lora} | EXACT | LOSSY | NOT_STYLE
    rows_of_table: Table = []
    plain: list[float] = []
    for name, attack in attacks.items():
        if given.attacks and plain and name not in given.attacks:
            continue
        rows = attacked(study, attack, given.halves, given.most)
        genuine = [judged(study, whole, row, adapted) for _, row, adapted in rows]
        outside = [
            judged(study, folds[study.names.index(artist) % FOLDS], row, adapted) for artist, row, adapted in rows
        ]
        artists = [a for a, _, _ in rows]
        first = np.mean([g[0] == a for g, a in zip(genuine, artists, strict=True)])
        found = np.mean([g[0] == a and g[1] <= ALPHA for g, a in zip(genuine, artists, strict=True)])
        wrong = np.mean([o[1] <= ALPHA for o in outside])
        plain = plain or [g[2] for g in genuine]
        moved = np.median(np.array([g[2] for g in genuine]) - np.array(plain))
        row: dict[str, str | float] = {"attack": name, "n": len(rows), "first": float(first), "found": float(found)}
        rows_of_table.append(row | {"false attribution": float(wrong), "statistic moved": float(moved)})
        print(", ".join(f"{k} {shown(v)}" for k, v in rows_of_table[-1].items()), file=sys.stderr, flush=True)
    print(printed(rows_of_table))
    if given.card:
        works = "same works" if given.halves == "ab" else "other works"
        note = "Found: first and p ≤ .05.  False attribution: by sets that never had the suspect's artist."
        add_to_card(given.card, f"laundering, {works}", f"Laundered suspects, {works}", note, rows_of_table)


if __name__ == "__main__":
    main()
