"""One queue on disk for any number of processes: a LoRA is claimed with a lock that dies with its process.

Nothing has to be cleaned up after a kill: the system drops the lock, and a LoRA without a file is free again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from auditor.errors import TrainingError
from auditor.training.plan import Job, target_file
from auditor.training.recipes import Recipe


class Queue:
    """The LoRAs of an output folder that are not there yet."""

    def __init__(self, output: Path, jobs: Sequence[Job], recipes: dict[str, Recipe]) -> None:
        """Recipe by recipe, so that a run that is cut short still spans all artists."""
        order = {name: k for k, name in enumerate(dict.fromkeys(job.recipe for job in jobs))}
        self.output, self.recipes = output, recipes
        self.waiting = sorted(jobs, key=lambda job: order[job.recipe])
        self.locks: dict[str, FileLock] = {}

    def take(self, size: int) -> list[Job]:
        """Claim up to `size` LoRAs that can be trained together; empty when nothing is left for this process."""
        taken: list[Job] = []
        for job in list(self.waiting):
            if len(taken) == size:
                break
            if target_file(self.output, job).is_file():
                self.waiting.remove(job)
            elif (not taken or self.kind(job) == self.kind(taken[0])) and self.claim(job):
                taken.append(job)
        for job in taken:
            self.waiting.remove(job)
        return taken

    def kind(self, job: Job) -> tuple[str, int, int, str]:
        """What LoRAs of one gang share."""
        return self.recipes[job.recipe].gang_key

    def claim(self, job: Job) -> bool:
        """Lock one LoRA; False if another process has it or has just finished it.  Raises TrainingError (disk full)."""
        folder = self.output / ".claims"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / f"{job.name}.lock")
            lock.acquire(timeout=0)
        except Timeout:
            return False
        except OSError as problem:
            raise TrainingError(
                f"{folder} cannot be written to: {problem.strerror}.",
                advice="Make room and run the same command again; finished LoRAs are kept.",
            ) from problem
        if target_file(self.output, job).is_file():
            lock.release()
            return False
        self.locks[job.name] = lock
        return True

    def done(self, jobs: Sequence[Job]) -> None:
        """Let go of LoRAs that are finished, or that failed."""
        for job in jobs:
            self.locks.pop(job.name).release()

    def put_back(self, jobs: Sequence[Job]) -> None:
        """Let go of LoRAs that are still to be trained, and put them first."""
        self.done(jobs)
        self.waiting = [*jobs, *self.waiting]
