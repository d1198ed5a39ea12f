"""One LoRA, written by several packages and turned from one naming to another by diffusers itself, embeds identically.

Every case writes the very same factors in several ways, by the functions of diffusers, PEFT and LyCORIS where they
exist, reads each file and compares ΔW and the features of `auditor.embedding`.  Scales are powers of two, so that what
a converter folds into a factor is exact; nothing may then differ by more than the last digits of double precision.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lora_writing as writing
import numpy as np
import pytest

from auditor.embedding.features import Bases, factor_all, features, fit_bases
from auditor.lora import LoraModule, LoraWeights, load_lora

pytestmark = pytest.mark.filterwarnings("ignore")
TRAIN = (pytest.mark.train, pytest.mark.slow)
RANK, ALPHA = 2, 1.0
Arrays = dict[str, np.ndarray]


def draw(name: str, rows: int, columns: int) -> np.ndarray:
    seed = [ord(letter) for letter in name]
    return np.random.default_rng(seed).standard_normal((rows, columns), np.float32) / np.float32(np.sqrt(columns))


def factors(shapes: dict[str, tuple[int, int]]) -> writing.Lora:
    """A LoRA of these layers: path → (up, down)."""
    return {n: (draw(f"{n} up", out, RANK), draw(f"{n} down", RANK, across)) for n, (out, across) in shapes.items()}


def save(folder: Path, name: str, tensors: Any, metadata: dict[str, str] | None = None) -> Path:
    """Write arrays or torch tensors."""
    folder = folder / name
    folder.mkdir(parents=True)
    arrays = {key: np.asarray(value) for key, value in tensors.items()}
    return writing.save(folder / "adapter_model.safetensors", arrays, metadata)


def vector(read: LoraWeights, bases: Bases) -> np.ndarray:
    found, present = features(factor_all(read, list(bases.out)), bases)
    assert present.all()
    return found


def assert_same_update(a: LoraModule, b: LoraModule, where: object) -> None:
    """ΔW of both does the same to a few vectors: the dense matrices of a whole network would fill gigabytes."""
    assert a.shape == b.shape, where
    probes = np.random.default_rng(0).standard_normal((a.shape[1], 3))
    one, other = (m.scale * m.up.astype(float) @ (m.down.astype(float) @ probes) for m in (a, b))
    assert np.abs(one - other).max() <= 1e-12 * np.abs(other).max(), where


def assert_embed_identically(paths: list[Path], expected: set[str], family: str) -> None:
    """The same modules, base, ΔW and features, whichever file is read."""
    first, *others = [load_lora(path) for path in paths]
    assert set(first.modules) == expected
    bases = fit_bases([factor_all(first, list(first.modules))], k=4)
    wanted = vector(first, bases)
    assert np.linalg.norm(wanted) > 0
    for path, read in zip(paths[1:], others, strict=True):
        where = path.parent.name
        assert read.modules.keys() == first.modules.keys(), where
        assert (read.base_family, read.unread) == (family, ()), where
        for name, module in read.modules.items():
            assert_same_update(module, first.modules[name], (where, name))
        np.testing.assert_allclose(vector(read, bases), wanted, rtol=0, atol=1e-12, err_msg=where)
    assert (first.base_family, first.unread) == (family, ())


# --- UNets: Stable Diffusion 1.5, XL, the shipped base ----------------------------------------------------------------

CROSS = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D")
UNETS: dict[str, dict[str, Any]] = {
    "sd1": {"cross_attention_dim": 768},
    "sdxl": {
        "block_out_channels": (320, 640, 1280), "cross_attention_dim": 2048, "use_linear_projection": True,
        "down_block_types": ("DownBlock2D", *CROSS[:1] * 2), "up_block_types": (*CROSS[1:] * 2, "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10), "attention_head_dim": (5, 10, 20),
        "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}  # fmt: skip


def unet_of(family: str) -> Any:
    """The published network without its weights; the shipped one as it is."""
    torch, diffusers = pytest.importorskip("torch"), pytest.importorskip("diffusers")
    with torch.device("meta"):
        if family != "audit-mini":
            return diffusers.UNet2DConditionModel(**UNETS[family])
        config = Path(__file__).parents[2] / "bases" / "audit-mini" / "unet" / "config.json"
        return diffusers.UNet2DConditionModel.from_config(json.loads(config.read_text()))


def adapted(unet: Any) -> dict[str, Any]:
    """Layers by path: attention, feed-forward, projections and convolutions; of ten blocks in a row, the outer ones."""
    wanted = re.compile(r".*(to_[qkv]|to_out\.0|ff\.net\.0\.proj|ff\.net\.2|proj_in|proj_out|conv[12]|conv_shortcut"
                        r"|time_emb_proj|(down|up)samplers\.0\.conv)$")  # fmt: skip
    found = {name: layer for name, layer in unet.named_modules() if wanted.match(name) and hasattr(layer, "weight")}
    return {name: layer for name, layer in found.items() if not re.search(r"transformer_blocks\.[2-8]\.", name)}


def unet_tensors(layers: dict[str, Any]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Path → (up, down), kernels as trainers shape them."""
    made = {}
    for name, layer in layers.items():
        shape = tuple(layer.weight.shape)
        down = draw(f"{name} down", RANK, int(np.prod(shape[1:]))).reshape(RANK, *shape[1:])
        made[name] = draw(f"{name} up", shape[0], RANK).reshape(shape[0], RANK, *(1,) * (len(shape) - 2)), down
    return made


def sgm_names() -> dict[str, str]:
    """Beginnings of diffusers' names and of those of Stability's own code, as both describe the same network of XL."""
    found = {"mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
             "mid_block.resnets.1": "middle_block.2"}  # fmt: skip
    for level in range(3):
        for layer in range(2):
            for number, kind in enumerate(("resnets", "attentions")):
                found[f"down_blocks.{level}.{kind}.{layer}"] = f"input_blocks.{3 * level + layer + 1}.{number}"
        for layer in range(3):
            for number, kind in enumerate(("resnets", "attentions")):
                found[f"up_blocks.{level}.{kind}.{layer}"] = f"output_blocks.{3 * level + layer}.{number}"
        found[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{3 * level + 3}.0.op"
        found[f"up_blocks.{level}.upsamplers.0.conv"] = f"output_blocks.{3 * level + 2}.2.conv"
    return found


SGM = sgm_names()
SGM_INNER = {"conv1": "in_layers.2", "conv2": "out_layers.3", "time_emb_proj": "emb_layers.1",
             "conv_shortcut": "skip_connection"}  # fmt: skip


def sgm(name: str) -> str:
    """Stability's name of a layer."""
    begin = next(b for b in SGM if name == b or name.startswith(b + "."))
    leaf = name[len(begin) :]
    return SGM[begin] + (f".{SGM_INNER[leaf[1:]]}" if ".resnets." in begin else leaf)


def kohya_file(folder: Path, name: str, lora: Any, rename: Callable[[str], str] = str) -> Path:
    """sd-scripts' writing."""
    tensors: Arrays = {}
    for path, (up, down) in lora.items():
        flat = f"lora_unet_{rename(path).replace('.', '_')}"
        tensors |= {f"{flat}.lora_up.weight": up, f"{flat}.lora_down.weight": down, f"{flat}.alpha": np.float32(ALPHA)}
    return save(folder, name, tensors, {"ss_network_module": "networks.lora"})


def diffusers_files(folder: Path, state: dict[str, Any]) -> list[Path]:
    """diffusers: its own writer with configuration, and its converter to kohya's names."""
    diffusers, utils = pytest.importorskip("diffusers"), pytest.importorskip("diffusers.utils")
    torch, files = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    config = {"r": RANK, "lora_alpha": ALPHA}
    diffusers.StableDiffusionPipeline.save_lora_weights(
        folder / "diffusers", unet_lora_layers=state, unet_lora_adapter_metadata=config,
        weight_name="adapter_model.safetensors",
    )  # fmt: skip
    flat = utils.convert_state_dict_to_kohya({f"unet.{key}": value for key, value in state.items()})
    flat = {k: torch.tensor(ALPHA) if k.endswith(".alpha") else v.contiguous() for k, v in flat.items()}
    (folder / "diffusers to kohya").mkdir()
    files.save_file(flat, folder / "diffusers to kohya" / "adapter_model.safetensors")
    return [folder / name / "adapter_model.safetensors" for name in ("diffusers", "diffusers to kohya")]


def peft_file(folder: Path, state: dict[str, Any]) -> Path:
    """PEFT: names of its own wrapper and the configuration as it saves it."""
    peft = pytest.importorskip("peft")
    path = save(folder, "peft", {f"base_model.model.{key}": value for key, value in state.items()})
    peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["to_q"]).save_pretrained(path.parent)
    return path


def from_kohya(folder: Path, name: str, path: Path, unet: Any) -> Path:
    """diffusers' reading of kohya's file, saved as it stands, alphas folded into `up`."""
    conversion = pytest.importorskip("diffusers.loaders.lora_conversion_utils")
    files = pytest.importorskip("safetensors.torch")
    state = conversion._maybe_map_sgm_blocks_to_diffusers(files.load_file(path), unet.config)
    tensors, alphas = conversion._convert_non_diffusers_lora_to_diffusers(state)
    assert set(alphas.values()) == {ALPHA}
    return save(folder, name, {k: v * (ALPHA / RANK if ".up." in k else 1.0) for k, v in tensors.items()})


@pytest.mark.parametrize("family", ["sd1", "sdxl", "audit-mini"])
@pytest.mark.train
@pytest.mark.slow
def test_a_lora_of_a_unet_in_every_package(family: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    unet = unet_of(family)
    lora = unet_tensors(adapted(unet))
    assert len(lora) > (100 if family == "audit-mini" else 200)
    state = {}
    for name, (up, down) in lora.items():
        state |= {f"{name}.lora_A.weight": torch.tensor(down), f"{name}.lora_B.weight": torch.tensor(up)}
    paths = [*diffusers_files(tmp_path, state), peft_file(tmp_path, state), kohya_file(tmp_path, "kohya", lora)]
    paths.append(from_kohya(tmp_path, "kohya to diffusers", paths[-1], unet))
    if family == "sdxl":
        paths.append(kohya_file(tmp_path, "sgm", lora, sgm))
        paths.append(from_kohya(tmp_path, "sgm to diffusers", paths[-1], unet))
    doubled = {f"diffusion_model.{k}": v * (0.5 if "lora_B" in k else 1.0) for k, v in state.items()}
    paths.append(save(tmp_path, "comfy", doubled))
    assert_embed_identically(paths, {f"unet.{name}" for name in lora}, family)


# --- transformers: what diffusers converts, under both names ----------------------------------------------------------


def square(width: int, *names: str) -> dict[str, tuple[int, int]]:
    return dict.fromkeys(names, (width, width))


def streams(width: int, separator: str, mlp: tuple[str, str], mod: str | None) -> dict[str, tuple[int, int]]:
    """A double block of Flux' kind and its own separators."""
    found: dict[str, tuple[int, int]] = {}
    for stream in ("img", "txt"):
        block = f"double_blocks.0.{stream}_"
        found |= {f"{block}attn{separator}qkv": (3 * width, width)} | square(width, f"{block}attn{separator}proj")
        found |= {f"{block}mlp.{mlp[0]}": (4 * width, width), f"{block}mlp.{mlp[1]}": (width, 4 * width)}
        found |= {f"{block}{mod}": (6 * width, width)} if mod else {}
    return found


def single(width: int, *, modulation: str = "") -> dict[str, tuple[int, int]]:
    """A single block of Flux' kind."""
    found = {"linear1": (7 * width, width), "linear2": (width, 5 * width)}
    found |= {modulation: (3 * width, width)} if modulation else {}
    return {f"single_blocks.0.{leaf}": shape for leaf, shape in found.items()}


def gated(width: int, inner: int, block: str, names: tuple[str, str, str]) -> dict[str, tuple[int, int]]:
    """Feed-forward of three matrices: gate, down, up."""
    shapes = (inner, width), (width, inner), (inner, width)
    return {f"{block}.{name}": shape for name, shape in zip(names, shapes, strict=True)}


WAN = {
    **square(1536, *(f"blocks.0.{kind}_attn.{leaf}" for kind in ("self", "cross") for leaf in "qkvo")),
    "blocks.0.ffn.0": (8960, 1536), "blocks.0.ffn.2": (1536, 8960),
}  # fmt: skip
FLUX = streams(3072, ".", ("0", "2"), "mod.lin") | single(3072, modulation="modulation.lin")
FLUX2 = {
    **{n: s for n, s in streams(6144, ".", ("0", "2"), None).items() if "mlp" not in n},
    **{f"double_blocks.0.{s}_mlp.0": (36864, 6144) for s in ("img", "txt")},
    **{f"double_blocks.0.{s}_mlp.2": (6144, 18432) for s in ("img", "txt")},
    "single_blocks.0.linear1": (55296, 6144), "single_blocks.0.linear2": (6144, 24576),
}  # fmt: skip
Z_IMAGE = {
    f"{stem}.0.{leaf}": shape
    for stem in ("layers", "noise_refiner", "context_refiner")
    for leaf, shape in {
        "attention.qkv": (11520, 3840), "attention.out": (3840, 3840),
        **gated(3840, 10240, "feed_forward", ("w1", "w2", "w3")), "adaLN_modulation.0": (15360, 256),
    }.items()
}  # fmt: skip
LUMINA = {
    f"{stem}.0.{leaf}": shape
    for stem in ("layers", "noise_refiner", "context_refiner")
    for leaf, shape in {
        "attention.qkv": (3840, 2304), "attention.out": (2304, 2304),
        **gated(2304, 9216, "feed_forward", ("w1", "w2", "w3")), "adaLN_modulation.1": (9216, 1024),
    }.items()
    if not (stem == "context_refiner" and "adaLN" in leaf)
}  # fmt: skip
QWEN = {
    **square(3072, *(f"transformer_blocks.0.attn.{leaf}" for leaf in
                     ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"))),
    **{f"transformer_blocks.0.{s}_mlp.net.0.proj": (12288, 3072) for s in ("img", "txt")},
    **{f"transformer_blocks.0.{s}_mlp.net.2": (3072, 12288) for s in ("img", "txt")},
    **{f"transformer_blocks.0.{s}_mod.1": (18432, 3072) for s in ("img", "txt")},
}  # fmt: skip
ANIMA = {
    **square(2048, *(f"blocks.0.{kind}_attn.{leaf}_proj" for kind in ("self", "cross") for leaf in ("q", "output"))),
    **square(2048, "blocks.0.self_attn.k_proj", "blocks.0.self_attn.v_proj"),
    "blocks.0.cross_attn.k_proj": (2048, 1024), "blocks.0.cross_attn.v_proj": (2048, 1024),
    "blocks.0.mlp.layer1": (8192, 2048), "blocks.0.mlp.layer2": (2048, 8192),
    "blocks.0.adaln_modulation_mlp.1": (256, 2048), "blocks.0.adaln_modulation_self_attn.2": (6144, 256),
}  # fmt: skip
HIDREAM = {
    **square(2560, *(f"double_stream_blocks.0.block.attn1.to_{x}{t}" for x in ("q", "k", "v", "out")
                     for t in ("", "_t"))),
    **gated(2560, 6912, "single_stream_blocks.0.block.ff_i.experts.0", ("w1", "w2", "w3")),
}  # fmt: skip
LTX = {
    **square(2048, *(f"transformer_blocks.0.attn{n}.to_{x}" for n in (1, 2) for x in ("q", "k", "v", "out.0"))),
    "transformer_blocks.0.ff.net.0.proj": (8192, 2048), "transformer_blocks.0.ff.net.2": (2048, 8192),
}  # fmt: skip

CONVERTED: dict[str, tuple[str, str, str, dict[str, tuple[int, int]]]] = {
    "Flux, sd-scripts": ("flux", "flat", "kohya_flux", FLUX),
    "Flux, ComfyUI": ("flux", "dotted, alpha", "kohya_flux", FLUX),
    "HunyuanVideo": (
        "hunyuan-video", "dotted", "hunyuan_video",
        streams(3072, "_", ("fc1", "fc2"), "mod.linear") | single(3072, modulation="modulation.linear")
        | square(3072, "txt_in.individual_token_refiner.blocks.0.self_attn_proj", "txt_in.c_embedder.linear_2"),
    ),
    "Lumina": ("lumina", "dotted", "non_diffusers_lumina2", LUMINA),
    "Wan, musubi-tuner": ("wan", "flat", "musubi_wan", WAN),
    "Wan, ComfyUI": ("wan", "dotted", "non_diffusers_wan", WAN),
    "Wan, ComfyUI with alphas": ("wan", "dotted, alpha", "non_diffusers_wan", WAN),
    "Qwen-Image, musubi-tuner": ("qwen-image", "flat", "non_diffusers_qwen", QWEN),
    "Qwen-Image, ComfyUI": ("qwen-image", "dotted", "non_diffusers_qwen", QWEN),
    "Anima": ("anima", "dotted", "non_diffusers_anima", ANIMA),
    "Flux.2, ai-toolkit": ("flux2", "dotted", "non_diffusers_flux2", FLUX2),
    "Flux.2, sd-scripts": ("flux2", "flat", "kohya_flux2", FLUX2),
    "Z-Image, sd-scripts": ("z-image", "flat", "non_diffusers_z_image", Z_IMAGE),
    "HiDream": ("hidream", "dotted", "non_diffusers_hidream", HIDREAM),
    "LTX-Video": ("ltx-video", "dotted", "non_diffusers_ltxv", LTX),
}  # fmt: skip


def original_file(style: str, shapes: dict[str, tuple[int, int]]) -> Arrays:
    """The original code's writing: flat (sd-scripts, musubi-tuner), or dotted as ComfyUI and ai-toolkit save it."""
    if style == "flat":
        prefix, split, roles = "lora_unet_", "_", ("lora_up", "lora_down")
    else:
        prefix, split, roles = "diffusion_model.", ".", ("lora_B", "lora_A")
    roles = ("lora_up", "lora_down") if "alpha" in style else roles
    made: Arrays = {}
    for name, (up, down) in factors(shapes).items():
        body = prefix + name.replace(".", split)
        made |= {f"{body}.{roles[0]}.weight": up, f"{body}.{roles[1]}.weight": down}
        made |= {f"{body}.alpha": np.float32(ALPHA)} if "lora_up" in roles else {}
    return made


@pytest.mark.parametrize("case", CONVERTED)
@pytest.mark.train
@pytest.mark.slow
def test_a_lora_of_a_transformer_as_diffusers_converts_it(case: str, tmp_path: Path) -> None:
    """The original code's names, diffusers' own conversion of them, and that in PEFT's and OneTrainer's names."""
    torch = pytest.importorskip("torch")
    conversion = pytest.importorskip("diffusers.loaders.lora_conversion_utils")
    family, style, converter, shapes = CONVERTED[case]
    tensors = original_file(style, shapes)
    convert = getattr(conversion, f"_convert_{converter}_lora_to_diffusers")
    converted = convert({key: torch.tensor(value) for key, value in tensors.items()})
    state = {key: value.contiguous().numpy() for key, value in converted.items()}
    expected = {re.sub(r"\.lora_[AB]\.weight$", "", key) for key in state}
    assert len(expected) >= len(shapes)
    assert all(path.startswith("transformer.") for path in expected)
    onetrainer = {
        re.sub(r"^transformer_", "lora_transformer_", key.rsplit(".", 2)[0].replace(".", "_"))
        + {"lora_A": ".lora_down.weight", "lora_B": ".lora_up.weight"}[key.split(".")[-2]]: value
        for key, value in state.items()
    }
    peft = {f"base_model.model.{key.removeprefix('transformer.')}": value for key, value in state.items()}
    paths = [save(tmp_path, name, written) for name, written in
             (("diffusers", state), ("original", tensors), ("onetrainer", onetrainer), ("peft", peft))]  # fmt: skip
    assert_embed_identically(paths, expected, family)
