"""Which base model a LoRA fits, from module names and shapes alone.  Metadata are compared, never believed.

Widths: Stable Diffusion 1 gives its cross-attention 768 text channels, 2 gives 1024, XL gives 2048; blocks have 320,
640 and 1280 channels.  The shipped base has 128 text channels and blocks of 64, 128 and 192.  Transformers: `families`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from auditor.lora.families import Family, families
from auditor.lora.text import shown

BY_TEXT_WIDTH = {768: "sd1", 1024: "sd2", 2048: "sdxl", 128: "audit-mini"}
MINI_WIDTHS = frozenset({64, 128, 192})
NAMES = {
    "sd1": "Stable Diffusion 1",
    "sd2": "Stable Diffusion 2",
    "sdxl": "Stable Diffusion XL",
    "audit-mini": "the shipped base audit-mini",
}
ALIKE = ({"flux", "chroma"}, {"pixart", "sana"})
"""Families that share most layers: the metadata's claim of the one is no contradiction of the other."""
Sizes = Mapping[str, tuple[int, int]]
"""Module path → (out, in) of its ΔW."""
_BLOCK_ATTENTION = re.compile(r"unet\.(?:down_blocks\.(\d+)|up_blocks\.(\d+)|mid_block)\.attentions\.\d+\.")
_DEPTH = re.compile(r"\.transformer_blocks\.(\d+)\.")
_IN_TIME = re.compile(r"\.(temporal_transformer|temporal_transformer_blocks|motion_modules|time_mixer)\b")
_CLAIMS = (
    (re.compile(r"sdxl|stable-diffusion-xl|\bxl\b", re.I), "sdxl"),
    (re.compile(r"sd_?v?2|stable-diffusion-(v)?2", re.I), "sd2"),
    (re.compile(r"sd_?v?1|stable-diffusion-(v)?1", re.I), "sd1"),
)


@dataclass(frozen=True)
class BaseFamily:
    """The conclusion."""

    family: str
    """'sd1', 'sd2', 'sdxl', 'audit-mini', the name of one of `families`, or 'unknown'."""
    grounds: tuple[str, ...]
    """In plain words."""
    warnings: tuple[str, ...] = ()
    """Contradictions with the declared metadata."""


def base_family(
    modules: Sizes, declared: Mapping[str, str], transformer: tuple[Family, str] | None = None
) -> BaseFamily:
    """Conclude the base family from `modules`; `declared` is only searched for contradictions.

    transformer: what `families.recognise` found, where the file adapts a transformer.
    """
    family, grounds = _from_structure(modules, transformer)
    warnings = []
    for key in ("ss_base_model_version", "modelspec.architecture"):
        claim = _claimed(declared.get(key, "")[:200])
        if claim is not None and family not in ("unknown", claim) and {family, claim} not in ALIKE:
            warnings.append(
                f"The metadata entry {key} says {shown(declared[key], 60)!r}, but the shapes fit {title(family)}."
            )
    return BaseFamily(family, tuple(grounds), tuple(warnings))


def title(family: str) -> str:
    """A family in words."""
    return NAMES.get(family) or next((found.title for found in families() if found.name == family), family)


def _claimed(text: str) -> str | None:
    """The family that declared text names, or None."""
    for known in families():
        if known.claims.search(text):
            return known.name
    return next((name for pattern, name in _CLAIMS if pattern.search(text)), None)


def _from_structure(modules: Sizes, transformer: tuple[Family, str] | None) -> tuple[str, list[str]]:
    """(family, grounds)."""
    if transformer is not None:
        return transformer[0].name, [transformer[1]]
    if any(path.startswith("transformer.") for path in modules):
        return "unknown", ["An image transformer whose blocks match no family known here."]
    if any(path.startswith("unet.") for path in modules):
        return _unet(modules)
    return _text_only(modules)


def _unet(modules: Sizes) -> tuple[str, list[str]]:
    """From the cross-attention's text width, else from channel widths and depth."""
    if any(_IN_TIME.search(path) for path in modules):
        return "unknown", ["Layers that attend over time: a network of moving pictures on no base known here."]
    blocks = {path: shape for path, shape in modules.items() if _BLOCK_ATTENTION.match(path)}
    channels = {width for path, shape in blocks.items() if (width := _channels(path, shape)) is not None}
    texts = {m[1] for path, m in blocks.items() if path.endswith((".attn2.to_k", ".attn2.to_v"))}
    listed = ", ".join(map(str, sorted(channels)))
    if len(texts) == 1:
        width = texts.pop()
        family = BY_TEXT_WIDTH.get(width, "unknown")
        grounds = [
            f"Cross-attention reads {width} text channels" + (f"; blocks have {listed} channels." if listed else ".")
        ]
        if family == "audit-mini" and not channels <= MINI_WIDTHS:
            return "unknown", [*grounds, "No known base has both."]
        if family in ("sd1", "sd2", "sdxl") and channels & MINI_WIDTHS and not channels & {320, 640, 1280}:
            return "unknown", [*grounds, "No known base has both."]
        return family, grounds
    if texts:
        return "unknown", [f"Cross-attention reads different text widths: {', '.join(map(str, sorted(texts)))}."]
    return _unet_by_channels(modules, blocks, channels, listed)


def _unet_by_channels(modules: Sizes, blocks: Sizes, channels: set[int], listed: str) -> tuple[str, list[str]]:
    """Without cross-attention keys or values: channels of the blocks, depth of the transformers, text encoders."""
    if channels and channels <= MINI_WIDTHS:
        return "audit-mini", [f"Attention blocks have {listed} channels, as only the shipped base has."]
    depth = max((int(found[1]) for path in blocks if (found := _DEPTH.search(path))), default=0)
    if channels and channels <= {640, 1280} and depth >= 1:
        return "sdxl", [f"Blocks of {listed} channels are {depth + 1} or more layers deep, as only in XL."]
    if 320 in channels:
        text = {768: "sd1", 1024: "sd2"}.get(_text_width(modules) or 0)
        if text:
            return text, [f"Attention blocks have {listed} channels; the text encoder is {_text_width(modules)} wide."]
        return "unknown", [f"Attention blocks have {listed} channels: Stable Diffusion 1 or 2; nothing tells which."]
    return "unknown", [f"Blocks have {listed or 'no known'} channels, which does not settle the base."]


def _channels(path: str, shape: tuple[int, int]) -> int | None:
    """The block's channel width, from a module whose one side is surely that width."""
    if path.endswith((".to_q", ".attn1.to_k", ".attn1.to_v", ".proj_in")):
        return shape[1]
    if path.endswith((".to_out.0", ".attn2.to_k", ".attn2.to_v", ".proj_out", ".ff.net.2")):
        return shape[0]
    return shape[1] if path.endswith(".ff.net.0.proj") else None


def _text_width(modules: Sizes) -> int | None:
    """Width of the first text encoder, where its modules agree on one."""
    reads = re.compile(r"text_encoder\..*(q_proj|k_proj|v_proj|fc1)$")
    widths = {shape[1] for path, shape in modules.items() if reads.match(path)}
    return widths.pop() if len(widths) == 1 else None


def _text_only(modules: Sizes) -> tuple[str, list[str]]:
    """From text encoders alone."""
    if any(path.startswith("text_encoder_2.") for path in modules):
        return "unknown", ["Two text encoders, as in Stable Diffusion XL and in transformers; nothing tells which."]
    width = _text_width(modules)
    family = {1024: "sd2", 128: "audit-mini"}.get(width or 0, "unknown")
    if width == 768:
        return family, ["The text encoder is 768 wide, as in Stable Diffusion 1 and as XL's first one."]
    return family, [f"The text encoder is {width} wide." if width else "No layer tells the base."]
