"""Flux.3: one stack of blocks for each kind of token, then single blocks, 3072 wide, with gated feed-forwards.

Source: diffusers `_convert_non_diffusers_flux3_lora_to_diffusers` and its checkpoint converter of the same name.
"""

from __future__ import annotations

import re

from auditor.lora.families import Family, Part, Shapes, one

_LEAVES = (("q_proj", "attn.to_q"), ("k_proj", "attn.to_k"), ("v_proj", "attn.to_v"), ("attn_out", "attn.to_out.0"),
           ("mlp_in", "ff.linear_in"), ("mlp_out", "ff.linear_out"))  # fmt: skip
_KINDS = ("image", "image_cond")
_STEMS = (
    *((f"content_mode_blocks.{kind}.#.", f"mode_blocks.{kind}.#.") for kind in _KINDS),
    ("txt_mode_blocks.#.", "txt_mode_blocks.#."),
    ("single_blocks.#.", "single_transformer_blocks.#."),
)
_MODULATIONS = tuple(f"{which}_stream_modulations.{kind}" for which in ("early", "single") for kind in (*_KINDS, "txt"))


def recognise(shapes: Shapes) -> str | None:
    """Its own stacks of blocks, or single blocks with gated feed-forwards beside separate queries."""
    if any(name.startswith(("mode_blocks.", "txt_mode_blocks.", "content_mode_blocks.")) for name in shapes):
        return "A stack of blocks for each kind of token, as only Flux.3 has."
    single = {name: shape for name, shape in shapes.items() if name.startswith("single_transformer_blocks.")}
    if any(name.endswith(".ff.linear_in") and shape == (18432, 3072) for name, shape in single.items()):
        return "Single blocks of width 3072 with gated feed-forward layers of their own."
    return None


def _aliases() -> dict[str, tuple[Part, ...]]:
    """Names of the original code (ComfyUI)."""
    found = {old + a: one(new + b) for old, new in _STEMS for a, b in _LEAVES}
    found |= {f"{name}.lin": one(f"{name}.linear") for name in _MODULATIONS}
    found |= {f"emb_in.{kind}": one(f"x_embedders.{kind}") for kind in _KINDS}
    for old, new in (("time_in", "timestep_embedder"), ("ref_time_in", "target_timestep_embedder")):
        found |= {f"{old}.{layer}_layer": one(f"{new}.linear_{n}") for n, layer in ((1, "in"), (2, "out"))}
    found["txt_in"] = one("context_embedder")
    found["final_layer.image.linear"] = one("proj_out")
    found["final_layer.image.adaLN_modulation.1"] = one("norm_out.linear", swap=True)
    return found


FAMILY = Family(
    name="flux3",
    title="Flux.3",
    order=28,
    modules=(
        *(new + leaf for _, new in _STEMS for _, leaf in _LEAVES),
        *(f"{name}.linear" for name in _MODULATIONS),
        *(f"x_embedders.{kind}" for kind in _KINDS),
        *(f"{which}timestep_embedder.linear_{n}" for which in ("", "target_") for n in (1, 2)),
        *("context_embedder", "norm_out.linear", "proj_out"),
    ),
    aliases=_aliases(),
    recognise=recognise,
    claims=re.compile(r"flux[-_.]?3", re.I),
)
