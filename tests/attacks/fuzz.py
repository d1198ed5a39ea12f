"""Fuzz the readers: mutated files must be read or refused in words, never anything else.

    python tests/attacks/fuzz.py [--executions 1000000] [--seed 0] [--save DIR] [--record FILE]

Kinds of mutation in turn: single bytes anywhere; words of the header, its length made right again, so that the deeper
checks are reached; well-formed files of drawn names, roles and shapes; and now and then a file whose tensors fit
together, in any number format, under names of every family.  Seeds are small files of every container and algorithm.
Prints what was done at the end; files that break a reader are kept in DIR and end the run with exit code 1.  With
--record a line is added to FILE after every 10,000 executions, and a run that was broken off goes on behind them.
Not a test of the suite: `tests/attacks/test_attacks_lora_files.py` runs a few hundred mutations of the same kinds.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import random
import resource
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lora"), str(HERE.parent.parent)]

import lora_writing as writing  # noqa: E402

from auditor.errors import NotAuditable  # noqa: E402
from auditor.lora import load_lora  # noqa: E402
from auditor.lora.families import families  # noqa: E402
from auditor.lora.inspect import inspect  # noqa: E402

UNET = "lora_unet_mid_block_attentions_0_proj_"
WORDS = ['"F16"', '"F64"', '"BF16"', '"F8_E4M3"', "0", "1", "-1", "2", "3", "1e3", "null", "[]", "{}", '""', "true",
         "9" * 20, "18446744073709551616", '"alpha"', "NaN", "[1,1]", "[0]", '"\\ud800"', '"__metadata__"']  # fmt: skip
ROLES = ["lora_up.weight", "lora_down.weight", "lora_mid.weight", "alpha", "scale", "dora_scale", "diff", "diff_b",
         "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2", "lokr_w1", "lokr_w1_a", "lokr_w1_b",
         "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2", "w_norm", "oft_blocks", "rescale", "a1.weight", "a2.weight",
         "b1.weight", "b2.weight", "on_input", "weight", "lora_E", "lora_A.weight", "lora_B.weight"]  # fmt: skip
NAMES = [UNET + "in", UNET + "out", "lora_unet_double_blocks_0_img_attn_qkv", "lora_unet_single_blocks_0_linear1",
         "transformer.layers.0.attention.qkv", "diffusion_model.final_layer.adaLN_modulation.1",
         "lora_te1_text_model_encoder_layers_0_mlp_fc1", "base_model.model.mid_block.attentions.0.proj_in",
         "double_blocks.0.processor.qkv_lora1.down", "unet:0", "x"]  # fmt: skip


def seeds() -> list[bytes]:
    """Small files of every container and algorithm."""
    ones = lambda *shape: np.ones(shape, np.float32)  # noqa: E731
    tables = [
        writing.kohya(writing.make({"unet.mid_block.attentions.0.proj_in": (6, 5)}, rank=2), 2.0),
        writing.peft(writing.make({"unet.mid_block.attentions.0.proj_in": (6, 5)}, rank=2), ".default"),
        {f"{UNET}in.hada_w{n}_{s}": ones(2, 2) for n in "12" for s in "ab"},
        {f"{UNET}in.lokr_w1": ones(2, 2), f"{UNET}in.lokr_w2_a": ones(3, 1), f"{UNET}in.lokr_w2_b": ones(1, 2)},
        {f"{UNET}in.diff": ones(3, 4), f"{UNET}out.oft_blocks": ones(2, 2, 2), f"{UNET}out.alpha": ones(1)[0]},
        {"lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight": ones(12, 2),
         "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": ones(2, 4)},
    ]  # fmt: skip
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for table in tables:
            made.append(writing.save(Path(folder) / "x", table, {"ss_network_dim": "2"}).read_bytes())
    return [*made, torch_file()]


def torch_file() -> bytes:
    """A torch zip with one tensor's layout, written without torch."""
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x10tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0K\x02K\x02\x86K\x02K\x01\x86\x89NtR"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        names = [f"unet.mid_block.attentions.0.proj_in.lora.{side}.weight".encode() for side in ("down", "up")]
        items = b"".join(b"X" + len(n).to_bytes(4, "little") + n + tensor + b"s" for n in names)
        archive.writestr("archive/data.pkl", b"\x80\x02}" + items + b".")
        archive.writestr("archive/data/0", bytes(64))
    assert pickle.HIGHEST_PROTOCOL
    return out.getvalue()


def bytes_changed(rng: random.Random, content: bytes) -> bytes:
    """A few bytes set, cut, doubled or added anywhere."""
    made = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        made[rng.randrange(len(made))] = rng.choice((0, 1, 255, rng.randrange(256)))
    if rng.random() < 0.2:
        del made[rng.randrange(len(made)) :]
    if rng.random() < 0.1:
        made += rng.randbytes(rng.randint(1, 40))
    return bytes(made) or b"\0"


def words_changed(rng: random.Random, content: bytes) -> bytes:
    """Words of a safetensors header exchanged; its length is made right again."""
    length = int.from_bytes(content[:8], "little")
    if content[8:9] != b"{":
        return bytes_changed(rng, content)
    words = content[8 : 8 + length].decode().replace("[", "[ ").replace("]", " ]").replace(",", " , ").split(" ")
    for _ in range(rng.randint(1, 4)):
        words[rng.randrange(len(words))] = rng.choice(WORDS)
    return writing.raw_file(" ".join(words).encode(), content[8 + length :])


def shapes_drawn(rng: random.Random, _: bytes) -> bytes:
    """A well-formed file of random tensors under names that mean something."""
    header: dict[str, object] = {}
    at = 0
    for _ in range(rng.randint(1, 6)):
        shape = [rng.choice((0, 1, 1, 2, 2, 3, 4, 6)) for _ in range(rng.randint(0, 4))]
        count = int(np.prod(shape)) * 4
        name = f"{rng.choice(NAMES)}.{rng.choice(ROLES)}"
        if name not in header:
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + count]}
            at += count
    value = rng.choice((0.0, 1.0, -1.0, 1e-30, 1e11, 1e30, float("nan"), float("inf")))
    return writing.raw_file(json.dumps(header).encode(), np.full(at // 4, value, "<f4").tobytes())


FORMATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}


def fitting(rng: random.Random, _: bytes) -> bytes:
    """A file whose tensors fit together: random bytes in a random number format, under a name of any family."""
    family = rng.choice(families())
    template = rng.choice((*family.modules, *family.aliases))
    body = "".join(str(rng.randint(0, 3)) if letter == "#" else letter for letter in template)
    name = rng.choice(("transformer." + body, "diffusion_model." + body, "lora_unet_" + body.replace(".", "_")))
    r, out, across = rng.randint(1, 4), rng.choice((2, 6, 12)), rng.choice((2, 3, 6))
    made: dict[str, list[int]] = rng.choice((
        {"lora_up.weight": [out, r], "lora_down.weight": [r, across], "alpha": []},
        {"lora_B.weight": [out, r], "lora_A.weight": [r, across], "lora_magnitude_vector": [out]},
        {"lora_up.weight": [out, r, 1, 1], "lora_down.weight": [r, across, 1, 1], "lora_mid.weight": [r, r, 3, 3]},
        {"hada_w1_a": [out, r], "hada_w1_b": [r, across], "hada_w2_a": [out, r], "hada_w2_b": [r, across]},
        {"lokr_w1": [2, 2], "lokr_w2_a": [out // 2, r], "lokr_w2_b": [r, across], "alpha": []},
        {"lokr_w1": [out, 2], "lokr_w2": [2, across]},
        {"diff": [out, across], "diff_b": [out]},
        {"b1.weight": [out, r], "b2.weight": [r, across], "a1.weight": [out, r], "a2.weight": [r, across]},
    ))  # fmt: skip
    dtype = rng.choice(list(FORMATS))
    header: dict[str, object] = {}
    at = 0
    for role, shape in made.items():
        size = FORMATS[dtype] * int(np.prod(shape))
        header[f"{name}.{role}"] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    numbers = bytes(rng.choice((0, 1, 48, 60, 184)) for _ in range(at)) if rng.random() < 0.8 else rng.randbytes(at)
    return writing.raw_file(json.dumps(header).encode(), numbers)


MUTATIONS = (*(bytes_changed, words_changed, shapes_drawn) * 3, fitting)
CHUNK = 10_000


def main() -> int:
    """Run; see the module's docstring."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--executions", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, default=Path("fuzz-failures"))
    parser.add_argument("--record", type=Path)
    options = parser.parse_args()
    corpus, done = seeds(), recorded(options.record)
    for number in range(len(done), -(-options.executions // CHUNK)):
        found = chunk(options.seed, number, min(CHUNK, options.executions - number * CHUNK), corpus, options.save)
        done.append(found)
        if options.record:
            with options.record.open("a") as out:
                print(json.dumps(found), file=out, flush=True)
    outcomes: Counter[str] = Counter()
    for found in done:
        outcomes.update(found["outcomes"])
    told = ", ".join(f"{count:,} {name}" for name, count in outcomes.most_common())
    print(f"{outcomes.total():,} executions in {sum(c['processor_s'] for c in done):.0f} s of processor time: {told}")
    print(f"slowest {max(c['slowest_s'] for c in done):.3f} s, peak memory {max(c['peak_mib'] for c in done)} MiB")
    return int(outcomes["failed"] > 0)


def recorded(path: Path | None) -> list[dict[str, Any]]:
    """The chunks that an earlier run has done."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path and path.exists() else []


def chunk(seed: int, number: int, count: int, corpus: list[bytes], save: Path) -> dict[str, Any]:
    """Some executions, drawn from their own seed, and what came of them."""
    rng, outcomes, slowest, begun = random.Random(f"{seed}/{number}"), Counter[str](), 0.0, time.process_time()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        path = Path(folder) / "x.safetensors"
        for index in range(count):
            content = MUTATIONS[index % len(MUTATIONS)](rng, rng.choice(corpus))
            path.write_bytes(content)
            started = time.thread_time()
            outcome = attempt(path)
            slowest = max(slowest, time.thread_time() - started)
            outcomes[outcome] += 1
            if outcome == "failed":
                save.mkdir(exist_ok=True)
                (save / f"{seed}-{number}-{index}.bin").write_bytes(content)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    spent = round(time.process_time() - begun, 2)
    return {"chunk": number, "outcomes": dict(outcomes), "slowest_s": slowest, "processor_s": spent, "peak_mib": peak}


def attempt(path: Path) -> str:
    """'read', 'refused' or 'failed'."""
    try:
        load_lora(path, with_beside=True)
        inspect(path)
    except NotAuditable as refusal:
        return "refused" if refusal.advice and str(refusal).isprintable() else "failed"
    except Exception:
        traceback.print_exc()
        return "failed"
    return "read"


if __name__ == "__main__":
    sys.exit(main())
