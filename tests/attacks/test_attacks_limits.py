"""Every attack is read or refused within two seconds of processor time and two gigabytes, as the system's limits.

What is limited is reading, hashing, `audit inspect`, the decompositions and features that `audit check` makes of every
module, and `audit compare`.  The limits are those of a child process for each file: what exceeds them is killed, and
the test names it.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import lora_writing as writing
import numpy as np
import pytest
from test_attacks_lora_files import CONFIGURATIONS, FOREIGN, GOOD, HEADERS, PATH, TRICKS, ZIPS, Bomb, entry, header

from auditor.lora import load_lora
from auditor.lora.inspect import inspect
from auditor.lora.relation import compare_files

CHILD = r"""
import math, os, resource, sys
import numpy as np
from auditor.embedding.features import factor_all
from auditor.embedding.sketches import fingerprint
from auditor.errors import NotAuditable
from auditor.lora import load_lora, read_artifact
from auditor.lora.inspect import inspect
from auditor.lora.relation import compare_files

def work(path):
    load_lora(path)
    read_artifact(path)

def decompose(path):
    weights = load_lora(path)
    factored = factor_all(weights, weights.modules)
    for one in factored.values():
        one.left_by(np.ones((16, one.shape[0])))
        one.right_by(np.ones((one.shape[1], 16)))
    fingerprint(factored)

def compare(path):
    compare_files(path, path)

def attempt(job, path):
    try:
        job(path)
    except NotAuditable:
        return 3
    return 0

def child(job, path):
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used) + SECONDS,) * 2)
    resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30,) * 2)
    code = 1
    try:
        code = attempt(job, path)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}"[:300], file=sys.stderr)
    finally:
        os._exit(code)

SECONDS = 2
JOBS = {"work": work, "inspect": inspect, "decompose": decompose, "compare": compare}
for path in sys.stdin.read().splitlines():
    for job in map(JOBS.get, sys.argv[1:]):
        sys.stdout.flush()
        started = os.fork()
        if not started:
            child(job, path)
        print(os.waitpid(started, 0)[1], job.__name__, path)
"""
READ, REFUSED = 0, 3 << 8


def judged(paths: list[Path], jobs: Sequence[str] = ("work", "inspect")) -> dict[tuple[str, str], int]:
    """(what was done, name of the file) → wait status, one limited process each."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *jobs],
        input="\n".join(map(str, paths)),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    rows = [line.split(" ", 2) for line in done.stdout.splitlines()]
    found = {(job, Path(path).name): int(status) for status, job, path in rows}
    wrong = {key: status for key, status in found.items() if status not in (READ, REFUSED)}
    assert not wrong, (wrong, done.stderr)
    assert len(found) == len(jobs) * len(paths)
    return found


def small(folder: Path) -> list[Path]:
    """The attacks that fit into a few kilobytes, each in a file."""
    contents = {f"header {name}": writing.raw_file(head, data) for name, (head, data, _) in HEADERS.items()}
    contents |= {f"foreign {name}": content for name, (content, _) in FOREIGN.items()}
    contents |= {f"zip {name}": content for name, (content, _) in ZIPS.items()}
    contents |= {"a pickle renamed": pickle.dumps(Bomb(), 2)}
    made = []
    for name, content in contents.items():
        made.append(folder / f"{name.replace('/', ' ')}.safetensors")
        made[-1].write_bytes(content)
    for name, tensors in TRICKS.items():
        made.append(writing.save(folder / f"trick {name}.safetensors", tensors))
    lora = writing.make({"unet.mid_block.attentions.0.proj_in": (64, 64)})
    for number, config in enumerate(CONFIGURATIONS):
        metadata = {"lora_adapter_metadata": config}
        made.append(writing.save(folder / f"configuration {number}.safetensors", writing.diffusers(lora), metadata))
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to(folder / "loop")
    return [*made, folder / "pipe", folder / "loop", folder]


def test_small_attacks_are_refused_within_the_limits(tmp_path: Path) -> None:
    found = judged(small(tmp_path))
    assert {status for (job, _), status in found.items() if job == "work"} == {REFUSED}


def tensors(count: int) -> bytes:
    """A header of that many empty tensors."""
    one = '"%s.%d.lora_up.weight":{"dtype":"F16","shape":[0],"data_offsets":[0,0]}'
    return ("{" + ",".join(one % (PATH, number) for number in range(count)) + "}").encode()


def unknown(count: int) -> bytes:
    """A header of names that no dialect knows."""
    names = (f"lora_unet_{'_'.join('a' * (i % 50 + 1))}_{i}.lora_down.weight" for i in range(count))
    return json.dumps({name: entry([0], 0, 0) for name in names}).encode()


BULK = {
    "a million tensors": lambda: tensors(1_000_000),
    "as many tensors as are read": lambda: tensors(19_999),
    "unknown names": lambda: unknown(20_000),
    "a header of a hundred megabytes": lambda: b'{"__metadata__":{"a":"' + b"x" * 100_000_000 + b'"}}',
    "the longest header that is read": lambda: b'{"__metadata__":{"a":"' + b"x" * (2**25 - 100) + b'"}}',
    "the longest header of brackets": lambda: b'{"a":' + b"[" * (2**25 - 100),
    "the longest header of objects": lambda: b'{"a":[' + b"{}," * 10_000_000 + b"{}]}",
    "the longest header of numbers": lambda: b'{"a":[' + b"1," * 15_000_000 + b"1]}",
}


@pytest.mark.parametrize("name", BULK)
def test_bulky_headers_are_refused_within_the_limits(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(writing.raw_file(BULK[name]()))
    assert set(judged([path]).values()) == {REFUSED}


def sparse(path: Path, head: bytes, data: int) -> Path:
    """A file of this header over so many bytes of holes."""
    path.write_bytes(writing.raw_file(head))
    try:
        os.truncate(path, 8 + len(head) + data)
    except OSError:
        pytest.skip("the file system has no sparse files of this size")
    return path


def test_sparse_files_are_refused_within_the_limits(tmp_path: Path) -> None:
    wide = header(down=entry([2**20, 2**17], 0, 2**39), up=entry([2**17, 2**20], 2**39, 2**40))
    made = [sparse(tmp_path / "a terabyte", wide, 2**40)]
    made.append(sparse(tmp_path / "a header over holes", header(**GOOD), 2**40))
    assert set(judged(made).values()) == {REFUSED}
    twelve = header(down=entry([2**14, 2**17], 0, 2**33), up=entry([2**16, 2**14], 2**33, 2**33 + 2**32))
    assert set(judged([sparse(tmp_path / "twelve gigabytes", twelve, 2**33 + 2**32)], ["work"]).values()) == {REFUSED}


def test_rewritings_stay_within_the_limits(tmp_path: Path) -> None:
    """What is small in the file and would be large as one matrix: Kronecker and entrywise products, cores, ranks."""
    side = np.ones((1024, 1024), np.float16)
    many = [f"lora_unet_down_blocks_{i}_attentions_0_proj_in" for i in range(60)]
    files = {
        "lokr": {f"{PATH}.lokr_w1": side, f"{PATH}.lokr_w2": side},
        "many lokr": {f"{name}.{role}": side[:90, :90] for name in many for role in ("lokr_w1", "lokr_w2")},
        "loha": {f"{PATH}.hada_w{n}_{s}": side for n in "12" for s in "ab"},
        "outer": {f"{PATH}.lora_up.weight": side.reshape(-1, 1), f"{PATH}.lora_down.weight": side.reshape(1, -1)},
        "core": {
            f"{PATH}.lora_up.weight": side,
            f"{PATH}.lora_down.weight": side[:, :, None, None],
            f"{PATH}.lora_mid.weight": np.ones((1024, 1024, 3, 3), np.float16),
        },
    }
    judged([writing.save(tmp_path / name, held) for name, held in files.items()])


def drawn(*shape: int) -> np.ndarray:
    """Numbers without structure, in half precision."""
    return np.random.default_rng(shape).standard_normal(shape, np.float32).astype(np.float16)


def product(name: str, one: np.ndarray, two: np.ndarray) -> dict[str, np.ndarray]:
    """A Kronecker product of two whole matrices."""
    return {f"{name}.lokr_w1": one, f"{name}.lokr_w2": two}


def low(name: str, up: np.ndarray, down: np.ndarray) -> dict[str, np.ndarray]:
    """A product of two factors."""
    return {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}


MANY = [f"lora_unet_down_blocks_{i}_attentions_0_proj_in" for i in range(60)]
FUSED = "lora_unet_double_blocks_0_img_attn_qkv"
MODULATION = "lora_unet_joint_blocks_{}_context_block_adaLN_modulation_1"
DEAR: dict[str, Callable[[], dict[str, np.ndarray]]] = {
    "a whole matrix": lambda: {f"{PATH}.diff": drawn(3000, 3000)},
    "many whole matrices": lambda: {f"{name}.diff": drawn(500, 500) for name in MANY},
    "a product with one large factor": lambda: product(PATH, drawn(2, 2), drawn(3000, 3000)),
    "a product of the largest size": lambda: product(PATH, drawn(90, 90), drawn(90, 90)),
    "a product cut inside its blocks": lambda: product(FUSED, drawn(4, 4), drawn(2304, 768)),
    "an entrywise product of full rank": lambda: {
        f"{PATH}.hada_w{n}_{side}": drawn(*shape)
        for n in "12"
        for side, shape in (("a", (3000, 60)), ("b", (60, 3000)))
    },
    "a rank of thousands": lambda: low(PATH, drawn(3000, 2500), drawn(2500, 3000)),
    "a rank far above the sides": lambda: low(PATH, drawn(8, 200_000), drawn(200_000, 8)),
    "one enormous module": lambda: low(PATH, np.ones((2**20, 17), np.float16), np.ones((17, 2**20), np.float16)),
    "a rank above large sides": lambda: low(PATH, drawn(1500, 3000), drawn(3000, 1500)),
}
"""Small in the file, long to decompose densely."""
TAME: dict[str, Callable[[], dict[str, np.ndarray]]] = {
    "many products": lambda: {k: v for name in MANY for k, v in product(name, drawn(8, 8), drawn(160, 160)).items()},
    "the halves of products change places": lambda: (
        {f"{FUSED.replace('double', 'joint').replace('img_attn_qkv', 'x_block_attn_qkv')}.diff": drawn(6, 2)}
        | {k: v for n in range(30) for k, v in product(MODULATION.format(n), drawn(105, 72), drawn(110, 80)).items()}
    ),
    "columns that are all the same": lambda: low(PATH, np.ones((4000, 256), np.float16), drawn(256, 4000)),
    "columns of which half are zero": lambda: low(PATH, drawn(4000, 256) * (np.arange(256) % 2), drawn(256, 4000)),
    "many modules of one column": lambda: {
        k: v for name in MANY for k, v in low(name, np.ones((1280, 16), np.float16), drawn(16, 1280)).items()
    },
}
"""Odd, but soon decomposed."""


@pytest.mark.parametrize("name", [*DEAR, *TAME])
def test_decompositions_stay_within_the_limits(name: str, tmp_path: Path) -> None:
    """Each file beside one usual module, which stays covered."""
    tensors = (DEAR | TAME)[name]() | low("lora_unet_mid_block_attentions_0_proj_out", drawn(8, 2), drawn(2, 8))
    path = writing.save(tmp_path / "x.safetensors", tensors)
    assert set(judged([path], ["work", "inspect", "decompose", "compare"]).values()) == {READ}


@pytest.mark.parametrize("name", DEAR)
def test_what_is_too_dear_to_decompose_is_declared(name: str, tmp_path: Path) -> None:
    """Either all of a file is decomposed, or a warning counts what is not covered and lists its tensors."""
    tensors = DEAR[name]() | low("lora_unet_mid_block_attentions_0_proj_out", drawn(8, 2), drawn(2, 8))
    path = writing.save(tmp_path / "x.safetensors", tensors)
    read = load_lora(path)
    assert "unet.mid_block.attentions.0.proj_out" in read.modules
    left = {tensor.rpartition(".")[0] for tensor in read.unread}
    assert bool(left) == any("not covered" in warning for warning in read.warnings)
    assert set(read.unread) <= tensors.keys()
    seen = inspect(path)
    assert sum(block["modules"] for block in seen["blocks"]) >= 1
    if "cut inside" not in name:  # inspect looks at the product before it is cut, which costs nothing
        assert bool(left) == any("not covered" in warning for warning in seen["warnings"])
    related = compare_files(path, path)
    assert bool(left) == any("not covered" in reason for reason in related.reasons)
    assert related.relation == "same_file"
