"""The anatomy of a file without any reference set: what `audit inspect` shows.  Text from the file is left raw."""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.errors import NotAuditable
from auditor.lora.algebra import effective_rank, spectrum
from auditor.lora.container import Container, open_container
from auditor.lora.hashes import hash_file
from auditor.lora.reader import load_lora, sort_names
from auditor.lora.safetensors import Entry
from auditor.lora.weights import LoraModule, LoraWeights

LONGEST_VALUE = 4096
"""Characters of one declared value that are kept."""
MAX_WORK = 1e11
"""Multiplications that all spectra of one file may take; more only with whole matrices (full differences, LoKr)."""
_BLOCK = re.compile(r"(unet\.(?:(?:down|up)_blocks\.\d+|mid_block)|[a-z_0-9]+\.(?:.*?\.)?\d+|[a-z_0-9]+)")


def inspect(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The fields of the contract's ``inspect``.

    A truncated file is described by its header (`truncated` says how much is there); its modules are not read.  Raises
    NotAuditable when the file is no LoRA or malformed otherwise.
    """
    hashes = hash_file(path)
    with open_container(path, allow_truncated=True) as container:
        head = {
            "path": os.fspath(path),
            "sha256": hashes.sha256,
            "tensor_sha256": hashes.tensor_sha256,
            "autov1": hashes.autov1,
            "autov2": hashes.autov2,
            "autov3": hashes.autov3,
            "bytes": hashes.size,
            "container": container.kind,
            "trainer": guess_trainer(container.metadata),
            "dtypes": dict(sorted(Counter(entry.dtype for entry in container.entries.values()).items())),
            "declared": {key: value[:LONGEST_VALUE] for key, value in container.metadata.items()},
        }
        if container.truncated:
            return head | _truncated(container)
        sizes = dict(container.entries)
    return head | _anatomy(load_lora(path), sizes, hashes.tensor_sha256)


def _truncated(container: Container) -> dict[str, Any]:
    """What the header of a truncated file says."""
    present, declared = container.truncated or (0, 0)
    try:
        groups = sort_names(container)
        dialect = max(groups.used, key=lambda d: groups.used[d]).name if groups.used else "unknown"
        paths: Iterable[str] = groups.by_path
    except NotAuditable:
        dialect, paths = "unknown", ()
    parts = Counter(path.partition(".")[0] for path in paths)
    return {
        "dialect": dialect,
        "modules": sum(parts.values()),
        "parts": dict(sorted(parts.items())),
        "truncated": {"present": present, "declared": declared},
        "warnings": [f"The file is truncated: {present} of its {declared} tensors are complete; no weights were read."],
    }


def _anatomy(weights: LoraWeights, entries: Mapping[str, Entry], tensor_sha256: str) -> dict[str, Any]:
    """The fields that come from the weights."""
    modules = list(weights.modules.values())
    ranks = [module.file_rank or module.rank for module in modules]
    spectra, skipped = _spectra(modules)
    parts = Counter(module.path.partition(".")[0] for module in modules)
    scales = [module.scale for module in modules]
    return {
        "dialect": weights.dialect,
        "algorithm": list(weights.algorithms),
        "base_family": weights.base_family,
        "base_grounds": list(weights.base_grounds),
        "modules": len(modules),
        "parts": dict(sorted(parts.items())),
        "rank": {"min": min(ranks), "max": max(ranks), "median": float(median(ranks))},
        "scale": {
            "min": min(scales),
            "max": max(scales),
            "median": float(median(scales)),
            "source": dict(sorted(Counter(module.scale_source for module in modules).items())),
        },
        "zero_modules": sum(not values.any() for values in spectra.values()),
        "unread": {
            "tensors": len(weights.unread),
            "bytes": sum(entries[name].end - entries[name].begin for name in weights.unread if name in entries),
            "names": list(weights.unread),
        },
        "truncated": None,
        "spectrum": _spectrum_summary(spectra),
        "blocks": _blocks(modules, spectra),
        "warnings": [*weights.warnings, *skipped, *hash_warnings(weights.declared, tensor_sha256)],
    }


def _spectra(modules: list[LoraModule]) -> tuple[dict[str, NDArray[np.float64]], list[str]]:
    """(singular values by path, warnings); modules of least work come first, and those beyond `MAX_WORK` are left."""
    work = 0.0
    spectra = {}
    for module in sorted(modules, key=lambda m: (m.rank**2 * sum(m.shape), m.path)):
        work += module.rank**2 * sum(module.shape)
        if work <= MAX_WORK:
            spectra[module.path] = spectrum(module)
    left = len(modules) - len(spectra)
    return spectra, [f"The spectra of {left} large modules were not computed."] if left else []


def _spectrum_summary(spectra: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """Norm of the whole ΔW and medians over the modules with an effect."""
    energies = [float(np.square(values).sum()) for values in spectra.values()]
    active = [values for values in spectra.values() if values.any()]
    first = [float(values[0] ** 2 / np.square(values).sum()) for values in active]
    return {
        "norm": math.sqrt(sum(energies)),
        "largest": max((float(values[0]) for values in active), default=0.0),
        "effective_rank_median": float(median(map(effective_rank, active))) if active else 0.0,
        "first_direction_share_median": float(median(first)) if first else 0.0,
    }


def _blocks(modules: list[LoraModule], spectra: Mapping[str, NDArray[np.float64]]) -> list[dict[str, Any]]:
    """Share of the energy ‖ΔW‖² by block of the model, in the order of their names."""
    energy: dict[str, float] = {}
    counts: Counter[str] = Counter()
    for module in modules:
        if module.path not in spectra:
            continue
        found = _BLOCK.match(module.path)
        block = found.group(1) if found else module.path
        energy[block] = energy.get(block, 0.0) + float(np.square(spectra[module.path]).sum())
        counts[block] += 1
    total = sum(energy.values())
    return [
        {
            "block": block,
            "modules": counts[block],
            "energy": energy[block],
            "share": energy[block] / total if total else 0.0,
        }
        for block in sorted(energy)
    ]


def hash_warnings(declared: Mapping[str, str], tensor_sha256: str) -> list[str]:
    """Contradictions between hashes that the file claims for itself and the recomputed one."""
    claimed = declared.get("sshs_model_hash", "").lower()
    if not claimed or claimed == tensor_sha256:
        return []
    if claimed.startswith("e3b0c44298fc"):
        return ["The stored sshs_model_hash is the hash of nothing; some trainers write it into every file."]
    return ["The stored sshs_model_hash is not that of the tensors: they were changed after it was written."]


_TRAINERS = (
    ("kohya sd-scripts", ("ss_sd_scripts_commit_hash", "ss_session_id", "ss_network_module")),
    ("OneTrainer", ("ot_branch", "ot_revision", "ot_config")),
    ("SimpleTuner", ("lycoris_config", "modelspec_comment")),
    ("diffusers", ("lora_adapter_metadata",)),
)


def guess_trainer(declared: Mapping[str, str]) -> dict[str, Any]:
    """{guess, grounds[]} from the metadata: a claim of the file, not a finding."""
    try:
        software = json.loads(declared.get("software", ""))
    except (ValueError, RecursionError):
        software = None
    if isinstance(software, dict) and isinstance(software.get("name"), str):
        return {"guess": software["name"][:80], "grounds": ["The metadata entry 'software' names it."]}
    if any(re.fullmatch(r"(unet|text_encoder):\d+:rank", key) for key in declared):
        return {"guess": "cloneofsimo/lora", "grounds": ["Metadata entries of the form part:number:rank."]}
    for name, keys in _TRAINERS:
        found = [key for key in keys if key in declared]
        if found:
            return {"guess": name, "grounds": [f"The metadata entry '{key}' is there." for key in found]}
    return {"guess": "unknown", "grounds": ["The metadata name no trainer."]}
