"""Plans: near-duplicates on one side, works spanned, splits kept when the folder grows.  Needs no torch."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import UsageError
from auditor.training import plan as planning
from auditor.training.log import append_line, read_lines
from auditor.training.plan import (
    check_pictures,
    check_plan,
    mirrored,
    near_duplicates,
    plan,
    read_plan,
    split_works,
    target_file,
    write_plan,
)
from auditor.training.progress import Progress, duration, line
from auditor.training.recipes import REFERENCE, on_checkpoint


@dataclass
class Folder:
    """Pictures that exist only as hashes."""

    file: list[str]
    hashes: np.ndarray

    @property
    def artist(self) -> list[str]:
        return [name.split("/")[0] for name in self.file]


def folder(count: int, artists: int = 1, seed: int = 0) -> Folder:
    rng = np.random.default_rng(seed)
    names = [f"artist-{a}/{i:03}.jpg" for a in range(artists) for i in range(count)]
    return Folder(names, rng.random((len(names), 64)) < 0.5)


def flipped(hashes: np.ndarray, bits: int, rng: np.random.Generator) -> np.ndarray:
    changed = hashes.copy()
    for row in changed:
        row[rng.choice(64, bits, replace=False)] ^= True
    return changed


@given(st.integers(2, 30), st.integers(0, planning.NEAR), st.integers(0, 2**31))
def test_near_duplicates_are_never_on_both_sides(count: int, bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    own = folder(count, seed=seed)
    twins = rng.choice(count, max(1, count // 3), replace=False)
    copies = [f"artist-0/copy-{i:03}.jpg" for i in twins]
    whole = Folder(own.file + copies, np.concatenate([own.hashes, flipped(own.hashes[twins], bits, rng)]))
    side = split_works(whole, seed)["artist-0"]
    assert set(side) == set(whole.file)
    for twin, copy in zip(twins, copies, strict=True):
        assert side[own.file[twin]] == side[copy]


@given(st.integers(2, 60), st.integers(0, 2**31))
def test_halves_of_different_pictures_are_equal_in_size(count: int, seed: int) -> None:
    own = folder(count, seed=seed)
    if len(set(near_duplicates(own.hashes))) == count:
        sides = list(split_works(own, seed)["artist-0"].values())
        assert abs(sides.count("a") - sides.count("b")) <= 1


def test_plans_are_the_same_every_time_and_span_the_works() -> None:
    own = folder(40, artists=3)
    jobs = plan(own, REFERENCE, seed=5, repeats=2)
    assert jobs == plan(own, REFERENCE, seed=5, repeats=2)
    assert jobs != plan(own, REFERENCE, seed=6, repeats=2)
    assert len({j.name for j in jobs}) == len({j.seed for j in jobs}) == len(jobs) == 3 * 2 * len(REFERENCE) * 2
    for artist in set(own.artist):
        parts = {h: {f for j in jobs if (j.artist, j.half) == (artist, h) for f in j.pictures} for h in ("a", "b")}
        assert not parts["a"] & parts["b"]
        assert parts["a"] | parts["b"] == {f for f in own.file if f.startswith(f"{artist}/")}
    assert all(8 <= len(j.pictures) <= 20 for j in jobs)


def test_one_repeat_keeps_the_jobs_of_a_plan_without_repeats() -> None:
    own = folder(30)
    once = plan(own, REFERENCE, seed=1)
    assert [j.name for j in once] == [j.name for j in plan(own, REFERENCE, seed=1, repeats=2) if j.name[-2:] != "-2"]


def test_a_grown_folder_keeps_the_split_of_what_was_planned(tmp_path: Path) -> None:
    whole = folder(30)
    small = Folder(whole.file[:20], whole.hashes[:20])
    splits = split_works(small, 3)
    write_plan(tmp_path, plan(small, REFERENCE, 3, splits=splits), "base", REFERENCE, splits, {"seed": 3})
    again = split_works(whole, 3, read_plan(tmp_path)["splits"])
    assert again == splits
    fewer = Folder(whole.file[5:20], whole.hashes[5:20])
    assert split_works(fewer, 3, splits)["artist-0"] == {f: splits["artist-0"][f] for f in fewer.file}


def test_a_finished_file_keeps_the_record_of_what_it_was_trained_on(tmp_path: Path) -> None:
    own = folder(30)
    before = plan(own, REFERENCE[:2], 0)
    write_plan(tmp_path, before, "base", REFERENCE[:2])
    done = target_file(tmp_path, before[0])
    done.parent.mkdir()
    done.write_bytes(b"finished")
    changed = [planning.Job(**{**vars(j), "pictures": ["artist-0/other.jpg"]}) for j in before]
    write_plan(tmp_path, changed, "base", REFERENCE[:2])
    recorded = {j["name"]: j["pictures"] for j in read_plan(tmp_path)["jobs"]}
    assert recorded[before[0].name] == before[0].pictures
    assert recorded[before[1].name] == ["artist-0/other.jpg"]


def test_an_output_folder_takes_one_base_one_meaning_of_a_recipe_and_one_setting(tmp_path: Path) -> None:
    from dataclasses import replace

    write_plan(tmp_path, [], "base", REFERENCE[:1], {}, {"seed": 3})
    check_plan(tmp_path, "base", REFERENCE[:2], {"seed": 3})
    with pytest.raises(UsageError, match="another base"):
        check_plan(tmp_path, "other", REFERENCE[:1], {"seed": 3})
    with pytest.raises(UsageError, match="another recipe"):
        check_plan(tmp_path, "base", [replace(REFERENCE[0], steps=1)], {"seed": 3})
    with pytest.raises(UsageError, match="seed = 3"):
        check_plan(tmp_path, "base", REFERENCE[:1], {"seed": 4})
    (tmp_path / "plan.json").write_text('{"jobs": [')
    with pytest.raises(UsageError, match=r"plan\.json"):
        read_plan(tmp_path)


def test_an_output_folder_takes_other_checkpoints_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="part of a file's name"):
        on_checkpoint(REFERENCE[0], "../up")
    of_base, recipe = plan(folder(30), REFERENCE[:1], 3), on_checkpoint(REFERENCE[0], "anime-5")
    others = plan(folder(30), [recipe], 3)
    assert recipe.name == f"{REFERENCE[0].name}-on-anime-5"
    assert not {job.name for job in of_base} & {job.name for job in others}
    assert not {job.seed for job in of_base} & {job.seed for job in others}
    # Whichever is trained first.
    write_plan(tmp_path, others, "anime's digest", [recipe], checkpoint="anime-5")
    check_plan(tmp_path, "base", REFERENCE[:1], {})
    write_plan(tmp_path, of_base, "base", REFERENCE[:1])
    check_plan(tmp_path, "anime's digest", [recipe], {}, "anime-5")
    check_plan(tmp_path, "third", [recipe], {}, "other")
    stored = read_plan(tmp_path)
    assert (stored["base"], stored["checkpoints"]) == ("base", {"anime-5": "anime's digest"})
    assert {job["name"] for job in stored["jobs"]} == {job.name for job in [*of_base, *others]}
    with pytest.raises(UsageError, match="another checkpoint of the name"):
        check_plan(tmp_path, "third", [recipe], {}, "anime-5")
    with pytest.raises(UsageError, match="no other checkpoint"):
        check_plan(tmp_path, "base", [recipe], {}, "same")
    with pytest.raises(UsageError, match="another base"):
        check_plan(tmp_path, "anime's digest", REFERENCE[:1], {})


def test_the_splits_of_an_older_plan_are_read_from_its_jobs(tmp_path: Path) -> None:
    own = folder(30)
    jobs = plan(own, REFERENCE, 0)
    (tmp_path / "plan.json").write_text(json.dumps({"base": "x", "jobs": [vars(j) for j in jobs]}))
    assert read_plan(tmp_path)["splits"]["artist-0"] == split_works(own, 0)["artist-0"]


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    append_line(path, {"n": 1})
    with path.open("ab") as handle:
        handle.write(b'{"n": 2, "na')
    append_line(path, {"n": 3})
    assert read_lines(path) == [{"n": 1}, {"n": 3}]


def test_progress_counts_files_and_running_gangs(tmp_path: Path) -> None:
    jobs = plan(folder(30), REFERENCE, 0)
    said: list[str] = []
    progress = Progress(tmp_path, jobs, said.append)
    path = target_file(tmp_path, jobs[0])
    path.parent.mkdir()
    path.write_bytes(b"")
    progress.beat(4, 0.25)
    assert progress.finished() == 1
    assert progress.running() == 1.0
    progress.report()
    assert not said  # too soon
    progress.last -= 3600
    progress.report()
    assert said[0].startswith(f"2 of {len(jobs)} LoRAs, ")
    progress.rest()
    assert progress.running() == 0.0


def test_a_killed_process_no_longer_counts_and_one_elsewhere_counts_for_a_while(tmp_path: Path) -> None:
    pytest.importorskip("psutil")
    progress = Progress(tmp_path, plan(folder(30), REFERENCE, 0), print)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    progress.beat(4, 0.5)
    (own,) = progress.folder.iterdir()
    row = json.loads(own.read_text())
    own.rename(own.with_stem(str(gone.pid)))
    assert progress.running() == 0.0
    own.with_stem("1000000000").write_text(json.dumps(row | {"host": "elsewhere"}))
    assert progress.running() == 2.0
    own.with_stem("1000000000").write_text(json.dumps(row | {"host": "elsewhere", "at": time.time() - 1000}))
    assert progress.running() == 0.0


def test_rates_and_times_are_said_for_people() -> None:
    assert line(10, 40, 5, 3600) == "10 of 40 LoRAs, 5.0 an hour, 6 h 00 min left"
    assert line(0, 40, 0, 10) == "0 of 40 LoRAs"
    assert [duration(s) for s in (12, 300, 3900, 3 * 86400)] == ["12 s", "5 min", "1 h 05 min", "3 d 0 h"]


def test_another_picture_under_a_planned_name_is_refused(tmp_path: Path) -> None:
    digests = {"ada/000.jpg": "a", "ada/001.jpg": "b"}
    check_pictures(tmp_path, digests)  # nothing is planned yet
    write_plan(tmp_path, plan(folder(4), REFERENCE, 0), "base", digests=digests)
    check_pictures(tmp_path, digests | {"ada/002.jpg": "a"})
    with pytest.raises(UsageError, match=r"another picture under the name ada/000\.jpg and 1 more"):
        check_pictures(tmp_path, {"ada/000.jpg": "b", "ada/001.jpg": "a"})
    write_plan(tmp_path, [], "base", digests={"bea/000.jpg": "c"})
    assert read_plan(tmp_path)["digests"] == digests | {"bea/000.jpg": "c"}


def test_a_plan_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("[]")
    with pytest.raises(UsageError, match="cannot be read"):
        read_plan(tmp_path)


def test_the_last_line_promises_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    jobs = plan(folder(30), REFERENCE, 0)
    Progress(tmp_path, jobs, said.append).report(ended=True)
    assert said == [f"0 of {len(jobs)} LoRAs"]
    assert "-" not in line(12.0, 10, 5.0, 60.0)


@given(st.integers(2, 20), st.integers(0, planning.MIRRORED), st.integers(0, 2**31))
def test_mirrored_pictures_are_near_duplicates(count: int, bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    own = folder(count, seed=seed).hashes
    groups = near_duplicates(np.concatenate([own, flipped(mirrored(own), bits, rng)]))
    assert (groups[:count] == groups[count:]).all()
    assert (mirrored(mirrored(own)) == own).all()


def test_pictures_are_compared_across_blocks() -> None:
    hashes = folder(planning.BLOCK + 40).hashes
    groups = near_duplicates(np.concatenate([hashes, hashes[:3]]))
    assert (groups[-3:] == groups[:3]).all()
    assert len(set(groups)) == len(hashes)
