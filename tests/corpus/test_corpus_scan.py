"""`audit scan`: the rows of a corpus say what `audit check` says, whatever happens on the way."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import lora_writing as writing
import mini_set
import numpy as np
import pytest

pytest.importorskip("pyarrow")
import pyarrow.parquet as pq
from scipy.stats import false_discovery_control

from auditor import ReferenceSet, check
from auditor.corpus import scan as scanning
from auditor.corpus.head import read_head
from auditor.corpus.journal import Journal, decode, encode
from auditor.corpus.names import expand, version
from auditor.corpus.rows import Options, Scanner, as_date
from auditor.corpus.scan import columns_for, parts_folder, scan
from auditor.corpus.store import settings_of
from auditor.corpus.workers import Limits
from auditor.errors import AuditorError, MalformedFile, UsageError
from auditor.lora import read_artifact
from auditor.lora.container import open_container
from auditor.lora.hashes import blocks, tensor_digest

ROOT = Path(__file__).resolve().parents[2]


def wide_unet(rng) -> writing.Lora:
    """A LoRA with the widths of Stable Diffusion 1."""
    root = "unet.down_blocks.0.attentions.0.transformer_blocks.0"
    sizes = {"attn1.to_q": (320, 320), "attn2.to_k": (320, 768)}
    return {
        f"{root}.{leaf}": (
            rng.standard_normal((out, 4)).astype(np.float32),
            rng.standard_normal((4, into)).astype(np.float32),
        )
        for leaf, (out, into) in sizes.items()
    }


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """Members and strangers of the mini set, a copy, files of other bases, and files that are none."""
    folder = tmp_path_factory.mktemp("market")
    for artist, number in ((0, 7), (1, 8), (2, 9), (mini_set.STRANGER, 0), (mini_set.STRANGER + 1, 0)):
        made = mini_set.lora(artist, number)
        meta = {"modelspec.author": f"maker {artist}", "modelspec.date": f"2024-0{1 + number % 9}-15"}
        mini_set.save(folder / "in" / f"{artist}-{number}.safetensors", writing.diffusers(made), meta)
    first = folder / "in" / "0-7.safetensors"
    (folder / "copy.safetensors").write_bytes(first.read_bytes())
    mini_set.save(folder / "renamed.safetensors", writing.diffusers(mini_set.lora(0, 7)), {"modelspec.author": "thief"})
    mini_set.save(folder / "wide.safetensors", writing.diffusers(wide_unet(np.random.default_rng(3))))
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "cut.safetensors").write_bytes(first.read_bytes()[:3000])
    (folder / "text.bin").write_bytes(b"hello there, no weights\n" * 9)
    return folder


def table(path: Path) -> dict[str, dict]:
    return {Path(row["path"]).name: row for row in pq.read_table(path).to_pylist()}


@pytest.fixture(scope="session")
def scanned(world, set_folder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("scan") / "out.parquet"
    scan(expand([str(world)], []), out, Options(str(set_folder), duplicates=True), workers=2)
    return out


def test_every_row_says_what_check_says(world, set_folder, scanned):
    reference = ReferenceSet.load(set_folder)
    rows = table(scanned)
    files = [path for path in world.rglob("*") if path.is_file()]
    assert {path.name for path in files} == set(rows)
    audited = 0
    for path in files:
        row, audit = rows[path.name], check(path, reference)
        assert row["label"] == audit.verdict.label
        assert row["artist"] == audit.verdict.artist
        if audit.skipped:
            assert row["code"] == audit.skipped.code
            assert row["advice"] == audit.skipped.advice
            assert row["p"] is None
            continue
        audited += 1
        assert row["sentence"] == audit.verdict.sentence
        assert (row["p"], row["score"]) == (audit.open_set.p, audit.open_set.statistic)
        scores = {a.artist: a.score for a in audit.artists}
        assert row["scores"] == [scores[name] for name in reference.artists]
        assert row["nearest"] == audit.artists[0].artist
        assert (row["sha256"], row["bytes"]) == (audit.suspect.sha256, audit.suspect.bytes)
        assert np.linalg.norm(row[f"at_{row['view']}"]) == pytest.approx(1, abs=1e-6)
    assert audited == 7


@pytest.mark.parametrize("independent", [False, True])
def test_a_scan_about_one_artist_says_what_check_says(world, set_folder, tmp_path, independent):
    out, asked = tmp_path / "out.parquet", (mini_set.ARTISTS[1], mini_set.ARTISTS[0])
    options = Options(str(set_folder), alpha=0.2, artists=asked, independent=independent)
    scan(expand([str(world / "in")], []), out, options, workers=1)
    reference, labels = ReferenceSet.load(set_folder), set()
    for path in sorted((world / "in").iterdir()):
        row = table(out)[path.name]
        audit = check(path, reference, alpha=0.2, artists=asked, independent=independent)
        assert (row["label"], row["artist"], row["sentence"]) == (
            audit.verdict.label, audit.verdict.artist, audit.verdict.sentence
        )  # fmt: skip
        assert (row["p"], row["p_min"]) == (audit.open_set.p, audit.open_set.p_min)
        labels.add(row["label"])
    assert {"CONSISTENT", "NO_MATCH"} <= labels
    assert settings_of(out)["options"]["artists"] == list(mini_set.ARTISTS[:2])
    again = Options(str(set_folder), alpha=0.2, artists=asked[::-1], independent=independent)
    scan(expand([str(world / "in")], []), out, again, workers=1)  # the same question
    with pytest.raises(UsageError, match="options"):
        scan([], out, Options(str(set_folder), alpha=0.2))
    unknown = Options(str(set_folder), artists=("nobody",)), "not in the reference set"
    for wrong, words in (unknown, (Options(str(set_folder), independent=True), "nobody in particular")):
        with pytest.raises(UsageError, match=words):
            scan([], tmp_path / "x.parquet", wrong)
        assert not (tmp_path / "x.parquet").exists()


def test_the_header_settles_other_bases_without_reading_tensors(world, set_folder, monkeypatch):
    import auditor.audit
    import auditor.corpus.rows

    def forbidden(*_):
        raise AssertionError("tensors were read")

    scanner = Scanner(Options(str(set_folder)))
    monkeypatch.setattr(auditor.corpus.rows, "load_lora", forbidden)
    monkeypatch.setattr(auditor.audit, "load_lora", forbidden)
    monkeypatch.setattr(auditor.corpus.rows, "read_artifact", forbidden)
    row = scanner(str(world / "wide.safetensors"), lambda _: False)
    assert (row["label"], row["code"], row["base_family"]) == ("OUT_OF_SCOPE", "out-of-scope", "sd1")
    assert row["tensor_sha256"] == read_artifact(world / "wide.safetensors").tensor_sha256
    with pytest.raises(AssertionError, match="tensors were read"):
        scanner(str(world / "in" / "1-8.safetensors"), lambda _: False)


def test_files_of_one_content_are_audited_once(scanned):
    rows = table(scanned)
    same = [rows[name] for name in ("0-7.safetensors", "copy.safetensors", "renamed.safetensors")]
    assert sum(row["same_as"] is None for row in same) == 1
    assert len({row["content"] for row in same}) == 1
    assert len({(row["p"], row["label"], row["sentence"]) for row in same}) == 1
    assert {row["creator"] for row in same} == {"maker 0", "thief"}


def test_q_is_benjamini_hochberg_over_distinct_contents(scanned):
    rows = list(table(scanned).values())
    tested = {row["content"]: row["p"] for row in rows if row["p"] is not None}
    expected = dict(zip(tested, false_discovery_control(list(tested.values())), strict=True))
    assert len(tested) == 5
    for row in rows:
        assert row["q"] is None or np.isclose(row["q"], expected[row["content"]])
        assert (row["q"] is None) == (row["p"] is None)


def test_a_lora_saved_anew_is_one_test_where_duplicates_are_looked_for(set_folder, tmp_path):
    """Else who uploads a file in ten writings would make all others of the batch more significant."""
    folder = tmp_path / "in"
    folder.mkdir()
    one = mini_set.lora(0, 7)
    turned = {path: (up * 2, down / 2) for path, (up, down) in one.items()}
    for name, made in (("one", one), ("other", mini_set.lora(3, 7))):
        mini_set.save(folder / f"{name}.safetensors", writing.diffusers(made))
    mini_set.save(folder / "again.safetensors", writing.kohya(turned, alpha=4.0))
    found = {}
    for duplicates in (False, True):
        out = tmp_path / f"{duplicates}.parquet"
        told = scan(expand([str(folder)], []), out, Options(str(set_folder), duplicates=duplicates), workers=1)
        rows = table(out)
        found[duplicates] = (told.tests, rows["other.safetensors"]["q"])
        assert rows["again.safetensors"]["q"] == pytest.approx(rows["one.safetensors"]["q"])
    p = rows["one.safetensors"]["p"], rows["other.safetensors"]["p"]
    assert (found[False][0], found[True][0]) == (3, 2)
    assert found[True][1] == pytest.approx(false_discovery_control(p)[1])
    assert found[False][1] == pytest.approx(false_discovery_control([*p, p[0]])[1])


def test_scanning_again_reads_nothing_again_and_appends(world, set_folder, scanned, tmp_path):
    out = tmp_path / "again.parquet"
    out.write_bytes(scanned.read_bytes())
    options = Options(str(set_folder), duplicates=True)
    assert scan(expand([str(world)], []), out, options, workers=1).new == 0
    assert table(out) == table(scanned)
    fresh = mini_set.save(tmp_path / "new.safetensors", writing.peft(mini_set.lora(3, 9)))
    summary = scan(expand([str(world), str(fresh)], []), out, options, workers=1)
    assert (summary.new, summary.rows) == (1, len(table(scanned)) + 1)
    assert table(out)["new.safetensors"]["label"] == check(fresh, set_folder).verdict.label


def test_a_changed_file_has_one_row_and_its_copies_keep_their_audit(set_folder, tmp_path):
    files, out, options = tmp_path / "in", tmp_path / "o.parquet", Options(str(set_folder), duplicates=True)
    matching, other = mini_set.save(files / "a.safetensors", writing.diffusers(mini_set.lora(0, 7))), files / "b.pt"
    other.write_bytes(b"no weights")

    def again(new: int) -> dict[str, dict]:
        summary = scan(expand([str(files)], []), out, options, workers=1)
        rows = table(out)
        assert summary.new == new
        assert summary.rows == len(pq.read_table(out)) == len(rows)
        assert summary.tests == len({row["content"] for row in rows.values() if row["p"] is not None})
        return rows

    first = again(2)
    os.utime(matching, ns=(1, 1))  # touched: the same content
    assert again(1) == first | {"a.safetensors": first["a.safetensors"] | {"version": version(str(matching))}}
    (files / "c.safetensors").write_bytes(matching.read_bytes())
    mini_set.save(matching, writing.diffusers(mini_set.lora(1, 8)))  # the audited one of two copies is replaced
    rows = again(2)
    for name in ("a", "c"):
        audit = check(files / f"{name}.safetensors", set_folder)
        assert rows[f"{name}.safetensors"]["label"] == audit.verdict.label
        assert rows[f"{name}.safetensors"]["p"] == audit.open_set.p
    assert rows["c.safetensors"]["same_as"] is None
    assert rows["c.safetensors"]["sketch"] == first["a.safetensors"]["sketch"]
    assert again(0) == rows
    matching.write_bytes(b"")
    assert again(1)["a.safetensors"]["label"] == "OUT_OF_SCOPE"


def test_what_could_not_be_had_is_tried_again(world, set_folder, tmp_path):
    pytest.importorskip("fsspec")
    place, out, options = tmp_path / "late.safetensors", tmp_path / "o.parquet", Options(str(set_folder))
    named = [f"file://{place}", str(world / "text.bin")]
    assert scan(named, out, options).new == 2
    row = table(out)["late.safetensors"]
    assert (row["code"], row["label"], row["status"]) == ("unreachable", "OUT_OF_SCOPE", "skipped")
    assert "outside what this audit" not in row["sentence"]
    assert scan(named, out, options).new == 1  # not text.bin, of which everything is known
    place.write_bytes((world / "copy.safetensors").read_bytes())
    found = scan(named, out, options)
    assert (found.new, found.rows) == (1, 2)
    assert table(out)["late.safetensors"]["label"] == check(place, set_folder).verdict.label
    assert scan(named, out, options).new == 0


def test_what_a_limit_spoiled_is_tried_again_and_its_copies_with_it(world, set_folder, tmp_path):
    out, options = tmp_path / "o.parquet", Options(str(set_folder))
    named = [str(world / "in" / "0-7.safetensors"), str(world / "copy.safetensors")]
    scan(named, out, options, limits=Limits(seconds=1e-6))
    assert {row["code"] for row in table(out).values()} == {"worker"}
    found = scan(named, out, options)
    assert (found.new, found.rows, found.tests) == (2, 2, 1)
    assert {row["label"] for row in table(out).values()} == {check(named[0], set_folder).verdict.label}
    assert scan(named, out, options).new == 0


def test_little_is_held_of_finished_rows(monkeypatch):
    """Three times the 32 bytes of each while they are read and sorted; a dict of them takes hundreds."""
    count = 100_000

    def rows(source, names):
        for number in range(count):
            yield {"version": f"{number:032x}", "content": None, "same_as": None, "code": None}

    class Empty:
        def pending(self, names):
            return iter(())

    monkeypatch.setattr(scanning, "read_rows", rows)
    tracemalloc.start()
    try:
        done = scanning.Done([Path("any")], Empty())
        assert tracemalloc.get_traced_memory()[1] < 4 * 32 * count
    finally:
        tracemalloc.stop()
    assert list(done.remaining([])) == []


def test_without_its_extra_nothing_is_left_behind(world, set_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(AuditorError, match="pyarrow") as refused:
        scan([str(world)], tmp_path / "out.parquet", Options(refs=str(set_folder)))
    assert "scale" in refused.value.advice
    assert not list(tmp_path.iterdir())


def test_rows_of_different_questions_never_mix(world, set_folder, scanned):
    before = scanned.read_bytes()
    with pytest.raises(UsageError, match=r"other options \(alpha: 0\.05, now 0\.2, duplicates: yes, now no\)"):
        scan([], scanned, Options(str(set_folder), alpha=0.2))
    with pytest.raises(UsageError, match=r"\(artists: none, now ada-alder ben-birch\)"):
        scan([], scanned, Options(str(set_folder), duplicates=True, artists=("Ben Birch", "ada-alder")))
    assert scanned.read_bytes() == before
    assert not parts_folder(scanned).exists()


def test_the_file_says_what_it_was_made_with(set_folder, scanned):
    settings = settings_of(scanned)
    manifest = json.loads((set_folder / "manifest.json").read_text())
    assert settings["set"]["digest"] == manifest["digest"]
    assert settings["set"]["features"] == manifest["features"]
    assert "Benjamini-Hochberg" in settings["false_discovery"]


# ---------------------------------------------------------------------------------------------- journal


@pytest.fixture
def journal(set_folder, tmp_path):
    columns = columns_for(ReferenceSet.load(set_folder))
    return lambda settings=None, part=3: Journal(tmp_path / "j", settings or {"a": 1}, columns, part)


def row_of(number: int) -> dict:
    return {
        "path": f"f{number}",
        "version": f"{number:032x}",
        "label": "NO_MATCH",
        "at_all": None,
        "sketch": bytes(1024),
    }


@pytest.mark.parametrize("cut", [0, 1, 17])
def test_a_torn_line_is_the_only_loss(journal, tmp_path, cut):
    with journal() as open_one:
        for number in range(5):
            open_one.append(row_of(number))
    last = next((tmp_path / "j").glob("journal-*.jsonl"))
    last.write_bytes(last.read_bytes()[: -cut or None])
    with journal() as open_one:
        kept = [r["path"] for p in open_one.parts for r in pq.read_table(p).to_pylist()]
        kept += [r["path"] for r in open_one.pending(["path"])]
        assert kept == [f"f{n}" for n in range(5 if cut == 0 else 4)]
        open_one.append(row_of(9))
    with journal() as open_one:
        assert [r["path"] for r in open_one.pending(["path"])][-1:] in (["f9"], [])
        open_one.flush()
        assert "f9" in [r["path"] for p in open_one.parts for r in pq.read_table(p).to_pylist()]


def test_a_kill_between_part_and_journal_makes_no_row_twice(journal, tmp_path):
    with journal() as open_one:
        for number in range(2):
            open_one.append(row_of(number))
        kept = next((tmp_path / "j").glob("journal-*.jsonl")).read_bytes()
        open_one.append(row_of(2))  # becomes part 0
    (tmp_path / "j" / "journal-000000.jsonl").write_bytes(kept)
    with journal() as open_one:
        assert len(open_one.parts) == 1
        assert list(open_one.pending(["path"])) == []


def test_another_scan_is_refused_the_same_folder(journal):
    with journal(), pytest.raises(UsageError, match="Another scan"):
        journal()
    with pytest.raises(UsageError, match=r"other options \(a: 1, now 2\)"):
        journal({"a": 2})


def test_rows_survive_the_journal_as_they_are():
    row = {"path": "a\udce9b", "p": 0.1, "none": None, "sketch": b"\0\xff", "modules": 3}
    assert decode(encode(row)) == row
    assert encode(row).count(b"\n") == 1


@pytest.mark.parametrize("name", ["wide.safetensors", "text.bin", "empty.safetensors", "cut.safetensors"])
def test_the_tensor_digest_is_the_one_of_an_audit(world, name):
    artifact = read_artifact(world / name)
    assert tensor_digest(str(world / name)) == (artifact.size, artifact.tensor_sha256)


def test_one_file_with_other_scales_beside_it_is_another_content(tmp_path):
    configs = {"none": None, "empty": "", "one": '{"lora_alpha": 4}', "two": '{"lora_alpha": 8}', "long": " " * 2**21}
    keys = set()
    for name, config in configs.items():
        path = mini_set.save(tmp_path / name / "adapter_model.safetensors", writing.peft(mini_set.lora(1, 9)))
        if config is not None:
            path.with_name("adapter_config.json").write_text(config)
        with open_container(path) as container:
            keys.add(read_head(container).content(read_artifact(path).tensor_sha256))
    assert len(keys) == len(configs)


def test_a_file_that_shrinks_while_it_is_hashed_is_told(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"0123456789")
    with (tmp_path / "x.safetensors").open("rb") as file:
        assert b"".join(bytes(part) for _, part in blocks(file.fileno(), 4, 10, "x")) == b"456789"
        with pytest.raises(MalformedFile, match="ends at byte 10"):
            list(blocks(file.fileno(), 4, 11, "x"))


# ---------------------------------------------------------------------------------------------- names


def test_names_of_files_folders_lists_and_stdin(tmp_path):
    for name in ("b/2.safetensors", "a/1.pt", "a/.hidden.bin", "a/readme.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    listed = tmp_path / "names.txt"
    listed.write_text(f"\ufeff{tmp_path / 'b'}\n\nnosuch.bin\nhf://\ns3://bucket/x.safetensors\n", encoding="utf-8")
    found = [n.replace(str(tmp_path), "T") for n in expand([str(tmp_path), str(listed), "-"], ["in.pt\n"])]
    inside = [f"T{os.sep}a{os.sep}1.pt", f"T{os.sep}b{os.sep}2.safetensors"]
    assert found == [*inside, inside[1], "nosuch.bin", "hf://", "s3://bucket/x.safetensors", "in.pt"]
    with pytest.raises(UsageError, match="does not exist"):
        list(expand(["nosuch"], []))


def test_folders_that_give_nothing_are_told(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "shut" / "in").mkdir(parents=True)
    (tmp_path / "shut" / "1.pt").write_bytes(b"")
    scandir = os.scandir

    def forbidding(path):  # tests may run as root, whom no permission stops
        if str(path).endswith("in"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidding)
    told: list[str] = []
    found = list(expand([str(tmp_path / "shut"), "-"], [f"{tmp_path / 'empty'}\n"], told.append))
    assert found == [str(tmp_path / "shut" / "1.pt")]
    assert len(told) == 2
    assert "in cannot be read: Permission denied" in told[0]
    assert "empty gave no file" in told[1]


def test_an_address_of_a_folder_stands_for_the_weight_files_below_it(tmp_path):
    pytest.importorskip("fsspec")
    for name in ("b/2.safetensors", "a/1.pt", "a/readme.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    root = tmp_path.as_uri()
    (tmp_path / "list.txt").write_text(f"{root}/b\n{root}/nosuch\n", encoding="utf-8")
    assert list(expand([root, str(tmp_path / "list.txt")], [])) == [
        f"{root}/a/1.pt", f"{root}/b/2.safetensors", f"{root}/b/2.safetensors", f"{root}/nosuch",
    ]  # fmt: skip


def test_a_changed_file_is_another_version(tmp_path):
    path = tmp_path / "x.pt"
    versions = {version(str(path))}
    for content in (b"1", b"22"):
        path.write_bytes(content)
        versions.add(version(str(path)))
    assert len(versions) == 3
    assert version(str(path)) in versions
    for alpha in (4, 16):
        (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": alpha}), encoding="utf-8")
        versions.add(version(str(path)))
    assert len(versions) == 5
    (tmp_path / "adapter_config.json").unlink()
    assert version(str(path)) in versions


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2024-03-01T10:00:00Z", "2024-03-01"),
        ("1700000000.5", "2023-11-14"),
        ("soon", None),
        ("1e99", None),
        ("nan", None),
    ],
)
def test_declared_dates(text, day):
    assert as_date(text) == day


# ---------------------------------------------------------------------------------------------- processes


def command(*arguments) -> tuple[list[str], dict[str, str]]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("AUDIT_")}
    return [sys.executable, "-m", "auditor.cli", "scan", *map(str, arguments)], env | {"PYTHONPATH": str(ROOT)}


def run(*arguments) -> subprocess.CompletedProcess:
    words, env = command(*arguments)
    return subprocess.run(words, env=env, capture_output=True, encoding="utf-8", timeout=300, check=False)


def test_exit_code_and_streams(world, set_folder, tmp_path):
    done = run(
        world, "--refs", set_folder, "-o", tmp_path / "o.parquet", "--workers", 1, "--json", "--fail-on", "never"
    )
    assert done.returncode == 3, done.stderr
    summary = json.loads(done.stdout)
    assert summary["rows"] == len(table(tmp_path / "o.parquet")) == 11
    assert "11 files" in done.stderr
    assert run("nosuch", "-o", tmp_path / "p.parquet").returncode == 2
    assert not (tmp_path / "p.parquet").exists()


def test_copies_are_one_test_and_one_discovery(set_folder, tmp_path):
    file = mini_set.save(tmp_path / "in" / "a.safetensors", writing.diffusers(mini_set.lora(0, 7)))
    for name in ("b", "c"):
        (tmp_path / "in" / f"{name}.safetensors").write_bytes(file.read_bytes())
    command = (
        tmp_path / "in",
        "--refs",
        set_folder,
        "-o",
        tmp_path / "o.parquet",
        "--workers",
        1,
        "--alpha",
        0.5,
        "--json",
    )
    done = run(*command)
    summary = json.loads(done.stdout)
    assert (summary["rows"], summary["tests"], summary["discoveries"]) == (3, 1, 1)
    assert done.returncode == 11
    for path in (tmp_path / "in").iterdir():
        path.write_bytes(b"")
    done = run(*command)
    assert (done.returncode, json.loads(done.stdout)["verdicts"]) == (3, {"OUT_OF_SCOPE": 3})


@pytest.mark.skipif(os.name != "posix", reason="needs kill -9")
def test_no_finished_row_is_lost_by_kill_9(set_folder, tmp_path):
    for number in range(40):
        made = writing.diffusers(mini_set.lora(mini_set.STRANGER + number, 0))
        mini_set.save(tmp_path / "many" / f"{number:03d}.safetensors", made)
    out = tmp_path / "o.parquet"
    arguments = (tmp_path / "many", "--refs", set_folder, "-o", out, "--workers", 2, "-q")
    words, env = command(*arguments)
    process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = parts_folder(out) / "journal-000000.jsonl"
    for _ in range(6000):
        if process.poll() is not None or (journal.exists() and journal.read_bytes().count(b"\n") >= 8):
            break
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()
    lines = [line for line in journal.read_bytes().split(b"\n")[:-1]]
    finished = {decode(line)["path"] for line in lines}
    assert 8 <= len(finished) < 40
    done = run(*arguments, "--json")
    assert done.returncode in (0, 11), done.stderr
    summary = json.loads(done.stdout)
    assert summary["rows"] == 40
    assert summary["new"] == 40 - len(finished)
    assert not parts_folder(out).exists()
    once = tmp_path / "once.parquet"
    assert run(tmp_path / "many", "--refs", set_folder, "-o", once, "--workers", 1, "-q").returncode == done.returncode
    assert table(once) == table(out)


LOCAL = {
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_worker_niceness": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Patience with a Ray on a busy machine; its workers, niced by 15 unless told otherwise, starve beside other tests."""
RAY = """
import sys
from pathlib import Path
import ray
from auditor.corpus.names import expand
from auditor.corpus.rows import Options
from auditor.corpus.scan import scan
world, refs, out, place = sys.argv[1:]
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80 * 2**20,
         _node_ip_address="127.0.0.1", _temp_dir=place)
summary = scan(expand([world], []), Path(out), Options(refs, duplicates=True), workers=2, engine="ray")
assert summary.new == 11
again = scan(expand([world], []), Path(out), Options(refs, duplicates=True), workers=2, engine="ray")
assert (again.new, again.rows) == (0, 11)
"""


@pytest.mark.slow
def test_ray_gives_the_same_rows(world, set_folder, scanned, tmp_path):
    pytest.importorskip("ray")
    env = command()[1] | LOCAL | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    out = tmp_path / "r.parquet"
    with tempfile.TemporaryDirectory(prefix="ray") as place:  # short: Ray's sockets lie below it
        words = [sys.executable, "-c", RAY, str(world), str(set_folder), str(out), place]
        done = subprocess.run(words, env=env, capture_output=True, encoding="utf-8", timeout=900, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    whose = {"same_as": None, "group": None}  # which of several copies is the audited one is a matter of order
    assert {name: {**row, **whose} for name, row in table(out).items()} == {
        name: {**row, **whose} for name, row in table(scanned).items()
    }
