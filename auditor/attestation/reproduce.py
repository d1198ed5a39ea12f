"""Do the same inputs give the same audit?  And if not, which input differs?

The audit is run again with everything that the document says was in force: seed, level, resamples, features,
thresholds.  The time it was made and the name of the file are taken over, since they change no figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.attestation.statement import audit_digest, canonical
from auditor.errors import AttestationError

if TYPE_CHECKING:
    from auditor.reference import ReferenceSet

CLOSE = 1e-6
"""Relative difference of figures that another processor's arithmetic may make; conclusions must agree exactly."""
SHOWN = 40
"""Differing results that are listed."""
INPUTS = {
    "suspect.sha256": "file",
    "suspect.tensor_sha256": "tensors of the file",
    "reference_set.digest": "digest of the reference set",
    "tool.version": "version of audit",
    "schema_version": "version of the document",
}
"""Fields that are inputs, and what to call them."""
TRACES = (
    (("open_set.p_interval",), "seed or resamples"),
    (("open_set.alpha",), "alpha"),
    (("options.refs", "reference_set.name"), "name of the reference set"),
)
"""Results that hang on one input alone: where nothing else differs, that input was another one."""


@dataclass(frozen=True)
class Difference:
    """One place where two audits differ."""

    field: str
    """Dotted path in the audit's JSON."""
    recorded: Any
    found: Any


@dataclass(frozen=True)
class Reproduction:
    """What running an audit again gave."""

    same_bytes: bool
    """The documents agree byte for byte, `timing_s` aside."""
    same_figures: bool
    """Conclusions agree exactly and figures within 1e-6: another machine's arithmetic."""
    inputs: list[Difference]
    """Inputs that differ, each named in `causes`."""
    results: list[Difference]
    """Results that differ, the first 40."""
    causes: list[str]
    """In words, which inputs differ; empty when none does."""
    audit_sha256: dict[str, str]
    """{recorded, found}: digests of the two documents without `timing_s`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def reproduce(
    audit: Mapping[str, Any], suspect: str | Path, refs: str | Path | ReferenceSet | None = None
) -> Reproduction:
    """Run the audit again on `suspect` and compare.

    audit: the JSON object of one audit.  refs: the set to use; by default the one that the audit names.  Raises
    AttestationError for an object that is no audit, ReferenceSetError where the set cannot be had.
    """
    again = rerun(audit, suspect, refs)
    found = list(_differences(audit, again, ""))
    inputs = [d for d in found if d.field in INPUTS]
    results = [d for d in found if d.field not in INPUTS]
    same = canonical(audit) == canonical(again)
    return Reproduction(
        same_bytes=same,
        same_figures=not inputs and all(_close(d.recorded, d.found) for d in results),
        inputs=inputs,
        results=results[:SHOWN],
        causes=[] if same else _causes(inputs, results),
        audit_sha256={"recorded": audit_digest(audit), "found": audit_digest(again)},
    )


def rerun(
    audit: Mapping[str, Any], suspect: str | Path, refs: str | Path | ReferenceSet | None = None
) -> dict[str, Any]:
    """The audit of `suspect` under the recorded options, with the recorded time, file name and policy note."""
    from auditor.audit import check
    from auditor.policy import DEFAULTS, Thresholds

    try:
        options = dict(audit["options"])
        thresholds = Thresholds(**options["thresholds"]) if "thresholds" in options else DEFAULTS
        fresh = check(
            suspect,
            options["refs"] if refs is None else refs,
            seed=int(audit["seed"]),
            alpha=float(options["alpha"]),
            resamples=int(options["resamples"]),
            features_name=options["features"],
            thresholds=thresholds,
        )
        again = replace(fresh, suspect=replace(fresh.suspect, path=str(audit["suspect"]["path"])))
        found = again.to_dict() | {"created_at": audit["created_at"]}
    except (KeyError, TypeError, ValueError) as error:
        raise AttestationError(
            f"The audit does not say how it was made: {type(error).__name__} {error}.",
            advice="Give the unchanged file that audit check --format json wrote.",
        ) from error
    if "policy" in options:  # what a house made of the audit is no result of it
        found["options"] = found["options"] | {"policy": options["policy"]}
    plain: dict[str, Any] = _plain(found)
    return plain


def _plain(value: Any) -> Any:
    """The value in JSON's own types, as reading the document back gives it."""
    import json

    from auditor.report.json import render_json

    found: Any = json.loads(render_json(value))
    return found


def _differences(one: Any, other: Any, where: str) -> Iterator[Difference]:
    """Every leaf where two JSON values differ; `timing_s` may."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in [*one, *(k for k in other if k not in one)]:
            path = f"{where}.{key}" if where else str(key)
            if path != "timing_s":
                yield from _differences(one.get(key), other.get(key), path)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from _differences(a, b, f"{where}[{number}]")
    elif one != other or type(one) is not type(other):
        yield Difference(where, one, other)


def _close(one: Any, other: Any) -> bool:
    """Whether two leaves agree but for rounding; everything that is no number must agree exactly."""
    numbers = (int, float)
    if (
        isinstance(one, bool)
        or isinstance(other, bool)
        or not isinstance(one, numbers)
        or not isinstance(other, numbers)
    ):
        return bool(one == other)
    return math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE)


def _causes(inputs: list[Difference], results: list[Difference]) -> list[str]:
    """What differs, in words: inputs first; without any, what the differing results can hang on."""
    if inputs:
        return [f"{INPUTS[d.field]}: recorded {d.recorded}, found {d.found}" for d in inputs]
    fields = {d.field.partition("[")[0] for d in results}
    for traces, name in TRACES:
        if fields <= set(traces):
            return [f"{name}: only {', '.join(sorted(fields))} differs, which hangs on nothing else"]
    if results and all(_close(d.recorded, d.found) for d in results):
        return ["none of the inputs: figures differ by rounding, as on another processor or another build of numpy"]
    return ["none of the recorded inputs: the document was changed after the audit, or was made by a changed tool"]
