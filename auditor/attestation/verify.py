"""What a statement claims, checked: its form, its signature, its digests, and if asked the audit itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.attestation.envelope import keyed, opened, signed_by
from auditor.attestation.keyless import is_bundle, signed_as
from auditor.attestation.reproduce import known_differ, rerun
from auditor.attestation.statement import (
    PREDICATE_FIELDS,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    TENSORS,
    audit_digest,
    statement,
)
from auditor.errors import AttestationError, AuditorError, NoSuchSet, UsageError

if TYPE_CHECKING:
    from auditor.known import KnownFiles


@dataclass(frozen=True)
class Signer:
    """Who is said to have signed a Sigstore bundle, and what is needed to check that."""

    identity: str
    """An address, or a workflow's URI."""
    issuer: str | None = None
    """Who vouched for it; None accepts any."""
    trusted_root: Path | None = None
    offline: bool = False


@dataclass(frozen=True)
class Check:
    """One thing that was checked."""

    name: str
    """'form', 'signature', 'file', 'tensors', 'audit', 'reference set', 'known files' or 'rerun'."""
    passed: bool | None
    """None: not checked, for the reason in `detail`."""
    detail: str


def verify(
    document: Mapping[str, Any],
    *,
    key: Path | None = None,
    signer: Signer | None = None,
    suspect: Path | None = None,
    audit: Mapping[str, Any] | None = None,
    rerun_audit: bool = False,
    refs: str | Path | None = None,
    known: KnownFiles | None = None,
) -> list[Check]:
    """All checks that the given pieces allow, in order; a check that could not be made says so.

    document: a bare statement, a DSSE envelope or a Sigstore bundle.  key: public key in PEM form; signer: of a bundle.
    suspect: the file that the statement is about.  audit: the JSON object of the audit behind it.  rerun_audit: audit
    `suspect` again, with the set `refs` and the files `known` where the audit had some, and compare.  Raises
    AttestationError where the document is no statement of ours, UsageError where a rerun lacks its file.
    """
    if rerun_audit and suspect is None:
        raise UsageError("There is nothing to audit again.", advice="Name the file with --suspect FILE.")
    found = parse(document)
    checks = [Check("form", True, f"in-toto statement, predicate {PREDICATE_TYPE}"), _signature(document, key, signer)]
    if suspect is not None:
        checks += _file(found, suspect)
    if audit is not None:
        checks.append(_audit(found, audit))
    if rerun_audit and suspect is not None:
        checks += _rerun(found, suspect, refs, known)
    return checks


def parse(document: Mapping[str, Any]) -> dict[str, Any]:
    """The statement inside a document.  Raises AttestationError for anything but one of our own."""
    try:
        envelope = document["dsseEnvelope"] if is_bundle(document) else document
        found = json.loads(opened(envelope)) if keyed(envelope) else dict(envelope)
        if found["_type"] != STATEMENT_TYPE or found["predicateType"] != PREDICATE_TYPE:
            raise ValueError(f"it is of type {found['_type']!r} with predicate {found['predicateType']!r}")
        if lacking := _lacking(found["predicate"]):
            raise ValueError(f"its predicate lacks {', '.join(lacking)}")
        _digests(found)
    except (KeyError, TypeError, ValueError, RecursionError, AttributeError) as error:
        told = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise AttestationError(
            f"This is no statement about an audit: {told}.", advice="Give the file that audit attest wrote."
        ) from error
    return dict(found)


def _lacking(predicate: Mapping[str, Any]) -> list[str]:
    """What a predicate should say and does not: what is left out cannot contradict an audit or a rerun."""
    missing = [key for key in PREDICATE_FIELDS if key not in predicate]
    if "reference_set" in predicate and "digest" not in predicate["reference_set"]:
        missing.append("reference_set.digest")
    return missing


def _digests(found: Mapping[str, Any]) -> dict[str, str]:
    """{'file': …, 'tensors': …} from the subjects."""
    subjects = {str(s["name"]).endswith(TENSORS): str(s["digest"]["sha256"]) for s in found["subject"]}
    return {"file": subjects[False], "tensors": subjects[True]}


def _signature(document: Mapping[str, Any], key: Path | None, signer: Signer | None) -> Check:
    """Whether the document is signed by the key, or by the signer."""
    if is_bundle(document):
        return _bundle(document, key, signer)
    if signer is not None:
        return Check("signature", False, "this is no Sigstore bundle: it names nobody who signed")
    if not keyed(document):
        passed = None if key is None else False
        return Check("signature", passed, "there is none: anybody can have written this statement")
    if key is None:
        return Check("signature", None, "no public key was given")
    good = signed_by(document, key)
    return Check("signature", good, f"made with the key {key}" if good else f"none was made with the key {key}")


def _bundle(document: Mapping[str, Any], key: Path | None, signer: Signer | None) -> Check:
    """Whether a Sigstore bundle is signed by the signer."""
    if signer is None:
        wrong_means = key is not None
        why = "a Sigstore bundle is made by an identity, not by a key" if wrong_means else "no identity was given"
        return Check("signature", False if wrong_means else None, why)
    problem = signed_as(document, signer.identity, signer.issuer, signer.trusted_root, signer.offline)
    vouched = f", as {signer.issuer} vouched" if signer.issuer else "; no issuer was asked for"
    return Check("signature", problem is None, f"made by {signer.identity}{vouched}" if problem is None else problem)


def _file(found: Mapping[str, Any], suspect: Path) -> list[Check]:
    """Whether the file is the one that the statement is about."""
    from auditor.lora import read_artifact

    artifact, expected = read_artifact(suspect), _digests(found)
    same = artifact.sha256 == expected["file"], artifact.tensor_sha256 == expected["tensors"]
    checks = []
    for name, good, own in zip(("file", "tensors"), same, (artifact.sha256, artifact.tensor_sha256), strict=True):
        detail = f"SHA-256 {own}" if good else f"SHA-256 {own}, and the statement is about {expected[name]}"
        checks.append(Check(name, good, detail))
    if same == (False, True):
        note = "; only bytes outside the tensors differ, such as the metadata"
        checks[0] = Check("file", False, checks[0].detail + note)
    return checks


def _audit(found: Mapping[str, Any], audit: Mapping[str, Any]) -> Check:
    """Whether the audit's document is the one that the statement was made from."""
    own, expected = audit_digest(audit), found["predicate"]["audit_sha256"]
    if own != expected:
        return Check("audit", False, f"its digest is {own}, and the statement is about {expected}")
    same = statement(audit) == found
    return Check("audit", same, "the statement repeats it" if same else "the statement says other things than it")


def _rerun(
    found: Mapping[str, Any], suspect: Path, refs: str | Path | None, known: KnownFiles | None
) -> Iterator[Check]:
    """Whether auditing again gives the same set, the same verdict and the same bytes."""
    predicate = found["predicate"]
    like = predicate | {"suspect": {"path": found["subject"][0]["name"]}}
    try:
        again = rerun(like, suspect, refs, known)
    except NoSuchSet as problem:
        # Asked for and not made: no script may take that for a pass.
        yield Check("rerun", False, f"it could not be made: {problem.message} Give the set's folder with --refs.")
        return
    except AuditorError as problem:
        yield Check("rerun", False, str(problem))
        return
    if again["skipped"] is not None:
        yield Check("rerun", False, f"the file is not audited now: {again['skipped']['reason']}")
        return
    own, expected = again["reference_set"]["digest"], predicate["reference_set"]["digest"]
    yield Check("reference set", own == expected, f"digest {own}" + ("" if own == expected else f", not {expected}"))
    fresh = statement(again)["predicate"]
    if apart := known_differ(predicate["options"].get("known"), fresh["options"].get("known")):
        yield Check("known files", False, apart)
    differing = [key for key in predicate if key != "audit_sha256" and fresh.get(key) != predicate[key]]
    if differing:
        yield Check("rerun", False, f"other {', '.join(differing)}; now {again['verdict']['label']}")
    else:
        yield Check(
            "rerun", True, f"verdict {again['verdict']['label']} and all figures of the statement come out again"
        )
