"""Bases of the hub, from a local server that speaks its interface: only what is needed, pinned, clear when it fails."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("huggingface_hub")
pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore")]

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sources"))

from fake_sites import COMMIT, Sites, served  # noqa: E402
from huggingface_hub import constants  # noqa: E402
from tiny_bases import write_captioner, write_pictures  # noqa: E402

from auditor.errors import TrainingError, UsageError  # noqa: E402
from auditor.training import find_base, stay_offline  # noqa: E402
from auditor.training.families import base_digest, load_base  # noqa: E402
from auditor.training.log import read_lines  # noqa: E402

Bases = Callable[[str], Path]
RECIPE = """
[[recipe]]
name = "one"
dialect = "diffusers"
rank = 2
alpha = 2
learning_rate = 1e-3
steps = 2
targets = "attention"
"""
OTHERS = (  # what repositories hold beside the base
    "base.safetensors",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "text_encoder/model.fp16-00001-of-00002.safetensors",
    "text_encoders/t5xxl.safetensors",
    "unet/diffusion_pytorch_model.bin",
    "safety_checker/model.safetensors",
)


@pytest.fixture
def hub(tmp_path: Path, base_folder: Bases, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sites]:
    """A hub with the tiny base as owner/base, and an empty cache."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    folder = base_folder("mini")
    own = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    with served() as sites:
        monkeypatch.setenv("HF_ENDPOINT", sites.url)
        sites.repositories["owner/base"] = {"main": own | dict.fromkeys(OTHERS, b"large")}
        yield sites


@pytest.mark.parametrize("name", ["owner/base", "hf://owner/base", "hf://owner/base@main"])
def test_a_base_comes_from_the_hub_without_what_else_lies_there(hub: Sites, base_folder: Bases, name: str) -> None:
    folder = find_base(Path(name))
    assert folder.name == COMMIT
    assert base_digest(folder) == base_digest(base_folder("mini"))
    assert load_base(folder).encode_texts(["a river"])["states"].shape[0] == 1
    assert not any(path.endswith(OTHERS) for method in ("GET", "HEAD") for path in hub.paths(method))


def test_a_second_start_downloads_nothing_and_needs_no_network(hub: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    first = find_base("owner/base")
    files = [path for path in hub.paths() if "/resolve/" in path or "/cdn/" in path]
    assert files
    assert find_base("owner/base") == first
    assert [path for path in hub.paths() if "/resolve/" in path or "/cdn/" in path] == files
    asked = len(hub.requests)
    stay_offline()
    assert find_base("owner/base") == first
    assert len(hub.requests) == asked


def test_offline_without_a_copy_says_so_and_asks_nobody(hub: Sites) -> None:
    stay_offline()
    with pytest.raises(TrainingError, match=r"hf://owner/base cannot be had.*disabled"):
        find_base("owner/base")
    assert not hub.requests


def test_a_half_downloaded_base_is_not_taken_for_a_whole_one(hub: Sites) -> None:
    folder = find_base("owner/base")
    next((folder / "unet").glob("*.safetensors")).unlink()
    stay_offline()
    with pytest.raises(TrainingError, match="incomplete"):
        find_base("owner/base")


def test_what_the_hub_refuses_and_a_hub_that_is_gone_are_one_paragraph(
    hub: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.private.add("owner/base")
    with pytest.raises(TrainingError, match="HF_TOKEN"):
        find_base("owner/base")
    with pytest.raises(TrainingError, match="owner/nosuch cannot be had"):
        find_base("hf://owner/nosuch")
    with pytest.raises(UsageError, match="no name on the hub"):
        find_base("hf://owner")
    with pytest.raises(UsageError, match="names a file"):
        find_base("hf://owner/base/unet/config.json")
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
    with pytest.raises(TrainingError, match="cannot be had"):
        find_base("owner/base")


def test_a_download_that_breaks_off_is_no_fault_of_ours(hub: Sites) -> None:
    hub.short = True
    with pytest.raises(TrainingError, match="cannot be had"):
        find_base("owner/base")


def captions_of(output: Path) -> dict[str, str]:
    """Caption by picture, as the cache keeps it."""
    (path,) = (output / "cache").glob("captions-*.jsonl")
    return {str(row["file"]): str(row["caption"]) for row in read_lines(path)}


@pytest.mark.slow
def test_a_captioner_of_the_hub_is_asked_once(tmp_path: Path, base_folder: Bases) -> None:
    """In processes of their own, as users start it, for the hub's client reads its settings on import."""
    write_captioner(tmp_path / "blip")
    art = write_pictures(tmp_path / "art", 1, 4)
    (art / "artist-0" / "000.txt").write_text("given by hand")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    settings = {"HF_HOME": str(tmp_path / "home"), "PYTHONPATH": os.pathsep.join(sys.path), "AUDIT_TRAIN_THREADS": "1"}
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AUDIT_", "HF_"))} | settings
    line = [sys.executable, "-m", "auditor.cli", "refs", "train", "--base", str(base_folder("mini")), "--images", art]
    line += ["--recipe", recipe, "--caption", "owner/captioner", "--device", "cpu", "--side", "32", "--json", "-o"]

    def train_into(output: Path, *more: str) -> tuple[int, str]:
        done = subprocess.run([*line, output, *more], env=clean, capture_output=True, text=True, timeout=900)
        return done.returncode, done.stderr

    with served() as sites:
        files = {p.relative_to(tmp_path / "blip").as_posix(): p.read_bytes() for p in (tmp_path / "blip").iterdir()}
        sites.repositories["owner/captioner"] = {"main": files}
        clean["HF_ENDPOINT"] = sites.url
        code, said = train_into(tmp_path / "a")
        assert (code, "captions: 3 of 3" in said) == (0, True), said
        first = captions_of(tmp_path / "a")
        assert sorted(first) == [f"artist-0/00{k}.png" for k in (1, 2, 3)]
        sites.requests.clear()
        next((tmp_path / "a" / "artist-0").glob("*.safetensors")).unlink()
        code, said = train_into(tmp_path / "a")  # known captions: the model is not even loaded
        assert (code, "captions" in said, sites.requests) == (0, False, []), said
    code, said = train_into(tmp_path / "b", "--offline")  # the hub is gone, its cache is not
    assert (code, captions_of(tmp_path / "b")) == (0, first), said
    shutil.rmtree(tmp_path / "home")
    code, said = train_into(tmp_path / "c", "--offline")
    assert (code, "The captioner 'owner/captioner' cannot be loaded" in said) == (1, True), said
    assert "Traceback" not in said
