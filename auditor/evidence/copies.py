"""Do the suspect's weights go back to a reference or to a known file?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from auditor.embedding.features import Factored
from auditor.embedding.sketches import ROUGH, fingerprint, rough_fingerprint
from auditor.limits import COPY
from auditor.lora import Artifact
from auditor.lora.relation import DERIVED, Known
from auditor.reference.set import ReferenceSet


def copy_of(reference: ReferenceSet, factored: dict[str, Factored], artifact: Artifact) -> dict[str, Any] | None:
    """The reference whose weights this file carries, or None.

    By the size of the cosine: a file with all signs turned is the same update at a negative strength.
    """
    same, known = reference.numbers.get(artifact.tensor_sha256), reference.directions
    if (
        same is None
        and (rough := rough_fingerprint(factored)) is not None
        and np.abs(known @ rough).max() < COPY - ROUGH
    ):
        return None
    closeness = known @ fingerprint(factored)
    best = int(np.argmax(np.abs(closeness))) if same is None else same
    likeness = abs(closeness[best])
    if same is None and likeness < COPY:
        return None
    relation = "same_tensors" if same is not None else "same_update" if likeness > 0.97 else "same_run"
    return derivative(reference.manifest["references"][best], relation, closeness[best])


def copy_of_known(suspect: Known, known: Mapping[str, Known]) -> dict[str, Any] | None:
    """The closest relative of the suspect among known files, by their weights themselves; None where none is one."""
    found: list[tuple[float, dict[str, Any]]] = []
    for name, other in sorted(same_digest(suspect, known).items()):
        relation = other.against(suspect)
        if relation.relation in DERIVED:
            row = {"of": name, "artist": None, "relation": relation.relation, "figures": relation.figures}
            row |= {"sha256": other.artifact.sha256}
            found.append((abs(relation.figures["cos_delta_w_common"]), row))
    return max(found, key=lambda pair: pair[0])[1] if found else None


def same_digest(suspect: Known, known: Mapping[str, Known]) -> Mapping[str, Known]:
    """The known files of the suspect's bytes, else those of its tensors, else all: digests come before algebra."""
    own = suspect.artifact
    same_bytes = {name: other for name, other in known.items() if other.artifact.sha256 == own.sha256}
    tensors = {name: other for name, other in known.items() if other.artifact.tensor_sha256 == own.tensor_sha256}
    return same_bytes or tensors or known


def derivative(entry: dict[str, Any], relation: str, cosine: float) -> dict[str, Any]:
    """One row of the contract's `derivative`."""
    figures = {"cos_delta_w": float(cosine)}
    return {"of": entry["file"], "artist": entry["artist"], "relation": relation, "figures": figures}
