"""Scales that lie outside the tensors: PEFT's ``adapter_config.json`` and diffusers' ``lora_adapter_metadata``.

Both are untrusted: sizes are capped, patterns are compared as plain text (never run as regular expressions), and
numbers must be finite.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from auditor.errors import MalformedFile
from auditor.lora.algorithms import Scaling
from auditor.lora.container import open_regular, read_exactly
from auditor.lora.text import shown

SIDECAR = "adapter_config.json"
MAX_BYTES = 2**20
MAX_ALPHA = 1e12
_PLAIN = re.compile(r"[\^]?[A-Za-z0-9_.]+[$]?")


@dataclass(frozen=True)
class ScaleConfig:
    """What one configuration says about the scales of one part of the pipeline."""

    alpha: float | None = None
    rslora: bool = False
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    """Module names, or their ends after a dot, and their own alpha."""
    rank: int | None = None
    rank_pattern: Mapping[str, float] = field(default_factory=dict)
    """Module names, or their ends after a dot, and their own rank."""
    unread_patterns: tuple[str, ...] = ()
    """Patterns that are more than plain names.  Untrusted text."""

    def scaling(self, module: str, *, peft: bool = False) -> Scaling:
        """For the module with the (possibly prefixed) dotted name `module`."""
        rank = _matching(self.rank_pattern, module)
        return Scaling(
            self.alpha if (own := _matching(self.alpha_pattern, module)) is None else own,
            self.rslora,
            self.rank if rank is None else int(rank),
            peft,
        )


def _matching(patterns: Mapping[str, float], module: str) -> float | None:
    """The value of the first pattern that is `module` or its end after a dot, as PEFT matches; None without one."""
    return next((value for name, value in patterns.items() if module == name or module.endswith("." + name)), None)


def read_sidecar(weights_path: str) -> ScaleConfig | None:
    """The configuration beside a PEFT file, or None when there is none.  Raises MalformedFile when it is damaged."""
    path = os.path.join(os.path.dirname(weights_path), SIDECAR)
    if not os.path.lexists(path):
        return None
    descriptor, size = open_regular(path)
    try:
        if size > MAX_BYTES:
            raise MalformedFile(f"{shown(path)} has {size} bytes; at most {MAX_BYTES} are read.", advice=_ADVICE)
        raw = read_exactly(descriptor, 0, size, path)
    finally:
        os.close(descriptor)
    return _config(_object(raw, path), path)


def header_configs(metadata: Mapping[str, str], path: str) -> dict[str, ScaleConfig]:
    """Configurations by part ('unet', 'text_encoder', …; '' for all) from the header's ``lora_adapter_metadata``."""
    text = metadata.get("lora_adapter_metadata")
    if text is None:
        return {}
    where = f"{path} (lora_adapter_metadata)"
    packed = _object(text.encode("utf-8", "replace"), where)
    parts: dict[str, dict[str, Any]] = {}
    for key, value in packed.items():
        part, _, name = key.rpartition(".")
        parts.setdefault(part, {})[name] = value
    return {part: _config(values, where) for part, values in parts.items()}


_ADVICE = "Put back the configuration that was saved with the weights, or remove it to read them with scale 1."


def _object(raw: bytes, where: str) -> dict[str, Any]:
    """The JSON object in `raw`."""
    try:
        document = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise MalformedFile(f"{shown(where)} is no valid JSON object.", advice=_ADVICE)
    return document


def _config(values: Mapping[str, Any], where: str) -> ScaleConfig:
    """The scale settings among `values`."""
    alpha = values.get("lora_alpha", values.get("alpha"))
    rank = values.get("r")
    plain, odd = _patterns(values, "alpha_pattern", where)
    ranks, odd_ranks = _patterns(values, "rank_pattern", where)
    rslora = values.get("use_rslora", False) is True
    known = isinstance(rank, int) and not isinstance(rank, bool) and 0 < rank <= MAX_ALPHA
    return ScaleConfig(
        None if alpha is None else _number(alpha, where), rslora, plain, rank if known else None, ranks, odd + odd_ranks
    )


def _patterns(values: Mapping[str, Any], key: str, where: str) -> tuple[dict[str, float], tuple[str, ...]]:
    """(plain names and their numbers, patterns that are more than plain names)."""
    pattern = values.get(key) or {}
    if not isinstance(pattern, dict):
        raise MalformedFile(f"{shown(where)}: {key} is no table.", advice=_ADVICE)
    plain = {name.strip("^$"): _number(value, where) for name, value in pattern.items() if _PLAIN.fullmatch(name)}
    return plain, tuple(name for name in pattern if not _PLAIN.fullmatch(name))


def _number(value: Any, where: str) -> float:
    """`value` as a finite float."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_ALPHA
    if not usable or not math.isfinite(value):
        raise MalformedFile(f"{shown(where)}: alpha is {shown(value, 40)}, no usable number.", advice=_ADVICE)
    return float(value)
