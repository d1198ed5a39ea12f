"""Processes that audit: each holds the reference set, does one file at a time, and can be ended at any time.

In:  a path.  Out: the audit as a dict, or why there is none.  A process that dies or overruns its time is replaced; the
service itself never reads a suspect.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from auditor.errors import AuditorError, UsageError

START = 120.0
"""Seconds in which a process must have loaded its set."""
LATER = "Send the file again later: the next request starts the process anew."
_CONTEXT = multiprocessing.get_context("spawn")


class TooLong(AuditorError):
    """An audit took longer than allowed and was ended."""

    code = "timeout"


class Broken(AuditorError):
    """A process ended in the middle of an audit."""

    code = "worker"


@dataclass(frozen=True)
class Job:
    """One audit."""

    path: str
    name: str
    """What the audit calls the file."""
    artists: tuple[str, ...] = ()
    """Who is asked about; none: everybody in the set."""
    independent: bool = False
    """Whether they were chosen independently of the file (`auditor.question.Question`)."""


@dataclass(frozen=True)
class Setting:
    """What every process audits with."""

    refs: str | None
    policy: str | None
    """Path of a policy file."""
    alpha: float | None
    seed: int


class Pool:
    """A fixed number of processes, handed out to one request each."""

    def __init__(self, setting: Setting, count: int, seconds: float) -> None:
        """count: processes; seconds: longest time of one audit."""
        self._setting, self._count, self._seconds = setting, count, seconds
        self._idle: asyncio.Queue[_Worker | None] = asyncio.Queue()
        """None stands for a process that did not start: whoever draws it starts it again."""
        self._all: set[_Worker] = set()
        self._starts: set[asyncio.Future[None]] = set()
        self.artists: list[str] = []
        """Of the set, once started."""
        self.set_digest = ""

    async def start(self) -> None:
        """Start all processes.  Raises AuditorError when the set or the policy cannot be used."""
        starts = (self._begin() for _ in range(self._count))
        failures = [f for f in await asyncio.gather(*starts, return_exceptions=True) if f is not None]
        if failures:
            self.stop()
            raise failures[0]

    def stop(self) -> None:
        """End all processes."""
        for worker in self._all:
            worker.end()
        self._all.clear()

    def alive(self) -> int:
        """How many processes run."""
        return sum(worker.process.is_alive() for worker in self._all)

    async def audit(self, job: Job) -> dict[str, Any]:
        """The audit, when a process is free.  Raises TooLong or Broken; the process is then replaced."""
        while (worker := await self._idle.get()) is None:
            await asyncio.shield(self._begin())  # goes on where the sender leaves
        try:
            found = await asyncio.to_thread(worker.audit, job, self._seconds)
        except UsageError:  # the request is at fault, not the process
            self._idle.put_nowait(worker)
            raise
        except BaseException:  # whatever happened: the process is in doubt, and its place must not be lost
            self._all.discard(worker)
            worker.end()
            with suppress(AuditorError):  # whoever draws its place next is told
                await asyncio.shield(self._begin())
            raise
        self._idle.put_nowait(worker)
        return found

    def revive(self) -> None:
        """Start again, meanwhile, what did not start; for whoever looks after the service while nobody sends a file."""
        drawn = [self._idle.get_nowait() for _ in range(self._idle.qsize())]
        for worker in drawn:
            if worker is not None:
                self._idle.put_nowait(worker)
            else:
                start = asyncio.ensure_future(self._begin())
                self._starts.add(start)
                start.add_done_callback(self._started)

    def _started(self, start: asyncio.Future[None]) -> None:
        """A start that nobody waits for is over; if it failed, its place is empty still, and health says so."""
        self._starts.discard(start)
        if not start.cancelled():
            start.exception()

    async def _begin(self) -> None:
        """A new process among the idle ones; None in its place where it does not start.  Raises AuditorError then."""
        worker = None
        try:
            worker = await asyncio.to_thread(_Worker, self._setting)
            self._all.add(worker)
            self.artists, self.set_digest = worker.artists, worker.set_digest
        finally:
            self._idle.put_nowait(worker)


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, setting: Setting) -> None:
        """Start it and wait until its set is loaded.  Raises Broken, and leaves no process, where that fails."""
        self._pipe, other = _CONTEXT.Pipe()
        self.process: SpawnProcess = _CONTEXT.Process(target=_serve, args=(other, setting), daemon=True)
        try:
            self.process.start()
        except OSError as error:
            self._pipe.close()
            raise Broken(f"No process that audits could be started: {error}.", advice=LATER) from error
        finally:
            other.close()
        try:
            late = Broken(f"A process that audits was not ready after {START:g} s and was ended.", advice=LATER)
            ready = self._answer(START, late)
        except BaseException:
            self.end()
            raise
        self.artists: list[str] = ready["artists"]
        self.set_digest: str = ready["digest"]

    def audit(self, job: Job, seconds: float) -> dict[str, Any]:
        """One audit; raises TooLong, Broken."""
        try:
            self._pipe.send(job)
        except OSError as error:
            raise Broken("A process that audits has ended.", advice="Send the file again.") from error
        late = TooLong(
            f"The audit took longer than {seconds:g} s and was ended; nothing is known about the file.",
            advice="Audit it with the command `audit check`, which sets no limit.",
        )
        return self._answer(seconds, late)

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.join()
        self._pipe.close()

    def _answer(self, seconds: float, late: AuditorError) -> dict[str, Any]:
        """What the process says next.  Raises `late` where it says nothing for so long, else Broken."""
        try:
            if not self._pipe.poll(seconds):
                raise late
            found: dict[str, Any] = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise Broken("A process that audits has ended.", advice="Send the file again.") from error
        if "failed" in found:
            kind = UsageError if found["code"] == UsageError.code else Broken
            raise kind(found["failed"], advice=found["advice"])
        return found


def _serve(pipe: Connection, setting: Setting) -> None:
    """The life of a process: load, tell, then one audit after the other until the pipe closes."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's interrupt is for the service, which ends us
    try:
        audit = _prepared(setting, pipe)
    except AuditorError as problem:
        pipe.send(_failed(problem))
        return
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            pipe.send(audit(job))
        except AuditorError as problem:
            pipe.send(_failed(problem))


def _failed(problem: AuditorError) -> dict[str, str]:
    """Why there is no audit, for the pipe."""
    return {"failed": problem.message, "advice": problem.advice, "code": problem.code}


def _prepared(setting: Setting, pipe: Connection) -> Any:
    """The function that audits, with its set loaded; tells the pipe that it is."""
    from auditor.audit import answer
    from auditor.evidence import make_ready
    from auditor.gate import gated, level_of, load_policy
    from auditor.policy import DEFAULTS
    from auditor.question import Question
    from auditor.reference import ReferenceSet

    reference = ReferenceSet.load(setting.refs)
    policy = load_policy(setting.policy).read_for(reference) if setting.policy else None
    level = level_of(setting.alpha, policy)
    usual = Question(setting.seed, level, thresholds=policy.thresholds if policy else DEFAULTS)

    def audit(job: Job) -> dict[str, Any]:
        if policy:
            policy.require_whole_question(reference, job.artists)
        question = replace(usual, artists=job.artists, independent=job.independent)
        found = answer(job.path, question, reference)
        found = found.renamed(job.path, job.name)
        return (gated(found, policy) if policy else found).to_dict()

    make_ready(reference, level)  # now, not in the first request
    pipe.send({"artists": reference.artists, "digest": reference.manifest["digest"]})
    return audit
