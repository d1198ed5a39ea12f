"""Where training computes, and in which precision."""

from __future__ import annotations

import os

import torch

from auditor.errors import UsageError


def share_cores(workers: int) -> None:
    """Give this process its share of the cores, where so many train on this machine."""
    beside = max(workers, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    torch.set_num_threads(int(os.environ.get("AUDIT_TRAIN_THREADS") or max(1, (os.cpu_count() or 1) // beside)))


def require_device(device: str | None) -> None:
    """Raises UsageError for a device that torch does not know, or that is not there."""
    try:
        kind = torch.device(device).type if device else "cpu"
        there = kind != "cuda" or torch.cuda.is_available()
    except RuntimeError:
        there = False
    if not there:
        known = "cpu and cuda" if torch.cuda.is_available() else "cpu: no GPU is found here"
        raise UsageError(f"There is no device {device!r}.", advice=f"Known are {known}.")


def default_precision(device: str | None) -> str:
    """bf16 where there is a GPU that has it."""
    on_gpu = device != "cpu" and torch.cuda.is_available()
    return "bf16" if on_gpu and torch.cuda.is_bf16_supported() else "no"


def precision_dtype(precision: str) -> torch.dtype:
    """The frozen base's type; the adapters are always kept in float32."""
    return torch.bfloat16 if precision == "bf16" else torch.float32
