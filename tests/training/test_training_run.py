"""Runs: the command trains, resumes after a kill, goes on after failures, shares one queue between processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("accelerate")
pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore")]

import psutil  # noqa: E402
import torch  # noqa: E402
from filelock import FileLock  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from tiny_bases import write_pictures  # noqa: E402

from auditor import whole_file as writing  # noqa: E402
from auditor.errors import TrainingError, UsageError  # noqa: E402
from auditor.lora import load_lora  # noqa: E402
from auditor.training import cache as caching  # noqa: E402
from auditor.training import estimate, export, find_base, log, one_sided, references, too_few, train, works  # noqa: E402
from auditor.training import plan as planning  # noqa: E402
from auditor.training.families import Base  # noqa: E402
from auditor.training.gang import train_gang  # noqa: E402
from auditor.training.log import read_lines  # noqa: E402
from auditor.training.plan import read_plan  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = "diffusion_pytorch_model.safetensors"
RECIPES = """
[[recipe]]
name = "one"
dialect = "diffusers"
rank = 4
alpha = 8
learning_rate = 1e-3
steps = 3
targets = "attention+ff"
batch = 2
crops = "whole"
schedule = "cosine"
[[recipe]]
name = "two"
dialect = "kohya"
rank = 2
alpha = 1
learning_rate = 1e-3
steps = 3
targets = "attention+ff"
batch = 2
noise_offset = 0.05
"""
Bases = Callable[[str], Path]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def recipes(tmp_path: Path) -> str:
    path = tmp_path / "recipes.toml"
    path.write_text(RECIPES)
    return str(path)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tensors on a busy machine: threads would wait for each other."""
    monkeypatch.setenv("AUDIT_TRAIN_THREADS", "1")


@pytest.fixture
def art(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "art", 2, 10)


def events(output: Path, kind: str) -> list[dict[str, object]]:
    return [row for row in read_lines(output / "log.jsonl") if row["event"] == kind]


def files(output: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in sorted(output.glob("artist-*/*.safetensors"))}


def updates(output: Path) -> dict[tuple[str, str], torch.Tensor]:
    """ΔW of every module of every LoRA, by file name and path."""
    read = {path.stem: load_lora(path).modules for path in sorted(output.glob("artist-*/*.safetensors"))}
    return {(n, p): torch.tensor(m.scale * m.up @ m.down) for n, modules in read.items() for p, m in modules.items()}


def assert_same_updates(output: Path, other: Path) -> None:
    """To what float16 files keep of weights that agree to numerical noise."""
    ours, theirs = updates(output), updates(other)
    assert list(ours) == list(theirs)
    assert ours
    for key, update in ours.items():
        torch.testing.assert_close(update, theirs[key], atol=1e-4, rtol=0.05)


def run_training(base: Path, art: Path, output: Path, recipe: str, **more: object) -> dict[str, object]:
    options = {"device": "cpu", "side": 32, "progress": lambda line: None, "quiet": True} | more
    return train(base, art, output, recipes=[recipe], **options)  # type: ignore[arg-type]


def test_gangs_of_any_size_and_a_second_run_give_the_same_files(
    tmp_path: Path, base_folder: Bases, art: Path, recipes: str
) -> None:
    done = run_training(base_folder("mini"), art, tmp_path / "a", recipes, gang=8)
    assert (done["planned"], done["trained"], done["kept"], done["failed"]) == (8, 8, 0, [])
    lie_there = {path.stem for path in (tmp_path / "a").rglob("*.safetensors")}
    assert lie_there == set(files(tmp_path / "a")), "what is no LoRA would be audited as one"
    run_training(base_folder("mini"), art, tmp_path / "b", recipes, gang=3)
    assert_same_updates(tmp_path / "a", tmp_path / "b")
    before = files(tmp_path / "a")
    done = run_training(base_folder("mini"), art, tmp_path / "a", recipes, gang=8)
    assert (done["trained"], done["kept"]) == (0, 8)
    assert files(tmp_path / "a") == before


def test_every_family_trains_from_pictures_to_files(
    tmp_path: Path, base_folder: Bases, art: Path, recipes: str
) -> None:
    from tiny_bases import FAMILIES

    shutil.rmtree(art / "artist-1")
    for family in FAMILIES[1:]:
        Path(recipes).write_text(RECIPES.replace('"kohya"', '"diffusers"') if family == "sd3" else RECIPES)
        done = run_training(base_folder(family), art, tmp_path / family, recipes, parts=("all",))
        assert (done["trained"], done["failed"]) == (2, []), family
        part = "unet" if family.startswith("sd") and family != "sd3" else "transformer"
        for path in (tmp_path / family).glob("artist-*/*.safetensors"):
            weights = load_lora(path)
            assert all(name.startswith(part) for name in weights.modules)
            assert any(abs(module.up).max() > 0 for module in weights.modules.values())


def test_a_picture_that_breaks_after_planning_fails_its_artist_only(
    tmp_path: Path, base_folder: Bases, art: Path, recipes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = caching.read_square

    def vanishing(path: Path, side: int) -> object:
        if path == art / "artist-0" / "003.png":
            raise OSError("gone")
        return real(path, side)

    monkeypatch.setattr(caching, "read_square", vanishing)
    done = run_training(base_folder("mini"), art, tmp_path / "out", recipes)
    assert done["trained"] == 4
    assert {str(name).split("--")[0] for name, _ in done["failed"]} == {"artist-0"}  # type: ignore[attr-defined]
    assert all("artist-0/003.png" in str(row["reason"]) for row in events(tmp_path / "out", "failed"))
    monkeypatch.undo()
    assert run_training(base_folder("mini"), art, tmp_path / "out", recipes)["trained"] == 4


def test_a_file_that_cannot_be_written_fails_alone_and_leaves_nothing(
    tmp_path: Path, base_folder: Bases, art: Path, recipes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync
    calls: list[int] = []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    done = run_training(base_folder("mini"), art, tmp_path / "out", recipes)
    assert done["trained"] == 7
    ((name, reason),) = done["failed"]  # type: ignore[misc]
    assert "No space left" in reason
    assert not list((tmp_path / "out").rglob("*.part"))
    monkeypatch.undo()
    assert run_training(base_folder("mini"), art, tmp_path / "out", recipes)["trained"] == 1
    assert name in files(tmp_path / "out")


def test_a_full_disk_is_said_before_anything_is_trained(
    tmp_path: Path, base_folder: Bases, art: Path, recipes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr(references.shutil, "disk_usage", lambda path: usage)
    done = run_training(base_folder("mini"), art, tmp_path / "out", recipes)
    assert done["trained"] == 0
    assert len(done["failed"]) == 8  # type: ignore[arg-type]
    assert all("disk is full" in reason for _, reason in done["failed"])  # type: ignore[attr-defined]


@pytest.mark.parametrize("full", ["plan.json", "pictures.jsonl", "texts-", "views-", ".safetensors", "log.jsonl"])
def test_no_room_for_any_file_is_told_and_leaves_nothing_half_written(
    tmp_path: Path, base_folder: Bases, art: Path, recipes: str, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    """A disk without room for one of the files that a run writes, whichever it is; then room again."""
    output = tmp_path / "out"

    def no_room(name: str) -> None:
        if full in name:
            raise OSError(28, "No space left on device")

    real_whole, real_append = writing.whole_file, log.append_line

    @contextmanager
    def whole_file(path: Path, **asked: bool) -> Iterator[Path]:
        with real_whole(path, **asked) as partial:
            yield partial
            no_room(path.name)

    def append_line(path: Path, row: dict[str, object]) -> None:
        no_room(path.name)
        real_append(path, row)

    for module in (planning, caching, export):
        monkeypatch.setattr(module, "whole_file", whole_file)
    for module in (works, references):
        monkeypatch.setattr(module, "append_line", append_line)
    if full in ("plan.json", "pictures.jsonl"):
        with pytest.raises(TrainingError, match="No space left"):
            run_training(base_folder("mini"), art, output, recipes)
    else:
        done = run_training(base_folder("mini"), art, output, recipes)
        assert all("No space left" in reason for _, reason in done["failed"])  # type: ignore[attr-defined]
        assert (done["trained"], len(done["failed"])) == ((8, 0) if full == "log.jsonl" else (0, 8))  # type: ignore[arg-type]
    assert not list(output.rglob("*.part"))
    monkeypatch.undo()
    monkeypatch.setenv("AUDIT_TRAIN_THREADS", "1")
    run_training(base_folder("mini"), art, output, recipes)
    assert len(files(output)) == 8


def test_out_of_memory_is_answered_by_smaller_gangs(
    tmp_path: Path, base_folder: Bases, art: Path, recipes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def narrow(base: object, members: list[object], **more: object) -> object:
        sizes.append(len(members))
        if len(members) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")
        return train_gang(base, members, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(references, "train_gang", narrow)
    done = run_training(base_folder("mini"), art, tmp_path / "out", recipes, gang=8)
    assert (done["trained"], done["failed"]) == (8, [])
    assert sizes == [8, 4, 2, 2, 2, 2]
    assert [row["gang"] for row in events(tmp_path / "out", "memory")] == [4, 2]
    sizes.clear()
    monkeypatch.setattr(estimate, "train_gang", narrow)
    for _ in range(2):  # a second plan in one process as well
        (kind,) = run_training(base_folder("mini"), art, tmp_path / "new", recipes, gang=8, only_plan=True)["gangs"]  # type: ignore[misc]
        assert kind["gang"] == 2
    assert sizes == [8, 4, 2] * 2


@pytest.mark.parametrize(
    "problem",
    [RuntimeError("could not create a primitive"), torch.OutOfMemoryError("CUDA out of memory."), MemoryError()],
    ids=repr,
)
def test_pictures_are_encoded_fewer_at_a_time_where_memory_is_short(
    tmp_path: Path, base_folder: Bases, art: Path, recipes: str, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    run_training(base_folder("mini"), art, tmp_path / "whole", recipes)
    encode, most = Base.encode_pictures, 3

    def narrow(self: Base, batch: torch.Tensor) -> torch.Tensor:
        if len(batch) > most:
            raise problem
        return encode(self, batch)

    monkeypatch.setattr(Base, "encode_pictures", narrow)
    run_training(base_folder("mini"), art, tmp_path / "out", recipes)
    assert_same_updates(tmp_path / "out", tmp_path / "whole")
    most = 0
    done = run_training(base_folder("mini"), art, tmp_path / "none", recipes)
    assert {reason for _, reason in done["failed"]} == {  # type: ignore[attr-defined]
        "out of memory while a single picture, or its caption, was encoded"
    }


def test_a_damaged_cache_is_made_anew(tmp_path: Path, base_folder: Bases, art: Path, recipes: str) -> None:
    run_training(base_folder("mini"), art, tmp_path / "out", recipes)
    before = files(tmp_path / "out")
    for path in (tmp_path / "out" / "cache").glob("*.tensors"):
        path.write_bytes(path.read_bytes()[:-5])
    for path in (tmp_path / "out").glob("artist-*/*.safetensors"):
        path.unlink()
    assert run_training(base_folder("mini"), art, tmp_path / "out", recipes)["trained"] == 8
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda base: os.truncate(base / "unet" / WEIGHTS, 5000), "is damaged"),
        (lambda base: (base / "unet" / WEIGHTS).unlink(), "holds no weights"),
        (lambda base: (base / "vae" / WEIGHTS).rename(base / "vae" / "model.fp16.safetensors"), "in full precision"),
        (lambda base: shutil.rmtree(base / "tokenizer"), "no folder 'tokenizer'"),
        (lambda base: (base / "unet" / "config.json").write_text("[]"), "it holds no table"),
    ],
)
def test_a_base_that_is_not_whole_is_refused_before_anything_is_planned(
    tmp_path: Path, base_folder: Bases, art: Path, recipes: str, damage: Callable[[Path], object], said: str
) -> None:
    shutil.copytree(base_folder("mini"), tmp_path / "base")
    damage(tmp_path / "base")
    with pytest.raises(TrainingError, match=said):
        run_training(tmp_path / "base", art, tmp_path / "out", recipes)
    assert not (tmp_path / "out" / "plan.json").exists()


@pytest.mark.parametrize(
    ("option", "said"), [({"caption": "name"}, "no captions 'name'"), ({"device": "gpu"}, "no device 'gpu'")]
)
def test_a_mistyped_option_leaves_no_plan_behind(
    tmp_path: Path, base_folder: Bases, art: Path, recipes: str, option: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        run_training(base_folder("mini"), art, tmp_path / "out", recipes, **option)
    assert not (tmp_path / "out").exists()


def test_one_lora_that_does_not_fit_fails_after_checkpointing_was_tried(
    tmp_path: Path, base_folder: Bases, art: Path, recipes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(base: object, members: list[object], **more: object) -> object:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")

    monkeypatch.setattr(references, "train_gang", never)
    done = run_training(base_folder("mini"), art, tmp_path / "out", recipes, gang=2)
    assert len(done["failed"]) == 8  # type: ignore[arg-type]
    assert {"gang": 1, "checkpointing": True}.items() <= events(tmp_path / "out", "memory")[1].items()


def test_another_base_recipe_or_seed_in_the_same_folder_is_refused(
    tmp_path: Path, base_folder: Bases, art: Path, recipes: str
) -> None:
    run_training(base_folder("mini"), art, tmp_path / "out", recipes)
    with pytest.raises(UsageError, match="another base"):
        run_training(base_folder("sd15"), art, tmp_path / "out", recipes)
    with pytest.raises(UsageError, match="seed"):
        run_training(base_folder("mini"), art, tmp_path / "out", recipes, seed=1)


def test_references_on_another_checkpoint_join_those_on_the_base(
    tmp_path: Path, base_folder: Bases, art: Path, recipes: str
) -> None:
    """One folder, the same halves of the works, a set of both."""
    other = tmp_path / "other"
    shutil.copytree(base_folder("mini"), other)
    path = other / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: value * 1.01 for name, value in load_file(path).items()}, path, metadata={"format": "pt"})
    first = run_training(base_folder("mini"), art, tmp_path / "out", recipes)
    done = run_training(other, art, tmp_path / "out", recipes, checkpoint="strong")
    assert (done["trained"], done["kept"], done["failed"]) == (first["trained"], 0, [])
    jobs = read_plan(tmp_path / "out")["jobs"]
    on = {name: [j for j in jobs if j["name"].endswith("-on-strong") == name] for name in (False, True)}
    assert len(on[True]) == len(on[False]) == first["trained"]
    halves = [{p: j["half"] for j in some for p in j["pictures"]} for some in on.values()]
    assert all(halves[1].get(picture, half) == half for picture, half in halves[0].items())
    assert len(set(files(tmp_path / "out").values())) == 2 * first["trained"]
    again = run_training(other, art, tmp_path / "out", recipes, checkpoint="strong")
    assert (again["trained"], again["kept"]) == (0, first["trained"])


def test_bases_are_found_by_path_and_name_and_unknown_ones_are_refused(tmp_path: Path, base_folder: Bases) -> None:
    assert find_base(base_folder("flux")) == base_folder("flux")
    assert find_base(Path("audit-mini")) == ROOT / "bases" / "audit-mini"
    with pytest.raises(UsageError, match="no base"):
        find_base(Path("nothing-of-that-name"))
    (tmp_path / "odd" / "transformer").mkdir(parents=True)
    (tmp_path / "odd" / "transformer" / "config.json").write_text('{"_class_name": "Other"}')
    with pytest.raises(TrainingError, match="Other"):
        references.load_base(tmp_path / "odd")


def test_small_folders_are_remarked_in_few_lines_however_many_artists() -> None:
    few, enough = [f"few-{k:02}" for k in range(30) for _ in range(15)], ["enough"] * 16
    (remark,) = too_few(few + enough)
    assert remark == "fewer than 16 pictures, so that halves are small: " + ", ".join(few[:120:15]) + " and 22 more"
    assert too_few(enough) == [
        "1 artists: a reference set needs at least 3",
        "1 artists: a set's validity card needs at least 10",
        "1 artists: naming one of them at α = 0.05 needs at least 20",
    ]


def command(base: Path, art: Path, output: Path, recipes: str, *more: str) -> list[str]:
    arguments = ["--base", str(base), "--images", str(art), "-o", str(output), "--recipe", recipes, "--device", "cpu"]
    return [sys.executable, "-m", "auditor.cli", "refs", "train", *arguments, "--side", "32", *more]


def environment() -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("AUDIT_")}
    return clean | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "AUDIT_TRAIN_THREADS": "1"}


def test_plan_says_what_and_how_long_and_writes_nothing(
    tmp_path: Path, base_folder: Bases, art: Path, recipes: str
) -> None:
    (art / "artist-0" / "broken.png").write_bytes(b"x")
    line = command(base_folder("mini"), art, tmp_path / "out", recipes, "--plan", "--json", "--gang", "3")
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, check=True, timeout=1800)
    found = json.loads(done.stdout)
    assert (found["planned"], found["already_there"], found["artists"]) == (8, 0, 2)
    (kind,) = found["gangs"]
    assert (kind["recipes"], kind["loras"], kind["gang"], kind["steps"]) == ("one, two", 8, 3, 3)
    assert found["seconds"] >= 3 * 3 * kind["seconds_a_step"] * 0.9 > 0
    assert "skipped artist-0/broken.png" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_killed_run_resumes_and_keeps_what_was_finished(
    tmp_path: Path, base_folder: Bases, art: Path, recipes: str
) -> None:
    output = tmp_path / "out"
    line = command(base_folder("mini"), art, output, recipes, "--gang", "2", "--resume")
    process = subprocess.Popen(line, env=environment(), start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 1800
    while not files(output):
        assert process.poll() is None, "ended before the first LoRA"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = files(output)
    planned = read_plan(output)["jobs"]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, check=True, timeout=1800)
    assert len(files(output)) == len(planned) == 8
    assert read_plan(output)["jobs"] == planned
    assert all(files(output)[name] == data for name, data in finished.items())
    assert {row["name"] for row in events(output, "trained")} >= set(files(output)) - set(finished)
    assert f"{len(finished)} already there" in done.stderr
    assert "8 of 8 LoRAs" in done.stderr
    run_training(base_folder("mini"), art, tmp_path / "whole", recipes, gang=2)
    assert_same_updates(output, tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=str)
def test_workers_end_with_the_process_that_started_them(
    tmp_path: Path, base_folder: Bases, art: Path, recipes: str, number: signal.Signals
) -> None:
    """Without a traceback; Ctrl-C reaches all of them at once."""
    output = tmp_path / "out"
    Path(recipes).write_text(RECIPES.replace("steps = 3", "steps = 1000000"))
    line = command(base_folder("mini"), art, output, recipes, "--gang", "2", "--workers", "2")
    with (tmp_path / "said").open("w") as said:
        # What runs in the background is started deaf to Ctrl-C, and its children with it.
        hears = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(line, env=environment(), start_new_session=True, stderr=said, preexec_fn=hears)
        try:
            deadline = time.monotonic() + 600
            while len(list((output / ".running").glob("*.json"))) < 2:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            workers = psutil.Process(process.pid).children(recursive=True)
            (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
            process.wait(timeout=120)
            _, alive = psutil.wait_procs(workers, timeout=120)
            assert not alive
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert "Traceback" not in (tmp_path / "said").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["workers", "accelerate"])
def test_processes_share_one_queue(tmp_path: Path, base_folder: Bases, art: Path, recipes: str, launcher: str) -> None:
    output = tmp_path / "out"
    line = command(base_folder("mini"), art, output, recipes, "--gang", "2", "--json")
    if launcher == "workers":
        line += ["--workers", "2"]
    else:
        # The switch names GPUs, but it is what makes accelerate start processes; each then takes its --device.
        launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
        line = [sys.executable, *launch, *line[1:]]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)  # one document, of the process that ends last
    assert (report["planned"], report["trained"], report["failed"]) == (8, 8, [])
    trained = [row["name"] for row in events(output, "trained")]
    assert sorted(trained) == sorted(files(output)) == sorted({str(name) for name in trained})
    assert len(trained) == 8
    run_training(base_folder("mini"), art, tmp_path / "alone", recipes, gang=2)
    assert_same_updates(output, tmp_path / "alone")


def test_the_process_that_speaks_for_all_waits_for_the_others(
    tmp_path: Path, base_folder: Bases, art: Path, recipes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, looks = tmp_path / "out", []
    held = FileLock(output / ".claims" / "artist-1--ref-b-two.lock")
    Path(held.lock_file).parent.mkdir(parents=True)
    held.acquire()

    def look(seconds: float) -> None:
        looks.append(sorted(files(output)))
        held.release()  # as when the other process dies

    monkeypatch.setattr(references.time, "sleep", look)
    assert run_training(base_folder("mini"), art, output, recipes)["trained"] == 8
    assert [len(names) for names in looks] == [7]


def test_a_run_with_failures_ends_with_code_1_and_a_short_message(
    tmp_path: Path, base_folder: Bases, art: Path, recipes: str
) -> None:
    output = tmp_path / "out"
    (output / "artist-0").parent.mkdir(parents=True)
    (output / "artist-0").write_text("a file where a folder should be")
    line = command(base_folder("mini"), art, output, recipes, "--json")
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 1, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["trained"] == 4
    assert {name.split("--")[0] for name, _ in found["failed"]} == {"artist-0"}
    assert "Traceback" not in done.stderr
    assert "4 of 8 LoRAs were not trained" in done.stderr


def test_recipes_of_another_family_are_remarked(base_folder: Bases, art: Path, tmp_path: Path) -> None:
    from auditor.training import check_recipes
    from auditor.training.recipes import BY_NAME

    said: list[str] = []
    check_recipes([BY_NAME["kohya-r8-a1"]], "sdxl", said.append)
    assert "made for mini" in said[0]
    with pytest.raises(TrainingError, match="Stable Diffusion 3"):
        check_recipes([replace(BY_NAME["kohya-r8-a1"], bases=())], "sd3", said.append)
    with pytest.raises(UsageError, match="no recipes"):
        check_recipes([], "mini", said.append)


def test_suspects_see_other_crops_of_the_same_pictures_than_references_do(
    base_folder: Bases, art: Path, tmp_path: Path
) -> None:
    base = references.load_base(base_folder("mini"))
    works = references.read_works(art, base.side, tmp_path / "pictures.jsonl")
    cache = caching.Cache(base, works, tmp_path, base.side)
    ours, theirs = (cache.views(works.artist[0], role)["latents"] for role in ("reference", "suspect"))
    assert torch.equal(ours[:, 0], theirs[:, 0])  # the whole picture
    assert not any(torch.equal(ours[:, k], theirs[:, k]) for k in range(1, ours.shape[1]))
    again = caching.Cache(base, works, tmp_path / "elsewhere", base.side).views(works.artist[0], "reference")["latents"]
    assert torch.equal(ours, again)


def test_a_suspects_recipe_makes_suspects_and_leaves_the_references_as_they_are(
    tmp_path: Path, base_folder: Bases, art: Path, recipes: str
) -> None:
    alone = run_training(base_folder("mini"), art, tmp_path / "alone", recipes)
    third = '\n[[recipe]]\nname = "three"\nrole = "suspect"\n' + RECIPES.rpartition('name = "two"\n')[2]
    Path(recipes).write_text(RECIPES + third)
    both = run_training(base_folder("mini"), art, tmp_path / "both", recipes)
    assert (alone["trained"], both["trained"]) == (8, 12)
    references, suspects = (
        {name: data for name, data in files(tmp_path / "both").items() if f"--{tag}-" in name}
        for tag in ("ref", "suspect")
    )
    assert references == files(tmp_path / "alone")
    assert all(name.endswith("-three") for name in suspects)
    assert len(suspects) == 4


def test_recipes_that_a_base_cannot_follow_are_told_before_the_run(
    tmp_path: Path, base_folder: Bases, art: Path, recipes: str
) -> None:
    told: list[str] = []
    Path(recipes).write_text(RECIPES.replace("attention+ff", "attention+ff+proj+conv").replace("kohya", "diffusers"))
    run_training(base_folder("sd3"), art, tmp_path / "out", recipes, progress=told.append, only_plan=True)
    assert "one names proj and conv layers, which this base does not have" in told
    Path(recipes).write_text(RECIPES.replace('"kohya"', '"diffusers"') + "min_snr = 5.0\n")
    with pytest.raises(TrainingError, match="no meaning for a flow model"):
        run_training(base_folder("sd3"), art, tmp_path / "out", recipes)
    assert not (tmp_path / "out" / "plan.json").exists()


def test_works_that_cannot_be_split_are_remarked() -> None:
    sides = {"twins": dict.fromkeys("abcdef", "a") | {"g": "b"}, "even": {"a": "a", "b": "b", "c": "a"}}
    assert one_sided(sides) == ["twins: halves of 6 and 1 pictures, for near-duplicates stay on one side"]
    assert one_sided({"all": dict.fromkeys("abc", "b")}) != []


def test_long_encoding_says_how_far_it_is(
    tmp_path: Path, base_folder: Bases, art: Path, recipes: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(caching, "EVERY", -1.0)
    run_training(base_folder("mini"), art, tmp_path / "out", recipes, quiet=False)
    assert "encoding the pictures of artist-1: 8 of 10" in capsys.readouterr().err
