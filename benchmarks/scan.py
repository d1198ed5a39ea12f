"""How far is a scan from merely reading and hashing its files?  Prints a table: kinds of files, cost against size.

    python benchmarks/scan.py [FOLDER…] [FIGURE.svg]
    python benchmarks/scan.py --pieces          where the time of a file in scope goes
    python benchmarks/scan.py --floor           the least that an audit must calculate, and what these cores could do

Work of one worker, in CPU seconds, so that other work on the machine does not count.  Kinds: files of the set's base
(audited in full), of another base and copies (settled by header and hash), files that are no weights.
Each kind at three sizes.  Then whole commands, on made heaps and on the FOLDERs, beside reading and hashing the same
files.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is imported

import numpy as np  # noqa: E402
from loglog import draw  # noqa: E402
from process import cost  # noqa: E402

MIB = 2**20


def written(path: Path, shapes: dict[str, tuple[int, int]], rank: int, seed: int) -> Path:
    """A LoRA of random factors in diffusers' names."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, (out, into) in shapes.items():
        tensors[f"{name}.lora_A.weight"] = rng.standard_normal((rank, into), np.float32)
        tensors[f"{name}.lora_B.weight"] = rng.standard_normal((out, rank), np.float32)
    header, at = {}, 0
    for name, value in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [at, at + value.nbytes]}
        at += value.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(v.tobytes() for v in tensors.values()))
    return path


def xl_shapes(modules: int) -> dict[str, tuple[int, int]]:
    """Modules with the names and widths of Stable Diffusion XL."""
    found = {}
    for i in range(modules):
        root = f"unet.down_blocks.2.attentions.{i % 2}.transformer_blocks.{i // 8}"
        leaf, into = (("attn1.to_q", 1280), ("attn2.to_k", 2048), ("attn1.to_v", 1280), ("attn2.to_q", 1280))[
            i // 2 % 4
        ]
        found[f"{root}.{leaf}"] = (1280, into)
    return found


def spent(work, files: list[str]) -> float:
    """CPU seconds for all files, after one to get warm."""
    work(files[0])
    started = time.process_time()
    for file in files:
        work(file)
    return time.process_time() - started


def read_and_hash(file: str) -> None:
    """The least that tells one file from another."""
    with open(file, "rb") as stream:
        hashlib.file_digest(stream, "sha256")


def kinds(folder: Path) -> dict[str, list[str]]:
    """Files by kind and size."""
    from auditor import ReferenceSet

    own = ReferenceSet.load().shapes
    made = {}
    for rank in (4, 16, 64):
        made[f"set's base, rank {rank}"] = [
            str(written(folder / f"own{rank}-{i}.safetensors", own, rank, i)) for i in range(4)
        ]
    for modules, rank in ((32, 8), (64, 32), (128, 64)):
        shapes = xl_shapes(modules)
        names = [str(written(folder / f"xl{rank}-{i}.safetensors", shapes, rank, i)) for i in range(4)]
        made[f"another base, rank {rank}"] = names
    made["no weights"] = []
    for i in range(4):
        (folder / f"junk{i}.bin").write_bytes(np.random.default_rng(i).bytes(4 * MIB))
        made["no weights"].append(str(folder / f"junk{i}.bin"))
    return made


def parts() -> None:
    """One worker on each kind."""
    from auditor.corpus.rows import Options, Scanner

    scanner, sketching = Scanner(Options()), Scanner(Options(duplicates=True))
    columns = ("MiB", "hash ms", "row ms", "MiB/s", "rate", "copy", "sketch")
    print(f"{'one worker, CPU time':26}" + "".join(f"{c:>9}" for c in columns))
    with tempfile.TemporaryDirectory() as folder:
        for kind, files in kinds(Path(folder)).items():
            size = sum(os.path.getsize(f) for f in files) / len(files) / MIB
            base = spent(read_and_hash, files) / len(files)
            row = spent(lambda f: scanner(f, lambda _: False), files) / len(files)
            copy = spent(lambda f: scanner(f, lambda _: True), files) / len(files)
            full = spent(lambda f: sketching(f, lambda _: False), files) / len(files)
            print(
                f"{kind:26}{size:9.1f}{1000 * base:9.1f}{1000 * row:9.1f}{size / row:9.0f}{base / row:9.0%}"
                f"{base / copy:9.0%}{base / full:9.0%}"
            )
    print("rate, copy, sketch: share of the rate of reading and one SHA-256; as a copy; with --duplicates")


def least(work, runs: int = 5) -> float:
    """CPU milliseconds of the quickest of several runs, after one to get warm."""
    work()
    found = []
    for _ in range(runs):
        started = time.process_time()
        work()
        found.append(1000 * (time.process_time() - started))
    return min(found)


def pieces() -> None:
    """The steps of one audit, by rank."""
    from auditor import ReferenceSet, check, load_lora, read_artifact
    from auditor.embedding.features import factor_all, features
    from auditor.embedding.many import Rooted
    from auditor.embedding.sketches import fingerprint, rough_fingerprint
    from auditor.evidence.artists import artist_scores
    from auditor.evidence.controls import control_scores
    from auditor.evidence.maps import style_map
    from auditor.evidence.mixtures import mixture
    from auditor.evidence.significance import open_set
    from auditor.scope import choose_view, in_scope

    reference = ReferenceSet.load()

    def quick(path: Path) -> str:
        found = factor_all(weights := load_lora(path), in_scope(weights, reference)).values()
        return f"{sum(isinstance(f, Rooted) for f in found)} of {len(found)} layers by Gram matrices"

    for path in sorted((ROOT / "examples").glob("*.safetensors")):
        print(f"{path.name}: {quick(path)}")
    with tempfile.TemporaryDirectory() as folder:
        for rank in (4, 16, 64):
            path = written(Path(folder) / f"{rank}.safetensors", reference.shapes, rank, 0)
            weights = load_lora(path)
            paths = in_scope(weights, reference)
            view, factored = choose_view(paths, reference), factor_all(weights, paths)
            seen = {p: f for p, f in factored.items() if p in view.bases.out}
            vector = features(seen, view.bases)[0]
            given = view.shares(vector)
            point = given.sum(0, keepdims=True)
            steps = {
                "one SHA-256": lambda path=path: read_and_hash(str(path)),
                "digests": lambda path=path: read_artifact(path),
                "read": lambda path=path: load_lora(path),
                "decompose": lambda weights=weights, paths=paths: factor_all(weights, paths),
                "features": lambda seen=seen, view=view: view.shares(features(seen, view.bases)[0]),
                "fingerprint": lambda factored=factored: rough_fingerprint(factored) is None and fingerprint(factored),
                "scores": lambda factored=factored, view=view, given=given, point=point: (
                    open_set(view, point, 0.05, 1000, 0, reference.artists), artist_scores(reference, view, given),
                    control_scores(reference, factored, view), mixture(reference, view, point, 0.05),
                    style_map(reference, view, point),
                ),
                "whole": lambda path=path: check(path, reference),
            }  # fmt: skip
            print(
                f"rank {rank:3}: " + ", ".join(f"{name} {least(work):.1f}" for name, work in steps.items()), quick(path)
            )


def rates() -> tuple[float, float, float]:
    """Of one core: multiplications a second in double and in single precision, bytes hashed a second."""
    found = []
    for kind in (np.float64, np.float32):
        square = np.ones((1024, 1024), kind)
        found.append(1024**3 / least(lambda square=square: square @ square) * 1000)
    block = bytes(16 * MIB)
    return found[0], found[1], len(block) / least(lambda: hashlib.sha256(block)) * 1000


def floor() -> None:
    """A lower bound of an audit's time by rank: its multiplications at the speed of large products, and two digests.

    No reading, no Python, no memory traffic is in it.  Eigenvalues: 4.5 r³ a layer, and 2 r³ for what they are of.
    """
    from auditor import ReferenceSet
    from auditor.embedding.sketches import FINGERPRINT

    reference = ReferenceSet.load()
    view = next(iter(reference.views.values()))
    sides, k = sum(map(sum, reference.shapes.values())), next(iter(view.bases.out.values())).shape[1]
    double, single, hashed = rates()
    print(
        f"one core: {double:.3g} and {single:.3g} multiplications a second (double, single), {hashed:.3g} bytes hashed"
    )
    for rank in (4, 16, 64):
        numbers = rank * sides
        each = {
            "Gram matrices": rank / 2,
            "eigenvalues": 6.5 * rank**3 * len(reference.shapes) / numbers,
            "features": float(k),
            "projection": view.projection.steps.size / numbers,
        }
        seconds = sum(each.values()) / double + FINGERPRINT / single
        digest = 4 / hashed
        parts = ", ".join(f"{name} {value:.0f}" for name, value in each.items())
        print(f"rank {rank:2}, {numbers / 1e6:.2f} million numbers, for each {parts}, fingerprint {FINGERPRINT}: "
              f"{1e9 * seconds:.1f} ns beside {1e9 * digest:.1f} ns of one SHA-256; share of the hashing rate at most "
              f"{digest / (seconds + 2 * digest):.0%}")  # fmt: skip


def market(folder: Path, count: int, modules: int, rank: int) -> Path:
    """A heap as marketplaces are: of ten files eight of another base, one of the set's base, one a copy."""
    from auditor import ReferenceSet

    own, other = ReferenceSet.load().shapes, xl_shapes(modules)
    for i in range(count):
        path = folder / f"{i:05d}.safetensors"
        if i % 10 == 9:
            path.write_bytes((folder / f"{i - 1:05d}.safetensors").read_bytes())
        else:
            written(path, own if i % 10 == 0 else other, 16 if i % 10 == 0 else rank, i)
    return folder


def whole(folder: str) -> tuple[int, float]:
    """A scan as users run it, by one worker; (files, its CPU seconds)."""
    from auditor.corpus.names import below

    files = list(below(folder))
    size = sum(os.path.getsize(f) for f in files) / MIB
    base = spent(read_and_hash, files)
    with tempfile.TemporaryDirectory() as place:
        out = f"{place}/out.parquet"
        used = cost([sys.executable, "-m", "auditor.cli", "scan", folder, "-o", out, "-q", "--workers", "1"])
        cpu, wall = used.cpu, used.wall
        stored = os.path.getsize(out) / len(files)
    figures = (len(files), size, base, cpu, wall, len(files) / cpu, size / cpu)
    print(f"{Path(folder).name[:25]:26}" + "".join(f"{value:9.4g}" for value in figures), end="")
    print(f"{base / cpu:9.0%}{stored:9.0f}{used.peak:9.0f}", flush=True)
    return len(files), cpu


def wholes(names: list[str], figure: str | None) -> None:
    """Whole scans: of made heaps in growing sizes, of one with larger files, and of the folders named."""
    columns = ("files", "MiB", "hash s", "CPU s", "wall s", "files/s", "MiB/s", "rate", "bytes/row", "peak MiB")
    print(f"\n{'audit scan, one worker':26}" + "".join(f"{c:>9}" for c in columns))
    grown = []
    for count, modules, rank in ((10, 32, 8), (50, 32, 8), (250, 32, 8), (30, 64, 32)):
        with tempfile.TemporaryDirectory(prefix=f"{count}-rank{rank}-") as folder:
            row = whole(str(market(Path(folder), count, modules, rank)))
        grown += [row] if rank == 8 else []
    for name in names:
        whole(name)
    print("files/s and MiB/s: for each second of CPU, that is per core; rate: share of the rate of reading and hashing")
    if figure:
        draw(
            Path(figure),
            "audit scan, one worker, whole command",
            "files (2.7 MiB each)",
            "CPU seconds",
            {"scan": grown},
        )


def main() -> None:
    """Kinds of files and whole commands, or the steps of one audit."""
    words = sys.argv[1:]
    if "--pieces" in words or "--floor" in words:
        pieces() if "--pieces" in words else floor()
        return
    parts()
    wholes([w for w in words if not w.endswith(".svg")], next((w for w in words if w.endswith(".svg")), None))


if __name__ == "__main__":
    main()
