"""What a file says of its own making, and where that contradicts what it is.  Claims of the file, never evidence."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from auditor.lora.hashes import Hashes
from auditor.lora.structure import Structure

NOTHING = hashlib.sha256(b"").hexdigest()
_TRAINERS = (
    ("kohya musubi-tuner", ("ss_musubi_tuner_version",)),
    ("OneTrainer", ("ot_branch", "ot_revision", "ot_config")),
    ("kohya sd-scripts", ("ss_sd_scripts_commit_hash", "ss_session_id", "ss_network_module")),
    ("SimpleTuner", ("lycoris_config", "modelspec_comment")),
    ("diffusers", ("lora_adapter_metadata",)),
)
_BY_DIALECT = {
    "kohya": ("kohya sd-scripts or a tool that writes its names", "Flat names such as lora_unet_….lora_down."),
    "onetrainer": ("OneTrainer", "Flat names that begin with lora_transformer_."),
    "peft": ("PEFT", "Names that begin with base_model.model."),
    "diffusers": ("diffusers", "Dotted names of diffusers."),
    "diffusers-attn-processor": ("diffusers before 0.22", "Names of attention processors."),
    "cloneofsimo": ("cloneofsimo/lora", "Numbered tensors of the form part:number:up."),
    "xlabs": ("XLabs x-flux", "Names of Flux attention processors, qkv_lora and proj_lora."),
    "comfy": ("a tool that writes for ComfyUI, such as ai-toolkit or diffusion-pipe", "The prefix diffusion_model."),
}


def guess_trainer(declared: Mapping[str, str], structure: Structure) -> dict[str, Any]:
    """{guess, grounds[]}: from the metadata if they name one, else from the way the tensors are named."""
    software = _object(declared.get("software", ""))
    if isinstance(software.get("name"), str):
        return {"guess": software["name"][:80], "grounds": ["The metadata entry 'software' names it."]}
    if any(re.fullmatch(r"(unet|text_encoder):\d+:rank", key) for key in declared):
        return {"guess": "cloneofsimo/lora", "grounds": ["Metadata entries of the form part:number:rank."]}
    for name, keys in _TRAINERS:
        found = [key for key in keys if key in declared]
        if found:
            return {"guess": name, "grounds": [f"The metadata entry '{key}' is there." for key in found]}
    if structure.dialect in _BY_DIALECT:
        guess, ground = _BY_DIALECT[structure.dialect]
        return {"guess": guess, "grounds": ["The metadata name no trainer.", ground]}
    return {"guess": "unknown", "grounds": ["The metadata name no trainer."]}


def contradictions(
    declared: Mapping[str, str],
    structure: Structure,
    alphas: Sequence[float],
    hashes: Hashes | None,
    legacy: Sequence[str] = (),
) -> list[str]:
    """Where the file's metadata do not fit what it holds, in plain words; legacy: see `hashes.legacy_hashes`."""
    found = _rank(declared, structure) + _alpha(declared, alphas) + _algorithm(declared, structure)
    claimed = declared.get("sshs_legacy_hash", "").lower()
    if claimed and legacy and claimed not in (*legacy, NOTHING[:8]):
        found.append("The stored sshs_legacy_hash is not that of this file: it was changed after it was written.")
    return found + (_hashes(declared, hashes) if hashes else [])


def _rank(declared: Mapping[str, str], structure: Structure) -> list[str]:
    """ss_network_dim against the ranks; convolutions may have their own."""
    claimed = _number(declared.get("ss_network_dim", ""))
    ranks = {outline.rank for outline in structure.outlines.values() if outline.algorithm == "lora"}
    if claimed is None or not ranks or claimed in ranks:
        return []
    listed = ", ".join(map(str, sorted(ranks)[:4]))
    return [f"The metadata entry ss_network_dim says {claimed:g}, but the modules have rank {listed}."]


def _alpha(declared: Mapping[str, str], alphas: Sequence[float]) -> list[str]:
    """ss_network_alpha against the alpha tensors."""
    claimed = _number(declared.get("ss_network_alpha", ""))
    if claimed is None or not alphas or any(abs(alpha - claimed) <= 0.01 * abs(claimed) for alpha in alphas):
        return []
    listed = ", ".join(f"{alpha:.4g}" for alpha in sorted(set(alphas))[:3])
    return [f"The metadata entry ss_network_alpha says {claimed:g}, but the alpha tensors say {listed}."]


def _algorithm(declared: Mapping[str, str], structure: Structure) -> list[str]:
    """The algorithm named in ss_network_args against the tensors."""
    claimed = str(_object(declared.get("ss_network_args", "")).get("algo", "")).lower()
    held = {outline.algorithm for outline in structure.outlines.values()}
    known = {"lora": {"lora", "locon"}, "locon": {"lora", "locon"}, "loha": {"loha"}, "lokr": {"lokr"},
             "full": {"full"}, "glora": {"glora"}}  # fmt: skip
    if not held or claimed not in known or held & known[claimed]:
        return []
    return [f"The metadata entry ss_network_args names the algorithm '{claimed}', but the tensors are of {min(held)}."]


def _hashes(declared: Mapping[str, str], hashes: Hashes) -> list[str]:
    """Hashes that the file claims for itself against the recomputed ones."""
    found = []
    claimed = declared.get("sshs_model_hash", "").lower()
    if claimed == NOTHING or claimed.startswith(NOTHING[:12]):
        found.append("The stored sshs_model_hash is the hash of nothing; some trainers write it into every file.")
    elif claimed and claimed != hashes.tensor_sha256:
        found.append("The stored sshs_model_hash is not that of the tensors: they were changed after it was written.")
    spec = declared.get("modelspec.hash_sha256", "").lower().removeprefix("0x")
    if spec and spec != hashes.tensor_sha256 and "ot_branch" not in declared:
        found.append("The stored modelspec.hash_sha256 is not that of the tensors.")
    return found


def provenance(declared: Mapping[str, str]) -> dict[str, Any]:
    """The declared training data: {folders: {name: images}, tags: [(tag, count)]}; nothing is believed.

    Reads kohya's ss_dataset_dirs and ss_tag_frequency; other keys are left as they are.
    """
    folders = {
        str(name): entry.get("img_count") if isinstance(entry, dict) else None
        for name, entry in _object(declared.get("ss_dataset_dirs", "")).items()
    }
    tags: dict[str, int] = {}
    for name, counts in _object(declared.get("ss_tag_frequency", "")).items():
        folders.setdefault(str(name), None)
        for tag, count in counts.items() if isinstance(counts, dict) else ():
            if isinstance(count, int) and not isinstance(count, bool):
                tags[str(tag)] = tags.get(str(tag), 0) + count
    return {"folders": folders, "tags": sorted(tags.items(), key=lambda pair: (-pair[1], pair[0]))}


def _object(text: str) -> dict[str, Any]:
    """The JSON object in declared text; {} when there is none."""
    try:
        document = json.loads(text[: 2**22])
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _number(text: str) -> float | None:
    """The number in declared text, or None."""
    return float(text) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) else None
