"""Scales that lie outside the tensors: PEFT's ``adapter_config.json`` and diffusers' ``lora_adapter_metadata``.

Both are untrusted: sizes are capped, patterns are compared as plain text (never run as regular expressions), and
numbers must be finite.
"""

from __future__ import annotations

import hashlib
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
BASE_IN_FACTORS = ("pissa", "olora", "corda", "loftq")
"""Beginnings of PEFT's `init_lora_weights` by which parts of the base go into A and B and are taken out of the base
(`peft.tuners.lora.layer`: `pissa_init`, `olora_init`, `corda_init`, `loftq_init`): B·A is then no change of it."""
MOST_ENDINGS = 64
"""Most patterns ``.*NAME`` that are applied; each is asked of every module."""
_SIMPLE = re.compile(r"\^?(?P<any>\.\*)?(?P<name>(?:[A-Za-z0-9_.\-]|\\\.)+)\$?")


@dataclass(frozen=True)
class Patterns:
    """Numbers of single modules, by PEFT's patterns: ``(.*\\.)?(PATTERN)$``, as far as these are names.

    Never run as regular expressions: a module costs one look-up for each of its dots and each ending, however many
    patterns a file declares.
    """

    names: Mapping[str, tuple[int, float]]
    """Module name, or its end after a dot → (place of the pattern among all, number)."""
    endings: Mapping[str, tuple[int, float]]
    """The same for ``.*NAME``, which need not begin after a dot; at most `MOST_ENDINGS`."""
    unread: tuple[str, ...]
    """Patterns that are more than names."""

    def value(self, module: str) -> float | None:
        """The number of the first pattern that fits, as PEFT takes it; None without one."""
        starts = [0, *(at + 1 for at, letter in enumerate(module) if letter == ".")]
        found = [self.names[module[at:]] for at in starts if module[at:] in self.names]
        found += [number for ending, number in self.endings.items() if module.endswith(ending)]
        return min(found)[1] if found else None


@dataclass(frozen=True)
class ScaleConfig:
    """What one configuration says about the scales of one part of the pipeline."""

    alpha: float | None = None
    rslora: bool = False
    alphas: Patterns = field(default_factory=lambda: Patterns({}, {}, ()))
    """Modules with an alpha of their own."""
    rank: int | None = None
    ranks: Patterns = field(default_factory=lambda: Patterns({}, {}, ()))
    """Modules with a rank of their own."""
    holds_base: str = ""
    """The initialisation that left parts of the base in the factors, by PEFT's name; '' for all others."""

    @property
    def unread_patterns(self) -> tuple[str, ...]:
        """Patterns that are more than names.  Untrusted text."""
        return self.alphas.unread + self.ranks.unread

    def scaling(self, module: str, *, peft: bool = False) -> Scaling:
        """For the module with the (possibly prefixed) dotted name `module`."""
        alpha, rank = self.alphas.value(module), self.ranks.value(module)
        return Scaling(
            self.alpha if alpha is None else alpha, self.rslora, self.rank if rank is None else int(rank), peft
        )


def read_sidecar(weights_path: str) -> tuple[ScaleConfig, str] | None:
    """The configuration beside a PEFT file and the hex SHA-256 of its bytes, or None when there is none.

    Raises MalformedFile when it is damaged.
    """
    raw = sidecar_bytes(weights_path)
    if raw is None:
        return None
    path = _beside(weights_path)
    return _config(_object(raw, path), path), hashlib.sha256(raw).hexdigest()


def sidecar_bytes(weights_path: str) -> bytes | None:
    """The configuration beside a file as it stands, or None when there is none.  Raises MalformedFile."""
    path = _beside(weights_path)
    if not os.path.lexists(path):
        return None
    descriptor, size = open_regular(path)
    try:
        if size > MAX_BYTES:
            raise MalformedFile(f"{shown(path)} has {size} bytes; at most {MAX_BYTES} are read.", advice=_ADVICE)
        return read_exactly(descriptor, 0, size, path)
    finally:
        os.close(descriptor)


def _beside(weights_path: str) -> str:
    """Where the configuration of a file would lie."""
    return os.path.join(os.path.dirname(weights_path), SIDECAR)


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
        document = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise MalformedFile(f"{shown(where)} is no valid JSON object.", advice=_ADVICE)
    return document


def _config(values: Mapping[str, Any], where: str) -> ScaleConfig:
    """The scale settings among `values`."""
    alpha = values.get("lora_alpha", values.get("alpha"))
    rank = values.get("r")
    rslora = values.get("use_rslora", False) is True
    known = isinstance(rank, int) and not isinstance(rank, bool) and 0 < rank <= MAX_ALPHA
    initial = str(values.get("init_lora_weights", "")).lower()
    return ScaleConfig(
        None if alpha is None else _number(alpha, where),
        rslora,
        _patterns(values, "alpha_pattern", where),
        rank if known else None,
        _patterns(values, "rank_pattern", where),
        next((name for name in BASE_IN_FACTORS if initial.startswith(name)), ""),
    )


def _patterns(values: Mapping[str, Any], key: str, where: str) -> Patterns:
    """The patterns of one kind; alternatives (``to_q|to_k``) are taken apart."""
    declared = values.get(key) or {}
    if not isinstance(declared, dict):
        raise MalformedFile(f"{shown(where)}: {key} is no table.", advice=_ADVICE)
    names: dict[str, tuple[int, float]] = {}
    endings: dict[str, tuple[int, float]] = {}
    unread = []
    for place, (pattern, value) in enumerate(declared.items()):
        number = _number(value, where)
        inner = pattern[1:-1] if pattern[:1] + pattern[-1:] == "()" else pattern
        simple = [_SIMPLE.fullmatch(one) for one in inner.split("|")]
        if len(endings) >= MOST_ENDINGS or not all(simple):
            unread.append(pattern)
            continue
        for one in filter(None, simple):
            name = one["name"].replace("\\.", ".")
            (endings if one["any"] else names).setdefault(name, (place, number))
    return Patterns(names, endings, tuple(unread))


def _number(value: Any, where: str) -> float:
    """`value` as a finite float."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_ALPHA
    if not usable or not math.isfinite(value):
        what = "text, not a number" if isinstance(value, str) else "no usable number"
        raise MalformedFile(f"{shown(where)}: alpha is {shown(value, 40)}, {what}.", advice=_ADVICE)
    return float(value)
