"""An audit → the JSON of the contract, and the schema of it.

Enters: one or several audits.  Leaves: text with the contract's order of fields, two spaces of indentation, ASCII only
(so that no hidden character of a suspect's metadata survives unescaped), and never NaN or infinity.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from auditor.errors import AuditorError

SCHEMA_VERSION = "1.0"


def render_json(audit: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> str:
    """One audit as its own object; a sequence of several as `{"schema_version", "audits": […]}`."""
    document: Any = _ordered(audit) if isinstance(audit, Mapping) else batch(audit)
    return json.dumps(_finite(document, "$"), indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def batch(audits: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The object around several audits."""
    return {"schema_version": SCHEMA_VERSION, "audits": [_ordered(a) for a in audits]}


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of both forms; treat it as read-only."""
    text = files("auditor.report").joinpath("schema/audit-1.0.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _ordered(audit: Mapping[str, Any]) -> dict[str, Any]:
    """The audit with the contract's fields first and in its order; others follow as they come."""
    contract = schema()["$defs"]["audit"]["properties"]
    return {k: audit[k] for k in [*contract, *(k for k in audit if k not in contract)] if k in audit}


def _finite(value: Any, where: str) -> Any:
    """`value` in JSON's own types; numbers that JSON cannot write are refused with their place."""
    if isinstance(value, Mapping):
        return {str(k): _finite(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v, f"{where}[{i}]") for i, v in enumerate(value)]
    if value is None or isinstance(value, str | bool | int):
        return value
    if not isinstance(value, float):
        if not hasattr(value, "item"):
            raise _refused(where, type(value).__name__)
        return _finite(value.item(), where)
    if not math.isfinite(value):
        raise _refused(where, str(value))
    return float(value)


def _refused(where: str, what: str) -> AuditorError:
    return AuditorError(
        f"The audit cannot be written as JSON: {where} is {what}.",
        advice="This is a fault of the audit, not of the file audited; please report it with the command you ran.",
    )
