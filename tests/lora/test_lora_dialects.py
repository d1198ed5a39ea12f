"""One LoRA written in every dialect is read as the same modules."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import lora_writing as writing
import numpy as np
import pytest

from auditor.lora import LoraWeights, load_lora
from auditor.lora.dialects import dialects
from auditor.lora.dialects._paths import from_dotted, from_flat, sgm_to_diffusers


def same(a: LoraWeights, b: LoraWeights) -> bool:
    return a.modules.keys() == b.modules.keys() and all(
        np.array_equal(m.up, b.modules[p].up)
        and np.array_equal(m.down, b.modules[p].down)
        and m.scale == b.modules[p].scale
        for p, m in a.modules.items()
    )


WRITERS: dict[str, Callable[[writing.Lora], dict[str, np.ndarray]]] = {
    "diffusers": writing.diffusers,
    "lora_A under unet.": writing.diffusers_ab,
    "kohya": writing.kohya,
    "kohya with a repeated prefix": lambda lora: writing.kohya(lora, prefix="lora_unet_unet_"),
    "kohya, alpha = rank": lambda lora: writing.kohya(lora, alpha=4.0),
    "peft": writing.peft,
    "peft with an adapter's name": lambda lora: writing.peft(lora, ".default"),
    "peft in diffusers": lambda lora: {
        f"unet.base_model.model.{k[5:]}": v for k, v in writing.diffusers_ab(lora).items()
    },
    "of a compiled model": lambda lora: {f"unet._orig_mod.{k[5:]}": v for k, v in writing.diffusers_ab(lora).items()},
    "peft of a compiled model": lambda lora: {f"_orig_mod.{k}": v for k, v in writing.peft(lora).items()},
    "no prefix": lambda lora: {k.removeprefix("unet."): v for k, v in writing.diffusers(lora).items()},
    "comfy": lambda lora: {f"diffusion_model.{k[5:]}": v for k, v in writing.diffusers_ab(lora).items()},
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_writing_of_one_unet_lora_gives_the_same_modules(name: str, tmp_path: Path) -> None:
    lora = writing.make(writing.mini_paths())
    read = load_lora(writing.save(tmp_path / "a.safetensors", WRITERS[name](lora)))
    assert list(read.modules) == sorted(lora)
    assert same(read, load_lora(writing.save(tmp_path / "b.safetensors", writing.diffusers(lora))))
    assert read.base_family == "audit-mini"
    assert read.unread == ()


@pytest.mark.parametrize("name", ["diffusers", "lora_A under unet.", "kohya", "peft"])
def test_text_encoders_have_one_path_in_every_dialect(name: str, tmp_path: Path) -> None:
    lora = writing.make(writing.text_paths())
    read = load_lora(writing.save(tmp_path / "a.safetensors", WRITERS[name](lora)))
    assert list(read.modules) == sorted(lora)


@pytest.mark.parametrize("prefix", ["unet.", ""])
def test_old_attention_processors(prefix: str, tmp_path: Path) -> None:
    lora = {path: factors for path, factors in writing.make(writing.mini_paths()).items() if ".attn" in path}
    read = load_lora(writing.save(tmp_path / "a.safetensors", writing.attn_processor(lora, prefix)))
    assert same(read, load_lora(writing.save(tmp_path / "b.safetensors", writing.kohya(lora))))
    assert read.dialect == "diffusers-attn-processor"


@pytest.mark.parametrize(
    ("flat", "dotted"),
    [
        ("down_blocks_0_attentions_1_transformer_blocks_0_attn2_to_out_0",
         "unet.down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_out.0"),
        ("mid_block_attentions_0_transformer_blocks_9_ff_net_0_proj",
         "unet.mid_block.attentions.0.transformer_blocks.9.ff.net.0.proj"),
        ("up_blocks_3_attentions_2_proj_in", "unet.up_blocks.3.attentions.2.proj_in"),
        ("down_blocks_1_resnets_0_time_emb_proj", "unet.down_blocks.1.resnets.0.time_emb_proj"),
        ("up_blocks_1_resnets_2_conv_shortcut", "unet.up_blocks.1.resnets.2.conv_shortcut"),
        ("down_blocks_2_downsamplers_0_conv", "unet.down_blocks.2.downsamplers.0.conv"),
        ("input_blocks_4_1_transformer_blocks_1_attn1_to_q",
         "unet.down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q"),
        ("input_blocks_8_1_proj_out", "unet.down_blocks.2.attentions.1.proj_out"),
        ("middle_block_1_transformer_blocks_9_attn2_to_v",
         "unet.mid_block.attentions.0.transformer_blocks.9.attn2.to_v"),
        ("middle_block_2_in_layers_2", "unet.mid_block.resnets.1.conv1"),
        ("output_blocks_5_1_transformer_blocks_0_ff_net_2",
         "unet.up_blocks.1.attentions.2.transformer_blocks.0.ff.net.2"),
        ("output_blocks_2_2_conv", "unet.up_blocks.0.upsamplers.0.conv"),
        ("output_blocks_2_1_conv", "unet.up_blocks.0.upsamplers.0.conv"),
        ("input_blocks_3_0_op", "unet.down_blocks.0.downsamplers.0.conv"),
        ("input_blocks_1_0_emb_layers_1", "unet.down_blocks.0.resnets.0.time_emb_proj"),
        ("input_blocks_0_0", "unet.conv_in"),
        ("time_embed_2", "unet.time_embedding.linear_2"),
        ("double_blocks_3_img_attn_qkv", "transformer.double_blocks.3.img_attn.qkv"),
        ("single_blocks_37_linear2", "transformer.single_blocks.37.linear2"),
        ("joint_blocks_0_context_block_attn_proj", "transformer.joint_blocks.0.context_block.attn.proj"),
        ("blocks_0_cross_attn_k_proj", "transformer.blocks.0.cross_attn.k_proj"),
    ],
)  # fmt: skip
def test_flat_names_of_the_denoiser(flat: str, dotted: str) -> None:
    assert from_flat("denoiser", flat) == dotted


def test_unknown_flat_names_are_not_guessed() -> None:
    assert from_flat("denoiser", "down_blocks_0_attentions_0_surprise") is None
    assert from_flat("text_encoder", "down_blocks_0") is None
    assert sgm_to_diffusers("input_blocks.0.1.proj_in") is None


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("base_model.model.unet.unet.mid_block.attentions.0.proj_in", "unet.mid_block.attentions.0.proj_in"),
        ("text_encoder.encoder.layers.0.mlp.fc1", "text_encoder.text_model.encoder.layers.0.mlp.fc1"),
        ("text_encoder_2.text_model.encoder.layers.1.mlp.fc2", "text_encoder_2.text_model.encoder.layers.1.mlp.fc2"),
        ("diffusion_model.input_blocks.1.1.proj_in", "unet.down_blocks.0.attentions.0.proj_in"),
        ("transformer.single_transformer_blocks.1.proj_out", "transformer.single_transformer_blocks.1.proj_out"),
        ("base_model.model.transformer.h.0.attn.c_attn", None),
        ("base_model.model.model.layers.0.self_attn.q_proj", None),
        ("unet.down_blocks.0.\x1b[31m", None),
    ],
)
def test_dotted_names(name: str, path: str | None) -> None:
    assert from_dotted(name) == path


def test_text_encoders_of_sdxl_are_told_apart(tmp_path: Path) -> None:
    body = "text_model_encoder_layers_0_self_attn_q_proj"
    tensors = {
        f"{prefix}_{body}.lora_{side}.weight": np.ones(shape, np.float32)
        for prefix in ("lora_te1", "lora_te2")
        for side, shape in (("down", (2, 768)), ("up", (768, 2)))
    }
    read = load_lora(writing.save(tmp_path / "a.safetensors", tensors))
    assert {path.partition(".")[0] for path in read.modules} == {"text_encoder", "text_encoder_2"}


@pytest.mark.parametrize(
    ("config", "scale", "source"),
    [
        ({"r": 4, "lora_alpha": 16}, 4.0, "config"),
        ({"r": 4, "lora_alpha": 16, "use_rslora": True}, 8.0, "rslora"),
        ({"r": 4, "lora_alpha": 16, "alpha_pattern": {"proj_in": 2}}, 0.5, "config"),
    ],
)
def test_scale_from_configurations(config: dict[str, object], scale: float, source: str, tmp_path: Path) -> None:
    lora = writing.make({"unet.mid_block.attentions.0.proj_in": (64, 64)})
    (tmp_path / "adapter_config.json").write_text("\ufeff" + json.dumps(config), encoding="utf-8")
    beside = load_lora(writing.save(tmp_path / "adapter_model.safetensors", writing.peft(lora)))
    packed = json.dumps({f"unet.{key}": value for key, value in config.items()})
    inside = load_lora(
        writing.save(tmp_path / "x.safetensors", writing.diffusers_ab(lora), {"lora_adapter_metadata": packed})
    )
    for read in (beside, inside):
        module = next(iter(read.modules.values()))
        assert (module.scale, module.scale_source) == (scale, source)


def test_a_stored_scale_counts_as_it_is(tmp_path: Path) -> None:
    lora = writing.make({"unet.mid_block.attentions.0.proj_in": (64, 64)})
    tensors = writing.kohya(lora) | {"lora_unet_mid_block_attentions_0_proj_in.scale": np.float32(0.25)}
    module = next(iter(load_lora(writing.save(tmp_path / "a.safetensors", tensors)).modules.values()))
    assert (module.scale, module.scale_source) == (0.25, "scale")


def test_numbered_tensors_are_read_with_a_caution(tmp_path: Path) -> None:
    tensors = {f"unet:{i}:{side}": np.ones(shape, np.float32) for i in (0, 135)
               for side, shape in (("down", (1, 320)), ("up", (320, 1)))}  # fmt: skip
    read = load_lora(writing.save(tmp_path / "a.safetensors", tensors))
    assert "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q" in read.modules
    assert any("uncertain" in warning for warning in read.warnings)


def test_dialects_have_names_and_one_order() -> None:
    found = dialects()
    assert len({dialect.name for dialect in found}) == len(found) >= 7
    assert list(found) == sorted(found, key=lambda dialect: (dialect.order, dialect.name))
