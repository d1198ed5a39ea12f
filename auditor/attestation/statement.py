"""One audit → an in-toto Statement v1 with our own predicate.

The statement says which bytes were audited (SHA-256 of the file, and of its tensor section, which survives edits of
the metadata), against which set, under which options and policy, with what verdict.  Its fields have the names of the
audit's JSON; `audit_sha256` binds the whole of it.  Format: in-toto Attestation Framework, spec/v1/statement.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from auditor.errors import AttestationError, UsageError

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:lora-style-audit:predicate:audit:v1"
TENSORS = "#tensors"
"""Ending of the subject that stands for the tensor section alone."""
PREDICATE_FIELDS = (
    *("tool", "schema_version", "created_at", "seed", "options", "audit_sha256", "reference_set"),
    *("policy", "coverage", "verdict", "open_set", "artists", "derivative"),
)
"""Everything that a predicate says; what is not so in an audit is null, never left out."""
SET_FIELDS = ("name", "digest", "base", "features", "artists", "references", "alpha_floor")
KNOWN_FIELDS = ("count", "digest", "unread_count")
OPEN_SET_FIELDS = (
    *("p", "p_min", "p_interval", "p_member", "p_member_interval", "null_artists", "statistic", "alpha"),
    *("asked", "independent", "p_otherwise", "own_no_match"),
)
ARTIST_FIELDS = ("artist", "score", "p", "p_exclusion", "log10_lr", "lr_bound")
NEAREST = 3
"""Artists that the statement repeats; all are in the audit that `audit_sha256` names."""


def statement(audit: Mapping[str, Any]) -> dict[str, Any]:
    """The statement about one audit, given as its JSON object.

    Raises UsageError for a file that was not audited (nothing can be attested about it), AttestationError for an object
    that is no audit.
    """
    try:
        suspect, info = audit["suspect"], audit["reference_set"]
        if audit["skipped"] is not None or not suspect["sha256"]:
            raise UsageError(
                "This file was not audited, so there is nothing to attest.", advice="Attest an audit with a verdict."
            )
        name = re.split(r"[/\\]", str(suspect["path"]))[-1]
        return {
            "_type": STATEMENT_TYPE,
            "subject": [
                {"name": name, "digest": {"sha256": suspect["sha256"]}},
                {"name": name + TENSORS, "digest": {"sha256": suspect["tensor_sha256"]}},
            ],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "tool": audit["tool"],
                "schema_version": audit["schema_version"],
                "created_at": audit["created_at"],
                "seed": audit["seed"],
                "options": _options(audit["options"]),
                "audit_sha256": audit_digest(audit),
                "reference_set": {key: info[key] for key in SET_FIELDS},
                "policy": _policy(audit["options"].get("policy")),
                "coverage": audit["coverage"],
                "verdict": audit["verdict"],
                "open_set": {key: audit["open_set"][key] for key in OPEN_SET_FIELDS if key in audit["open_set"]},
                "artists": [{key: row[key] for key in ARTIST_FIELDS} for row in audit["artists"][:NEAREST]],
                "derivative": audit["derivative"],
            },
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise AttestationError(
            f"This is no whole audit: {type(error).__name__} {error}.",
            advice="Give the unchanged file that audit check --format json wrote.",
        ) from error


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options; of known files only number and digest, since their names are the auditor's own affair."""
    known = options.get("known")
    return {**options, **({"known": {key: known[key] for key in KNOWN_FIELDS}} if known else {})}


def canonical(audit: Mapping[str, Any]) -> bytes:
    """The bytes of an audit that must not differ between two runs: its JSON document without `timing_s`."""
    from auditor.report.json import render_json

    return render_json({key: value for key, value in audit.items() if key != "timing_s"}).encode("ascii")


def audit_digest(audit: Mapping[str, Any]) -> str:
    """SHA-256 of `canonical`, as hex digits."""
    return hashlib.sha256(canonical(audit)).hexdigest()


def written(document: Mapping[str, Any]) -> str:
    """A statement or envelope as text: two spaces of indentation, ASCII, a final newline."""
    return json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _policy(note: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The policy that was in force: digests and outcome, None where there was none."""
    if note is None:
        return None
    return {
        "digest": {"sha256": note["sha256"]},
        "baseline": {"sha256": note["baseline_sha256"]} if note["baseline_sha256"] else None,
        "blocks": note["blocks"],
        "outcome": note["outcome"],
    }
