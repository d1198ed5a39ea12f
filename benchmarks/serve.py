"""How many audits a second does `audit serve` give on this machine, and how long does each take?  Prints a table.

    python benchmarks/serve.py [--seconds 10] [--clients 1 2 4 8] [--workers 2] [FILE]

Starts the service on a free port of the loopback, sends the file again and again from several clients, and counts.  The
last line sends from more clients than there are places, to see the refusals.
"""

from __future__ import annotations

import argparse
import http.client
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "01-serov-kohya-r6.safetensors"


def start(workers: int, queue: int) -> tuple[subprocess.Popen[bytes], int, float]:
    """The running service, its port, and the seconds until it answered."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "auditor.cli", "serve", "--quiet", "--port", str(port)]
    began = time.perf_counter()
    process = subprocess.Popen([*command, "--workers", str(workers), "--queue", str(queue)], cwd=ROOT)
    while process.poll() is None:
        try:
            if ask(port, "GET", "/healthz", None) == 200:
                return process, port, time.perf_counter() - began
        except OSError:
            time.sleep(0.05)
    raise SystemExit("The service did not start.")


def ask(port: int, method: str, path: str, body: bytes | None) -> int:
    """The status of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, body, {"Content-Type": "application/octet-stream"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def load(port: int, data: bytes, clients: int, seconds: float) -> tuple[Counter[int], list[float]]:
    """Statuses, and seconds of each answered audit, with so many clients sending one file after the other."""
    statuses: Counter[int] = Counter()
    taken: list[float] = []
    until = time.perf_counter() + seconds

    def client() -> None:
        while time.perf_counter() < until:
            began = time.perf_counter()
            status = ask(port, "POST", "/v1/audits", data)
            statuses[status] += 1
            if status == 200:
                taken.append(time.perf_counter() - began)
            else:
                time.sleep(0.2)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses, taken


def memory(process: int) -> float:
    """MiB resident, of the service and its processes (Linux)."""
    threads = Path(f"/proc/{process}/task").glob("*/children")
    family = [str(process), *(child for path in threads for child in path.read_text().split())]
    pages = sum(int(Path(f"/proc/{p}/statm").read_text().split()[1]) for p in family)
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=EXAMPLE)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 2)
    given = parser.parse_args()
    data = given.file.read_bytes()
    queue = 8
    process, port, ready = start(given.workers, queue)
    try:
        load(port, data, given.workers, 1.0)  # every process once
        print(f"{given.file.name}, {len(data) / 2**20:.2f} MiB, {given.workers} workers; ready after {ready:.1f} s")
        print(f"{'clients':>8} {'audits/s':>9} {'median s':>9} {'p95 s':>7} {'max s':>7}  answers")
        for clients in [*given.clients, 2 * (given.workers + queue)]:
            statuses, taken = load(port, data, clients, given.seconds)
            p95 = statistics.quantiles(taken, n=20)[-1] if len(taken) > 1 else float("nan")
            told = ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items()))
            row = f"{clients:8} {len(taken) / given.seconds:9.1f} {statistics.median(taken):9.2f} {p95:7.2f}"
            print(f"{row} {max(taken):7.2f}  {told}")
        print(f"memory of all processes: {memory(process.pid):.0f} MiB")
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
