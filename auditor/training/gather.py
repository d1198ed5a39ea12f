"""What training processes report at their end, read while they run.

A pipe holds 64 KiB: a process with more to say waits until somebody reads, and would be waited for in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

Failures = dict[str, str]
"""Name of a LoRA → why it was not made."""


def gathered(
    processes: Sequence[BaseProcess], receivers: Sequence[Connection], tick: Callable[[], None], seconds: float = 1.0
) -> Failures:
    """The failures of all processes, each of which sends its own once, or ends without.  Returns when all have ended.

    receivers: one for each process; the caller holds no sending end open.  tick: called every so many seconds at least.
    """
    found: Failures = {}
    unheard, running = list(receivers), list(processes)
    while running:
        ready = wait([*unheard, *(process.sentinel for process in running)], seconds)
        for receiver in [one for one in unheard if one in ready]:
            unheard.remove(receiver)
            found |= _heard(receiver)
        running = [process for process in running if process.is_alive()]
        tick()
    for receiver in unheard:
        found |= _heard(receiver) if receiver.poll() else {}
    return found


def _heard(receiver: Connection) -> Failures:
    """What one process sent; nothing where it ended without, or in the middle: its exit code tells."""
    try:
        failures: Failures = receiver.recv()
    except (EOFError, OSError):
        return {}
    return failures
