"""The README's tables of a validity card: `python benchmarks/card_tables.py reference_sets/default/card.json`.

A test compares them with the README, so that its figures are those of the set that is shipped.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

FIGURES = {
    "top-1": "top1",
    "open-set AUC": "open_set_auc",
    "found at α = .05": "found_at_alpha",
    "false attribution at α = .05": "false_attribution",
}


def cell(figures: dict[str, Any], name: str, interval: bool) -> str:
    """A figure with two decimals, and its 95 % interval; a dash where the condition has none."""
    if name not in figures:
        return "–"
    known = figures[name]
    rounded = f"{known['value']:.2f}"
    return f"{rounded} ({known['low']:.2f}–{known['high']:.2f})" if interval else rounded


def table(first: str, rows: dict[str, list[str]], columns: list[str]) -> list[str]:
    """Lines of a Markdown table."""
    head = [f"| {first} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    return head + [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]


def conditions(card: dict[str, Any]) -> list[str]:
    """Kinds of suspect, with intervals over artists."""
    rows = {
        name: [str(card["suspects"][name]), *(cell(figures, key, True) for key in FIGURES.values())]
        for name, figures in card["conditions"].items()
        if figures
    }
    return table("suspects", rows, ["n", *FIGURES])


WHEN_ASKED = {
    "found at α = .05": "found_at_alpha",
    "p ≤ .05 for another": "false_p_at_alpha",
    "of the same genre": "false_p_genre",
    "the nearest matched": "false_of_nearest",
    "AUC": "auc",
    "Cllr": "cllr",
    "of the same genre, Cllr": "cllr_genre",
}


def asked(card: dict[str, Any]) -> list[str]:
    """Artists named beforehand, with intervals over artists."""
    rows = {
        name: [str(card["suspects"][name]), *(cell(figures, key, True) for key in WHEN_ASKED.values())]
        for name, figures in card["asked"].items()
    }
    return table("suspects, one artist tested for alone", rows, ["n", *WHEN_ASKED])


def ablations(card: dict[str, Any]) -> list[str]:
    """One change at a time."""
    rows = {name: [cell(f, key, False) for key in FIGURES.values()] for name, f in card["ablations"].items()}
    return table("one change at a time", rows, ["top-1", "open-set AUC", "found", "false attribution"])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("card", type=Path)
    card = json.loads(parser.parse_args().card.read_text(encoding="utf-8"))
    print("\n".join([*conditions(card), "", *asked(card), "", *ablations(card)]))


if __name__ == "__main__":
    main()
