"""Does a sketch say of a file what its set says?  `python benchmarks/sketches.py SET SKETCH LORAS` prints a row.

Both audit all validation suspects of LORAS, on works that both know (`audit refs export SET --sketch --loras LORAS -o
SKETCH` writes the sketch).  Scores: correlation over all files and artists; first: the right artist comes first; found:
it does, and p ≤ .05; outsiders: files of artists outside the set with p ≤ .05.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from study import Table, printed

from auditor.audit import check
from auditor.reference import ReferenceSet
from auditor.reference.build import read_plan
from auditor.result import Audit

ALPHA = 0.05


def suspects(loras: Path) -> list[tuple[str, Path]]:
    """(artist, file) of every validation suspect that was trained as anybody might."""
    jobs = [j for j in read_plan(loras)[1].values() if "--suspect-" in j["name"] and not j["recipe"].startswith("far-")]
    files = [(j["artist"], loras / j["artist"] / f"{j['name']}.safetensors") for j in jobs]
    return [(artist, file) for artist, file in files if file.is_file()]


def named(audit: Audit, artist: str) -> tuple[bool, bool]:
    """Is the artist first, and found?"""
    assert audit.open_set is not None
    first = audit.artists[0].artist == artist
    return first, first and audit.open_set.p <= ALPHA


def row_of(name: str, audits: list[tuple[str, Audit]], artists: set[str]) -> dict[str, str | float]:
    """What one set says."""
    inside = np.array([named(audit, artist) for artist, audit in audits if artist in artists])
    outside = [audit.open_set.p <= ALPHA for artist, audit in audits if artist not in artists and audit.open_set]
    shares = {"first": float(inside[:, 0].mean()), "found": float(inside[:, 1].mean())}
    return {"set": name, "files": len(inside)} | shares | {"outsiders": f"{sum(outside)} of {len(outside)}"}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", type=Path)
    parser.add_argument("sketch", type=Path)
    parser.add_argument("loras", type=Path)
    given = parser.parse_args()
    audits, scores = {}, {}
    for name in ("set", "sketch"):
        reference = ReferenceSet.load(getattr(given, name))
        audits[name] = [(who, check(file, reference, resamples=1)) for who, file in suspects(given.loras)]
        seen = [{a.artist: a.score for a in audit.artists} for _, audit in audits[name]]
        scores[name] = np.array([one[artist] for one in seen for artist in sorted(one)], float)
    artists = {a["name"] for a in reference.manifest["artists"]}
    rows: Table = [row_of(name, audits[name], artists) for name in audits]
    print(printed(rows))
    print(f"correlation of scores: {np.corrcoef(scores['set'], scores['sketch'])[0, 1]:.3f}")


if __name__ == "__main__":
    main()
