"""Audits → SARIF 2.1.0, for code scanning.

A result is something to look at: a match, a derivative, a file that could not be audited, or (kind `review`) an
inconclusive audit.  A file without a match gives no result; like all others it is listed among the artifacts with its
hash and verdict, so that an audited file can be told from one that was never seen.  Under a policy a result that it
ignores or knows is suppressed, with the reason; one that it does not block is a note; one that it blocks is a warning.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from auditor.report.build import build
from auditor.report.untrusted import show
from auditor.report.view import View
from auditor.sources import is_remote
from auditor.texts import lines, say

SCHEMA_URI = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
RULES = {"style-match": "warning", "derivative": "warning", "malformed": "error", "out-of-scope": "warning"}

LABELS = {
    "style-match": "CONSISTENT",
    "derivative": "DERIVATIVE",
    "malformed": "OUT_OF_SCOPE",
    "out-of-scope": "OUT_OF_SCOPE",
}
"""The verdict whose texts explain a rule."""


def render_sarif(audits: Sequence[Mapping[str, Any]]) -> str:
    """One run with every audit."""
    views = [build(a) for a in audits]
    tool = audits[0]["tool"] if audits else {"name": "lora-style-audit", "version": "0"}
    found = [_artifact(a, v) for a, v in zip(audits, views, strict=True)]
    keys = [json.dumps(entry, sort_keys=True) for entry in found]
    artifacts = dict(zip(keys, found, strict=True))  # SARIF wants them distinct, also where a file was named twice
    numbers = {key: i for i, key in enumerate(artifacts)}
    results = [r for a, v, k in zip(audits, views, keys, strict=True) for r in _result(a, v, numbers[k])]
    run = {
        "tool": {"driver": {"name": tool["name"], "semanticVersion": tool["version"], "rules": _rules()}},
        "columnKind": "unicodeCodePoints",
        "artifacts": list(artifacts.values()),
        "results": results,
    }
    return json.dumps({"$schema": SCHEMA_URI, "version": "2.1.0", "runs": [run]}, indent=2, allow_nan=False) + "\n"


def rule(view: View) -> str | None:
    """The rule that this audit falls under; None for a file without a match."""
    if view.skipped:
        return "malformed" if view.skipped.code in ("malformed", "not-a-lora") else "out-of-scope"
    return {"NO_MATCH": None, "DERIVATIVE": "derivative"}.get(view.label, "style-match")


def message(text: str) -> str:
    """`text` with SARIF's own markup (links and placeholders) taken out of force."""
    return re.sub(r"([\[\]\\])", r"\\\1", text).replace("{", "{{").replace("}", "}}")


def _rules() -> list[dict[str, Any]]:
    return [
        {
            "id": name,
            "name": "".join(word.capitalize() for word in name.split("-")),
            "shortDescription": {"text": say(f"rule.{name}")},
            "fullDescription": {"text": say(f"meaning.{LABELS[name]}")},
            "help": {"text": "\n".join(lines("not", LABELS[name]))},
            "defaultConfiguration": {"level": level},
        }
        for name, level in RULES.items()
    ]


def _result(audit: Mapping[str, Any], view: View, index: int) -> list[dict[str, Any]]:
    """The result of one audit, if it has one."""
    name = rule(view)
    if name is None:
        return []
    note = audit["options"].get("policy") or {}
    review = view.label == "INCONCLUSIVE" and not view.skipped and not note.get("blocks")
    passed = bool(note) and not note["blocks"] and not view.skipped
    level = "none" if review else "note" if passed else RULES[name]
    text = f"{view.sentence} {_more(view)} {view.question}"
    return [
        {
            "ruleId": name,
            "ruleIndex": list(RULES).index(name),
            "kind": "review" if review else "fail",
            "level": level,
            "message": {"text": message(text.strip())},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri(audit), "index": index}}}],
            "partialFingerprints": {"tensorSha256/v1": fingerprint(audit)},
            "properties": {"verdict": view.label, "p": audit["open_set"]["p"] if audit["open_set"] else None},
            **_suppressed(note),
        }
    ]


def _more(view: View) -> str:
    """What a result says after its sentence."""
    if view.skipped:
        return view.skipped.reason
    return view.copied[0] if view.copied else view.sure.words if view.sure else ""


def _suppressed(note: Mapping[str, Any]) -> dict[str, Any]:
    """The suppression of a result that the policy ignores or whose verdict its baseline holds."""
    if note.get("outcome") not in ("ignored", "known"):
        return {}
    return {
        "suppressions": [
            {"kind": "external", "status": "accepted", "justification": show(note.get("reason") or "", 600)}
        ]
    }


def _artifact(audit: Mapping[str, Any], view: View) -> dict[str, Any]:
    suspect = audit["suspect"]
    entry: dict[str, Any] = {"location": {"uri": uri(audit)}, "properties": {"verdict": view.label}}
    if suspect["sha256"]:
        entry["hashes"] = {"sha-256": suspect["sha256"]}
    return entry if suspect["bytes"] is None else {**entry, "length": suspect["bytes"]}


def uri(audit: Mapping[str, Any]) -> str:
    """The suspect's path as a relative or file address."""
    path = str(audit["suspect"]["path"]).replace("\\", "/")
    if is_remote(path):
        return quote(path, safe="/:", errors="surrogatepass")
    return ("file://" if path.startswith("/") else "") + quote(path, safe="/", errors="surrogatepass")


def fingerprint(audit: Mapping[str, Any]) -> str:
    """The tensors' hash; the file's, or failing that its path's, where no tensors could be read."""
    suspect = audit["suspect"]
    found = suspect["tensor_sha256"] or suspect["sha256"]
    return str(found or hashlib.sha256(str(suspect["path"]).encode("utf-8", "surrogatepass")).hexdigest())
