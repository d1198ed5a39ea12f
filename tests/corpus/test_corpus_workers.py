"""Worker processes: whatever one file does to its worker, every other file gets its result."""

from __future__ import annotations

import os
from functools import partial

import jobs
import pytest

from auditor.corpus.workers import Limits, Lost, Pool
from auditor.errors import ReferenceSetError


def run(tasks, workers=2, limits=None, answer=lambda _: False, start=jobs.ready):
    with Pool(start, workers, limits) as pool:
        return dict(pool.run(tasks, answer))


def test_results_of_all_tasks_from_other_processes():
    found = run(range(30), start=partial(jobs.ready, 3))
    assert {task: value for task, (value, _) in found.items()} == {n: 3 * n for n in range(30)}
    assert os.getpid() not in {pid for _, pid in found.values()}
    assert len({pid for _, pid in found.values()}) == 2


@pytest.mark.parametrize(
    ("misdeed", "says"), [("die", "SIGKILL"), ("exit", "exit code 7"), ("fault", "ZeroDivisionError: by nought")]
)
def test_a_lost_worker_costs_its_task_alone(misdeed, says):
    found = run([1, misdeed, 2, 3, misdeed + "", 4])
    assert isinstance(found[misdeed], Lost)
    assert says in found[misdeed].reason
    assert [found[n][0] for n in (1, 2, 3, 4)] == [1, 2, 3, 4]


def test_a_hanging_task_is_stopped():
    found = run([1, "hang", 2], workers=1, limits=Limits(seconds=5.0))
    assert "longer than 5 s" in found["hang"].reason
    assert found[1][0] == 1
    assert found[2][0] == 2


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="memory is bounded on Linux only")
def test_memory_is_bounded():
    found = run(["eat", 5], workers=1, limits=Limits(memory=256))
    assert "256 MiB" in found["eat"].reason
    assert found[5][0] == 5


@pytest.mark.parametrize("says", [True, False])
def test_workers_can_ask(says):
    heard = []

    def answer(question):
        heard.append(question)
        return says

    assert run(["ask"], answer=answer) == {"ask": says}
    assert heard == ["question"]


def test_a_start_that_fails_is_raised_here():
    with pytest.raises(ReferenceSetError, match="There is no set"):
        run([1], start=jobs.unready)


def test_tasks_are_drawn_as_they_are_needed():
    drawn = []

    def source():
        for n in range(100):
            drawn.append(n)
            yield n

    with Pool(jobs.ready, 2) as pool:
        finished = pool.run(source(), lambda _: False)
        next(finished)
        assert len(drawn) <= 4


def test_the_main_script_is_not_run_again(tmp_path):
    """A caller's script without a guard must not be run in every worker."""
    import subprocess
    import sys
    from pathlib import Path

    script = tmp_path / "unguarded.py"
    script.write_text(
        "import jobs\nfrom auditor.corpus.workers import Pool\nprint('once')\n"
        "with Pool(jobs.ready, 1) as pool:\n    print(dict(pool.run([4], bool))[4][0])\n",
        encoding="utf-8",
    )
    here = Path(__file__).resolve()
    env = os.environ | {"PYTHONPATH": f"{here.parents[2]}{os.pathsep}{here.parent}"}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=env, timeout=120, check=False)
    assert done.stdout.split() == ["once", "4"], done.stderr
