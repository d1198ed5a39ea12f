"""How long does a marketplace's job take, from an empty environment to the exit code, with a cache of wheels?

    python benchmarks/gate.py [--wheels DIR] [--jobs 3] [FILE]

Builds the wheels once (that is the cache; it needs the package index unless DIR holds them already), then times
jobs of three steps: venv, installation from the wheels alone, and `audit check` of the file.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "01-serov-kohya-r6.safetensors"


Times = tuple[float, float]


def timed(command: list[str | Path], expected: int = 0) -> Times:
    """Wall and processor seconds of a command that must end with this exit code."""
    began = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != expected:
        raise SystemExit(f"{command}: exit code {process.returncode}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime


def job(wheels: Path, file: Path) -> dict[str, Times]:
    """Seconds of each step of one job."""
    with tempfile.TemporaryDirectory() as folder:
        venv = Path(folder) / "venv"
        pip = [sys.executable, "-m", "pip", "--python", venv / "bin" / "python", "install", "--quiet"]
        return {
            "venv": timed([sys.executable, "-m", "venv", "--without-pip", venv]),
            "install": timed(
                [
                    *pip,
                    "--no-compile",
                    "--disable-pip-version-check",
                    "--no-index",
                    "--find-links",
                    wheels,
                    "lora-style-audit",
                ]
            ),
            "audit": timed([venv / "bin" / "audit", "check", file, "--offline"], expected=11),
        }


def main() -> None:
    """Build the cache, time the jobs, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=EXAMPLE)
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--jobs", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheels = given.wheels or Path(folder)
        if not list(wheels.glob("lora_style_audit-*.whl")):
            timed([sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", wheels, ROOT])
        size = sum(f.stat().st_size for f in wheels.glob("*.whl")) / 2**20
        print(f"cache: {len(list(wheels.glob('*.whl')))} wheels, {size:.0f} MiB")
        jobs = [job(wheels, given.file) for _ in range(given.jobs)]
    print(f"{'step':10} {'median s':>9} {'max s':>7} {'processor s':>12}")
    for one in jobs:
        one["whole job"] = (sum(wall for wall, _ in one.values()), sum(cpu for _, cpu in one.values()))
    for step in jobs[0]:
        wall, cpu = ([one[step][kind] for one in jobs] for kind in (0, 1))
        print(f"{step:10} {statistics.median(wall):9.2f} {max(wall):7.2f} {statistics.median(cpu):12.2f}")


if __name__ == "__main__":
    main()
