"""Are laundered copies found again, and nothing else?  Prints recall and the relation found, by kind of laundering.

    python benchmarks/duplicates.py FILE|FOLDER…

Every readable LoRA is laundered in the ways below, the whole heap is scanned with --duplicates, and the pairs found
are held against the pairs made.  Precision counts pairs between different sources that no merge connects; pairs of two
originals are listed, since they may be related in truth.
"""

from __future__ import annotations

import os
import struct
import sys
import tempfile
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import json  # noqa: E402

import numpy as np  # noqa: E402

from auditor.corpus.duplicates import pairs, pairs_file  # noqa: E402
from auditor.corpus.names import expand  # noqa: E402
from auditor.corpus.rows import Options  # noqa: E402
from auditor.corpus.scan import scan  # noqa: E402
from auditor.errors import NotAuditable  # noqa: E402
from auditor.lora import load_lora  # noqa: E402
from auditor.lora.algebra import canonical  # noqa: E402

Made = dict[str, tuple[np.ndarray, np.ndarray]]


def write(path: Path, made: Made, dtype: str = "F32") -> None:
    """A safetensors file in PEFT's names."""
    kind = {"F32": np.float32, "F16": np.float16}[dtype]
    header: dict[str, object] = {}
    blobs, at = [], 0
    for name, (up, down) in made.items():
        for leaf, value in (("lora_A", down), ("lora_B", up)):
            blobs.append(np.ascontiguousarray(value, kind).tobytes())
            header[f"{name}.{leaf}.weight"] = {
                "dtype": dtype,
                "shape": list(value.shape),
                "data_offsets": [at, at + len(blobs[-1])],
            }
            at += len(blobs[-1])
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def plain(weights) -> Made:
    """Scale folded into B."""
    return {path: (m.scale * m.up, m.down) for path, m in weights.modules.items()}


def refactored(made: Made, rng) -> Made:
    """Another gauge."""
    found = {}
    for path, (up, down) in made.items():
        turn = rng.standard_normal((up.shape[1],) * 2) + 2 * np.eye(up.shape[1])
        found[path] = (up @ turn, np.linalg.solve(turn, down))
    return found


def resized(weights) -> Made:
    """The best approximation of half the rank."""
    found = {}
    for path, module in weights.modules.items():
        u, s, vt = canonical(module)
        keep = max(1, len(s) // 2)
        if len(s):
            found[path] = (u[:, :keep] * s[:keep], vt[:keep])
    return found


def noisy(made: Made, rng, amount: float) -> Made:
    """B moved by a share of its size, as further training would."""
    return {
        p: (up + amount * np.linalg.norm(up) / np.sqrt(up.size) * rng.standard_normal(up.shape), down)
        for p, (up, down) in made.items()
    }


def merged(a: Made, b: Made, share: float) -> Made:
    """share · a + (1 - share) · b, both brought to one norm, by concatenation."""
    size_a, size_b = (np.sqrt(sum(np.sum((u @ d) ** 2) for u, d in m.values())) for m in (a, b))
    return {
        p: (np.hstack([share / size_a * a[p][0], (1 - share) / size_b * b[p][0]]), np.vstack([a[p][1], b[p][1]]))
        for p in a.keys() & b.keys()
        if a[p][0].shape[0] == b[p][0].shape[0] and a[p][1].shape[1] == b[p][1].shape[1]
    }


def launder(sources: list[Path], folder: Path) -> dict[frozenset[str], str]:
    """Write originals and copies; the true pairs (of an original and a copy) by kind."""
    rng = np.random.default_rng(0)
    truth: dict[frozenset[str], str] = {}
    readable = []
    for source in sources:
        try:
            readable.append((source, load_lora(source)))
        except NotAuditable as problem:
            print(f"left out: {source.name}: {problem.code}")
    for number, (source, weights) in enumerate(readable):
        made = plain(weights)
        kinds = {"re-saved": made, "re-factored, × 3": {p: (3 * u, d) for p, (u, d) in refactored(made, rng).items()}}
        kinds |= {
            "half precision": made,
            "half the rank": resized(weights),
            "trained on (B ± 50 %)": noisy(made, rng, 0.5),
        }
        original = folder / f"{number:02d}-original{source.suffix}"
        original.write_bytes(source.read_bytes())
        for name, copy in kinds.items():
            path = folder / f"{number:02d}-{name.split()[0]}-{len(name)}.safetensors"
            write(path, copy, "F16" if name == "half precision" else "F32")
            truth[frozenset((original.stem, path.stem))] = name
    for ((one, a), (two, b)), share in zip(pairwise(enumerate(readable)), (0.5, 0.7) * len(readable), strict=False):
        if a[1].base_family == b[1].base_family:
            made = merged(plain(a[1]), plain(b[1]), share)
            if len(made) < 0.8 * max(len(a[1].modules), len(b[1].modules)):
                continue
            path = folder / f"merge-{one:02d}-{two:02d}.safetensors"
            write(path, made)
            for number in (one, two):
                truth[frozenset((f"{number:02d}-original", path.stem))] = f"merge {share:.0%} : {1 - share:.0%}"
    return truth


def families(stem: str) -> set[str]:
    """Numbers of the sources behind a file."""
    return {part for part in stem.split("-")[:3] if part.isdigit()}


def main() -> None:
    """Launder, scan, count."""
    sources = [Path(name) for name in expand(sys.argv[1:], [])]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "heap"
        folder.mkdir()
        truth = launder(sources, folder)
        out = Path(place) / "out.parquet"
        scan(expand([str(folder)], []), out, Options(duplicates=True), workers=os.cpu_count() or 1)
        found = {frozenset((Path(p["a"]).stem, Path(p["b"]).stem)): p for p in pairs(pairs_file(out))}
    stands = {
        b: a for a, b in ((Path(r["a"]).stem, Path(r["b"]).stem) for r in found.values() if r["cos_sketch"] is None)
    }
    told = defaultdict(Counter)
    for pair, kind in truth.items():
        through = frozenset(stands.get(stem, stem) for stem in pair)  # files of equal tensors are compared through one
        row = found.get(pair) or found.get(through)
        told[kind][row["relation"] if row else "not found"] += 1
    print(f"{'laundering':24}{'pairs':>7}{'recall':>8}  relations")
    for kind, counts in told.items():
        recall = 1 - counts["not found"] / counts.total()
        print(f"{kind:24}{counts.total():>7}{recall:8.2f}  {', '.join(f'{n} {r}' for r, n in counts.most_common())}")
    right = wrong = 0
    for pair, row in found.items():
        a, b = sorted(pair)
        if families(a) & families(b):
            right += 1
        elif a.endswith("original") and b.endswith("original"):
            print(f"two originals: {a} and {b}: {row['relation']}, cos ΔW {row['cos_delta_w']:.2f}")
        else:
            wrong += 1
            print(f"between sources: {a} and {b}: {row['relation']}, cos ΔW {row['cos_delta_w'] or 1:.2f}")
    print(
        f"pairs found: {right + wrong}, of one source or merge: {right}, precision {right / max(1, right + wrong):.3f}"
    )


if __name__ == "__main__":
    main()
