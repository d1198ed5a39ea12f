"""One file → one row, by the function that `audit check` uses; every engine runs exactly this.

A row is a dict of plain values; vectors are bytes of little-endian numbers, so that a row can lie in a journal line, in
a Ray block or in a Parquet column alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from auditor.audit import Placed, answer
from auditor.corpus.head import Head, read_head
from auditor.corpus.names import fetched, version
from auditor.corpus.sketch import sketch
from auditor.embedding.features import features
from auditor.embedding.points import Floats, unit
from auditor.errors import NotAuditable, OutOfScope
from auditor.lora import Artifact, LoraWeights, load_lora, read_artifact
from auditor.lora.container import open_container
from auditor.lora.hashes import read_refused, tensor_digest
from auditor.lora.text import shown
from auditor.policy import ALPHA
from auditor.question import RESAMPLES, Question
from auditor.reference.calibrate import covers
from auditor.reference.set import ReferenceSet, View
from auditor.result import Audit
from auditor.scope import in_scope, skipped

Row = dict[str, Any]
Known = Callable[[str], bool]
"""Content key → whether another file with that content is audited elsewhere in this scan."""
CREATOR = ("modelspec.author", "ss_author", "author", "creator")
TITLE = ("modelspec.title", "ss_output_name", "name")
DATE = ("modelspec.date", "ss_training_finished_at", "ss_training_started_at", "date")
FAILED = "failed"
AUDITED = "audited"
LOST = "worker"
"""Code of a file on which a worker died, hung or ran out of memory."""
SKIPPED = "skipped"


@dataclass(frozen=True)
class Options:
    """What a scan asks of every file; a resumed scan must ask the same."""

    refs: str | None = None
    alpha: float = ALPHA
    seed: int = 0
    resamples: int = RESAMPLES
    features: str | None = None
    duplicates: bool = False
    """Also sketch ΔW, of files of any base: their tensors are then read."""
    artists: tuple[str, ...] = ()
    """Who is asked about; none: everybody in the set."""
    independent: bool = False
    """Whether they were chosen independently of how the files look."""

    @property
    def question(self) -> Question:
        """What each file is asked."""
        return Question(self.seed, self.alpha, self.resamples, self.features, self.artists, self.independent)


class Scanner:
    """A reference set, loaded once, and the options: `scanner(name, known)` is a row."""

    def __init__(self, options: Options) -> None:
        """Load the set.  Raises ReferenceSetError or UsageError."""
        self.options = options
        self.reference = ReferenceSet.load(options.refs)
        options.question.require_sense(self.reference)
        self.family: str = self.reference.manifest["base"]["family"]

    def __call__(self, name: str, known: Known) -> Row:
        """The row of one file; a file that cannot be audited has its reason in it."""
        row: Row = {"path": name, "version": version(name)}
        path = name
        try:
            with fetched(name) as path:
                self._fill(row, path, known)
        except NotAuditable as problem:
            row |= refused(name, problem)
        told = {key: row[key].replace(path, name) for key in ("sentence", "reason") if row.get(key)}
        return row | told  # what was downloaded goes by its own name, not by that of the copy

    def _fill(self, row: Row, path: str, known: Known) -> None:
        """Head and hashes, then only as much of the tensors as the row needs."""
        try:
            with open_container(path) as container:
                head = read_head(container, self.family)
        except NotAuditable:
            unfit = read_refused(path)
            row |= hashes(unfit) if unfit else {}
            raise
        row |= claims(head) | {"header_sha256": head.header_sha256}
        foreign = self._foreign(row["path"], head)
        artifact = None if foreign else read_artifact(path)
        row |= hashes(artifact) if artifact else dict(zip(("bytes", "tensor_sha256"), tensor_digest(path), strict=True))
        row["content"] = head.content(row["tensor_sha256"])
        if known(row["content"]):
            row["same_as"] = row["content"]
            return
        if foreign:
            row |= foreign
            if self.options.duplicates:
                row["sketch"] = packed_sketch(load_lora(path))
            return
        seen: list[Placed] = []
        audit = answer(path, self.options.question, self.reference, artifact=artifact, observe=seen.append)
        row |= verdict_columns(audit, self.reference)
        if seen:
            row |= coordinates(self.reference, seen[0])
        if self.options.duplicates:
            weights = seen[0].weights if seen else _readable(path)
            row["sketch"] = None if weights is None else packed_sketch(weights)

    def _foreign(self, name: str, head: Head) -> Row | None:
        """What `audit check` says of a file whose header alone shows another base; None for any other file."""
        if head.outline is None or head.outline.base_family == self.family:
            return None
        try:
            in_scope(head.outline, self.reference)
        except NotAuditable as problem:
            return outlines(head.outline) | refused(name, problem)
        return None


def hashes(artifact: Artifact) -> Row:
    """Size and digests."""
    return {"bytes": artifact.size, "sha256": artifact.sha256, "tensor_sha256": artifact.tensor_sha256}


def _readable(path: str) -> LoraWeights | None:
    """The weights of a file that was out of scope, or None when they cannot be read."""
    try:
        return load_lora(path)
    except NotAuditable:
        return None


def refused(name: str, problem: NotAuditable) -> Row:
    """Columns of a file that cannot be audited."""
    parts = skipped(name, problem)
    return {
        "status": SKIPPED,
        "label": parts["verdict"].label,
        "sentence": parts["verdict"].sentence,
        "code": problem.code,
        "reason": problem.message,
        "advice": problem.advice,
    }


def failed(name: str, reason: str) -> Row:
    """The row of a file on which a worker died, hung or ran out of memory."""
    sentence = f"Not audited: {reason}"
    advice = "Look at the file by itself with `audit inspect`; do not trust it."
    row: Row = {"path": name, "version": version(name), "status": FAILED, "label": "OUT_OF_SCOPE", "sentence": sentence}
    return row | {"code": LOST, "reason": reason, "advice": advice}


def claims(head: Head) -> Row:
    """Creator, title and date as the file declares them: for filters, never evidence."""
    found = {key.lower(): value for key, value in head.declared.items() if len(key) < 64}
    row = {
        column: next((shown(found[key], 120) for key in keys if found.get(key)), None)
        for column, keys in (("creator", CREATOR), ("title", TITLE))
    }
    dates = (as_date(found[key]) for key in DATE if found.get(key))
    return row | {"date": next((date for date in dates if date), None)}


def as_date(text: str) -> str | None:
    """ISO day of an ISO date or of seconds since 1970; None for anything else."""
    try:
        return datetime.fromtimestamp(float(text), UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        pass
    try:
        return datetime.fromisoformat(text[:40].strip()).date().isoformat()
    except ValueError:
        return None


def outlines(weights: LoraWeights) -> Row:
    """Columns that need no more than names and shapes."""
    ranks = [module.rank for module in weights.modules.values()]
    return {
        "dialect": weights.dialect,
        "algorithm": "+".join(weights.algorithms),
        "base_family": weights.base_family,
        "modules": len(ranks),
        "rank_min": min(ranks),
        "rank_max": max(ranks),
    }


def verdict_columns(audit: Audit, reference: ReferenceSet) -> Row:
    """The audit's conclusion and figures."""
    suspect, verdict = audit.suspect, audit.verdict
    row: Row = {"status": AUDITED, "label": verdict.label, "artist": verdict.artist, "sentence": verdict.sentence}
    if audit.skipped:
        return row | {"status": SKIPPED} | vars(audit.skipped)
    row |= {"dialect": suspect.dialect, "algorithm": "+".join(suspect.algorithm), "base_family": suspect.base_family}
    row |= {"modules": suspect.modules, "warnings": json.dumps(suspect.warnings) if suspect.warnings else None}
    if suspect.rank:
        row |= {"rank_min": int(suspect.rank["min"]), "rank_max": int(suspect.rank["max"])}
    if audit.coverage:
        row["coverage"] = audit.coverage.fraction
    if audit.open_set:
        row |= {"p": audit.open_set.p, "p_min": audit.open_set.p_min, "score": audit.open_set.statistic}
        row |= {"p_member": audit.open_set.p_member}
    if audit.artists:
        best = audit.artists[0]
        row |= {"nearest": best.artist, "nearest_p": best.p, "nearest_p_exclusion": best.p_exclusion}
        row |= {"nearest_log10_lr": best.log10_lr, "nearest_reference": best.nearest_reference}
        by_name = {a.artist: a.score for a in audit.artists}
        row["scores"] = np.array([by_name.get(a, np.nan) for a in reference.artists], "<f8").tobytes()
    if audit.derivative:
        row |= {"derivative_of": audit.derivative["of"], "derivative_relation": audit.derivative["relation"]}
    return row


def coordinates(reference: ReferenceSet, placed: Placed) -> Row:
    """Unit coordinates in every view that the file covers, and the view in which it was audited."""
    row: Row = {"view": placed.view.name, at(placed.view.name): pack(placed.point)}
    for view in reference.views.values():
        if view is not placed.view and covers(placed.factored, view.bases.paths):
            row[at(view.name)] = pack(coordinates_in(view, placed))
    return row


def coordinates_in(view: View, placed: Placed) -> Floats:
    """Coordinates (1, d) of an audited file in another view of the same set."""
    inside = {path: f for path, f in placed.factored.items() if path in view.bases.out}
    return np.asarray(view.shares(features(inside, view.bases)[0]).sum(0, keepdims=True))


def at(view: str) -> str:
    """The column of a view's coordinates."""
    return f"at_{view}"


def pack(point: Floats) -> bytes:
    """Unit coordinates as float32 bytes."""
    return bytes(unit(point)[0].astype("<f4").tobytes())


def packed_sketch(weights: LoraWeights) -> bytes | None:
    """The sketch as float16 bytes."""
    found = sketch(weights)
    return None if found is None else found.astype("<f2").tobytes()


def load_row(path: str | Path, reference: ReferenceSet) -> tuple[Artifact, Placed, Audit]:
    """Artifact, placement and audit of one file, as a scan sees it.  Raises NotAuditable where it is not audited."""
    artifact = read_artifact(path)
    seen: list[Placed] = []
    audit = answer(path, Question(), reference, artifact=artifact, observe=seen.append)
    if audit.skipped:
        raise OutOfScope(audit.skipped.reason, advice=audit.skipped.advice)
    return artifact, seen[0], audit
