"""The main road: one suspect in, one `Audit` out.

bytes → weights → features → coordinates → scores → significance → verdict
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from auditor.embedding.features import Factored, factor_all, features
from auditor.embedding.points import Floats
from auditor.errors import NotAuditable
from auditor.evidence import (
    artist_scores,
    control_scores,
    copy_of,
    copy_of_known,
    in_common,
    largest_ratio,
    mixture,
    open_set,
    style_map,
    without_claims,
)
from auditor.frame import Frame
from auditor.known import KnownFiles
from auditor.lora import Artifact, LoraWeights, load_lora, read_artifact
from auditor.lora.hashes import read_refused
from auditor.lora.relation import Known
from auditor.policy import ALPHA, DEFAULTS, Thresholds, decide, kindred
from auditor.question import RESAMPLES, Question
from auditor.reference.set import ReferenceSet, View
from auditor.result import Audit
from auditor.scope import choose_view, cover, in_scope, skipped, suspect_info

DEFAULT = Question()


@dataclass(frozen=True)
class Placed:
    """What an audit found on its way: for callers that keep more than the verdict."""

    weights: LoraWeights
    factored: dict[str, Factored]
    view: View
    point: Floats
    """(1, d) coordinates in the view, before length normalisation."""


def check(
    path: str | Path,
    refs: str | Path | ReferenceSet | None = None,
    *,
    seed: int = 0,
    alpha: float = ALPHA,
    resamples: int = RESAMPLES,
    features_name: str | None = None,
    artifact: Artifact | None = None,
    observe: Callable[[Placed], None] | None = None,
    known: KnownFiles | None = None,
    thresholds: Thresholds = DEFAULTS,
    artists: Sequence[str] = (),
    independent: bool = False,
) -> Audit:
    """Audit one LoRA file against a reference set (None: the default one): `answer` to the question of these options.

    Raises UsageError for options out of range, ReferenceSetError for a set that cannot be used.
    """
    question = Question(seed, alpha, resamples, features_name, artists, independent, thresholds, known)
    return answer(path, question, loaded(refs), artifact=artifact, observe=observe)


def answer(
    path: str | Path,
    question: Question,
    reference: ReferenceSet,
    *,
    artifact: Artifact | None = None,
    observe: Callable[[Placed], None] | None = None,
) -> Audit:
    """The audit of one LoRA file, for style and, against `question.known`, for copies.

    A file that cannot be audited comes back as OUT_OF_SCOPE with `skipped` set, and without size and digests where it
    cannot be read or is large (`auditor.lora.hashes.MAX_REFUSED`): files are hashed after their weights were found fit.
    Raises UsageError for options out of range.  `artifact`: the file's hashes where they are known already; `observe`
    is given what was found on the way, before the verdict.  Same inputs and seed give the same result, timing aside.
    """
    frame, known = Frame(reference, question), question.known
    weights: LoraWeights | None = None
    try:
        with frame.timed("read"):
            weights = suspect_weights(path, bool(known and known.files))
            artifact = artifact or read_artifact(path)
        paths = in_scope(weights, reference)
        view = choose_view(paths, reference)
    except NotAuditable as problem:
        with frame.timed("read"):
            artifact = artifact or read_refused(path)
        return frame.audit(skipped(path, problem, artifact, weights))
    with frame.timed("embed"):
        factored = factor_all(weights, paths)
        vector, present = features({p: f for p, f in factored.items() if p in view.bases.out}, view.bases)
        given = view.shares(vector)
        point = given.sum(0, keepdims=True)
    if observe:
        observe(Placed(weights, factored, view, point))
    with frame.timed("score"):
        coverage = cover(weights, view, present, in_common(view, vector, present))
        asked = reference.asked(question.artists)
        tested = open_set(
            view, point, question.alpha, question.resamples, question.seed, reference.artists, genres=reference.genres,
            works_split=reference.works_split, asked=asked, independent=question.independent,
        )  # fmt: skip
        ranked = artist_scores(reference, view, given, asked if question.independent else ())
        if tested.p > question.alpha and not kindred(coverage):
            ranked = without_claims(ranked)
        controls = control_scores(reference, factored, view)
        copied = copy_of_known(Known.of(artifact, weights), known.files) if known and known.files else None
        copied = copied or copy_of(reference, factored, artifact)
        whole = coverage.fraction >= question.thresholds.min_coverage
        carried = mixture(reference, view, point, question.alpha) if whole else []
        most = largest_ratio(view, asked if question.independent else ())
        verdict = decide(tested, ranked, coverage, controls, copied, question.thresholds, most)
    parts = {"coverage": coverage, "open_set": tested, "artists": ranked, "controls": controls, "derivative": copied}
    parts |= {"mixture": carried, "map": style_map(reference, view, point), "verdict": verdict}
    return frame.audit(parts | {"suspect": suspect_info(path, artifact, weights)})


def suspect_weights(path: str | Path, with_beside: bool) -> LoraWeights:
    """The suspect's weights; with_beside: also what makes no ΔW, for comparison with known files.

    What is damaged or alone there is no reason to audit less than without known files: `load_lora` then has its say.
    Raises NotAuditable.
    """
    if with_beside:
        with suppress(NotAuditable):
            weights = load_lora(path, with_beside=True)
            if weights.modules:
                return weights
    return load_lora(path)


def not_audited(
    name: str, problem: NotAuditable, refs: str | Path | ReferenceSet | None = None, question: Question = DEFAULT
) -> Audit:
    """The audit of a suspect that could not even be had as a file: OUT_OF_SCOPE, with the problem as its reason."""
    return Frame(loaded(refs), question).audit(skipped(name, problem))


def loaded(refs: str | Path | ReferenceSet | None) -> ReferenceSet:
    """A reference set by folder or name; None is the default one.  Raises ReferenceSetError."""
    return refs if isinstance(refs, ReferenceSet) else ReferenceSet.load(refs)
