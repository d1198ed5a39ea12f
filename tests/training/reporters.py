"""Processes that report failures, for tests; in a module of its own, so that they can import it.  Needs no torch."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection


def report(count: int, end: Connection) -> None:
    """Send so many failures, of some 100 bytes each."""
    end.send({f"{os.getpid()}-{number}": "the disk is full " * 6 for number in range(count)})


def die(end: Connection) -> None:
    """End without a word."""
    os._exit(3)
