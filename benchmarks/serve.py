"""How many audits a second does `audit serve` give on this machine, and how long does each take?  Prints a table.

    python benchmarks/serve.py [--seconds 10] [--clients 1 2 4 8] [--workers 2] [FILE]

Starts the service on a free port of the loopback, sends the file again and again from several clients, and counts.  The
last line sends from more clients than there are places, to see the refusals.  Then what a service must bear while
others use it: files too large, senders that are slow or never finish, garbage; and what is left of it on the disk.
"""

from __future__ import annotations

import argparse
import http.client
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "01-serov-kohya-r6.safetensors"


MEGABYTES, UPLOAD_S = 8, 4
"""Limits that the trials go beyond."""
HALF_OPEN = 200
"""Connections that send half a header and then nothing."""


def start(workers: int, queue: int, folder: str) -> tuple[subprocess.Popen[bytes], int, float]:
    """The running service, its port, and the seconds until it answered; `folder`: for its temporary files."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "auditor.cli", "serve", "--quiet", "--port", str(port)]
    began = time.perf_counter()
    command += ["--max-megabytes", str(MEGABYTES), "--upload-timeout", str(UPLOAD_S)]
    command += ["--workers", str(workers), "--queue", str(queue)]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "TMPDIR": folder})
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


def told(port: int, head: str, pieces: Iterable[bytes]) -> int | str:
    """The status that the service gives to a request sent piece by piece; "cut" where it ends the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
        try:
            wire.sendall(f"POST /v1/audits HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n".encode())
            for piece in pieces:
                wire.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = wire.recv(64)
    return int(answer.split()[1]) if answer else "cut"


def slowly(data: bytes) -> Iterator[bytes]:
    """A file at a piece a second, for twice as long as a sender may take."""
    for second in range(2 * UPLOAD_S):
        yield data[second * 100 : (second + 1) * 100]
        time.sleep(1)


def trials(port: int, data: bytes, clients: int) -> dict[str, int | str]:
    """What the service answers to each misuse while `clients` others send files."""
    large = MEGABYTES * 2**20 + 1
    zeros = [bytes(2**20)] * (MEGABYTES + 1)
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in zeros] + [b"0\r\n\r\n"]
    others = threading.Thread(target=load, args=(port, data, clients, 4 * UPLOAD_S))
    others.start()
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(HALF_OPEN)]
    for wire in silent:
        wire.sendall(b"POST /v1/audits HTTP/1.1\r\nHost: loc")
    found: dict[str, int | str] = {
        f"health, beside {HALF_OPEN} half-open connections": ask(port, "GET", "/healthz", None)
    }
    time.sleep(UPLOAD_S + 1)
    found |= {
        f"health, {UPLOAD_S + 1} s later": ask(port, "GET", "/healthz", None),
        f"{large} bytes, declared": told(port, f"Content-Length: {large}", zeros),
        f"{large} bytes or more, not declared": told(port, "Transfer-Encoding: chunked", chunks),
        f"slower than {UPLOAD_S} s": told(port, f"Content-Length: {len(data)}", slowly(data)),
        "garbage": ask(port, "POST", "/v1/audits", b"garbage" * 1000),
    }
    for wire in silent:
        wire.close()
    others.join()
    return found | {"health, afterwards": ask(port, "GET", "/healthz", None)}


def family(process: int) -> list[str]:
    """The service's process and those it started (Linux)."""
    threads = Path(f"/proc/{process}/task").glob("*/children")
    return [str(process), *(child for path in threads for child in path.read_text().split())]


def memory(process: int) -> float:
    """MiB resident, of the service and its processes."""
    pages = sum(int(Path(f"/proc/{p}/statm").read_text().split()[1]) for p in family(process))
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def busy(process: int) -> float:
    """Processor seconds that the service and its processes have used."""
    fields = [Path(f"/proc/{p}/stat").read_text().rpartition(")")[2].split() for p in family(process)]
    return sum(int(f[11]) + int(f[12]) for f in fields) / os.sysconf("SC_CLK_TCK")


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
    with tempfile.TemporaryDirectory() as folder:
        process, port, ready = start(given.workers, queue, folder)
        try:
            load(port, data, given.workers, 1.0)  # every process once
            print(f"{given.file.name}, {len(data) / 2**20:.2f} MiB, {given.workers} workers; ready after {ready:.1f} s")
            before = busy(process.pid)
            audits = throughput(port, data, [*given.clients, 2 * (given.workers + queue)], given.seconds)
            print(f"processor seconds an audit: {(busy(process.pid) - before) / audits:.2f}")
            print(f"memory of all processes: {memory(process.pid):.0f} MiB")
            for misuse, answer in trials(port, data, 1).items():
                print(f"{misuse}: {answer}")
            print(f"memory of all processes: {memory(process.pid):.0f} MiB")
            print(f"files left by uploads: {sum(1 for _ in Path(folder).glob('audit-upload-*/*'))}")
        finally:
            process.terminate()
            process.wait()


def throughput(port: int, data: bytes, clients: list[int], seconds: float) -> int:
    """Print a line for each number of clients; returns how many audits were had."""
    audits = 0
    print(f"{'clients':>8} {'audits/s':>9} {'median s':>9} {'p95 s':>7} {'max s':>7}  answers")
    for number in clients:
        statuses, taken = load(port, data, number, seconds)
        audits += len(taken)
        p95 = statistics.quantiles(taken, n=20)[-1] if len(taken) > 1 else float("nan")
        answers = ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items()))
        row = f"{number:8} {len(taken) / seconds:9.1f} {statistics.median(taken):9.2f} {p95:7.2f}"
        print(f"{row} {max(taken):7.2f}  {answers}")
    return audits


if __name__ == "__main__":
    main()
