"""Which base model a LoRA fits, from module names and shapes alone.  Metadata are compared, never believed.

Widths: Stable Diffusion 1 gives its cross-attention 768 text channels, 2 gives 1024, XL gives 2048; blocks have 320,
640 and 1280 channels.  The shipped base has 128 text channels and blocks of 64, 128 and 192.  Flux is 3072 wide, Stable
Diffusion 3 is 1536 or 2432 wide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from auditor.lora.text import shown
from auditor.lora.weights import LoraModule

BY_TEXT_WIDTH = {768: "sd1", 1024: "sd2", 2048: "sdxl", 128: "audit-mini"}
MINI_WIDTHS = frozenset({64, 128, 192})
NAMES = {
    "sd1": "Stable Diffusion 1",
    "sd2": "Stable Diffusion 2",
    "sdxl": "Stable Diffusion XL",
    "audit-mini": "the shipped base audit-mini",
    "flux": "Flux",
    "sd3": "Stable Diffusion 3",
}
_BLOCK_ATTENTION = re.compile(r"unet\.(?:down_blocks\.(\d+)|up_blocks\.(\d+)|mid_block)\.attentions\.\d+\.")
_DEPTH = re.compile(r"\.transformer_blocks\.(\d+)\.")
_CLAIMS = (
    (re.compile(r"sdxl|stable-diffusion-xl|\bxl\b", re.I), "sdxl"),
    (re.compile(r"flux", re.I), "flux"),
    (re.compile(r"sd_?v?3|stable-diffusion-(v)?3", re.I), "sd3"),
    (re.compile(r"sd_?v?2|stable-diffusion-(v)?2", re.I), "sd2"),
    (re.compile(r"sd_?v?1|stable-diffusion-(v)?1", re.I), "sd1"),
)


@dataclass(frozen=True)
class BaseFamily:
    """The conclusion."""

    family: str
    """'sd1', 'sd2', 'sdxl', 'audit-mini', 'flux', 'sd3' or 'unknown'."""
    grounds: tuple[str, ...]
    """In plain words."""
    warnings: tuple[str, ...] = ()
    """Contradictions with the declared metadata."""


def base_family(modules: Mapping[str, LoraModule], declared: Mapping[str, str]) -> BaseFamily:
    """Conclude the base family from `modules`; `declared` is only searched for contradictions."""
    family, grounds = _from_structure(modules)
    warnings = []
    for key in ("ss_base_model_version", "modelspec.architecture"):
        claim = next((name for pattern, name in _CLAIMS if pattern.search(declared.get(key, "")[:200])), None)
        if claim is not None and family not in ("unknown", claim):
            warnings.append(
                f"The metadata entry {key} says {shown(declared[key], 60)!r}, but the shapes fit {NAMES[family]}."
            )
    return BaseFamily(family, tuple(grounds), tuple(warnings))


def _from_structure(modules: Mapping[str, LoraModule]) -> tuple[str, list[str]]:
    """(family, grounds)."""
    if any(path.startswith("transformer.") for path in modules):
        return _transformer(modules)
    if any(path.startswith("unet.") for path in modules):
        return _unet(modules)
    return _text_only(modules)


def _unet(modules: Mapping[str, LoraModule]) -> tuple[str, list[str]]:
    """From the cross-attention's text width, else from channel widths and depth."""
    blocks = {path: module for path, module in modules.items() if _BLOCK_ATTENTION.match(path)}
    channels = {width for path, module in blocks.items() if (width := _channels(path, module)) is not None}
    texts = {m.shape[1] for path, m in blocks.items() if path.endswith((".attn2.to_k", ".attn2.to_v"))}
    listed = ", ".join(map(str, sorted(channels)))
    if len(texts) == 1:
        width = texts.pop()
        family = BY_TEXT_WIDTH.get(width, "unknown")
        grounds = [
            f"Cross-attention reads {width} text channels" + (f"; blocks have {listed} channels." if listed else ".")
        ]
        if family == "audit-mini" and not channels <= MINI_WIDTHS:
            return "unknown", [*grounds, "No known base has both."]
        if family in ("sd1", "sd2", "sdxl") and channels & (MINI_WIDTHS - {0}) and not channels & {320, 640, 1280}:
            return "unknown", [*grounds, "No known base has both."]
        return family, grounds
    if texts:
        return "unknown", [f"Cross-attention reads different text widths: {', '.join(map(str, sorted(texts)))}."]
    return _unet_by_channels(modules, blocks, channels, listed)


def _unet_by_channels(
    modules: Mapping[str, LoraModule], blocks: Mapping[str, LoraModule], channels: set[int], listed: str
) -> tuple[str, list[str]]:
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


def _channels(path: str, module: LoraModule) -> int | None:
    """The block's channel width, from a module whose one side is surely that width."""
    if path.endswith((".to_q", ".attn1.to_k", ".attn1.to_v", ".proj_in")):
        return module.shape[1]
    if path.endswith((".to_out.0", ".attn2.to_k", ".attn2.to_v", ".proj_out", ".ff.net.2")):
        return module.shape[0]
    return module.shape[1] if path.endswith(".ff.net.0.proj") else None


def _transformer(modules: Mapping[str, LoraModule]) -> tuple[str, list[str]]:
    """From block names and width."""
    paths = [path for path in modules if path.startswith("transformer.")]
    widths = {size for path in paths for size in modules[path].shape}
    flux_names = ("transformer.double_blocks.", "transformer.single_blocks.", "transformer.single_transformer_blocks.")
    if 3072 in widths and any(path.startswith(flux_names) for path in paths):
        return "flux", ["Single and double transformer blocks of width 3072."]
    if any(path.startswith("transformer.joint_blocks.") for path in paths):
        return "sd3", ["Joint transformer blocks."]
    if widths & {1536, 2432} and any(".attn.add_" in path or "ff_context" in path for path in paths):
        return "sd3", [f"Joint attention of width {min(widths & {1536, 2432})}."]
    return "unknown", ["An image transformer whose blocks match no family known here."]


def _text_width(modules: Mapping[str, LoraModule]) -> int | None:
    """Width of the first text encoder, where its modules agree on one."""
    reads = re.compile(r"text_encoder\..*(q_proj|k_proj|v_proj|fc1)$")
    widths = {module.shape[1] for path, module in modules.items() if reads.match(path)}
    return widths.pop() if len(widths) == 1 else None


def _text_only(modules: Mapping[str, LoraModule]) -> tuple[str, list[str]]:
    """From text encoders alone."""
    if any(path.startswith("text_encoder_2.") for path in modules):
        return "unknown", ["Two text encoders, as in Stable Diffusion XL and in transformers; nothing tells which."]
    width = _text_width(modules)
    family = {1024: "sd2", 128: "audit-mini"}.get(width or 0, "unknown")
    if width == 768:
        return family, ["The text encoder is 768 wide, as in Stable Diffusion 1 and as XL's first one."]
    return family, [f"The text encoder is {width} wide." if width else "No layer tells the base."]
