"""The anatomy of a file without any reference set: what `audit inspect` shows.  Text from the file is left raw.

Names, shapes, ranks and the base come from the header; the bytes are read once for the hashes and once, one module at a
time, for scales and spectra.  So memory does not grow with the file.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.lora.algebra import effective_rank, rough_spectrum
from auditor.lora.container import Container, open_container
from auditor.lora.hashes import Hashes, hash_file, legacy_hashes
from auditor.lora.provenance import contradictions, guess_trainer
from auditor.lora.reader import Reading, nothing_readable
from auditor.lora.structure import Structure, describe, refuse_foreign
from auditor.lora.toil import MOST, NOT_COVERED, toil
from auditor.lora.weights import MOST_DECLARED, LoraModule

LONGEST_VALUE = 65_536
"""Characters of one declared value that are kept."""
_BLOCK = re.compile(r"(unet\.(?:(?:down|up)_blocks\.\d+|mid_block)|[a-z_0-9]+\.(?:.*?\.)?\d+|[a-z_0-9]+)")
Floats = NDArray[np.float64]


def inspect(path: str | os.PathLike[str], *, header_only: bool = False) -> dict[str, Any]:
    """The fields of the contract's ``inspect``.

    header_only: neither hash the file nor read its weights; what that would tell is None.  A truncated file is
    described by its header too (`truncated` says how much is there).  Raises NotAuditable when the file is no LoRA or
    is malformed otherwise, at once where the header shows it: the file is hashed after that.
    """
    with open_container(path, allow_truncated=True) as container:
        structure = describe(container)
        refuse_foreign(container, structure)
        hashes = None if header_only else hash_file(path)
        found = _identity(container, hashes) | _outline(container, structure)
        if container.truncated or header_only:
            return found | _without_weights(container, structure)
        return found | _anatomy(container, structure, hashes)


def _identity(container: Container, hashes: Hashes | None) -> dict[str, Any]:
    """Which file it is, and what it says of itself."""
    declared = {k: v[:LONGEST_VALUE] for k, v in list(container.metadata.items())[:MOST_DECLARED]}
    return {
        "path": container.path,
        "sha256": hashes and hashes.sha256,
        "tensor_sha256": hashes and hashes.tensor_sha256,
        "autov1": hashes and hashes.autov1,
        "autov2": hashes and hashes.autov2,
        "autov3": hashes and hashes.autov3,
        "sshs_legacy_hash": next(iter(legacy_hashes(container)), None) if hashes else None,
        "bytes": container.size,
        "container": container.kind,
        "declared": declared,
    }


def _outline(container: Container, structure: Structure) -> dict[str, Any]:
    """What names and shapes tell."""
    paths = [p for p in structure.modules if p in structure.outlines] or list(structure.modules)
    ranks = [outline.rank for outline in structure.outlines.values()]
    return {
        "dialect": structure.dialect,
        "trainer": guess_trainer(container.metadata, structure),
        "algorithm": sorted({outline.algorithm for outline in structure.outlines.values()}),
        "base_family": structure.base.family,
        "base_grounds": list(structure.base.grounds),
        "modules": len(paths),
        "parts": dict(sorted(Counter(_part(structure, path) for path in paths).items())),
        "rank": _range(ranks),
        "dtypes": dict(sorted(Counter(entry.dtype for entry in container.entries.values()).items())),
    }


def _part(structure: Structure, path: str) -> str:
    """The part of the pipeline that a module belongs to."""
    return structure.parts(path)[0].target.partition(".")[0]


def _range(values: list[int] | list[float]) -> dict[str, float] | None:
    """{min, max, median}, or None without values."""
    if not values:
        return None
    return {"min": min(values), "max": max(values), "median": float(median(values))}


def _without_weights(container: Container, structure: Structure) -> dict[str, Any]:
    """The fields that would come from the weights, where they were not read."""
    notes = list(structure.base.warnings)
    truncated = None
    if container.truncated:
        present, declared = container.truncated
        truncated = {"present": present, "declared": declared}
        notes.insert(0, f"The file is truncated: {present} of {declared} tensors are complete; no weights were read.")
    else:
        notes.insert(0, "Only the header was read: no hashes, scales or spectra.")
    unread = [*structure.unread, *(name for names in structure.others.values() for name in names)]
    return {
        "scale": None,
        "zero_modules": None,
        "unread": _unread(container, sorted(set(unread))),
        "truncated": truncated,
        "spectrum": None,
        "blocks": [],
        "warnings": notes,
    }


def _unread(container: Container, names: list[str]) -> dict[str, Any]:
    """The contract's `unread`."""
    size = sum(container.entries[name].end - container.entries[name].begin for name in names)
    return {"tensors": len(names), "bytes": size, "names": names}


def _anatomy(container: Container, structure: Structure, hashes: Hashes | None) -> dict[str, Any]:
    """The fields that come from the weights, read one module at a time."""
    reading, survey = Reading(container, structure), Survey()
    for path, module in reading.each():
        survey.add(structure.parts(path)[0].target, module)
        container.release()
    methods = reading.named_methods()
    if not methods:
        raise nothing_readable(container, structure)
    claimed = contradictions(container.metadata, structure, survey.alphas, hashes, legacy_hashes(container))
    return {
        "algorithm": list(methods),
        "scale": survey.scales(),
        "zero_modules": survey.zero,
        "unread": _unread(container, sorted(set(reading.unread))),
        "truncated": None,
        "spectrum": survey.spectrum(),
        "blocks": survey.blocks(),
        "warnings": [*reading.warnings(), *survey.notes(), *claimed],
    }


class Survey:
    """Scales, spectra and energies of the modules seen so far; keeps numbers, not weights."""

    def __init__(self) -> None:
        """Nothing seen."""
        self.zero = 0
        self.alphas: list[float] = []
        """Scale · rank of every module whose scale comes from its alpha."""
        self._scales: list[float] = []
        self._sources: Counter[str] = Counter()
        self._active: list[tuple[float, float, float]] = []
        self._energy: dict[str, list[float]] = {}
        self._work, self._left = 0.0, 0

    def add(self, path: str, module: LoraModule) -> None:
        """See one module."""
        self._scales.append(module.scale)
        self._sources[module.scale_source] += 1
        if module.scale_source == "alpha":
            self.alphas.append(module.scale * (module.file_rank or module.rank))
        cost = toil(module)
        if cost and self._work + cost > MOST:
            self._left += 1
            return
        self._work += cost
        values = rough_spectrum(module)
        energy = float(np.square(values).sum())
        found = _BLOCK.match(path)
        self._energy.setdefault(found.group(1) if found else path, []).append(energy)
        if energy > 0:
            self._active.append((float(values[0]), effective_rank(values), float(values[0] ** 2 / energy)))
        else:
            self.zero += 1

    def scales(self) -> dict[str, Any] | None:
        """Range of the scales and where they come from."""
        found = _range(self._scales)
        return found and {**found, "source": dict(sorted(self._sources.items()))}

    def spectrum(self) -> dict[str, float] | None:
        """Norm of the whole ΔW and medians over the modules with an effect."""
        if not self._scales:
            return None
        return {
            "norm": math.sqrt(sum(map(sum, self._energy.values()))),
            "largest": max((first for first, _, _ in self._active), default=0.0),
            "effective_rank_median": float(median(r for _, r, _ in self._active)) if self._active else 0.0,
            "first_direction_share_median": float(median(s for _, _, s in self._active)) if self._active else 0.0,
        }

    def blocks(self) -> list[dict[str, Any]]:
        """Share of the energy ‖ΔW‖² by block of the model, in the order of their names, numbers counted as numbers."""
        total = sum(map(sum, self._energy.values()))
        return [
            {
                "block": block,
                "modules": len(self._energy[block]),
                "energy": sum(self._energy[block]),
                "share": sum(self._energy[block]) / total if total else 0.0,
            }
            for block in sorted(self._energy, key=_natural)
        ]

    def notes(self) -> list[str]:
        """What was left out."""
        if not self._left:
            return []
        return [
            f"{self._left} modules are whole matrices or of very high rank, take too long to decompose, and are "
            f"{NOT_COVERED} by spectrum and blocks."
        ]


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key: 'x.10' after 'x.9'."""
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"(\d+)", name)]
