"""Transformers: one model trained by two trainers is read as the same modules; names and bases against diffusers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import lora_writing as writing
import numpy as np
import pytest

from auditor.lora import LoraWeights, load_lora
from auditor.lora.algebra import cosine
from auditor.lora.dialects._paths import from_dotted, from_flat
from auditor.lora.families import families, naming, recognise

FAMILIES = {family.name: family for family in families()}
WIDTH = 12


def draw(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, rows, columns]).standard_normal((rows, columns), np.float32)


def read(tmp_path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> LoraWeights:
    return load_lora(writing.save(tmp_path / "x.safetensors", tensors, metadata))


def kohya(name: str, up: np.ndarray, down: np.ndarray, alpha: float = 1.0) -> dict[str, np.ndarray]:
    return {
        f"lora_unet_{name.replace('.', '_')}.lora_up.weight": up,
        f"lora_unet_{name.replace('.', '_')}.lora_down.weight": down,
        f"lora_unet_{name.replace('.', '_')}.alpha": np.float32(alpha),
    }


def dotted(name: str, up: np.ndarray, down: np.ndarray, prefix: str = "transformer.") -> dict[str, np.ndarray]:
    return {f"{prefix}{name}.lora_B.weight": up, f"{prefix}{name}.lora_A.weight": down}


FUSED = {
    "flux, image stream": ("double_blocks.3.img_attn.qkv", [f"transformer_blocks.3.attn.to_{x}" for x in "qkv"]),
    "flux, text stream": ("double_blocks.3.txt_attn.qkv", [f"transformer_blocks.3.attn.add_{x}_proj" for x in "qkv"]),
    "flux, single": (
        "single_blocks.7.linear1",
        [*(f"single_transformer_blocks.7.attn.to_{x}" for x in "qkv"), "single_transformer_blocks.7.proj_mlp"],
    ),
    "sd3": ("joint_blocks.0.x_block.attn.qkv", [f"transformer_blocks.0.attn.to_{x}" for x in "qkv"]),
    "sd3.5, second attention": (
        "joint_blocks.0.x_block.attn2.qkv", [f"transformer_blocks.0.attn2.to_{x}" for x in "qkv"],
    ),
    "lumina": ("layers.1.attention.qkv", [f"layers.1.attn.to_{x}" for x in "qkv"]),
    "flux, fused by diffusers": ("transformer_blocks.3.attn.to_added_qkv",
                                 [f"transformer_blocks.3.attn.add_{x}_proj" for x in "qkv"]),
    "mochi, text stream": ("blocks.3.attn.qkv_y", [f"transformer_blocks.3.attn1.add_{x}_proj" for x in "qkv"]),
    "hunyuan-dit": ("blocks.3.attn1.Wqkv", [f"blocks.3.attn1.to_{x}" for x in "qkv"]),
    "z-image": ("layers.1.attention.qkv", [f"layers.1.attention.to_{x}" for x in "qkv"]),
    "sana, keys and values": (
        "blocks.2.cross_attn.kv_linear", ["transformer_blocks.2.attn2.to_k", "transformer_blocks.2.attn2.to_v"],
    ),
    "pixart, keys and values": (
        "blocks.2.cross_attn.kv_linear", ["transformer_blocks.2.attn2.to_k", "transformer_blocks.2.attn2.to_v"],
    ),
}  # fmt: skip
SHARES = {"flux, single": [1, 1, 1, 4], "lumina": [3, 1, 1]}


@pytest.mark.parametrize("case", FUSED)
def test_a_fused_matrix_meets_its_parts(case: str, tmp_path: Path) -> None:
    """kohya keeps the rows together, diffusers apart; both are read as the same modules with the same ΔW."""
    together, apart = FUSED[case]
    shares = SHARES.get(case, [1] * len(apart))
    rows = [WIDTH * share // shares[0] for share in shares]
    down, ups = draw(3, WIDTH), [draw(count, 3, seed) for seed, count in enumerate(rows)]
    a = read(tmp_path, kohya(together, np.concatenate(ups), down, alpha=1.5))
    b = read(tmp_path, {k: v for name, up in zip(apart, ups, strict=True) for k, v in dotted(name, up, down).items()})
    assert list(a.modules) == list(b.modules) == sorted(f"transformer.{name}" for name in apart)
    assert cosine(a, b).union == pytest.approx(1.0, abs=1e-6)
    assert {module.scale for module in a.modules.values()} == {0.5}
    assert len({module.source for module in a.modules.values()}) == 1


def test_parts_that_were_padded_into_one_matrix_come_apart(tmp_path: Path) -> None:
    """A trainer that keeps q, k and v apart but saves them as one block-sparse matrix of three times the rank."""
    parts = [(draw(WIDTH, 2, seed), draw(2, WIDTH, seed + 9)) for seed in range(3)]
    up = np.zeros((3 * WIDTH, 6), np.float32)
    for number, (left, _) in enumerate(parts):
        up[number * WIDTH : (number + 1) * WIDTH, 2 * number : 2 * number + 2] = left
    a = read(tmp_path, kohya("double_blocks.0.img_attn.qkv", up, np.concatenate([d for _, d in parts]), alpha=6.0))
    for (left, right), name in zip(parts, "qkv", strict=True):
        module = a.modules[f"transformer.transformer_blocks.0.attn.to_{name}"]
        assert module.rank == 2
        np.testing.assert_allclose(module.up @ module.down, left @ right, rtol=1e-5, atol=1e-6)


def test_last_modulations_have_their_halves_in_one_order(tmp_path: Path) -> None:
    up, down = draw(2 * WIDTH, 2), draw(2, WIDTH)
    qkv = kohya("double_blocks.0.img_attn.qkv", draw(3 * WIDTH, 2), down)
    a = read(tmp_path, kohya("final_layer.adaLN_modulation.1", up, down, 2.0) | qkv)
    module = a.modules["transformer.norm_out.linear"]
    np.testing.assert_array_equal(module.up, np.concatenate([up[WIDTH:], up[:WIDTH]]))


def test_xlabs_and_the_original_code_meet(tmp_path: Path) -> None:
    up, down = draw(3 * WIDTH, 2), draw(2, WIDTH)
    xlabs = {f"double_blocks.0.processor.qkv_lora2.{side}.weight": v for side, v in (("up", up), ("down", down))}
    a = read(tmp_path, xlabs)
    b = read(tmp_path, dotted("double_blocks.0.txt_attn.qkv", up, down, "diffusion_model."))
    assert list(a.modules) == list(b.modules) == [f"transformer.transformer_blocks.0.attn.add_{x}_proj" for x in "kqv"]
    assert (a.dialect, b.dialect) == ("xlabs", "comfy")


def test_text_encoders_of_flux_have_one_number(tmp_path: Path) -> None:
    """kohya calls the T5 of Flux the third text encoder, OneTrainer and diffusers the second."""
    blocks = kohya("double_blocks.0.img_attn.qkv", draw(9216, 1), draw(1, 3072))
    body = "encoder_block_0_layer_0_SelfAttention_q"
    found = []
    for te in ("lora_te2", "lora_te3"):
        text = {f"{te}_{body}.lora_up.weight": draw(8, 1), f"{te}_{body}.lora_down.weight": draw(1, 8)}
        found.append([path for path in read(tmp_path, blocks | text).modules if path.startswith("text")])
    assert found[0] == found[1] == ["text_encoder_2.encoder.block.0.layer.0.SelfAttention.q"]


def test_a_kronecker_product_is_split_where_its_blocks_allow_it_and_elsewhere(tmp_path: Path) -> None:
    for one, two in (((6, 4), (6, 3)), ((4, 4), (9, 3))):
        w1, w2 = draw(*one), draw(*two)
        name = "lora_unet_double_blocks_0_img_attn_qkv"
        read_back = read(tmp_path, {f"{name}.lokr_w1": w1, f"{name}.lokr_w2": w2})
        whole = np.kron(w1, w2)
        for begin, leaf in ((0, "q"), (12, "k"), (24, "v")):
            module = read_back.modules[f"transformer.transformer_blocks.0.attn.to_{leaf}"]
            np.testing.assert_allclose(module.up @ module.down, whole[begin : begin + 12], rtol=1e-5, atol=1e-6)


BASES: dict[str, tuple[str, dict[str, tuple[int, int]]]] = {
    "flux": ("lora_unet_", {"single_blocks_0_linear1": (21504, 3072), "double_blocks_0_img_attn_qkv": (9216, 3072)}),
    "sd3": ("lora_unet_", {"joint_blocks_0_x_block_attn_qkv": (4608, 1536)}),
    "pixart": ("lora_unet_", {"transformer_blocks_0_attn1_to_q": (1152, 1152)}),
    "auraflow": ("lora_unet_", {"joint_transformer_blocks_0_attn_to_q": (3072, 3072)}),
    "lumina": ("lora_unet_", {"layers_0_attention_qkv": (3840, 2304)}),
    "qwen-image": ("lora_unet_", {"transformer_blocks_59_attn_to_q": (3072, 3072)}),
    "z-image": ("lora_unet_", {"layers_0_attention_to_q": (3840, 3840)}),
    "wan": ("lora_unet_", {"blocks_0_self_attn_q": (5120, 5120)}),
    "hunyuan-video": ("lora_unet_", {"double_blocks_19_img_attn_qkv": (9216, 3072),
                                     "single_blocks_39_linear2": (3072, 15360)}),
    "flux2": ("lora_unet_", {"double_blocks_0_img_attn_qkv": (18432, 6144)}),
    "hidream": ("lora_unet_", {"double_stream_blocks_0_block_attn1_to_q_t": (2560, 2560)}),
    "ltx-video": ("lora_unet_", {"transformer_blocks_0_attn1_to_q": (2048, 2048),
                                 "transformer_blocks_0_attn2_to_k": (2048, 2048)}),
    "sana": ("lora_unet_", {"transformer_blocks_0_attn1_to_q": (2240, 2240)}),
    "stable-cascade": ("lora_prior_unet_", {"down_blocks_0_2_attention_attn_in_proj_0": (2048, 2048)}),
    "chroma": ("lora_unet_", {"double_blocks_0_img_attn_qkv": (9216, 3072),
                              "distilled_guidance_layer_layers_0_in_layer": (5120, 5120)}),
    "anima": ("lora_unet_", {"blocks_0_cross_attn_k_proj": (2048, 1024), "blocks_0_cross_attn_q_proj": (2048, 2048)}),
}  # fmt: skip


@pytest.mark.parametrize("family", BASES)
def test_base_family_of_transformers(family: str, tmp_path: Path) -> None:
    prefix, layers = BASES[family]
    tensors: dict[str, np.ndarray] = {}
    for name, (out, across) in layers.items():
        tensors[f"{prefix}{name}.lora_up.weight"] = np.ones((out, 1), np.float16)
        tensors[f"{prefix}{name}.lora_down.weight"] = np.ones((1, across), np.float16)
    found = read(tmp_path, tensors, {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"})
    assert found.base_family == family
    assert found.base_grounds
    assert any("modelspec.architecture" in warning for warning in found.warnings)


MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "flux": ("FluxTransformer2DModel", {}),
    "flux2": ("Flux2Transformer2DModel", {}),
    "sd3": ("SD3Transformer2DModel", {"dual_attention_layers": (0,), "num_attention_heads": 24, "num_layers": 2}),
    "pixart": ("PixArtTransformer2DModel", {"cross_attention_dim": 1152, "caption_channels": 4096, "num_layers": 2}),
    "auraflow": ("AuraFlowTransformer2DModel", {}),
    "lumina": ("Lumina2Transformer2DModel", {}),
    "qwen-image": ("QwenImageTransformer2DModel", {}),
    "z-image": ("ZImageTransformer2DModel", {}),
    "wan": ("WanTransformer3DModel", {"added_kv_proj_dim": 5120, "image_dim": 1280}),
    "hunyuan-video": ("HunyuanVideoTransformer3DModel", {}),
    "hidream": (
        "HiDreamImageTransformer2DModel",
        {
            "patch_size": 2,
            "in_channels": 16,
            "caption_channels": [4096, 4096],
            "llama_layers": [0, 1],
            "num_layers": 2,
        },
    ),
    "ltx-video": ("LTXVideoTransformer3DModel", {}),
    "sana": ("SanaTransformer2DModel", {}),
    "stable-cascade": (
        "StableCascadeUNet",
        {
            "clip_text_in_channels": 1280,
            "clip_image_in_channels": 768,
            "switch_level": (False,),
        },
    ),
    "chroma": ("ChromaTransformer2DModel", {}),
    "hunyuan-dit": (
        "HunyuanDiT2DModel",
        {
            "num_layers": 4, "hidden_size": 1408, "attention_head_dim": 88, "in_channels": 4, "patch_size": 2,
            "cross_attention_dim": 1024, "mlp_ratio": 4.3637,
        },
    ),
    "hunyuan-image": ("HunyuanImageTransformer2DModel", {"text_embed_2_dim": 1472, "guidance_embeds": True}),
    "hunyuan-video-1.5": ("HunyuanVideo15Transformer3DModel", {}),
    "cogvideox": ("CogVideoXTransformer3DModel", {}),
    "cogview": ("CogView4Transformer2DModel", {}),
    "mochi": ("MochiTransformer3DModel", {}),
    "krea2": ("Krea2Transformer2DModel", {}),
    "flux3": ("Flux3Transformer2DModel", {}),
    "ltx2": ("LTX2VideoTransformer3DModel", {}),
    "qwen-image-2.1": ("QwenImage21Transformer2DModel", {}),
}  # fmt: skip
SAME_ATTENTION = {"chroma": ("flux", "Chroma")}
"""Families whose attention alone is another's: what it is called, and what the grounds then name."""


@pytest.mark.train
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`FluxPosEmbed`:FutureWarning")
@pytest.mark.parametrize("family", MODELS)
def test_names_and_sizes_of_diffusers_own_models(family: str) -> None:
    """Every linear layer of the published model is known, under its own name, dotted or flat; so is the base."""
    torch = pytest.importorskip("torch")
    diffusers = pytest.importorskip("diffusers")
    name, options = MODELS[family]
    with torch.device("meta"):
        model = getattr(diffusers, name)(**options)
    linear = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    unknown = sorted({re.sub(r"\d+", "#", n) for n in linear if not FAMILIES[family].parts(n)})
    assert unknown == []
    for layer in linear:
        path = f"transformer.{layer}"
        assert from_dotted(path) == path
        assert from_flat("transformer", layer.replace(".", "_")) == path
        assert [part.target for part in FAMILIES[family].parts(layer)] == [layer]
    shapes = {n: (m.out_features, m.in_features) for n, m in linear.items()}
    recognised = recognise(shapes)
    assert recognised is not None
    assert recognised[0].name == family
    assert_attention_tells_the_base(family, shapes)


def assert_attention_tells_the_base(family: str, shapes: dict[str, tuple[int, int]]) -> None:
    """What most trainers adapt, attention in the blocks, and of that the queries, keys and values alone."""
    inputs = re.compile(r".*(attn|attention)\d?\.(add_)?(to_)?[qkv](_proj)?$")
    within = re.compile(r".*(attn|attention)\d?\..*")
    for wanted in (within, inputs):
        some = {name: shape for name, shape in shapes.items() if wanted.match(name)}
        found = recognise(some)
        assert found is not None, wanted.pattern
        name, doubt = SAME_ATTENTION.get(family, (family, ""))
        assert found[0].name == name, (wanted.pattern, found[1])
        assert doubt in found[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_tables_are_sound(family: str) -> None:
    """Every alias leads to canonical layers of its own family, and every name of the family is read flat."""
    table = FAMILIES[family]
    for template, parts in table.aliases.items():
        for part in parts:
            assert table.parts(part.target.replace("#", "0")), (template, part)
    for template in (*table.modules, *table.aliases):
        body = template.replace("#", "1")
        prefix = "transformer" if body.startswith("time_embedding.linear") else "diffusion_model"  # also a UNet's name
        assert from_dotted(f"{prefix}.{body}") == f"transformer.{body}"


def test_names_of_no_family_stay_as_they_are(tmp_path: Path) -> None:
    found = read(
        tmp_path, dotted("double_stream_blocks.0.block.attn1.to_q", draw(4, 2), draw(2, 4), "diffusion_model.")
    )
    assert list(found.modules) == ["transformer.double_stream_blocks.0.block.attn1.to_q"]
    assert found.base_family == "unknown"
    assert naming({"nonsense": (1, 1)}) is None


RENAMED = {
    "hunyuan-dit": {"blocks.3.attn2.q_proj": "blocks.3.attn2.to_q", "mlp_t5.2": "text_embedder.linear_2"},
    "hunyuan-image": {
        "double_blocks.1.img_attn_q": "transformer_blocks.1.attn.to_q",
        "single_blocks.1.linear1_mlp": "single_transformer_blocks.1.proj_mlp",
        "time_r_in.mlp.2": "time_guidance_embed.timestep_embedder_r.linear_2",
    },
    "mochi": {
        "blocks.3.mod_y": "transformer_blocks.3.norm1_context.linear",
        "blocks.47.mod_y": "transformer_blocks.47.norm1_context.linear_1",
        "t5_yproj": "time_embed.caption_proj",
    },
    "krea2": {"blocks.0.attn.gate": "transformer_blocks.0.attn.to_gate", "last.linear": "final_layer.linear"},
    "flux3": {"content_mode_blocks.image.2.mlp_in": "mode_blocks.image.2.ff.linear_in"},
    "ltx2": {"av_ca_a2v_gate_adaln_single.linear": "av_cross_attn_video_a2v_gate.linear"},
    "wan": {"vace_blocks.1.cross_attn.o": "vace_blocks.1.attn2.to_out.0"},
    "ltx-video": {"patchify_proj": "proj_in", "adaln_single.linear": "time_embed.linear"},
    "sana": {"blocks.3.mlp.point_conv.conv": "transformer_blocks.3.ff.conv_point", "t_block.1": "time_embed.linear"},
    "stable-cascade": {
        "up_blocks.1.5.attention.attn.to_k": "up_blocks.1.5.attention.to_k",
        "up_blocks.1.5.attention.attn.in_proj.2": "up_blocks.1.5.attention.to_v",
        "down_blocks.0.2.attention.attn.out_proj": "down_blocks.0.2.attention.to_out.0",
    },
    "chroma": {
        "distilled_guidance_layer.layers.4.out_layer": "distilled_guidance_layer.layers.4.linear_2",
        "single_blocks.1.linear2": "single_transformer_blocks.1.proj_out",
    },
}


@pytest.mark.parametrize("family", RENAMED)
def test_names_of_the_original_code(family: str) -> None:
    for old, new in RENAMED[family].items():
        assert [part.target for part in FAMILIES[family].parts(old)] == [new]


@pytest.mark.parametrize("prefix", ["unet.", "base_model.model.", "diffusion_model.", "transformer."])
def test_blocks_of_stable_cascade_are_no_unet_of_stable_diffusion(prefix: str) -> None:
    assert from_dotted(f"{prefix}down_blocks.0.2.attention.to_q") == "transformer.down_blocks.0.2.attention.to_q"
    assert from_dotted("unet.down_blocks.0.attentions.0.proj_in") == "unet.down_blocks.0.attentions.0.proj_in"


def test_flux_and_chroma_are_told_apart_where_that_can_be_done(tmp_path: Path) -> None:
    """Their common layers are Flux's by name, with the doubt in the grounds and no contradiction in the metadata."""
    attention = kohya("double_blocks.0.img_attn.qkv", np.ones((9216, 1), "f2"), np.ones((1, 3072), "f2"))
    modulation = kohya("double_blocks.0.img_mod.lin", np.ones((18432, 1), "f2"), np.ones((1, 3072), "f2"))
    claims = {"modelspec.architecture": "chroma/lora"}
    both = read(tmp_path, attention, claims)
    assert (both.base_family, both.warnings) == ("flux", ())
    assert "Chroma has the same layers" in both.base_grounds[0]
    flux = read(tmp_path, attention | modulation)
    assert flux.base_family == "flux"
    assert "Chroma" not in flux.base_grounds[0]


def test_the_smallest_sana_is_named_where_attention_alone_cannot_tell(tmp_path: Path) -> None:
    attention = kohya("transformer_blocks.0.attn1.to_q", np.ones((1152, 1), "f2"), np.ones((1, 1152), "f2"))
    found = read(tmp_path, attention)
    assert found.base_family == "pixart"
    assert "Sana" in found.base_grounds[0]
    wide = kohya("transformer_blocks.0.ff.conv_point", np.ones((1152, 1), "f2"), np.ones((1, 2880), "f2"))
    assert read(tmp_path, attention | wide).base_family == "sana"


def test_a_gated_feed_forward_of_mochi_has_its_halves_in_diffusers_order(tmp_path: Path) -> None:
    up, down = draw(8 * WIDTH, 2), draw(2, WIDTH)
    found = read(tmp_path, dotted("blocks.0.mlp_x.w1", up, down, "diffusion_model."))
    module = found.modules["transformer.transformer_blocks.0.ff.net.0.proj"]
    np.testing.assert_array_equal(module.up, np.concatenate([up[4 * WIDTH :], up[: 4 * WIDTH]]))


def test_networks_of_moving_pictures_are_no_stable_diffusion(tmp_path: Path) -> None:
    """Stable Video Diffusion reads as many text channels as Stable Diffusion 2."""
    place = "unet.down_blocks.0.attentions.0"
    pictures = dotted(f"{place}.transformer_blocks.0.attn2.to_k", draw(320, 2), draw(2, 1024), "")
    time = dotted(f"{place}.temporal_transformer_blocks.0.attn1.to_q", draw(320, 2), draw(2, 320), "")
    assert read(tmp_path, pictures).base_family == "sd2"
    assert read(tmp_path, pictures | time).base_family == "unknown"
