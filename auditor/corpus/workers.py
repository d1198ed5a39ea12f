"""Worker processes for untrusted files: one that dies, hangs or eats its memory costs its file, never the batch.

    Pool.run(tasks) ─► (task, result) in the order of finishing

Each worker has its own pipe, so that a killed one can leave no lock behind that others wait for (pools that share a
queue can); the parent watches the pipes, a clock for each, and starts a new worker in place of a lost one.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import Any

from auditor.errors import AuditorError

Ask = Callable[[str], bool]
Work = Callable[[Any, Ask], Any]
Start = Callable[[], Work]
"""Runs once in a worker; must be picklable."""


STARTING = 600.0
"""Seconds that a worker may take to get ready."""


@dataclass(frozen=True)
class Lost:
    """A task without a result, and why."""

    reason: str


@dataclass(frozen=True)
class Limits:
    """What one file may take."""

    seconds: float = 300.0
    """Wall-clock time."""
    memory: int = 2048
    """MiB that a worker may allocate beyond what it has after starting (Linux; elsewhere no limit is set)."""


@dataclass
class _Worker:
    """A running worker as the parent sees it."""

    process: Any
    pipe: Connection
    task: Any = None
    busy: bool = False
    since: float = 0.0
    """When the task began: the clock of a new worker runs from when it is ready."""
    patience: float = 0.0
    """Seconds that it may take from `since`."""


class Pool:
    """`workers` processes, each made ready by `start`; they live from the first `run` to `close`."""

    def __init__(self, start: Start, workers: int, limits: Limits | None = None) -> None:
        """Nothing runs before `run`."""
        self._start, self._count, self._limits = start, workers, limits or Limits()
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []

    def __enter__(self) -> Pool:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers."""
        self.close()

    def close(self) -> None:
        """End the workers, whatever they are doing."""
        for worker in self._workers:
            self._end(worker)
        self._workers = []

    def run(self, tasks: Iterable[Any], answer: Ask) -> Iterator[tuple[Any, Any]]:
        """(task, result or Lost) as they finish.  `answer` is asked, in this process, what workers want to know.

        Raises the AuditorError with which `start` failed.  Tasks are drawn only when a worker is free for them.
        """
        source = iter(tasks)
        self._workers = self._workers or [self._new() for _ in range(self._count)]
        running = sum(self._give(worker, source) for worker in self._workers)
        while running:
            for worker in self._due():
                finished = self._hear(worker, answer)
                if finished is None:
                    continue
                if isinstance(finished, Lost):
                    self._replace(worker)
                task = worker.task
                running += self._give(worker, source) - 1
                yield task, finished

    def _new(self) -> _Worker:
        """A started worker."""
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the cores are taken by workers, not by threads in them
        here, there = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(there, self._start, self._limits.memory), daemon=True)
        with _without_main():
            process.start()
        there.close()
        return _Worker(process, here, patience=STARTING)

    def _give(self, worker: _Worker, source: Iterator[Any]) -> int:
        """Hand the next task to a worker; 1 if there was one."""
        worker.busy = False
        for task in source:
            worker.task, worker.busy, worker.since = task, True, time.monotonic()
            with suppress(ConnectionError):  # it died while idle: its closed pipe will be heard next
                worker.pipe.send(task)
            return 1
        return 0

    def _due(self) -> list[_Worker]:
        """Busy workers that have something to say, are gone, or are out of time."""
        busy = [worker for worker in self._workers if worker.busy]
        now = time.monotonic()
        left = min(worker.since + worker.patience - now for worker in busy)
        heard = wait([worker.pipe for worker in busy], timeout=max(0.0, left))
        now = time.monotonic()
        return [worker for worker in busy if worker.pipe in heard or worker.since + worker.patience <= now]

    def _hear(self, worker: _Worker, answer: Ask) -> Any:
        """A finished task's result, Lost, or None when the worker only asked."""
        if not worker.pipe.poll():
            return Lost(f"reading it took longer than {worker.patience:g} s, and the worker was stopped.")
        try:
            kind, value = worker.pipe.recv()
            if kind == "ask":
                worker.pipe.send(answer(value))
                return None
            if kind == "ready":
                worker.since, worker.patience = time.monotonic(), self._limits.seconds
                return None
        except (EOFError, ConnectionError, BrokenPipeError):
            return Lost(self._death(worker))
        if kind == "unready":
            failure, message, advice = value
            raise failure(message, advice=advice)
        return Lost(value) if kind == "error" else value

    def _death(self, worker: _Worker) -> str:
        """How a worker ended, in words."""
        worker.process.join(5)
        code = worker.process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
            killed = ", most likely for want of memory" if name == "SIGKILL" else ""
            return f"the worker that read it was killed by {name}{killed}."
        return f"the worker that read it ended with exit code {code}."

    def _replace(self, worker: _Worker) -> None:
        """A new process in place of a lost or doubtful one."""
        self._end(worker)
        fresh = self._new()
        worker.process, worker.pipe, worker.patience = fresh.process, fresh.pipe, fresh.patience

    def _end(self, worker: _Worker) -> None:
        """Stop a worker; harmless when it is gone."""
        worker.pipe.close()
        worker.process.kill()
        worker.process.join()


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep a new process from running the parent's main script again, which may have no guard against that."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _serve(pipe: Connection, start: Start, memory: int) -> None:
    """A worker's life: get ready, then one task after the other until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and ends us

    def ask(question: str) -> bool:
        pipe.send(("ask", question))
        return bool(pipe.recv())

    try:
        try:
            work = start()
        except AuditorError as error:
            pipe.send(("unready", (type(error), error.message, error.advice)))
            return
        bound(memory)
        pipe.send(("ready", None))
        while True:
            task = pipe.recv()
            try:
                said: tuple[str, Any] = ("done", work(task, ask))
            except AuditorError as error:  # a full disk, a missing package: no fault of the file, nor of audit
                said = ("error", str(error))
            except MemoryError:
                said = ("error", f"it needs more than the {memory} MiB of memory that one file may take.")
            except Exception as error:  # a fault on one file must not end the batch; it is told in the file's row
                said = ("error", f"a fault of audit itself on this file: {type(error).__name__}: {error}"[:500])
            pipe.send(said)
    except (EOFError, ConnectionError, BrokenPipeError):
        return


def bound(memory: int) -> None:
    """Limit what this process may allocate from now on to `memory` MiB more; only Linux knows how."""
    if not os.path.exists("/proc/self/statm"):
        return
    import resource

    with open("/proc/self/statm", encoding="ascii") as figures:
        pages = int(figures.read().split()[0])
    limit = pages * resource.getpagesize() + memory * 2**20
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
