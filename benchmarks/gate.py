"""How long does a marketplace's job take, from an empty environment to the exit code, with a cache of wheels?

    python benchmarks/gate.py [--wheels DIR] [FILE]

Builds the wheels once (that is the cache; it needs the package index unless DIR holds them already), then times three
jobs: venv, installation from the wheels alone, and `audit check` of the file.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "01-serov-kohya-r6.safetensors"
JOBS = 3


def timed(command: list[str | Path], expected: int = 0) -> float:
    """Seconds of a command that must end with this exit code."""
    began = time.perf_counter()
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode != expected:
        raise SystemExit(f"{command}: exit code {done.returncode}\n{done.stderr}")
    return time.perf_counter() - began


def job(wheels: Path, file: Path) -> dict[str, float]:
    """Seconds of each step of one job."""
    with tempfile.TemporaryDirectory() as folder:
        venv = Path(folder) / "venv"
        pip = [venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        return {
            "venv": timed([sys.executable, "-m", "venv", venv]),
            "install": timed([*pip, "--no-index", "--find-links", wheels, "lora-style-audit"]),
            "audit": timed([venv / "bin" / "audit", "check", file, "--offline"], expected=11),
        }


def main() -> None:
    """Build the cache, time the jobs, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=EXAMPLE)
    parser.add_argument("--wheels", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheels = given.wheels or Path(folder)
        if not list(wheels.glob("lora_style_audit-*.whl")):
            timed([sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", wheels, ROOT])
        size = sum(f.stat().st_size for f in wheels.glob("*.whl")) / 2**20
        print(f"cache: {len(list(wheels.glob('*.whl')))} wheels, {size:.0f} MiB")
        jobs = [job(wheels, given.file) for _ in range(JOBS)]
    print(f"{'step':10} {'median s':>9} {'max s':>7}")
    for step in ("venv", "install", "audit"):
        seconds = [one[step] for one in jobs]
        print(f"{step:10} {statistics.median(seconds):9.2f} {max(seconds):7.2f}")
    whole = [sum(one.values()) for one in jobs]
    print(f"{'whole job':10} {statistics.median(whole):9.2f} {max(whole):7.2f}")


if __name__ == "__main__":
    main()
