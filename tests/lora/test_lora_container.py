"""Number formats, hashes, base families, anatomy and the expansion of arguments."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import lora_writing as writing
import numpy as np
import pytest

from auditor.errors import NotALora, NotAuditable, UsageError
from auditor.lora import load_lora, read_artifact
from auditor.lora.dtypes import E4M3, decode
from auditor.lora.hashes import hash_file
from auditor.lora.inspect import inspect
from auditor.sources.local import expand


def test_8_bit_floats_follow_their_specification() -> None:
    assert E4M3[0x7E] == 448.0
    assert E4M3[0x01] == 2.0**-9
    assert E4M3[0x38] == 1.0
    assert E4M3[0xB8] == -1.0
    assert np.isnan(E4M3[[0x7F, 0xFF]]).all()
    assert np.isfinite(E4M3).sum() == 254
    assert decode(b"\x3c\x7b\x01\xc0", "F8_E5M2").tolist() == [1.0, 57344.0, 2.0**-16, -2.0]


def test_bf16_is_the_upper_half_of_float32() -> None:
    values = np.array([1.0, -2.5, 3.0e38, 0.0], np.float32)
    raw = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    np.testing.assert_allclose(decode(raw, "BF16"), values, rtol=2**-7)


@pytest.mark.parametrize("dtype", ["<f8", "<f4", "<f2"])
def test_plain_formats(dtype: str) -> None:
    values = np.array([0.5, -3.25, 1024.0], dtype)
    assert decode(values.tobytes(), {"<f8": "F64", "<f4": "F32", "<f2": "F16"}[dtype]).tolist() == values.tolist()


def test_without_a_header_one_digest_is_both(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(bytes(range(256)) * 3000)
    expected = hashlib.sha256((tmp_path / "x.pt").read_bytes()).hexdigest()
    found = hash_file(tmp_path / "x.pt")
    assert (found.sha256, found.tensor_sha256) == (expected, expected)


def test_hashes_survive_metadata_edits(tmp_path: Path) -> None:
    tensors = writing.kohya(writing.make(writing.mini_paths()))
    a = writing.save(tmp_path / "a.safetensors", tensors, {"title": "one"})
    b = writing.save(tmp_path / "b.safetensors", tensors, {"title": "another"})
    one, two = read_artifact(a), read_artifact(b)
    assert one.sha256 == hashlib.sha256(a.read_bytes()).hexdigest() != two.sha256
    assert one.tensor_sha256 == two.tensor_sha256
    header = 8 + int.from_bytes(a.read_bytes()[:8], "little")
    assert one.tensor_sha256 == hashlib.sha256(a.read_bytes()[header:]).hexdigest()
    assert hash_file(a).autov1 == hashlib.sha256(a.read_bytes()[0x100000:0x110000]).hexdigest()[:8]


@pytest.mark.parametrize(
    ("text", "width", "family"),
    [(768, 320, "sd1"), (1024, 320, "sd2"), (2048, 640, "sdxl"), (128, 64, "audit-mini"), (999, 320, "unknown"),
     (128, 320, "unknown"), (None, 320, "unknown"), (None, 192, "audit-mini")],
)  # fmt: skip
def test_base_family_from_shapes(text: int | None, width: int, family: str, tmp_path: Path) -> None:
    root = "unet.down_blocks.1.attentions.0.transformer_blocks.0"
    shapes = {f"{root}.attn1.to_q": (width, width)} | ({f"{root}.attn2.to_k": (width, text)} if text else {})
    read = load_lora(writing.save(tmp_path / "a.safetensors", writing.kohya(writing.make(shapes))))
    assert read.base_family == family
    assert read.base_grounds


def test_metadata_that_contradict_the_shapes_are_pointed_out(tmp_path: Path) -> None:
    tensors = writing.kohya(writing.make(writing.mini_paths()))
    read = load_lora(writing.save(tmp_path / "a.safetensors", tensors, {"ss_base_model_version": "sdxl_base_v1-0"}))
    assert any("ss_base_model_version" in warning for warning in read.warnings)


@pytest.mark.parametrize("name", ["double_blocks.0.img_attn.proj", "single_transformer_blocks.0.attn.to_q"])
def test_other_image_models_are_read_as_such(name: str, tmp_path: Path) -> None:
    tensors = {f"transformer.{name}.lora_A.weight": np.ones((2, 3072), np.float32),
               f"transformer.{name}.lora_B.weight": np.ones((3072, 2), np.float32)}  # fmt: skip
    assert load_lora(writing.save(tmp_path / "a.safetensors", tensors)).base_family == "flux"


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.model.layers.3.self_attn.q_proj",
        "base_model.model.roberta.encoder.layer.0.attention.self.query",
        "base_model.model.transformer.h.0.attn.c_attn",
        "base_model.model.gpt_neox.layers.0.attention.query_key_value",
    ],
)
def test_language_models_are_refused(name: str, tmp_path: Path) -> None:
    tensors = {
        f"{name}.lora_A.weight": np.ones((2, 8), np.float32),
        f"{name}.lora_B.weight": np.ones((8, 2), np.float32),
    }
    with pytest.raises(NotALora, match="language model"):
        load_lora(writing.save(tmp_path / "a.safetensors", tensors))


@pytest.mark.parametrize("prefix", ["model.diffusion_model.input_blocks.0.0", "down_blocks.0.resnets.0.conv1"])
def test_full_checkpoints_are_refused(prefix: str, tmp_path: Path) -> None:
    tensors = {f"{prefix}.weight": np.ones((4, 4), np.float32), f"{prefix}.bias": np.ones(4, np.float32)}
    with pytest.raises(NotALora, match="full checkpoint"):
        load_lora(writing.save(tmp_path / "a.safetensors", tensors))


def test_inspect_has_the_fields_of_the_contract(tmp_path: Path) -> None:
    path = writing.save(
        tmp_path / "a.safetensors", writing.kohya(writing.make(writing.mini_paths()), 2.0), {"ot_branch": "x"}
    )
    seen = inspect(path)
    assert {"path", "sha256", "tensor_sha256", "autov1", "autov2", "autov3", "bytes", "container", "dialect", "trainer",
            "algorithm", "base_family", "base_grounds", "modules", "parts", "rank", "scale", "dtypes", "zero_modules",
            "unread", "truncated", "spectrum", "blocks", "declared", "warnings"} <= seen.keys()  # fmt: skip
    assert seen["trainer"]["guess"] == "OneTrainer"
    assert seen["rank"] == {"min": 4, "max": 4, "median": 4.0}
    assert seen["scale"]["median"] == 0.5
    assert sum(block["share"] for block in seen["blocks"]) == pytest.approx(1.0)


def test_inspect_describes_truncated_files(tmp_path: Path) -> None:
    path = writing.save(tmp_path / "a.safetensors", writing.kohya(writing.make(writing.mini_paths())))
    path.write_bytes(path.read_bytes()[:-4000])
    seen = inspect(path)
    assert 0 < seen["truncated"]["present"] < seen["truncated"]["declared"]
    with pytest.raises(NotAuditable, match="truncated"):
        load_lora(path)


def test_expansion_of_arguments(tmp_path: Path) -> None:
    for name in ("b.safetensors", "a.safetensors", "sub/c.pt", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = [p.relative_to(tmp_path).as_posix() for p in expand([str(tmp_path)], io.StringIO())]
    assert found == ["a.safetensors", "b.safetensors", "sub/c.pt"]
    listed = io.StringIO(f"{tmp_path}/a.safetensors\n\nmissing.safetensors\r\n")
    assert [p.name for p in expand(["-"], listed)] == ["a.safetensors", "missing.safetensors"]


@pytest.mark.parametrize("argument", ["nowhere.safetensors", "hf://a/b", "civitai:1", "https://x.invalid/y", "a\0b"])
def test_arguments_that_cannot_be_expanded(argument: str) -> None:
    with pytest.raises(UsageError):
        list(expand([argument], io.StringIO()))


def test_empty_folders_are_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no file"):
        list(expand([str(tmp_path)], io.StringIO()))


def test_reading_imports_no_training_stack() -> None:
    code = "import sys, auditor.lora.inspect, auditor.lora.relation; print(*(m.partition('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert {"auditor", "numpy"} <= set(done.stdout.split())
    assert not {"torch", "diffusers", "peft", "safetensors", "pandas", "matplotlib"} & set(done.stdout.split())


@pytest.mark.skipif(not os.environ.get("AUDIT_REAL_LORAS"), reason="AUDIT_REAL_LORAS names no folder")
def test_real_files() -> None:
    """Every file of the folder is read or refused with advice, and most are read."""
    files = read = refused = 0
    for path in expand([os.environ["AUDIT_REAL_LORAS"]], io.StringIO()):
        files += 1
        try:
            weights = load_lora(path)
        except NotAuditable as error:
            refused += bool(error.advice)
        else:
            assert weights.modules
            assert read_artifact(path).sha256
            read += 1
    assert read + refused == files
    assert read > refused
