"""The main road: one suspect in, one `Audit` out.

bytes → weights → features → coordinates → scores → significance → verdict
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from auditor._version import __version__
from auditor.embedding.features import Factored, factor_all, features
from auditor.embedding.points import Floats
from auditor.errors import NotAuditable, UsageError
from auditor.evidence import (
    artist_scores,
    control_scores,
    copy_of,
    copy_of_known,
    largest_ratio,
    mixture,
    open_set,
    style_map,
)
from auditor.known import KnownFiles
from auditor.lora import Artifact, LoraWeights, load_lora, read_artifact
from auditor.lora.hashes import read_refused
from auditor.lora.relation import Known
from auditor.lora.text import shown
from auditor.policy import DEFAULTS, Thresholds, decide
from auditor.reference.set import ReferenceSet, View
from auditor.result import Audit
from auditor.scope import choose_view, cover, in_scope, reference_info, skipped, suspect_info

ALPHA, RESAMPLES = 0.05, 1000
MOST_RESAMPLES = 10_000_000
"""Some seconds and 160 MB; the range that they give has long settled."""


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
    """Audit one LoRA file against a reference set (None: the default set) and, for copies, against `known` files.

    artists: who is asked about; none: everybody in the set.  independent: they were chosen independently of how the
    file or its pictures look, so that nobody else's likeness has to be reckoned with (`evidence.significance`).
    A file that cannot be audited comes back as OUT_OF_SCOPE with `skipped` set, and without size and digests where it
    cannot be read or is large (`auditor.lora.hashes.MAX_REFUSED`): files are hashed after their weights were found fit.
    Raises UsageError for options out of range and ReferenceSetError for a set that cannot be used.  `artifact`: the
    file's hashes where they are known already; `observe` is given what was found on the way, before the verdict.  Same
    inputs and seed give the same result, timing aside.
    """
    reference, frame = prepared(refs, seed, alpha, resamples, features_name, thresholds, known, artists, independent)
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
        coverage, asked = cover(weights, view, present), reference.asked(artists)
        tested = open_set(
            view, point, alpha, resamples, seed, reference.artists, genres=reference.genres,
            works_split=reference.works_split, asked=asked, independent=independent,
        )  # fmt: skip
        ranked = artist_scores(reference, view, given, asked if independent else ())
        controls = control_scores(reference, factored, view)
        copied = copy_of_known(Known.of(artifact, weights), known.files) if known and known.files else None
        copied = copied or copy_of(reference, factored, artifact)
        carried = mixture(reference, view, point, alpha) if coverage.fraction >= thresholds.min_coverage else []
        most = largest_ratio(view, asked if independent else ())
        verdict = decide(tested, ranked, coverage, controls, copied, thresholds, most)
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
    name: str,
    problem: NotAuditable,
    refs: str | Path | ReferenceSet | None = None,
    *,
    seed: int = 0,
    alpha: float = ALPHA,
    resamples: int = RESAMPLES,
    features_name: str | None = None,
    thresholds: Thresholds = DEFAULTS,
    known: KnownFiles | None = None,
    artists: Sequence[str] = (),
    independent: bool = False,
) -> Audit:
    """The audit of a suspect that could not even be had as a file: OUT_OF_SCOPE, with the problem as its reason."""
    frame = prepared(refs, seed, alpha, resamples, features_name, thresholds, known, artists, independent)[1]
    return frame.audit(skipped(name, problem))


def prepared(
    refs: str | Path | ReferenceSet | None,
    seed: int,
    alpha: float,
    resamples: int,
    features_name: str | None,
    thresholds: Thresholds,
    known: KnownFiles | None = None,
    artists: Sequence[str] = (),
    independent: bool = False,
) -> tuple[ReferenceSet, Frame]:
    """The set, and the frame of an audit with these options.  Raises UsageError, ReferenceSetError."""
    if not 0 < alpha < 1 or not 1 <= resamples <= MOST_RESAMPLES or seed < 0:
        raise UsageError(
            f"alpha = {alpha:g}, resamples = {resamples}, seed = {seed}.",
            advice=f"Give 0 < alpha < 1, resamples from 1 to {MOST_RESAMPLES:,} and a seed of 0 or more.",
        )
    reference = refs if isinstance(refs, ReferenceSet) else ReferenceSet.load(refs)
    reference.require_features(features_name)
    asked = [reference.artists[a] for a in reference.asked(artists, independent)]
    options: dict[str, Any] = {"refs": reference.manifest["name"], "alpha": alpha, "resamples": resamples}
    options |= {"features": features_name} | ({"artists": asked} if asked else {})
    options |= {"independent": True} if independent else {}
    options |= {"thresholds": asdict(thresholds)} if thresholds != DEFAULTS else {}
    options |= {"known": known.note()} if known else {}
    return reference, Frame(seed, options, reference)


class Frame:
    """What every audit of a run shares: tool, time, seed, set, and the clock of its steps."""

    def __init__(self, seed: int, options: dict[str, Any], reference: ReferenceSet) -> None:
        """Start with no time spent."""
        self.seed, self.options, self.reference = seed, options, reference
        self.timing = {"read": 0.0, "embed": 0.0, "score": 0.0, "render": 0.0}

    def timed(self, step: str) -> Clock:
        """A context that adds its seconds to `step`."""
        return Clock(self.timing, step)

    def audit(self, parts: dict[str, Any]) -> Audit:
        """Put the parts together; parts that were not computed are None or empty."""
        tested = len(self.options["artists"]) if "independent" in self.options else 0
        nothing: dict[str, Any] = {"coverage": None, "open_set": None, "artists": [], "mixture": [], "derivative": None}
        nothing |= {"controls": {}, "map": None, "skipped": None}
        return Audit(
            tool={"name": "audit", "version": __version__},
            created_at=now(),
            seed=self.seed,
            options=self.options,
            reference_set=reference_info(self.reference, tested),
            timing_s={key: round(value, 4) for key, value in self.timing.items()},
            **(nothing | parts),
        )


class Clock:
    """Adds the seconds spent inside a with-block to one entry of a dict."""

    def __init__(self, timing: dict[str, float], step: str) -> None:
        """Remember where to add."""
        self.timing, self.step = timing, step

    def __enter__(self) -> None:
        """Start."""
        self.started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        """Stop and add."""
        self.timing[self.step] += time.perf_counter() - self.started


def now() -> str:
    """RFC 3339 time in UTC; SOURCE_DATE_EPOCH, when set, makes it reproducible.  Raises UsageError where it is none."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"SOURCE_DATE_EPOCH is '{shown(epoch)}', which is no time.",
            advice="Give whole seconds since 1970, as `date +%s` prints them, or unset it.",
        ) from error
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
