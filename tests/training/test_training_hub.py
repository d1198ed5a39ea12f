"""Bases of the hub, from a local server that speaks its interface: only what is needed, pinned, clear when it fails."""

from __future__ import annotations

import socket
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

from auditor.errors import TrainingError, UsageError  # noqa: E402
from auditor.training import find_base, stay_offline  # noqa: E402
from auditor.training.families import base_digest, load_base  # noqa: E402

Bases = Callable[[str], Path]
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
