"""How do launderers fare?  `python benchmarks/laundering.py SET_WITH_FEATURES LORAS` prints a table.

Validation suspects are changed by each attack and audited twice: with their artist in the set (found), and by a set
whose fit never had every fourth artist, theirs among them (false attribution).  `moved` is the median change of the
open-set statistic.  Same works: the set holds both halves of each artist's works; --halves a: references from half a,
suspects from half b.  The exact rewritings must leave every p-value as it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import launder
import numpy as np
from study import FOLDS, Study, Suspect

from auditor.embedding.backend import cosines
from auditor.evidence import strongest_left
from auditor.reference.set import View

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


def asked(names: list[str], view: View, row: np.ndarray) -> tuple[str, float, float]:
    """(first artist, open-set p, statistic) of features."""
    cosine = cosines(view.projection(row), view.centres)
    best, p = strongest_left(view, cosine, cosine, [])
    return names[best], p, float(view.normaliser(cosine).max())


def attacked(study: Study, attack: Attack, halves: str, most: int) -> list[tuple[str, np.ndarray]]:
    """(artist, features) of every suspect after the attack."""
    rng = np.random.default_rng(0)
    chosen = [s for s in study.suspects if halves == "ab" or s.half not in halves]
    chosen = chosen[:: max(1, len(chosen) // most)]
    found = []
    for i, suspect in enumerate(chosen):
        other: Suspect = next(s for s in chosen[i + 1 :] + chosen if s.artist != suspect.artist)
        made = attack(launder.read(suspect.path), launder.read(other.path), rng)
        found.append((suspect.artist, study.features(made)))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", type=Path)
    parser.add_argument("loras", type=Path)
    parser.add_argument("--halves", default="ab")
    parser.add_argument("--most", type=int, default=80, help="suspects")
    given = parser.parse_args()
    study = Study(given.set, given.loras)
    whole = study.without_fold(None, given.halves)
    folds = [study.without_fold(k, given.halves) for k in range(FOLDS)]
    attacks: dict[str, Attack] = {"as it was": lambda lora, _, rng: lora} | EXACT | LOSSY | NOT_STYLE
    print("| attack | n | first | found | false attribution | moved |")
    print("|---|---|---|---|---|---|")
    plain: list[float] = []
    for name, attack in attacks.items():
        rows = attacked(study, attack, given.halves, given.most)
        genuine = [asked(*whole, study.seen_by(whole[1], row)) for _, row in rows]
        outside = []
        for artist, row in rows:
            fold = folds[study.names.index(artist) % FOLDS]
            outside.append(asked(*fold, study.seen_by(fold[1], row)))
        artists = [a for a, _ in rows]
        first = np.mean([g[0] == a for g, a in zip(genuine, artists, strict=True)])
        found = np.mean([g[0] == a and g[1] <= ALPHA for g, a in zip(genuine, artists, strict=True)])
        wrong = np.mean([o[1] <= ALPHA for o in outside])
        plain = plain or [g[2] for g in genuine]
        moved = np.median(np.array([g[2] for g in genuine]) - plain)
        print(f"| {name} | {len(rows)} | {first:.2f} | {found:.2f} | {wrong:.2f} | {moved:+.3f} |", flush=True)


if __name__ == "__main__":
    main()
