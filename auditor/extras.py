"""Packages that only some commands need: imported when used, and one clear error where they are not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from auditor.errors import AuditorError


def need(module: str, extra: str, purpose: str) -> Any:
    """The imported `module`; raises AuditorError naming the extra that brings it."""
    with needing(extra, purpose):
        return import_module(module)


@contextmanager
def needing(extra: str, purpose: str) -> Iterator[None]:
    """A block of imports: where one of them lacks a package, AuditorError names the extra that brings it."""
    try:
        yield
    except ImportError as error:
        if not isinstance(error, ModuleNotFoundError) or (error.name or "auditor").startswith("auditor"):
            raise  # a broken package, or a fault of our own, which no extra mends
        raise absent(str(error.name), extra, purpose) from error


def absent(module: str, extra: str, purpose: str) -> AuditorError:
    """What to raise where `module` is not installed."""
    return AuditorError(
        f"The package '{module.partition('.')[0]}' is not installed; it is needed for {purpose}.",
        advice=f"Install it with: pip install 'lora-style-audit[{extra}]'.",
    )
