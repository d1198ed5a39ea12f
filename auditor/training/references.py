"""Artists' works → reference LoRAs: caches, gangs, files; any number of processes on one queue.

In:  a base (diffusers folder), a folder of works, planned jobs.  Out: ``OUT/<artist>/<name>.safetensors``,
``OUT/plan.json`` (what every file was trained on) and ``OUT/log.jsonl`` (what happened).  Files are written atomically
and a file that exists is never trained again, so a killed run resumes with the loss of its running gangs only.
"""

from __future__ import annotations

import gc
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import torch

from auditor.errors import AuditorError, TrainingError
from auditor.training.cache import Cache
from auditor.training.captions import GIVEN, with_captions
from auditor.training.claims import Queue
from auditor.training.devices import default_precision, precision_dtype, share_cores
from auditor.training.export import write_lora
from auditor.training.families import Base, load_base
from auditor.training.gang import Member, Trained, train_gang
from auditor.training.gather import gathered
from auditor.training.log import append_line
from auditor.training.memory import out_of_memory
from auditor.training.plan import Job, plan, target_file, write_plan
from auditor.training.progress import Progress
from auditor.training.recipes import BY_NAME, Recipe
from auditor.training.works import read_works

__all__ = ["Job", "Settings", "load_base", "plan", "run", "target_file", "write_plan"]

ROOM = 3
"""A gang starts only when the disk has room for this many times its files."""
POLL = 0.5
"""Seconds between two looks at what other processes hold."""


@dataclass(frozen=True)
class Settings:
    """How to train; what to train is in the jobs."""

    base: Path
    images: Path
    output: Path
    gang: int = 16
    """LoRAs that are trained together; fewer where memory is short."""
    side: int | None = None
    """Pixels of the pictures; None = what the base was made for."""
    caption: str = GIVEN
    device: str | None = None
    """'cpu', 'cuda', …; None = what accelerate finds."""
    precision: str | None = None
    """'no' (float32) or 'bf16'; None = bf16 on a GPU that has it, else float32."""
    compiled: bool = False
    checkpointing: bool = False
    quiet: bool = False


def to_stderr(text: str) -> None:
    """One line on stderr."""
    print(text, file=sys.stderr, flush=True)


def silent(text: str) -> None:
    """Nothing."""


def run(
    settings: Settings, jobs: Sequence[Job], workers: int = 1, recipes: dict[str, Recipe] | None = None
) -> list[tuple[str, str]]:
    """Train all jobs whose file does not exist yet, `workers` processes side by side; recipes: None = the package's.

    Returns (name, reason) of the LoRAs that failed.  Raises TrainingError if a worker dies; what was finished stays.
    """
    recipes = recipes or BY_NAME
    tell = silent if settings.quiet else to_stderr
    if workers == 1:
        failed = work(settings, jobs, recipes, tell)
        return list(failed.items())
    context = get_context("spawn")
    ends = [context.Pipe(duplex=False) for _ in range(workers)]
    processes = [
        context.Process(target=work_alone, args=(settings, jobs, recipes, k, workers, end))
        for k, (_, end) in enumerate(ends)
    ]
    for process in processes:
        process.start()
    for _, end in ends:
        end.close()  # only the processes may hold it, or their end would not be noticed
    progress = Progress(settings.output, jobs, tell)
    try:
        failed = gathered(processes, [receiver for receiver, _ in ends], progress.report)
    except BaseException:  # above all Ctrl-C, which the workers leave to this process
        for process in processes:
            process.terminate()
        raise
    progress.report(ended=True)
    died = [p.exitcode for p in processes if p.exitcode]
    if died and progress.waiting:
        raise TrainingError(
            f"{len(died)} of {workers} training processes ended early: {', '.join(map(ending, died))}.",
            advice="Run the same command again, finished LoRAs are kept; one that was killed may have lacked memory.",
        )
    return [(n, r) for n, r in failed.items() if n in progress.waiting and not progress.waiting[n].is_file()]


def ending(code: int) -> str:
    """An exit code in words."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"with code {code}, for what it says above"


def orphaned() -> bool:
    """Whether the process that started this one is gone, which then nobody hears any more."""
    parent = parent_process()
    return parent is not None and not parent.is_alive()


def work_alone(
    settings: Settings, jobs: Sequence[Job], recipes: dict[str, Recipe], rank: int, workers: int, failures: Any
) -> None:
    """A spawned worker: it sees one GPU of the machine, or its share of the cores."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the first one ends the others
    if torch.cuda.device_count() > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(rank % torch.cuda.device_count())
    tell = silent if settings.quiet else to_stderr
    try:
        failed = work(settings, jobs, recipes, tell, workers=workers, reports=False)
        with suppress(OSError):  # nobody is left who listens
            failures.send(failed)
    except AuditorError as error:
        to_stderr(f"worker {rank}: {error}")
        sys.exit(error.exit_code)


def work(
    settings: Settings,
    jobs: Sequence[Job],
    recipes: dict[str, Recipe],
    tell: Callable[[str], None],
    *,
    workers: int = 1,
    reports: bool = True,
) -> dict[str, str]:
    """Train gangs from the queue until it is empty, in this process; name → reason of every LoRA that failed."""
    from accelerate import Accelerator

    accelerator = Accelerator(
        mixed_precision=settings.precision or default_precision(settings.device), cpu=settings.device == "cpu"
    )
    device = torch.device(settings.device) if settings.device else accelerator.device
    if device.type == "cpu":
        share_cores(workers)
    base = load_base(settings.base, device, precision_dtype(accelerator.mixed_precision))
    side = settings.side or base.side
    works = read_works(settings.images, side, settings.output / "cache" / "pictures.jsonl")
    works = with_captions(works, settings.caption, settings.output / "cache", str(device), tell)
    factory = Factory(
        settings,
        base,
        Cache(base, works, settings.output / "cache", side, tell),
        recipes,
        Queue(settings.output, jobs, recipes),
        Progress(settings.output, jobs, tell if reports and accelerator.is_main_process else silent),
        tell,
        accelerator.autocast,
        last=accelerator.is_main_process and reports,
    )
    return factory.run()


def mebibytes(count: int) -> str:
    """'12.3 MiB'."""
    return f"{count / 2**20:.1f} MiB"


@dataclass
class Factory:
    """One process's loop over the queue: take a gang, train it, write its files, go on whatever happens to one LoRA."""

    settings: Settings
    base: Base
    cache: Cache
    recipes: dict[str, Recipe]
    queue: Queue
    progress: Progress
    tell: Callable[[str], None]
    autocast: Callable[[], Any]
    last: bool = False
    """It speaks for all: it stays until other processes, of this run or another, let go of what they train, and takes
    what they drop."""

    def run(self) -> dict[str, str]:
        """Until nothing is left; name → reason of what failed."""
        self.failed: dict[str, str] = {}
        self.size, self.ready = self.settings.gang, False
        while (group := self.queue.take(self.size)) or (self.last and self.queue.waiting):
            if group:
                self.gang(group)
            else:
                time.sleep(POLL)
            self.progress.report()
        self.progress.report(ended=True)
        return self.failed

    def gang(self, group: list[Job]) -> None:
        """Train the LoRAs of one gang and write their files."""
        started = time.time()
        jobs, members = self.inputs(group) if self.has_room(group) else ([], [])
        trained = self.train(jobs, members) if jobs else []
        if trained:
            self.write(jobs, trained, time.time() - started)
            self.queue.done(jobs)
        self.progress.rest()

    def inputs(self, group: list[Job]) -> tuple[list[Job], list[Member]]:
        """Jobs whose pictures and texts can be had, with them; the others fail here, each alone."""
        jobs, members = [], []
        for job in group:
            try:
                members.append(self.cache.member(job, self.recipes[job.recipe]))
                jobs.append(job)
            except (AuditorError, OSError) as problem:
                self.fail(job, str(problem))
                self.queue.done([job])
            except (RuntimeError, MemoryError) as problem:
                if not out_of_memory(problem):
                    raise
                self.fail(job, "out of memory while a single picture, or its caption, was encoded")
                self.queue.done([job])
        return jobs, members

    def train(self, jobs: list[Job], members: list[Member]) -> list[Trained]:
        """A gang's LoRAs; empty if it was put back (out of memory), or if all of it failed."""
        try:
            self.prepare_model()
            return train_gang(self.base, members, autocast=self.autocast, each_step=partial(self.step, jobs))
        except (AuditorError, OSError) as problem:
            for job in jobs:
                self.fail(job, str(problem))
            self.queue.done(jobs)
            return []
        except (RuntimeError, MemoryError) as problem:
            if not out_of_memory(problem):
                raise
        return self.shrink(jobs)  # outside the clause above, whose traceback keeps the failed gang's tensors alive

    def prepare_model(self) -> None:
        """Once: gradient checkpointing and compilation, where asked for."""
        if self.ready:
            return
        self.ready = True
        if self.settings.checkpointing:
            self.base.model.enable_gradient_checkpointing()
        if self.settings.compiled:
            # Each size of gang by itself: else the last, smaller one has all compiled anew for sizes unknown, which
            # took longer than to train it.
            self.base.model.compile(dynamic=False)

    def step(self, group: list[Job], step: int) -> None:
        """Say how far the gang is."""
        if orphaned():
            sys.exit(TrainingError.exit_code)
        self.progress.beat(len(group), step / self.recipes[group[0].recipe].steps)
        self.progress.report()

    def shrink(self, group: list[Job]) -> list[Trained]:
        """Out of memory: a smaller gang from now on; a single LoRA tries gradient checkpointing before it fails."""
        gc.collect()
        torch.cuda.empty_cache()
        if len(group) == 1 and getattr(self.base.model, "is_gradient_checkpointing", True):
            self.fail(group[0], "out of memory with a gang of one and gradient checkpointing")
            self.queue.done(group)
            return []
        if len(group) == 1:
            self.base.model.enable_gradient_checkpointing()
            self.note("memory", gang=1, checkpointing=True)
        else:
            self.size = max(1, len(group) // 2)
            self.note("memory", gang=self.size)
            self.tell(f"out of memory with {len(group)} LoRAs at once: going on with {self.size}")
        self.queue.put_back(group)
        return []

    def has_room(self, group: list[Job]) -> bool:
        """Whether the disk can hold the gang's files; if not, its LoRAs fail here, before anything is computed."""
        widest = max(self.recipes[job.recipe].rank for job in group)
        parameters = sum(p.shape[0] + math.prod(p.shape[1:]) for p in self.base.model.parameters() if p.ndim > 1)
        needed = ROOM * len(group) * 2 * widest * parameters
        free = shutil.disk_usage(self.settings.output).free
        if free >= needed:
            return True
        wanted = f"{mebibytes(needed)} wanted for {len(group)} LoRAs"
        for job in group:
            self.fail(job, f"the disk is full: {mebibytes(free)} free, {wanted}")
        self.queue.done(group)
        return False

    def write(self, group: list[Job], trained: list[Trained], seconds: float) -> None:
        """Files and log lines of a gang; a file that cannot be written fails alone."""
        for job, lora in zip(group, trained, strict=True):
            if not math.isfinite(lora.loss):
                self.fail(job, "the loss is not finite: lower the recipe's learning rate")
                continue
            path, recipe = target_file(self.settings.output, job), self.recipes[job.recipe]
            try:
                write_lora(path, lora.factors, recipe, self.base.family)
            except TrainingError as problem:
                self.fail(job, str(problem))
                continue
            except OSError as problem:
                self.fail(job, f"it could not be written: {problem.strerror or problem}")
                continue
            each = round(seconds / len(group), 2)
            self.note("trained", name=job.name, loss=round(lora.loss, 5), gang=len(group), s=each)

    def fail(self, job: Job, reason: str) -> None:
        """Remember, log and tell that a LoRA was not made."""
        self.failed[job.name] = reason
        self.note("failed", name=job.name, reason=reason)
        self.tell(f"not trained: {job.name}: {reason}")

    def note(self, event: str, **more: object) -> None:
        """One line of log.jsonl; a full disk is told, not fatal."""
        try:
            append_line(self.settings.output / "log.jsonl", {"event": event, **more, "time": round(time.time(), 1)})
        except OSError as problem:
            self.tell(f"log.jsonl cannot be written: {problem.strerror}")
