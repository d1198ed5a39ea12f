"""How long does a cold `audit check` take, and how much memory, beside Python's own start?  Prints a table.

python benchmarks/check.py [FILE]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 7
EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "01-serov-kohya-r6.safetensors"


def measure(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak resident MiB of one finished process."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def main() -> None:
    """Interleave the commands, so that a busy machine slows all of them."""
    file = sys.argv[1] if len(sys.argv) > 1 else str(EXAMPLE)
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import numpy": [sys.executable, "-c", "import numpy"],
        "audit check": [sys.executable, "-m", "auditor.cli", "check", file],
        "audit check, html": [sys.executable, "-m", "auditor.cli", "check", file, "--format", "html", "-o", "out"],
    }
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(RUNS):
        for name, command in commands.items():
            seen[name].append(measure(command))
    base = statistics.median(s for s, _ in seen["python -c pass"])
    print(f"{'command':20} {'median s':>9} {'min s':>7} {'× python':>9} {'peak MiB':>9}")
    for name, rows in seen.items():
        seconds = [s for s, _ in rows]
        median = statistics.median(seconds)
        print(f"{name:20} {median:9.2f} {min(seconds):7.2f} {median / base:9.1f} {max(m for _, m in rows):9.0f}")


if __name__ == "__main__":
    main()
