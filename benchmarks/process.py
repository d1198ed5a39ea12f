"""What a whole command costs, whatever the program that asks has in memory.

A process begins as a copy of the one that starts it, and its peak counts that copy: a benchmark that holds 150 MiB
would find 150 MiB for `true`.  So commands are started by a small Python that holds nothing.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START = """
import os, sys, time
started = time.perf_counter()
child = os.fork()
if not child:
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.execvp(sys.argv[1], sys.argv[1:])
_, status, used = os.wait4(child, 0)
print(used.ru_utime + used.ru_stime, time.perf_counter() - started, used.ru_maxrss / 1024,
      os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True)
class Cost:
    """Of one finished command and all that it started and waited for."""

    cpu: float
    """Seconds."""
    wall: float
    """Seconds."""
    peak: float
    """Resident MiB of its largest process."""
    code: int


def cost(command: list[str]) -> Cost:
    """Run a command from the repository's root; what it says is thrown away."""
    told = subprocess.run(
        [sys.executable, "-I", "-S", "-c", START, *command], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    return Cost(float(told[0]), float(told[1]), float(told[2]), int(told[3]))
