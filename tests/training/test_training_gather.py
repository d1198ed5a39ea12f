"""Failures of training processes reach the parent, however many there are.  Needs no torch."""

from __future__ import annotations

import threading
from multiprocessing import get_context
from typing import Any

import reporters

from auditor.training.gather import gathered

LONGEST_S = 60.0


def gathered_from(*tasks: tuple[Any, tuple[Any, ...]]) -> tuple[dict[str, str], list[int | None], int]:
    """(failures, exit codes, ticks) of processes that do `tasks`; a hang fails the test and is ended."""
    context = get_context("spawn")
    ends = [context.Pipe(duplex=False) for _ in tasks]
    processes = [
        context.Process(target=target, args=(*given, end), daemon=True)
        for (target, given), (_, end) in zip(tasks, ends, strict=True)
    ]
    for process in processes:
        process.start()
    for _, end in ends:
        end.close()
    guard = threading.Timer(LONGEST_S, lambda: [process.kill() for process in processes])
    guard.start()
    ticks: list[int] = []
    try:
        found = gathered(processes, [receiver for receiver, _ in ends], lambda: ticks.append(1))
    finally:
        guard.cancel()
        for receiver, _ in ends:
            receiver.close()
    return found, [process.exitcode for process in processes], len(ticks)


def test_more_failures_than_a_pipe_holds() -> None:
    found, codes, ticks = gathered_from((reporters.report, (2000,)), (reporters.report, (3000,)))
    assert codes == [0, 0]
    assert len(found) == 5000
    assert ticks > 0


def test_a_process_that_dies_leaves_the_others_their_word() -> None:
    found, codes, _ = gathered_from((reporters.die, ()), (reporters.report, (3,)))
    assert codes == [3, 0]
    assert len(found) == 3
