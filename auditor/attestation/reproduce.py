"""Do the same inputs give the same audit?  And if not, which input differs?

The audit is run again with everything that the document says was in force: seed, level, resamples, features,
thresholds.  Set, known files and policy are the reader's own, told from the recorded ones by their digests.  The time
it was made, the name of the file and the place of a set on the hub are taken over, since they change no figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.attestation.statement import audit_digest, canonical
from auditor.errors import AttestationError, MalformedFile
from auditor.lora.text import shown
from auditor.sources import is_remote

if TYPE_CHECKING:
    from auditor.gate import Policy
    from auditor.known import KnownFiles
    from auditor.policy import Thresholds
    from auditor.question import Question
    from auditor.reference import ReferenceSet

CLOSE = 1e-6
"""Relative difference of figures that another processor's arithmetic may make; conclusions must agree exactly."""
KNOWN = "options.known"
"""Field of the note of known files: one input, however many of them differ."""
NAMED = 5
"""Known files that a cause names."""
SINCE = ("config_name", "config_sha256")
"""Fields of the suspect that documents made before them lack: to them, no configuration is the one they had."""
SHOWN = 40
"""Differing results that are listed."""
INPUTS = {
    "suspect.sha256": "file",
    "suspect.tensor_sha256": "tensors of the file",
    "suspect.config_name": "configuration beside the file",
    "suspect.config_sha256": "digest of the configuration beside the file",
    "reference_set.digest": "digest of the reference set",
    "tool.version": "version of audit",
    "schema_version": "version of the document",
    "options.policy.sha256": "digest of the policy",
    "options.policy.baseline_sha256": "digest of the policy's baseline",
}
"""Fields that are inputs, and what to call them."""
TRACES = (
    (("open_set.p_interval", "open_set.p_member_interval"), "seed or resamples"),
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
    audit: Mapping[str, Any],
    suspect: str | Path,
    refs: str | Path | ReferenceSet | None = None,
    known: KnownFiles | None = None,
    policy: Policy | None = None,
) -> Reproduction:
    """Run the audit again on `suspect` and compare.

    audit: the JSON object of one audit.  refs: the set to use; by default the one that the audit names.  known: the
    files that the audit compared with, if any.  policy: judged again where given, else the recorded outcome stands.
    Raises AttestationError for an object that is no audit, ReferenceSetError where the set cannot be had, MalformedFile
    where the suspect cannot be read though the audit's could.
    """
    again = rerun(audit, suspect, refs, known, policy)
    if audit["suspect"].get("sha256") and not again["suspect"]["sha256"]:
        raise MalformedFile(again["skipped"]["reason"], advice=again["skipped"]["advice"])
    found = list(_differences(audit, again, ""))
    results = [d for d in found if d.field not in INPUTS and not d.field.startswith(KNOWN)]
    inputs = [d for d in found if d.field in INPUTS]
    if len(inputs) + len(results) < len(found):
        inputs.append(Difference(KNOWN, audit["options"].get("known"), again["options"].get("known")))
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
    audit: Mapping[str, Any],
    suspect: str | Path,
    refs: str | Path | ReferenceSet | None = None,
    known: KnownFiles | None = None,
    policy: Policy | None = None,
) -> dict[str, Any]:
    """The audit of `suspect` under the recorded options, with the recorded time and names.

    Without `policy` its recorded note stands: what a house made of the audit is no result of it.
    """
    from auditor.audit import answer
    from auditor.gate import gated
    from auditor.reference import ReferenceSet

    made = _made_with(audit)
    place = made.refs if refs is None else refs
    reference = place if isinstance(place, ReferenceSet) else ReferenceSet.load(place)
    fresh = answer(suspect, replace(made.question, known=known), reference)
    again = replace(fresh, suspect=replace(fresh.suspect, path=made.path), created_at=made.created_at)
    found = (gated(again, policy.read_for(reference)) if policy else again).to_dict()
    _take_over(found["options"], audit["options"], policy is not None)
    for name in SINCE:
        if name not in audit["suspect"] and found["suspect"][name] is None:
            del found["suspect"][name]
    plain: dict[str, Any] = _plain(found)
    return plain


@dataclass(frozen=True)
class _Made:
    """How an audit says that it was made."""

    refs: str
    question: Question
    """But for the known files, which an audit only counts."""
    path: str
    created_at: str


def _made_with(audit: Mapping[str, Any]) -> _Made:
    """What a recorded audit was made with.  Raises AttestationError where it does not say so."""
    from auditor.policy import DEFAULTS
    from auditor.question import Question

    try:
        told = dict(audit["options"])
        artists = told.get("artists", ())
        question = Question(
            seed=int(audit["seed"]),
            alpha=float(told["alpha"]),
            resamples=int(told["resamples"]),
            features_name=told["features"],
            artists=[_text(name) for name in artists],
            independent=bool(told.get("independent", False)),
            thresholds=_thresholds(told["thresholds"]) if "thresholds" in told else DEFAULTS,
        )
        datetime.fromisoformat(audit["created_at"])
        return _Made(_text(told["refs"]), question, str(audit["suspect"]["path"]), audit["created_at"])
    except (KeyError, TypeError, ValueError) as error:
        raise AttestationError(
            f"The audit does not say how it was made: {type(error).__name__} {error}.",
            advice="Give the unchanged file that audit check --format json wrote.",
        ) from error


def _text(value: Any) -> str:
    """A text of the document.  Raises TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _thresholds(told: Mapping[str, Any]) -> Thresholds:
    """The recorded thresholds.  Raises TypeError, ValueError."""
    from auditor.policy import Thresholds

    found = Thresholds(**told)
    for value in (found.min_coverage, found.min_log10_lr or 0.0):
        float(value)
    return found


def _take_over(found: dict[str, Any], recorded: Mapping[str, Any], judged: bool) -> None:
    """Put into the options what changes no figure: a place on the hub, the known folder's name, the policy's note."""
    if is_remote(str(recorded.get("refs"))):
        found["refs"] = recorded["refs"]
    known = recorded.get("known")
    if isinstance(known, Mapping) and "known" in found and "folder" in known:
        found["known"] = found["known"] | {"folder": known["folder"]}
    note = recorded.get("policy")
    if note is not None and not judged:
        found["policy"] = note
    elif isinstance(note, Mapping) and "file" in note:
        found["policy"] = found["policy"] | {"file": note["file"]}


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
        return [_cause(d) for d in inputs]
    fields = {d.field.partition("[")[0] for d in results}
    for traces, name in TRACES:
        if fields <= set(traces):
            return [f"{name}: only {', '.join(sorted(fields))} differs, which hangs on nothing else"]
    if results and all(_close(d.recorded, d.found) for d in results):
        return ["none of the inputs: figures differ by rounding, as on another processor or another build of numpy"]
    return ["none of the recorded inputs: the document was changed after the audit, or was made by a changed tool"]


def _cause(difference: Difference) -> str:
    """One input that differs, in words."""
    if difference.field == KNOWN:
        return known_differ(difference.recorded, difference.found) or "known files: their note was changed"
    return f"{INPUTS[difference.field]}: recorded {difference.recorded}, found {difference.found}"


def known_differ(recorded: Any, found: Mapping[str, Any] | None) -> str:
    """How two notes of known files differ, in words; '' where they do not."""
    if recorded is not None and not isinstance(recorded, Mapping):
        return "known files: their note is none"
    if recorded is None and found is not None:
        return f"known files: none recorded, {found['count']} compared now: leave --known out"
    if recorded is not None and found is None:
        digest = f"{recorded.get('count')} recorded (digest {recorded.get('digest')})"
        return f"known files: {digest}, none given now: name their folder with --known DIR"
    if recorded is None or found is None or recorded == {key: found.get(key) for key in recorded}:
        return ""
    sizes = [f"{note.get('count')} (digest {note.get('digest')})" for note in (recorded, found)]
    return f"known files: recorded {sizes[0]}, found {sizes[1]}{_by_name(recorded, found)}"


def _by_name(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Which files are missing, new or other ones, as far as both notes list them."""
    old, new = _listed(recorded), _listed(found)
    if not old or not new:
        return ""
    told = {
        "missing": [name for name in old if name not in new],
        "new": [name for name in new if name not in old],
        "other bytes": [name for name in old if name in new and old[name] != new[name]],
    }
    return "".join(f"; {what}: {_few(names)}" for what, names in told.items() if names)


def _listed(note: Mapping[str, Any]) -> dict[str, Any]:
    """{name: digest, None for an unread file} as far as a note lists them."""
    rows, unread = note.get("files"), note.get("unread")
    named = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
    found: dict[str, Any] = {str(row.get("name")): row.get("sha256") for row in named}
    return found | dict.fromkeys(map(str, unread) if isinstance(unread, list) else ())


def _few(names: list[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(shown(name) for name in names[:NAMED]) + more
