"""Files written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from auditor.errors import AuditorError
from auditor.whole_file import make_folder, whole_file, write_whole


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def left_by_a_killed_process(path: Path) -> Path:
    """What stays where nothing runs after the write: the partial file under its own name."""
    with whole_file(path) as partial:
        partial.write_bytes(b"half")
    path.unlink()
    partial.write_bytes(b"half")
    return partial


def test_a_reader_sees_the_old_or_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "x.bin"
    write_whole(path, b"old")
    with whole_file(path) as partial:
        partial.write_bytes(b"new")
        assert path.read_bytes() == b"old"
        assert partial.parent == path.parent, "a rename must not cross file systems"
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["x.bin"]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    write_whole(path, b"old")

    def fail() -> None:
        with whole_file(path) as partial:
            partial.write_bytes(b"half")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert names(tmp_path) == ["x.bin"]
    assert path.read_bytes() == b"old"


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_of_any_new_file(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        path = write_whole(tmp_path / "x", "text")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


def test_only_the_only_writer_removes_what_killed_ones_left_and_only_of_its_file(tmp_path: Path) -> None:
    path, other = tmp_path / "x[1]--a0.safetensors", tmp_path / "x[1]--a0.5.safetensors"
    left, others = left_by_a_killed_process(path), left_by_a_killed_process(other)
    write_whole(path, b"new")
    assert names(tmp_path) == sorted([left.name, others.name, path.name])
    with whole_file(path, only_writer=True) as partial:
        partial.write_bytes(b"newer")
    assert path.read_bytes() == b"newer"
    assert names(tmp_path) == sorted([others.name, path.name])


@pytest.mark.parametrize("write", [lambda place: write_whole(place, "text", "Elsewhere."),
                                   lambda place: make_folder(place, "Elsewhere.")])  # fmt: skip
def test_a_place_that_cannot_be_written_is_told_with_advice(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    place = tmp_path / "file" / "deeper" / "x"
    with pytest.raises(AuditorError, match="could not be written: Not a directory") as told:
        write(place)
    assert (told.value.advice, told.value.exit_code) == ("Elsewhere.", 1)
    assert names(tmp_path) == ["file"]


def test_the_longest_names_can_be_written(tmp_path: Path) -> None:
    assert write_whole(tmp_path / ("x" * 255), "text").read_text(encoding="utf-8") == "text"
