"""Published LoRAs: every file is read, its base right and every module named; files that are none say what they are.

Runs where the collection lies beside the checkout (``../shared/loras``) or where AUDIT_TEST_LORAS says; nothing of it
is part of the source.  The names that are expected are not the reader's own: they are generated here from the layouts
of Stable Diffusion's networks, and of Flux and its kin written down as diffusers names them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from auditor.errors import MalformedFile, NotALora, NotAuditable
from auditor.lora import load_lora
from auditor.lora.container import open_container
from auditor.lora.inspect import inspect
from auditor.lora.structure import describe


def _folder() -> Path | None:
    """The collection, or None."""
    here = Path(__file__).resolve()
    for place in filter(None, (os.environ.get("AUDIT_TEST_LORAS"), here.parents[3] / "shared" / "loras")):
        if (Path(place) / "CATALOGUE.json").is_file():
            return Path(place)
    return None


FOLDER = _folder()
pytestmark = pytest.mark.skipif(FOLDER is None, reason="the collection of published LoRAs is not here")
FILES = {row["file"]: row for row in json.loads((FOLDER / "CATALOGUE.json").read_text())} if FOLDER else {}
SKELETONS = sorted(path.name for path in (FOLDER / "skeletons").glob("*.json")) if FOLDER else []

REFUSED: dict[str, tuple[type[NotAuditable], str]] = {
    "MathieuNlp__Sam_LoRA__lora.safetensors": (NotALora, "w_a_000"),
    "huggingface__peft__results_glue_adapter_ckpt_adapter_model.safetensors": (NotALora, "no image model"),
    "m000lie__runpod-comfy-docker__test.safetensors": (MalformedFile, "2 of its 912 tensors"),
}
TEXT_WIDTHS = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
"""Text channels by the published configurations (`cross_attention_dim`).  No other layer of these networks reads as
many: blocks have 320, 640 and 1280 channels, feed-forwards four times that, time embeddings 320 and 1280."""
OTHER_GROUNDS = {
    "leighwoods__public-loras__lora.safetensors": (
        "flux", "single blocks' proj_out from 15,360 to 3,072 channels, as the configuration of Flux.1 has it",
    ),
    "hansjohn819-commits__sd-lora-anime-style__weights_sdxl_text_encoder_adapter_model.safetensors": (
        "unknown", "one text encoder of 768 channels, which Stable Diffusion 1 and XL share; only its name says XL",
    ),
}  # fmt: skip
"""Files without a cross-attention: base, and what it follows from."""
UNREAD = {"cloneofsimo__lora__example_loras_lora_disney.safetensors": 2}
"""Token embeddings in the file."""
MADE_UP = {"flux_lokr_bfl.json"}
"""Flux's names over sizes that no model has and that no fused matrix could be cut to: they are kept as they are."""


def stable_diffusion() -> Iterator[str]:
    """Every layer of Stable Diffusion 1 and 2 that a LoRA can adapt, as diffusers names it."""
    places = [f"{side}_blocks.{b}.attentions.{a}" for side, bs, count in (("down", (0, 1, 2), 2), ("up", (1, 2, 3), 3))
              for b in bs for a in range(count)]  # fmt: skip
    for place in [*places, "mid_block.attentions.0"]:
        block = f"unet.{place}.transformer_blocks.0"
        yield from (f"{block}.attn{n}.{leaf}" for n in (1, 2) for leaf in ("to_q", "to_k", "to_v", "to_out.0"))
        yield from (f"{block}.ff.net.0.proj", f"{block}.ff.net.2", f"unet.{place}.proj_in", f"unet.{place}.proj_out")
    resnets = [f"{side}_blocks.{b}.resnets.{r}" for side, count in (("down", 2), ("up", 3))
               for b, r in product(range(4), range(count))]  # fmt: skip
    for place in [*resnets, "mid_block.resnets.0", "mid_block.resnets.1"]:
        yield from (f"unet.{place}.{leaf}" for leaf in ("conv1", "conv2", "time_emb_proj", "conv_shortcut"))
    yield from (f"unet.down_blocks.{b}.downsamplers.0.conv" for b in range(3))
    yield from (f"unet.up_blocks.{b}.upsamplers.0.conv" for b in range(3))
    yield from ("unet.conv_in", "unet.conv_out", "unet.time_embedding.linear_1", "unet.time_embedding.linear_2")
    attention = [f"self_attn.{x}_proj" for x in ("q", "k", "v", "out")]
    for layer, leaf in product(range(24), (*attention, "mlp.fc1", "mlp.fc2")):
        yield f"text_encoder.text_model.encoder.layers.{layer}.{leaf}"


SINGLE = [f"transformer.single_transformer_blocks.{n}.proj_out" for n in range(38)]
KNOWN = frozenset((*stable_diffusion(), *SINGLE))
TRANSFORMERS = re.compile(
    r"transformer\.(?:"
    r"(?:single_)?transformer_blocks\.\d+\.(?:"
    r"attn[12]?\.(?:to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)|ff(?:_context)?\.net\.(?:0\.proj|2)|proj_mlp|proj_out"
    r"|norm(?:1(?:_context)?)?\.linear|norm[123]\.linear_[12]|(?:img|txt)_mlp\.net\.(?:0\.proj|2)|(?:img|txt)_mod\.1)"
    r"|time_text_embed\.(?:timestep|text|guidance)_embedder\.linear_[12]|x_embedder|context_embedder|proj_out"
    r"|norm_out\.linear(?:_[12])?|img_in|txt_in|patch_embed\.proj|time_embed\.t_embedder\.linear_[12])"
)
"""diffusers' names of the layers of Flux, Qwen-Image and Anima."""


def raw_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Tensor names and shapes, read without the package under test."""
    if path.suffix == ".safetensors":
        content = path.read_bytes()
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    torch = pytest.importorskip("torch")
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    items = loaded.items() if isinstance(loaded, dict) else enumerate(loaded)
    return {str(name): tuple(tensor.shape) for name, tensor in items}


def read_widths(shapes: dict[str, tuple[int, ...]]) -> set[int]:
    """Channels that the denoiser's layers read, by the factors as they lie in the file."""
    own = {name: shape for name, shape in shapes.items() if not re.match(r"(lora_te|text_encoder|<)", name)}
    found = {shape[1] for name, shape in own.items() if len(shape) > 1 and ".lokr_" not in name}
    halves: dict[str, dict[str, int]] = {}
    for name, shape in own.items():
        if match := re.fullmatch(r"(.+)\.lokr_(w[12])(_b)?", name):
            halves.setdefault(match[1], {})[match[2]] = shape[1]
    found |= {both["w1"] * both["w2"] for both in halves.values()}
    return found


def expected_base(path: Path) -> str:
    """By the file's own numbers and the published configurations, not by the reader."""
    shapes = raw_shapes(path)
    if path.name in OTHER_GROUNDS:
        base = OTHER_GROUNDS[path.name][0]
        if base == "flux":
            assert {s for n, s in shapes.items() if n.endswith("proj_out.lora_A.weight")} == {(16, 15_360)}
            assert {s for n, s in shapes.items() if n.endswith("proj_out.lora_B.weight")} == {(3_072, 16)}
        else:
            assert all("text_model." in name and 768 in shape for name, shape in shapes.items())
        return base
    found = {TEXT_WIDTHS[width] for width in read_widths(shapes) if width in TEXT_WIDTHS}
    assert len(found) == 1, (path.name, found)
    return found.pop()


def test_the_collection_is_all_looked_at() -> None:
    assert FOLDER is not None
    there = {path.name for path in FOLDER.iterdir() if path.is_file() and path.suffix != ".json"}
    assert there == FILES.keys()
    assert REFUSED.keys() | OTHER_GROUNDS.keys() | UNREAD.keys() <= there


@pytest.mark.parametrize("name", FILES)
def test_published_files_are_read_and_named(name: str) -> None:
    assert FOLDER is not None
    path = FOLDER / name
    if name in REFUSED:
        kind, says = REFUSED[name]
        with pytest.raises(kind, match=says):
            load_lora(path)
        return
    read = load_lora(path)
    assert read.base_family == expected_base(path)
    assert set(read.modules) <= KNOWN, sorted(set(read.modules) - KNOWN)[:3]
    assert len(read.unread) == UNREAD.get(name, 0)
    tensors = FILES[name]["tensors"] - UNREAD.get(name, 0)
    assert read.algorithms == (("lokr",) if "lokr" in name else ("lora",))
    assert "lokr" in name or len(read.modules) * 2 == tensors
    assert all(np.isfinite(m.up).all() and np.isfinite(m.down).all() for m in read.modules.values())
    seen = inspect(path)
    assert (seen["base_family"], seen["modules"], seen["sha256"]) == (
        read.base_family, len(read.modules), FILES[name]["sha256"],
    )  # fmt: skip


@pytest.mark.parametrize("name", SKELETONS)
def test_lists_of_published_names_are_understood(name: str, tmp_path: Path) -> None:
    """Files with the tensor names and shapes of well-known trainers, and no numbers: base and names by the header."""
    assert FOLDER is not None
    shapes = json.loads((FOLDER / "skeletons" / name).read_text())
    path = hollow(tmp_path / "x.safetensors", shapes)
    seen = inspect(path, header_only=True)
    family = next(f for f in ("anima", "flux", "qwen", "sd15", "sdxl") if name.startswith(f))
    expected = "unknown" if name in MADE_UP else {"qwen": "qwen-image", "sd15": "sd1"}.get(family, family)
    assert seen["base_family"] == expected
    with open_container(path) as container:
        structure = describe(container)
    assert structure.modules
    assert [tensor for tensor in structure.unread if "." in tensor] == structure.foreign == []
    paths = {part.target for path in structure.modules for part in structure.parts(path)}
    denoiser = {p for p in paths if not p.startswith("text_encoder")}
    unknown = {p for p in denoiser if p not in KNOWN and not p.startswith("unet.") and not TRANSFORMERS.fullmatch(p)}
    assert unknown == (denoiser if name in MADE_UP else set())


def hollow(path: Path, shapes: dict[str, list[int]]) -> Path:
    """A half-precision file of these tensors over holes."""
    header, at = {}, 0
    for tensor, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        header[tensor] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + at)
    return path
