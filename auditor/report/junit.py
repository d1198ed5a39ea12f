"""Audits → JUnit XML, one test case per suspect.

CONSISTENT and DERIVATIVE are failures, what could not be audited is an error (never a pass), INCONCLUSIVE is skipped.
Under a policy, what it blocks is a failure, and what it lets pass despite its verdict is skipped, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from auditor.report.build import build
from auditor.report.numbers import probability
from auditor.report.untrusted import show
from auditor.report.view import View

OUTCOMES = {
    "CONSISTENT": "failure",
    "DERIVATIVE": "failure",
    "INCONCLUSIVE": "skipped",
    "OUT_OF_SCOPE": "error",
    "NO_MATCH": None,
}


def render_junit(audits: Sequence[Mapping[str, Any]]) -> str:
    """One suite with every audit."""
    views = [build(a) for a in audits]
    outcomes = [outcome(v, _note(a)) for a, v in zip(audits, views, strict=True)]
    counts = {f"{k}s" if k != "skipped" else k: str(outcomes.count(k)) for k in ("failure", "error", "skipped")}
    root = Element("testsuites")
    suite = SubElement(root, "testsuite", {"name": "style audit", "tests": str(len(views)), **counts})
    for audit, view in zip(audits, views, strict=True):
        _case(suite, audit, view)
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def outcome(view: View, policy: Mapping[str, Any]) -> str | None:
    """Name of the element inside the test case; None for a file without a match.  policy: its note, empty for none."""
    if view.skipped or not policy or OUTCOMES[view.label] is None:
        return "error" if view.skipped else OUTCOMES[view.label]
    return "failure" if policy["blocks"] else "skipped"


def _note(audit: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the policy made of an audit; empty where there was none."""
    found: Mapping[str, Any] = audit["options"].get("policy") or {}
    return found


def _case(suite: Element, audit: Mapping[str, Any], view: View) -> None:
    """One suspect."""
    case = SubElement(suite, "testcase", name=view.file, classname=f"audit.{show(audit['reference_set']['name'])}")
    properties = SubElement(case, "properties")
    for key, value in _properties(audit, view).items():
        SubElement(properties, "property", name=key, value=value)
    policy = _note(audit)
    kind = outcome(view, policy)
    if kind:
        child = SubElement(case, kind, message=view.sentence, type=view.skipped.code if view.skipped else view.label)
        reasons = (view.skipped.reason, view.skipped.advice) if view.skipped else view.reasons
        child.text = "\n".join((*reasons, show(policy.get("reason") or "", 600)) if policy else reasons)


def _properties(audit: Mapping[str, Any], view: View) -> dict[str, str]:
    found = {"verdict": view.label, "tensor_sha256": audit["suspect"]["tensor_sha256"] or ""}
    if not view.sure:
        return found
    member = (audit["open_set"] or {}).get("p_member")
    return {**found, "p": view.sure.p, "p_min": view.sure.p_min, "p_member": probability(member)}
