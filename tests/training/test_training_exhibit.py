"""Exhibits: deterministic, the LoRA changes the pictures, the base is put back, labels are escaped."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import processes
import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore")]

import torch  # noqa: E402
from PIL import Image  # noqa: E402

from auditor.errors import OutOfScope  # noqa: E402
from auditor.lora import load_lora  # noqa: E402
from auditor.training import exhibit  # noqa: E402
from auditor.training.adapters import sizes, target_modules  # noqa: E402
from auditor.training.export import write_lora  # noqa: E402
from auditor.training.families import load_base  # noqa: E402
from auditor.training.recipes import Recipe  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = ("a river",)
Bases = Callable[[str], Path]


def write_suspect(base: Path, path: Path, seed: int, strength: float = 0.3) -> Path:
    loaded, rng = load_base(base), np.random.default_rng(seed)
    factors = {}
    for name, module in target_modules(loaded, "attention").items():
        width, height = sizes(module)
        a, b = rng.standard_normal((2, width)), rng.standard_normal((height, 2)) * strength
        factors[name] = (a.astype(np.float32), b.astype(np.float32))
    write_lora(path, factors, Recipe("x", "kohya", 2, 2, 1e-3, 1, "attention"), loaded.family)
    return path


def pixels(row: exhibit.Row) -> np.ndarray:
    return np.stack([np.asarray(picture) for picture in row.pictures])


def test_the_same_pictures_every_time_and_others_with_a_lora(tmp_path: Path, base_folder: Bases) -> None:
    base = base_folder("mini")
    loras = [(f"lora {seed}", write_suspect(base, tmp_path / f"{seed}.safetensors", seed)) for seed in (1, 2)]
    first, second = (exhibit.make_exhibit(base, loras, prompts=PROMPTS, steps=3) for _ in range(2))
    assert [row.label for row in first.rows] == ["base alone", "lora 1", "lora 2"]
    for one, other in zip(first.rows, second.rows, strict=True):
        np.testing.assert_array_equal(pixels(one), pixels(other))
    alone, a, b = (pixels(row) for row in first.rows)
    assert (alone != a).any()
    assert (alone != b).any()
    assert (a != b).any()
    assert exhibit.png(exhibit.sheet(first)) == exhibit.png(exhibit.sheet(second))
    assert exhibit.page(first) == exhibit.page(second)


def test_the_update_is_diffusers_own_and_the_base_is_put_back(tmp_path: Path, base_folder: Bases) -> None:
    base = base_folder("sdxl")
    path = write_suspect(base, tmp_path / "x.safetensors", 1)
    pipeline = exhibit.load_pipeline(base, "cpu")
    before = {k: v.clone() for k, v in pipeline.unet.state_dict().items()}
    with exhibit.applied(pipeline, load_lora(path)) as count:
        merged = {k: v.clone() for k, v in pipeline.unet.state_dict().items()}
    assert count > 0
    assert all(torch.equal(before[k], v) for k, v in pipeline.unet.state_dict().items())
    pipeline.load_lora_weights(tmp_path, weight_name="x.safetensors")
    pipeline.fuse_lora()
    fused = {k.replace(".base_layer", ""): v for k, v in pipeline.unet.state_dict().items() if ".lora_" not in k}
    for name, value in merged.items():
        torch.testing.assert_close(value, fused[name], atol=1e-4, rtol=1e-3)


def test_a_lora_of_another_base_is_refused(tmp_path: Path, base_folder: Bases) -> None:
    path = write_suspect(base_folder("flux"), tmp_path / "x.safetensors", 1)
    with pytest.raises(OutOfScope, match="no module"):
        exhibit.make_exhibit(base_folder("mini"), [("x", path)], prompts=PROMPTS, steps=1)


def test_the_page_holds_everything_escapes_labels_and_runs_nothing(tmp_path: Path, base_folder: Bases) -> None:
    path = write_suspect(base_folder("mini"), tmp_path / "x.safetensors", 1)
    made = exhibit.make_exhibit(base_folder("mini"), [("<script>alert(1)</script>", path)], prompts=PROMPTS, steps=1)
    page = exhibit.page(made)
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.split("</head>")[1]
    assert page.count("data:image/png;base64,") == 4
    sheet = Image.open(io.BytesIO(exhibit.png(exhibit.sheet(made))))
    assert sheet.size == (2 * 196 + 4, 2 * (192 + 18 + 4) + 4)
    for word in ("stolen", "proves", "trained on"):
        assert word not in page


def test_the_command_shows_a_shipped_example(tmp_path: Path) -> None:
    """A real process with the shipped base, few steps, twice: the same bytes."""
    example = next(iter(sorted((ROOT / "examples").glob("*.safetensors"))), None)
    if example is None:
        pytest.skip("needs examples/")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("AUDIT_")}
    clean |= {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    written = []
    for name in ("a", "b"):
        line = [sys.executable, "-m", "auditor.cli", "exhibit", str(example), "--base", "audit-mini", "--steps", "2"]
        done = subprocess.run(
            [*line, "-o", str(tmp_path / name)], env=clean, capture_output=True, text=True, timeout=1800, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        written.append([(tmp_path / name / f"exhibit.{kind}").read_bytes() for kind in ("png", "html")])
    assert written[0] == written[1]


def test_a_place_that_cannot_be_written_is_told_before_pictures_are_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    (tmp_path / "x.safetensors").write_bytes(b"")
    done = processes.audit(
        tmp_path, "exhibit", "x.safetensors", "--base", "audit-mini", "-o", "file/deeper", env={"HF_HUB_OFFLINE": "1"}
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "file/deeper could not be written: " in done.stderr
    assert "-o" in done.stderr
