"""Is this file one that the reference set can speak about, with which view, and how completely?"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.errors import MalformedFile, NotALora, NotAuditable, OutOfScope, SourceError
from auditor.lora import Artifact, LoraWeights
from auditor.lora.config import SIDECAR
from auditor.lora.weights import MOST_DECLARED, require_change
from auditor.reference.set import ReferenceSet, View
from auditor.result import Coverage, ReferenceSetInfo, Skipped, Suspect, Verdict
from auditor.statistics.conformal import p_floor
from auditor.texts import plain

CUT = 4096  # characters of a declared metadata value that are kept


def comparable(weights: LoraWeights, reference: ReferenceSet) -> list[str]:
    """Paths of the modules that file and set have in common, in the same shape."""
    return [p for p, s in reference.shapes.items() if p in weights.modules and weights.modules[p].shape == s]


def in_scope(weights: LoraWeights, reference: ReferenceSet) -> list[str]:
    """Paths of the modules to compare.  Raises OutOfScope unless the file changes layers of the set's base."""
    base, name = reference.manifest["base"]["family"], reference.manifest["name"]
    matching = comparable(weights, reference)
    if weights.base_family != base:
        raise OutOfScope(
            f"This is a LoRA for the base '{weights.base_family}'; the reference set '{name}' speaks only about "
            f"'{base}'.",
            advice="Use a set made on the same base (`audit refs list`), or build one with `audit refs train`.",
        )
    if not matching:
        raise OutOfScope(
            f"This LoRA for '{base}' adapts no layer that the reference set '{name}' looks at.",
            advice="A file of the text encoder alone changes how words are read, and holds no style to compare.",
        )
    require_change(weights, matching)
    raw_rank = reference.manifest.get("raw_rank")
    ranks = sorted({weights.modules[p].rank for p in matching})
    if raw_rank is not None and ranks != [raw_rank]:
        raise OutOfScope(
            f"The paper's features compare A and B entry by entry, at rank {raw_rank}; this file has rank "
            f"{', '.join(map(str, ranks))}.",
            advice="Use a set with the default features, which do not depend on rank.",
        )
    return matching


def choose_view(paths: Collection[str], reference: ReferenceSet) -> View:
    """The view whose list of modules is most like the file's; see `likeness`."""
    return reference.views[max(reference.views, key=lambda name: likeness(paths, reference.views.modules(name)))]


def likeness(paths: Collection[str], modules: Collection[str]) -> float:
    """How alike a file and a view are: the squared cosine of the two sets, but for the size of the file's.

    A view that the file covers completely goes before a larger one that it covers in part, but the few modules of a
    small view do not go before a large one of which hardly anything is missing.
    """
    return len(set(paths).intersection(modules)) ** 2 / len(modules)


def cover(weights: LoraWeights, view: View, present: NDArray[np.bool_], in_common: float | None) -> Coverage:
    """How much of the view the file fills, and how much of the file the view sees.

    in_common: what it has of all that the references share, see `auditor.evidence.in_common`.
    """
    matched, whole = int(present.sum()), len(view.bases.paths)
    return Coverage(matched, len(weights.modules), whole, matched / whole, in_common)


def suspect_info(path: str | Path, artifact: Artifact, weights: LoraWeights) -> Suspect:
    """The suspect's part of the result."""
    ranks = [m.rank for m in weights.modules.values()]
    left_out = len(weights.declared) - MOST_DECLARED
    return Suspect(
        path=str(path),
        sha256=artifact.sha256,
        tensor_sha256=artifact.tensor_sha256,
        bytes=artifact.size,
        dialect=weights.dialect,
        algorithm=list(weights.algorithms),
        base_family=weights.base_family,
        modules=len(weights.modules),
        rank={"min": min(ranks), "max": max(ranks), "median": float(np.median(ranks))},
        declared={k[:256]: v[:CUT] for k, v in list(weights.declared.items())[:MOST_DECLARED]},
        warnings=[*weights.warnings, *([plain("warning.declared", n=left_out)] if left_out > 0 else [])],
        **_config(weights),
    )


def _config(weights: LoraWeights | None) -> dict[str, str]:
    """Name and digest of the configuration that was read beside the file."""
    found = weights.config_sha256 if weights else None
    return {"config_name": SIDECAR, "config_sha256": found} if found else {}


def skipped(
    path: str | Path, problem: NotAuditable, artifact: Artifact | None = None, weights: LoraWeights | None = None
) -> dict[str, Any]:
    """The parts of an audit of a file that could not be audited.

    artifact: where its bytes could be read.  weights: where these could be read too, and are out of scope.
    """
    kind = "unread" if isinstance(problem, MalformedFile | SourceError) else "elsewhere"
    if isinstance(problem, NotALora):
        kind = "no_lora"
    sentence = plain(f"verdict.not_audited.{kind}", problem=problem.message)
    suspect = Suspect(str(path), None, None, None, None, [], None, 0, None, {}, [], **_config(weights))
    if artifact:
        sha256, tensors = artifact.sha256, artifact.tensor_sha256
        suspect = replace(suspect, sha256=sha256, tensor_sha256=tensors, bytes=artifact.size)
    return {
        "suspect": suspect,
        "verdict": Verdict("OUT_OF_SCOPE", None, sentence, [problem.message], [problem.advice]),
        "skipped": Skipped(problem.code, problem.message, problem.advice),
    }


def reference_info(reference: ReferenceSet, tested: int = 0) -> ReferenceSetInfo:
    """The reference set's part of the result.  tested: for how many artists; 0: for all.

    Where it is for some, the others are background, and alone in the null.
    """
    manifest = reference.manifest
    artists, (certified, against) = len(reference.artists), reference.certificate()
    return ReferenceSetInfo(
        name=manifest["name"],
        digest=manifest["digest"],
        base=manifest["base"]["family"],
        features=manifest["features"],
        artists=artists,
        references=len(manifest["references"]),
        background_artists=artists - tested if tested else 0,
        alpha_floor=p_floor(artists - (tested or 1)),
        validity=reference.validity(),
        certified=certified,
        not_certified=against,
    )
