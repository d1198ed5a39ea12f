"""How far a run is: finished files, plus what every process says about its running gang; rate and time left."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from socket import gethostname

from auditor.training.plan import Job, target_file
from auditor.whole_file import whole_file

EVERY = 10.0
"""Seconds between two lines, and between two signs of life."""
STALE = 120.0
"""Seconds after which a process that gives no sign no longer counts."""


def killed(host: str | None, process: int) -> bool:
    """Whether a process of this machine is gone; of another machine nothing is known but its last sign of life."""
    from psutil import pid_exists  # here, for plans and progress are read where nothing can be trained

    return host == gethostname() and not pid_exists(process)


def duration(seconds: float) -> str:
    """'45 s', '12 min', '3 h 05 min', '2 d 3 h'."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def line(done: float, total: int, gained: float, seconds: float) -> str:
    """One line of progress; done counts running gangs by their share, gained is what this run has added."""
    text = f"{int(done)} of {total} LoRAs"
    if gained <= 0 or seconds <= 0:
        return text
    rate = gained / seconds
    return f"{text}, {rate * 3600:.1f} an hour, {duration(max(0.0, (total - done) / rate))} left"


class Progress:
    """Heartbeats of one process, and the sum over all of them."""

    def __init__(self, output: Path, jobs: Sequence[Job], tell: Callable[[str], None]) -> None:
        """tell: gets a line from `report` at most every `EVERY` seconds."""
        self.folder, self.tell = output / ".running", tell
        self.waiting = {job.name: target_file(output, job) for job in jobs}
        self.total, self.started, self.last = len(jobs), time.monotonic(), time.monotonic()
        self.beaten: float | None = None
        self.first = self.finished()

    def finished(self) -> int:
        """How many LoRAs have their file."""
        self.waiting = {name: path for name, path in self.waiting.items() if not path.is_file()}
        return self.total - len(self.waiting)

    def beat(self, members: int, share: float) -> None:
        """Say that this process's gang of `members` has done `share` of its steps; a full disk is no reason to stop.

        Written at most every `EVERY` seconds.
        """
        if self.beaten is not None and time.monotonic() - self.beaten < EVERY:
            return
        self.beaten = time.monotonic()
        path = self.folder / f"{os.getpid()}.json"
        try:
            with whole_file(path) as partial:
                partial.write_text(json.dumps({"at": time.time(), "host": gethostname(), "done": members * share}))
        except OSError:
            return

    def rest(self) -> None:
        """Say that no gang runs in this process."""
        (self.folder / f"{os.getpid()}.json").unlink(missing_ok=True)

    def running(self) -> float:
        """LoRAs' worth of work in running gangs."""
        total = 0.0
        for path in self.folder.glob("*.json"):
            try:
                row = json.loads(path.read_text())
            except (OSError, ValueError):
                continue  # just replaced or removed by its process
            if time.time() - row["at"] < STALE and not killed(row.get("host"), int(path.stem)):
                total += row["done"]
        return total

    def report(self, ended: bool = False) -> None:
        """Tell a line when it is time, or at the end, when nothing is left to do whatever failed."""
        now = time.monotonic()
        if not ended and now - self.last < EVERY:
            return
        self.last = now
        done = self.finished() + (0.0 if ended else self.running())
        self.tell(line(done, self.total, 0.0 if ended else done - self.first, now - self.started))
