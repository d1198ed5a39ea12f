"""How do launderers fare?  `python benchmarks/laundering.py SET_WITH_FEATURES LORAS` prints a table.

Validation suspects are changed by each attack and audited twice: with their artist in the set (found), and by a set
whose fit never had every fourth artist, theirs among them (false attribution).  `moved` is the median change of the
open-set statistic.  Where two LoRAs are merged, naming the other one's artist is no false attribution; `other` counts
how often the set with both artists does so.  Ruled out: asked about the own artist, the audit says NO_MATCH.  Same
works: the set holds both halves of each artist's works; --halves a: references from half a, suspects from half b.  The
exact rewritings must leave every p-value as it was.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import launder
import numpy as np
from study import FOLDS, Study, Suspect, Table, add_to_card, printed, shown

from auditor.embedding.points import cosines
from auditor.evidence.mixtures import strongest_left
from auditor.evidence.significance import open_set
from auditor.policy import LEAST_COVERAGE, WHOLE_ENOUGH, rules_out
from auditor.reference.calibrate import VIEWS
from auditor.reference.set import View
from auditor.scope import likeness

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
    "blocks weighted .2 to 1.5": lambda lora, _, rng: launder.weighted(lora, rng),
    "up blocks only": lambda lora, _, rng: launder.only(lora, lambda p: ".up_blocks." in p),
    "without mid block": lambda lora, _, rng: launder.only(lora, lambda p: "mid_block" not in p),
    "attention only": lambda lora, _, rng: launder.only(lora, lambda p: ".attn" in p),
    "queries and values only": lambda lora, _, rng: launder.only(lora, lambda p: p.endswith((".to_q", ".to_v"))),
    "keys and values only": lambda lora, _, rng: launder.only(lora, lambda p: p.endswith((".to_k", ".to_v"))),
    "cross-attention only": lambda lora, _, rng: launder.only(lora, lambda p: ".attn2." in p),
    "down blocks only": lambda lora, _, rng: launder.only(lora, lambda p: ".down_blocks." in p),
    "half of the up blocks": lambda lora, _, rng: launder.only(
        lora, lambda p: ".up_blocks.0" in p or ".up_blocks.1" in p
    ),
    "feed-forward only": lambda lora, _, rng: launder.only(lora, lambda p: ".ff." in p),
}
MERGES: dict[str, Attack] = {
    "merged 80/20 with another artist's LoRA": lambda a, b, rng: launder.concatenated([a, b], [0.8, 0.2]),
    "merged 50/50 with another artist's LoRA": lambda a, b, rng: launder.concatenated([a, b], [0.5, 0.5]),
}
NOT_STYLE: dict[str, Attack] = {
    "random weights": lambda lora, _, rng: launder.random_lora(lora, rng),
}


def fitting(sets: list[tuple[list[str], View]], adapted: set[str]) -> tuple[list[str], View] | None:
    """The audit's choice of view for a file that adapts some modules; None where it sees too little."""
    best = max(sets, key=lambda one: likeness(adapted, one[1].bases.paths))
    covered = np.mean([path in adapted for path in best[1].bases.paths])
    return best if covered >= LEAST_COVERAGE else None


def first_of(names: list[str], view: View, row: np.ndarray) -> tuple[str, float, float]:
    """(first artist, open-set p, statistic) of features."""
    cosine = cosines(view.projection(row), view.centres)
    best, p = strongest_left(view, cosine, cosine, [])
    return names[best], p, float(view.statistic(cosine)[0])


Attacked = tuple[tuple[str, str], np.ndarray, set[str]]
"""(artist, the other LoRA's artist), features, adapted modules."""


def attacked(study: Study, attack: Attack, halves: str, most: int) -> list[Attacked]:
    """Every suspect after the attack."""
    rng = np.random.default_rng(0)
    chosen = [s for s in study.suspects if halves == "ab" or s.half not in halves]
    chosen = chosen[:: max(1, len(chosen) // most)]
    found = []
    for i, suspect in enumerate(chosen):
        other: Suspect = next(s for s in chosen[i + 1 :] + chosen if s.artist != suspect.artist)
        made = attack(launder.read(suspect.path), launder.read(other.path), rng)
        found.append(((suspect.artist, other.artist), study.features(made), set(made)))
    return found


Judged = tuple[str, float, float]
"""First artist, open-set p, statistic."""


def judged(study: Study, sets: list[tuple[list[str], View]], row: np.ndarray, adapted: set[str]) -> Judged:
    """What the audit would say; ('', 1, nan) where the file shows too little of the network."""
    chosen = fitting(sets, adapted)
    return first_of(*chosen, study.seen_by(chosen[1], row)) if chosen else ("", 1.0, np.nan)


def ruled_out(
    study: Study, sets: list[tuple[list[str], View]], row: np.ndarray, adapted: set[str], artist: str
) -> bool:
    """Whether an audit asked about `artist` would say NO_MATCH; see `auditor.policy.outside`."""
    chosen = fitting(sets, adapted)
    if chosen is None or np.mean([path in adapted for path in chosen[1].bases.paths]) < WHOLE_ENOUGH:
        return False
    names, view = chosen
    point = view.projection(study.seen_by(view, row))
    found = open_set(view, point, ALPHA, 1, 0, asked=(names.index(artist),))
    return rules_out(found)


def outcome(who: list[tuple[str, str]], genuine: list[Judged], outside: list[Judged], merged: bool) -> dict[str, Any]:
    """Shares of one row.  who: artist and other artist of each file; genuine, outside: with and without the artist."""
    own, other = zip(*who, strict=True)
    named, rejects = np.array([g[0] for g in genuine]), np.array([g[1] <= ALPHA for g in genuine])
    right = [merged and o[0] == b for o, b in zip(outside, other, strict=True)]
    wrong = [o[1] <= ALPHA and not r for o, r in zip(outside, right, strict=True)]
    return {
        "n": len(who),
        "first": float(np.mean(named == own)),
        "found": float(np.mean((named == own) & rejects)),
        "other": float(np.mean((named == other) & rejects)) if merged else float("nan"),
        "false attribution": float(np.mean(wrong)),
    }


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
    attacks: dict[str, Attack] = {"as it was": lambda lora, _, rng: lora} | EXACT | LOSSY | MERGES | NOT_STYLE
    rows_of_table: Table = []
    plain: list[float] = []
    for name, attack in attacks.items():
        if given.attacks and plain and name not in given.attacks:
            continue
        rows = attacked(study, attack, given.halves, given.most)
        genuine = [judged(study, whole, row, adapted) for _, row, adapted in rows]
        outside = [judged(study, folds[study.names.index(own) % FOLDS], row, seen) for (own, _), row, seen in rows]
        plain = plain or [g[2] for g in genuine]
        rows_of_table.append({"attack": name} | outcome([who for who, _, _ in rows], genuine, outside, name in MERGES))
        if given.halves == "ab":  # a set of one half of the works rules nobody out
            out = [ruled_out(study, whole, row, adapted, own) for (own, _), row, adapted in rows]
            rows_of_table[-1]["ruled out"] = float(np.mean(out))
        rows_of_table[-1]["statistic moved"] = float(np.median(np.array([g[2] for g in genuine]) - np.array(plain)))
        print(", ".join(f"{k} {shown(v)}" for k, v in rows_of_table[-1].items()), file=sys.stderr, flush=True)
    print(printed(rows_of_table))
    if given.card:
        works = "same works" if given.halves == "ab" else "other works"
        note = "Found: first and p ≤ .05.  False attribution: by sets that never had the suspect's artist; of merges, "
        note += "to neither artist.  Other: the merge's other artist is the one that is found."
        note += "  Ruled out: the own artist, when asked about." if given.halves == "ab" else ""
        add_to_card(given.card, f"laundering, {works}", f"Laundered suspects, {works}", note, rows_of_table)


if __name__ == "__main__":
    main()
