"""Packages that only large jobs need: imported when used, with a clear error when missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from auditor.errors import AuditorError


def need(module: str, extra: str, purpose: str) -> Any:
    """The imported `module`; raises AuditorError naming the extra that brings it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise AuditorError(
            f"The package '{module.partition('.')[0]}' is not installed; it is needed for {purpose}.",
            advice=f"Install it with: pip install 'lora-style-audit[{extra}]'.",
        ) from error
