"""Large files: kept in their own number format, the same in every number, and within memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import lora_writing as writing
import numpy as np
import pytest

from auditor.embedding.features import factor_all, features, sketch_bases
from auditor.embedding.sketches import fingerprint
from auditor.errors import NotAuditable
from auditor.lora import container, load_lora, reader
from auditor.lora.packed import PackedModule

ROWS, RANK = 2**17, 32
GIGABYTE = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30,) * 2)
from auditor.embedding.features import factor_all
from auditor.lora import load_lora
weights = load_lora(sys.argv[1])
assert len(factor_all(weights, weights.modules)) == int(sys.argv[2])
"""


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_packed_modules_are_the_same_numbers(dtype: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    lora = writing.kohya(writing.make(writing.mini_paths()), 2.0)
    fused = "lora_unet_double_blocks_0_img_attn_qkv"
    lora |= {f"{fused}.lora_up.weight": rng.standard_normal((36, 3), np.float32)}
    lora |= {f"{fused}.lora_down.weight": rng.standard_normal((3, 12), np.float32)}
    path = writing.save(tmp_path / "a.safetensors", {name: array.astype(dtype) for name, array in lora.items()})
    plain = load_lora(path)
    monkeypatch.setattr(container, "MAX_AHEAD", 1)
    packed = load_lora(path)
    assert all(isinstance(module, PackedModule) for module in packed.modules.values())
    assert list(packed.modules) == list(plain.modules)
    for one, two in zip(plain.modules.values(), packed.modules.values(), strict=True):
        np.testing.assert_array_equal(one.up, two.up)
        np.testing.assert_array_equal(one.down, two.down)
        for name in ("path", "source", "scale", "scale_source", "algorithm", "rank", "shape", "empty", "held_numbers"):
            assert getattr(one, name) == getattr(two, name)
    bases = sketch_bases({path: module.shape for path, module in plain.modules.items()}, 4, 10, 0)
    both = [factor_all(weights, weights.modules) for weights in (plain, packed)]
    np.testing.assert_array_equal(features(both[0], bases)[0], features(both[1], bases)[0])
    np.testing.assert_array_equal(fingerprint(both[0]), fingerprint(both[1]))


def gigabyte(path: Path, modules: int) -> Path:
    """A file of modules of 16 MiB in half precision, written piece by piece."""
    head, at = {}, 0
    for number in range(modules):
        name = f"lora_unet_down_blocks_{number}_attentions_0_proj_in"
        for side, shape in (("up", [ROWS, RANK]), ("down", [RANK, ROWS])):
            entry = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + 2 * ROWS * RANK]}
            head[f"{name}.lora_{side}.weight"] = entry
            at += 2 * ROWS * RANK
    piece = np.random.default_rng(0).standard_normal(ROWS * RANK, np.float32).astype(np.float16).tobytes()
    with path.open("wb") as stream:
        stream.write(writing.raw_file(json.dumps(head).encode()))
        for _ in range(2 * modules):
            stream.write(piece)
    return path


@pytest.mark.slow
def test_a_file_of_a_gigabyte_is_read_within_two(tmp_path: Path) -> None:
    path = gigabyte(tmp_path / "a.safetensors", 64)
    assert path.stat().st_size > 10**9
    subprocess.run([sys.executable, "-c", GIGABYTE, str(path), "64"], check=True)


def test_what_cannot_be_held_is_refused_by_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = writing.save(tmp_path / "a.safetensors", writing.kohya(writing.make(writing.mini_paths())))
    monkeypatch.setattr(reader, "MAX_READ", 1000)
    monkeypatch.setattr(container.Container, "read", None)
    with pytest.raises(NotAuditable, match="holds more than") as caught:
        load_lora(path)
    assert caught.value.advice
