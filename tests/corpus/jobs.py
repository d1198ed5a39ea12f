"""Work for the pool's tests; in a module of its own, so that worker processes can import it."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from typing import Any

import numpy as np

from auditor.errors import ReferenceSetError


def ready(factor: int = 1) -> Any:
    """A worker's work: numbers are multiplied, words are misdeeds."""
    return partial(work, factor)


def work(factor: int, task: Any, ask: Any) -> Any:
    if isinstance(task, int):
        return factor * task, os.getpid()
    if task == "ask":
        return ask("question")
    if task == "hang":
        time.sleep(600)
    if task == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "exit":
        os._exit(7)
    if task == "fault":
        raise ZeroDivisionError("by nought")
    if task == "eat":
        return float(np.ones(2**40 // 8).sum())
    raise AssertionError(task)


def unready() -> Any:
    """A start that fails."""
    raise ReferenceSetError("There is no set.", advice="Make one.")
