"""The anatomy of files: header first, contradictions said, hostile text kept out of the terminal."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import lora_writing as writing
import numpy as np
import pytest

from auditor.lora import load_lora
from auditor.lora.inspect import inspect
from auditor.lora.provenance import provenance

FIELDS = {"path", "sha256", "tensor_sha256", "autov1", "autov2", "autov3", "sshs_legacy_hash",
          "bytes", "container", "dialect",
          "trainer",
          "algorithm", "base_family", "base_grounds", "modules", "parts", "rank", "scale", "dtypes", "zero_modules",
          "unread", "truncated", "spectrum", "blocks", "declared", "warnings"}  # fmt: skip


def write(tmp_path: Path, metadata: dict[str, str] | None = None, alpha: float | None = 2.0) -> Path:
    tensors = writing.kohya(writing.make(writing.mini_paths()), alpha)
    return writing.save(tmp_path / "a.safetensors", tensors, metadata)


def test_kohyas_legacy_hash_is_that_of_its_definition(tmp_path: Path) -> None:
    """The window of the file as the reference writer makes it with the training metadata alone, whatever else is in."""
    numpy_writer = pytest.importorskip("safetensors.numpy")
    name = "lora_unet_mid_block_attentions_0_proj_in"
    rng = np.random.default_rng(0)
    tensors = {
        f"{name}.lora_up.weight": rng.standard_normal((2**15, 16)).astype(np.float32),
        f"{name}.lora_down.weight": rng.standard_normal((16, 2**15)).astype(np.float32),
    }
    kept = {"ss_seed": "1", "ss_training_comment": 'ü "x"\n'}
    window = numpy_writer.save(tensors, kept)[0x100000:0x110000]
    expected = hashlib.sha256(window).hexdigest()[:8]
    for stored, told in ((expected, False), ("0" * 8, True), ("e3b0c442", False)):
        declared = {**kept, "modelspec.title": "t" * 999, "sshs_legacy_hash": stored}
        (tmp_path / "a.safetensors").write_bytes(numpy_writer.save(tensors, declared))
        seen = inspect(tmp_path / "a.safetensors")
        assert seen["sshs_legacy_hash"] == expected != seen["autov1"]
        assert told == any("sshs_legacy_hash" in warning for warning in seen["warnings"])
    assert inspect(tmp_path / "a.safetensors", header_only=True)["sshs_legacy_hash"] is None


def test_header_and_weights_agree(tmp_path: Path) -> None:
    path = write(tmp_path)
    whole, header = inspect(path), inspect(path, header_only=True)
    assert whole.keys() == header.keys() == FIELDS
    for field in ("dialect", "algorithm", "base_family", "modules", "parts", "rank", "dtypes", "declared", "bytes"):
        assert whole[field] == header[field]
    assert header["sha256"] is header["spectrum"] is header["scale"] is None


def test_the_spectrum_is_that_of_the_dense_update(tmp_path: Path) -> None:
    path = write(tmp_path)
    modules = load_lora(path).modules.values()
    dense = [m.scale * m.up.astype(np.float64) @ m.down.astype(np.float64) for m in modules]
    seen = inspect(path)
    assert seen["spectrum"]["norm"] == pytest.approx(np.sqrt(sum(float(np.sum(d**2)) for d in dense)), rel=1e-6)
    assert seen["spectrum"]["largest"] == pytest.approx(max(float(np.linalg.norm(d, 2)) for d in dense), rel=1e-6)


def test_a_truncated_file_is_described_by_its_header(tmp_path: Path) -> None:
    path = write(tmp_path)
    whole = inspect(path)
    path.write_bytes(path.read_bytes()[:-4000])
    seen = inspect(path)
    assert seen.keys() == FIELDS
    for field in ("dialect", "algorithm", "base_family", "modules", "parts", "rank"):
        assert seen[field] == whole[field]


CONTRADICTIONS = {
    "rank": {"ss_network_dim": "64"},
    "ss_network_alpha": {"ss_network_alpha": "16"},
    "algorithm": {"ss_network_args": '{"algo": "loha"}'},
    "sshs_model_hash": {"sshs_model_hash": "ab" * 32},
    "modelspec.hash_sha256": {"modelspec.hash_sha256": "0x" + "cd" * 32},
    "shapes fit": {"ss_base_model_version": "sdxl_base_v1-0"},
}


@pytest.mark.parametrize("said", CONTRADICTIONS)
def test_contradictions_of_metadata_and_structure_are_warnings(said: str, tmp_path: Path) -> None:
    seen = inspect(write(tmp_path, CONTRADICTIONS[said]))
    assert any(said in warning for warning in seen["warnings"])


def test_metadata_that_agree_give_no_warning(tmp_path: Path) -> None:
    path = write(tmp_path)
    digest = inspect(path)["tensor_sha256"]
    honest = {"ss_network_dim": "4", "ss_network_alpha": "2.0", "sshs_model_hash": digest}
    assert inspect(write(tmp_path, honest | {"modelspec.hash_sha256": f"0x{digest}"}))["warnings"] == []


def test_declared_folders_and_tags() -> None:
    declared = {
        "ss_dataset_dirs": json.dumps({"10_someone": {"n_repeats": 10, "img_count": 12}}),
        "ss_tag_frequency": json.dumps({"10_someone": {"oil": 3, "sea": 9}, "5_other": {"sea": 2, "bad": "x"}}),
    }
    told = provenance(declared)
    assert told["folders"] == {"10_someone": 12, "5_other": None}
    assert told["tags"] == [("sea", 11), ("oil", 3)]
    for junk in ("", "[]", "nonsense", '{"a": 3}', "[" * 10_000, '{"a": {"b": true}}'):
        assert provenance({"ss_tag_frequency": junk})["tags"] == []


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "auditor.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_page_shows_hostile_text_as_text(tmp_path: Path) -> None:
    path = write(tmp_path, {"ss_output_name": "\x1b[2J[bold]x[/bold]", "ss_tag_frequency": '{"a": {"\\u202e<b>": 3}}'})
    done = run("inspect", str(path))
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert "[bold]x[/bold]" in done.stdout


def test_compare_on_the_command_line(tmp_path: Path) -> None:
    a = write(tmp_path)
    b = writing.save(tmp_path / "b.safetensors", writing.diffusers(writing.make(writing.mini_paths())))
    done = run("compare", str(a), str(b), "--json")
    found = json.loads(done.stdout)
    assert found.keys() == {"a", "b", "relation", "figures", "reasons"}
    assert found["relation"] == "same_update"
    assert run("compare", str(a), str(b)).stdout.startswith("same_update")
