"""What the references of a set were made from and how: `python benchmarks/trained_on.py SET`, a row for every recipe.

From the set's manifest and the package's recipes; `--card` puts the table first among those of the card.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from study import Table, add_to_card, printed

from auditor.reference.set import read_manifest
from auditor.training.recipes import BY_NAME, Recipe

KEY = "references"


def row_of(recipe: Recipe, entries: list[dict[str, object]]) -> dict[str, str | float]:
    """One recipe and the references that it made."""
    pictures = [int(str(entry["images"])) for entry in entries]
    row: dict[str, str | float] = {"recipe": recipe.name, "references": len(entries)}
    row |= {"pictures each": f"{min(pictures)}–{max(pictures)}", "keys": recipe.dialect}
    row |= {"rank": recipe.rank, "alpha": f"{recipe.alpha:g}", "layers": recipe.targets, "start of A": recipe.initial}
    row |= {"steps": recipe.steps, "batch": recipe.batch, "rate": f"{recipe.learning_rate:g}"}
    row |= {"schedule": recipe.schedule, "caption": recipe.caption, "crops": recipe.crops}
    loss = [f"min-SNR {recipe.min_snr:g}"] if recipe.min_snr else []
    loss += [f"noise offset {recipe.noise_offset:g}"] if recipe.noise_offset else []
    return row | {"loss": ", ".join(loss) or "plain"}


def table(entries: list[dict[str, object]]) -> Table:
    """A row for every recipe, in the order of their names."""
    names = sorted({str(entry["recipe"]) for entry in entries})
    return [row_of(BY_NAME[name], [e for e in entries if e["recipe"] == name]) for name in names]


def note_of(manifest: dict[str, object], entries: list[dict[str, object]]) -> str:
    """How many of whom, and on which base."""
    base = dict(manifest["base"])  # type: ignore[call-overload]
    per = {(entry["artist"], entry["part"]) for entry in entries}
    return (
        f"{len(entries)} LoRAs for the base {base['family']} (SHA-256 over its weights {base['digest']}; its README "
        f"says what it was made from), by {len(per) // 2} painters: every recipe on each half of a painter's works, "
        "pictures drawn anew for each LoRA, a seed of its own, AdamW, half precision in the file."
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", type=Path)
    parser.add_argument("--card", type=Path, help="card.json to add the table to")
    given = parser.parse_args()
    manifest = read_manifest(given.set)
    entries = manifest["references"]
    rows = table(entries)
    print(note_of(manifest, entries))
    print(printed(rows))
    if given.card:
        known = json.loads(given.card.read_text(encoding="utf-8"))
        known["measured"] = {KEY: {}} | known.get("measured", {})
        given.card.write_text(json.dumps(known, indent=1, allow_nan=False), encoding="utf-8")
        add_to_card(given.card, KEY, "What the references were made from", note_of(manifest, entries), rows)


if __name__ == "__main__":
    main()
