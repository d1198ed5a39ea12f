"""Canonical paths: the module names of Stable Diffusion's UNet and text encoders, and of the common transformers.

Flat names (``down_blocks_0_attentions_1_proj_in``) cannot be inverted by replacing underscores, since names contain
them.  They are looked up with their numbers masked (``down_blocks_#_attentions_#_proj_in``) in a table generated from
the dotted grammar; the numbers are then put back.  Any block index counts, so models of any depth are covered.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import product

from auditor.lora.families import NUMBER, templates

SAFE = re.compile(r"[A-Za-z0-9_.\-]{1,300}")

_ATTENTION = [f"{attn}.{leaf}" for attn in ("attn#",) for leaf in ("to_q", "to_k", "to_v", "to_out.#")]
_TRANSFORMER = ["proj_in", "proj_out", "norm"] + [
    f"transformer_blocks.#.{leaf}" for leaf in [*_ATTENTION, "ff.net.#.proj", "ff.net.#", "norm#"]
]
_RESNET = ["conv#", "conv_shortcut", "time_emb_proj", "norm#"]
_BLOCK = (
    [f"attentions.#.{leaf}" for leaf in _TRANSFORMER]
    + [f"resnets.#.{leaf}" for leaf in _RESNET]
    + ["downsamplers.#.conv", "upsamplers.#.conv"]
)
UNET = [f"{block}.{leaf}" for block, leaf in product(("down_blocks.#", "up_blocks.#", "mid_block"), _BLOCK)] + [
    *("conv_in", "conv_out", "conv_norm_out", "time_embedding.linear_#", "add_embedding.linear_#", "class_embedding")
]
_SGM_RESNET = ["in_layers.#", "out_layers.#", "emb_layers.#", "skip_connection"]
_SGM_BLOCK = [f"#.{leaf}" for leaf in [*_TRANSFORMER, *_SGM_RESNET, "op", "conv"]]
SGM = [
    f"{block}.{leaf}" for block, leaf in product(("input_blocks.#", "middle_block", "output_blocks.#"), _SGM_BLOCK)
] + [*("input_blocks.#.#", "time_embed.#", "label_emb.#.#", "out.#")]
_CLIP = [
    *(f"self_attn.{leaf}_proj" for leaf in ("q", "k", "v", "out")),
    *("mlp.fc#", "layer_norm#"),
]
_T5 = [
    *(f"layer.#.SelfAttention.{leaf}" for leaf in "qkvo"),
    *("layer.#.DenseReluDense.wi_#", "layer.#.DenseReluDense.wi", "layer.#.DenseReluDense.wo"),
]
_LLAMA = [*(f"self_attn.{leaf}_proj" for leaf in "qkvo"), *(f"mlp.{leaf}_proj" for leaf in ("gate", "up", "down"))]
TEXT = [
    *(f"text_model.encoder.layers.#.{leaf}" for leaf in _CLIP),
    *(f"encoder.layers.#.{leaf}" for leaf in _CLIP),
    *(f"encoder.block.#.{leaf}" for leaf in _T5),
    *(f"layers.#.{leaf}" for leaf in _LLAMA),
    *(f"model.layers.#.{leaf}" for leaf in _LLAMA),
    *("text_model.embeddings.token_embedding", "text_model.embeddings.position_embedding", "text_projection"),
]
TRANSFORMER = list(templates())

UNET_STEMS = (
    "down_blocks",
    "up_blocks",
    "mid_block",
    "conv_in",
    "conv_out",
    "time_embedding",
    "add_embedding",
    "class_embedding",
)
SGM_STEMS = ("input_blocks", "middle_block", "output_blocks", "time_embed", "label_emb")
TRANSFORMER_STEMS = (
    "double_blocks", "single_blocks", "joint_blocks", "transformer_blocks", "single_transformer_blocks",
    "joint_transformer_blocks", "double_layers", "single_layers", "single_stream_modulation",
    "double_stream_modulation_img", "double_stream_modulation_txt",
    "noise_refiner", "context_refiner", "img_in", "txt_in", "time_in", "vector_in", "guidance_in", "final_layer",
    "x_embedder",
    "context_embedder", "time_text_embed", "norm_out", "proj_out", "caption_projection", "adaln_single", "patch_embed",
    "pos_embed",
)  # fmt: skip
SHARED_STEMS = ("blocks", "layers")
"""Stems that image transformers share with other networks: believed only behind a prefix that says so."""

PARTS = {
    "unet.": "unet",
    "text_encoder.": "text_encoder",
    "text_encoder_2.": "text_encoder_2",
    "text_encoder_3.": "text_encoder_3",
    "text_encoders.clip_l.transformer.": "text_encoder",
    "text_encoders.clip_g.transformer.": "text_encoder_2",
    "text_encoders.t5xxl.transformer.": "text_encoder_3",
    "text_encoders.": "text_encoder",
    "transformer.": "transformer",
    "model.diffusion_model.": "denoiser",
    "diffusion_model.": "denoiser",
}
"""Dotted prefixes and the part of the pipeline they name; 'denoiser' is UNet or transformer, by what follows."""


def _masked(dotted_forms: list[str]) -> dict[str, str]:
    """Flat form → dotted form of every template, numbers masked; where two share a flat form, the first counts."""
    table: dict[str, str] = {}
    for dotted in dotted_forms:
        table.setdefault(dotted.replace(".", "_"), dotted)
    return table


_FLAT_UNET, _FLAT_SGM, _FLAT_TEXT, _FLAT_TRANSFORMER = map(_masked, (UNET, SGM, TEXT, TRANSFORMER))


def _unmask(flat: str, table: dict[str, str]) -> str | None:
    """The dotted form of `flat` by `table`, or None."""
    dotted = table.get(NUMBER.sub("#", flat))
    if dotted is None:
        return None
    numbers = iter(NUMBER.findall(flat))
    return "".join(next(numbers) if c == "#" else c for c in dotted)


def _stem(body: str, stems: tuple[str, ...], separator: str) -> bool:
    """Whether `body` begins with one of `stems` and then `separator` or nothing."""
    return any(body == stem or body.startswith(stem + separator) for stem in stems)


_SGM_INNER = {
    "in_layers.2": "conv1",
    "out_layers.3": "conv2",
    "emb_layers.1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
    "in_layers.0": "norm1",
    "out_layers.0": "norm2",
}
_SGM_TOP = {
    "input_blocks.0.0": "conv_in",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_SGM_LAYERS = 2
"""Residual layers per level in every published model that uses these names (SD 1, 2, XL)."""


def sgm_to_diffusers(body: str) -> str | None:
    """``input_blocks.4.1.proj_in`` → ``down_blocks.1.attentions.0.proj_in`` (SD 1, 2, XL); None if not of that form."""
    if body in _SGM_TOP:
        return _SGM_TOP[body]
    match = re.fullmatch(r"(input_blocks|output_blocks)\.([0-9]{1,3})\.([0-9])\.(.+)|middle_block\.([0-9])\.(.+)", body)
    if match is None:
        return None
    side, index, sub, leaf, middle, middle_leaf = match.groups()
    if side is None:
        place = {"0": "resnets.0", "1": "attentions.0", "2": "resnets.1"}.get(middle)
        return place and f"mid_block.{place}.{_SGM_INNER.get(middle_leaf, middle_leaf)}"
    inner = _SGM_INNER.get(leaf, leaf)
    number = int(index) - (side == "input_blocks")
    if number < 0:
        return None
    level, layer = divmod(number, _SGM_LAYERS + 1)
    block = f"{'down' if side == 'input_blocks' else 'up'}_blocks.{level}"
    if leaf == "op":
        return f"{block}.downsamplers.0.conv"
    if leaf == "conv":
        return f"{block}.upsamplers.0.conv"
    return f"{block}.{'resnets' if sub == '0' else 'attentions'}.{layer}.{inner}"


def _text_path(part: str, body: str) -> str:
    """Canonical path inside a CLIP text encoder, with or without the `text_model` level of older libraries."""
    return f"{part}.text_model.{body}" if body.startswith(("encoder.layers.", "embeddings.")) else f"{part}.{body}"


@lru_cache(maxsize=4096)
def from_dotted(name: str) -> str | None:
    """Canonical path of a dotted module name with any of the usual prefixes, or None when it is of no image model."""
    if not SAFE.fullmatch(name):
        return None
    part, body = _strip_prefixes(name)
    body = body.removesuffix(".base_layer")
    if NUMBER.sub("#", body) not in _OF_TRANSFORMERS:
        body = re.sub(r"(\.attn[12])\.to_out$", r"\1.to_out.0", body)
    if part is not None and part.startswith("text_encoder"):
        return _text_path(part, body)
    if (part not in (None, "unet") or _IN_A_UNET.match(body)) and NUMBER.sub("#", body) in _OF_TRANSFORMERS:
        return f"transformer.{body}"
    if _stem(body, SGM_STEMS, ".") or (part == "denoiser" and body in _SGM_TOP):
        inner = sgm_to_diffusers(body)
        return inner and f"unet.{inner}"
    if _stem(body, UNET_STEMS, "."):
        if part == "transformer":
            return f"transformer.{body}" if NUMBER.sub("#", body) in _TRANSFORMERS else None
        return f"unet.{body}"
    if part is None and body.startswith(("text_model.encoder.", "encoder.layers.")):
        return _text_path("text_encoder", body)
    if part != "unet" and (_stem(body, TRANSFORMER_STEMS, ".") or _is_family_name(body)):
        return f"transformer.{body}"
    if part == "denoiser" or (part == "transformer" and not is_language_model(f"transformer.{body}")):
        return f"transformer.{body}"
    return None


_SHARED = re.compile(
    r"blocks\.#\.attn\.(?!w[qkvo]$)|blocks\.#\.mlp\.(?!gate$|up$|down$)"
    r"|(t_embedder|head|x_embedder|first|last|modulation|pooler|text_embedder|extra_embedder)\b"
)
_BARE = frozenset(name for name in TRANSFORMER if not _SHARED.match(name))
"""Masked names that are believed without a prefix: those that no other kind of network has."""


_IN_A_UNET = re.compile(r"(?:down|up)_blocks\.[0-9]+\.[0-9]+\.")
"""Stable Cascade's blocks, which diffusers keeps in a part called unet."""
_TRANSFORMERS = frozenset(TRANSFORMER)
_OF_TRANSFORMERS = _TRANSFORMERS - frozenset((*UNET, *SGM))


def _is_family_name(body: str) -> bool:
    """Whether a dotted name without a prefix is one that a family of image transformers alone uses."""
    return NUMBER.sub("#", body) in _BARE


WRAPPERS = ("base_model.model.", "base_model.", "module.", "_orig_mod.")
"""What PEFT, data-parallel training and compiled models put before a name."""


def _strip_prefixes(name: str) -> tuple[str | None, str]:
    """(part, rest) of a dotted name; wrappers and repeated prefixes are dropped."""
    part: str | None = None
    while True:
        for wrapper in WRAPPERS:
            if name.startswith(wrapper):
                name = name[len(wrapper) :]
                break
        else:
            for prefix, meaning in PARTS.items():
                if name.startswith(prefix) and part in (None, meaning):
                    part, name = meaning, name[len(prefix) :]
                    break
            else:
                return part, name


@lru_cache(maxsize=4096)
def from_flat(part: str, name: str) -> str | None:
    """Canonical path of a flat name whose prefix named `part` ('denoiser', 'transformer', a text encoder), or None."""
    if not SAFE.fullmatch(name):
        return None
    if part.startswith("text_encoder"):
        body = _unmask(name, _FLAT_TEXT)
        return body and _text_path(part, body)
    while name.startswith(("unet_", "lora_unet_", "transformer_", "_")) and not name.startswith("transformer_blocks_"):
        name = name.removeprefix("lora_").removeprefix("unet_").removeprefix("transformer_").removeprefix("_")
    body = _unmask(name, _FLAT_UNET)
    if body is not None and part != "transformer":
        return f"unet.{body}"
    sgm = _unmask(name, _FLAT_SGM)
    if sgm is not None:
        inner = sgm_to_diffusers(sgm)
        return inner and f"unet.{inner}"
    body = _unmask(name, _FLAT_TRANSFORMER)
    if body is not None:
        return f"transformer.{body}"
    return f"transformer.{name}" if _stem(name, TRANSFORMER_STEMS + SHARED_STEMS, "_") else None


_LANGUAGE = re.compile(
    r"(^|\.)("
    r"(model|decoder|language_model|llm|backbone)\.(layers|decoder\.layers|language_model\.layers)\.[0-9]+\."
    r"|layers\.[0-9]+\.(self_attn|mlp|attention\.w[qkvo]|input_layernorm|mixer|block_sparse_moe)"
    r"|(transformer\.)?h\.[0-9]+\.(attn|self_attention|mlp)"
    r"|encoder\.layer\.[0-9]+\.(attention|output|intermediate)"
    r"|(encoder|decoder)\.block\.[0-9]+\.layer"
    r"|(encoder|decoder)\.layers\.[0-9]+\.(self_attn|encoder_attn|fc[12])"
    r"|(roberta|bert|distilbert|deberta|albert|electra|gpt_neox|lm_head|word_embeddings|embed_tokens)(\.|$)"
    r")"
)


def is_language_model(name: str) -> bool:
    """Whether a dotted module name is one of a language model."""
    return _LANGUAGE.search(name) is not None
