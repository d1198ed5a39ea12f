"""What does reading a LoRA cost, beside hashing the same file and beside loading it with torch?  Prints a table.

    python benchmarks/read.py [--smallest MiB] [--largest MiB] [--tasks TASK …] [--runs N] [FILE …]

Without files it writes its own: Stable Diffusion XL's attention layers in half precision, from 3 MB to 1 GB, of rank 4
to 128; where the model has too few layers for a size, it is given more blocks.  Columns are seconds of processor time
of the quickest run, each in a process that does the thing twice and counts the second, so that imports and the disk are
left out.  Where only the header is asked for, the data are holes: the times are the same and nothing large is written.

    sha256     hashlib over the file, the least that identifies a file
    read       load_lora: every factor in single precision
    factors    read, and the decomposition of every module that features start from
    features   that, and features of every module in sketches of 16 directions
    copies     read, decomposition, and the fingerprint of 256 probes that recognises copies of references
    header     inspect of the header alone (`audit inspect --header`)
    inspect    hashes, scales and spectra
    torch      safetensors' own loader and diffusers' conversion to its names, where they are installed
"""

from __future__ import annotations

import argparse
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SIZES = ((3, 4), (20, 4), (80, 16), (160, 32), (300, 32), (640, 128), (1000, 32))
"""(MiB, about; rank) of the files that are written."""
FACTORS = """
import sys
from auditor.embedding.features import factor_all
from auditor.lora import load_lora
def factored(p):
    weights = load_lora(p)
    return factor_all(weights, weights.modules)
"""
TASKS = {
    "sha256": "import hashlib; work = lambda p: hashlib.file_digest(open(p, 'rb'), 'sha256').hexdigest()",
    "read": "from auditor.lora import load_lora as work",
    "factors": FACTORS + "work = factored",
    "features": FACTORS
    + (
        "from auditor.embedding.features import features, sketch_bases\n"
        "bases = sketch_bases({q: m.shape for q, m in load_lora(sys.argv[1]).modules.items()}, 16, 136, 0)\n"
        "work = lambda p: features(factored(p), bases)"
    ),
    "copies": FACTORS
    + ("from auditor.embedding.sketches import fingerprint\nwork = lambda p: fingerprint(factored(p))"),
    "header": "from auditor.lora.inspect import inspect\nwork = lambda p: inspect(p, header_only=True)",
    "inspect": "from auditor.lora.inspect import inspect as work",
    "torch": (
        "from safetensors.torch import load_file\n"
        "from diffusers.loaders.lora_conversion_utils import _convert_non_diffusers_lora_to_diffusers as convert\n"
        "work = lambda p: convert(load_file(p))"
    ),
}
HARNESS = """
import sys, time, resource, warnings
warnings.filterwarnings("ignore")
{task}
work(sys.argv[1])
begun = time.process_time(); work(sys.argv[1]); took = time.process_time() - begun
print(took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def layers() -> dict[str, tuple[int, int]]:
    """Flat names of the attention layers of Stable Diffusion XL's UNet, and their (out, in)."""
    places = {f"down_blocks_1_attentions_{a}": (640, 2) for a in (0, 1)}
    places |= {f"down_blocks_2_attentions_{a}": (1280, 10) for a in (0, 1)}
    places |= {f"up_blocks_0_attentions_{a}": (1280, 10) for a in (0, 1, 2)} | {"mid_block_attentions_0": (1280, 10)}
    places |= {f"up_blocks_1_attentions_{a}": (640, 2) for a in (0, 1, 2)}
    found = {}
    for place, (wide, depth) in places.items():
        for n in range(depth):
            root = f"lora_unet_{place}_transformer_blocks_{n}"
            for attention, leaf in ((a, x) for a in (1, 2) for x in ("to_q", "to_k", "to_v", "to_out_0")):
                text = attention == 2 and leaf in ("to_k", "to_v")
                found[f"{root}_attn{attention}_{leaf}"] = (wide, 2048 if text else wide)
            found[f"{root}_ff_net_0_proj"], found[f"{root}_ff_net_2"] = (8 * wide, wide), (wide, 4 * wide)
    return found


def write(path: Path, mib: int, rank: int, *, hollow: bool = False) -> None:
    """A file of about `mib` MiB, its data holes if `hollow`; layers are left out from the end, or repeated, to fit."""
    rng, at, header, arrays = np.random.default_rng(0), 0, {}, []
    repeated = (
        (re.sub(r"blocks_([0-9])_(attn|ff)", rf"blocks_{copy}\1_\2", name) if copy else name, shape)
        for copy in range(100)
        for name, shape in layers().items()
    )
    for name, (out, across) in repeated:
        for side, shape in (("down", (rank, across)), ("up", (out, rank))):
            size = 2 * shape[0] * shape[1]
            header[f"{name}.lora_{side}.weight"] = {
                "dtype": "F16", "shape": list(shape), "data_offsets": [at, at + size]
            }  # fmt: skip
            at += size
            if not hollow:
                arrays.append((rng.standard_normal(shape, np.float32) * 0.02).astype(np.float16))
        if at > mib * 2**20:
            break
    text = json.dumps(header).encode()
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for array in arrays:
            stream.write(array.tobytes())
        stream.truncate(8 + len(text) + at)


def measure(task: str, path: Path, runs: int) -> tuple[float, float] | None:
    """(seconds, peak MiB) of the quickest run; None where the task cannot be done here."""
    found = []
    for _ in range(runs):
        command = [sys.executable, "-c", HARNESS.format(task=TASKS[task]), str(path)]
        one_thread = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # idle threads that wait would be counted as work
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=one_thread)
        if done.returncode:
            return None
        found.append(tuple(map(float, done.stdout.split())))
    return min(found)


def main() -> None:
    """Print one row per file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--smallest", type=int, default=0)
    parser.add_argument("--largest", type=int, default=1024)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    print(
        f"{'file':28} {'MiB':>6} "
        + " ".join(f"{task:>9}" for task in options.tasks)
        + f" {'feat/sha':>9} {'peak MiB':>9}"
    )
    with tempfile.TemporaryDirectory() as folder:
        cases = [(path, path.name) for path in options.files]
        for mib, rank in () if options.files else SIZES:
            if options.smallest <= mib <= options.largest:
                cases.append((Path(folder) / f"{mib}-{rank}.safetensors", f"rank {rank}"))
        for path, name in cases:
            if not path.exists():
                write(path, *map(int, path.stem.split("-")), hollow=options.tasks == ["header"])
            rows = {task: measure(task, path, options.runs) for task in options.tasks}
            size = path.stat().st_size / 2**20
            cells = " ".join(f"{row[0]:9.3f}" if row else f"{'–':>9}" for row in rows.values())
            if not options.files:
                path.unlink()
            sha, features = rows.get("sha256"), rows.get("features")
            ratio = features[0] / sha[0] if features and sha else float("nan")
            peak = max(row[1] for row in rows.values() if row)
            print(f"{name[:28]:28} {size:6.1f} {cells} {ratio:9.1f} {peak:9.0f}", flush=True)


if __name__ == "__main__":
    main()
