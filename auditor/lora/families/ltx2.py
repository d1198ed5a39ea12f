"""LTX-2: LTX-Video's layers 4096 wide, and beside them those of a sound stream 2048 wide.

Source: diffusers `_convert_non_diffusers_ltx2_lora_to_diffusers`.  Without the sound layers its files are LTX-Video's.
"""

from __future__ import annotations

import re

from auditor.lora.families import Family, Shapes, one

_BLOCK = "transformer_blocks.#."
_LEAVES = ("to_q", "to_k", "to_v", "to_out.0")
_ATTENTIONS = ("attn1", "attn2", "audio_attn1", "audio_attn2", "audio_to_video_attn", "video_to_audio_attn")
_TIME = ("emb.timestep_embedder.linear_1", "emb.timestep_embedder.linear_2", "linear")
_TIMES = {
    "adaln_single": "time_embed",
    "audio_adaln_single": "audio_time_embed",
    "prompt_adaln_single": "prompt_adaln",
    "audio_prompt_adaln_single": "audio_prompt_adaln",
    "av_ca_video_scale_shift_adaln_single": "av_cross_attn_video_scale_shift",
    "av_ca_audio_scale_shift_adaln_single": "av_cross_attn_audio_scale_shift",
    "av_ca_a2v_gate_adaln_single": "av_cross_attn_video_a2v_gate",
    "av_ca_v2a_gate_adaln_single": "av_cross_attn_audio_v2a_gate",
}
_SOUND = (".audio_attn1.", ".audio_attn2.", ".audio_to_video_attn.", ".video_to_audio_attn.", ".audio_ff.")


def recognise(shapes: Shapes) -> str | None:
    """Layers of sound."""
    if any(mark in name for mark in _SOUND for name in shapes):
        return "Blocks with attention between picture and sound."
    return None


FAMILY = Family(
    name="ltx2",
    title="LTX-2",
    order=28,
    modules=(
        *(f"{_BLOCK}{attention}.{leaf}" for attention in _ATTENTIONS for leaf in _LEAVES),
        *(f"{_BLOCK}{ff}.net.{leaf}" for ff in ("ff", "audio_ff") for leaf in ("0.proj", "2")),
        *(f"{time}.{leaf}" for time in _TIMES.values() for leaf in _TIME),
        *(f"{audio}caption_projection.linear_{n}" for audio in ("", "audio_") for n in (1, 2)),
        *("proj_in", "audio_proj_in", "proj_out", "audio_proj_out"),
    ),
    aliases={
        **{f"{old}.{leaf}": one(f"{new}.{leaf}") for old, new in _TIMES.items() for leaf in _TIME},
        "patchify_proj": one("proj_in"),
        "audio_patchify_proj": one("audio_proj_in"),
    },
    recognise=recognise,
    claims=re.compile(r"\bltx[-_. ]?(?:video[-_. ]?)?2", re.I),
)
