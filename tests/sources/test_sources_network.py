"""Suspects and sets from the network, against local servers that speak the sites' interfaces."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import mini_set
import processes
import pytest
from fake_sites import COMMIT, OLDER, Sites

from auditor.cli import main
from auditor.errors import AuditorError, MalformedFile, NotALora, SourceError, UsageError
from auditor.sources import Network, Unresolved, interface, resolve
from auditor.sources.civitai import by_hash
from auditor.sources.http import download

ANY = Network()
LOOKUP = Network(lookup=True)


def hub() -> Any:
    return pytest.importorskip("huggingface_hub")


def had(source: interface.Source) -> bytes:
    """The bytes of a suspect; its copy is gone afterwards."""
    with source.fetched() as path:
        data = path.read_bytes()
    assert not path.exists()
    assert not path.parent.exists()
    return data


def checked(folder: Path, sites: Sites, *arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    own = {"HF_ENDPOINT": sites.url, "AUDIT_CIVITAI": sites.url, "HF_HOME": str(folder / "hf")}
    return processes.audit(folder, *arguments, env=own | env)


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["hf://", "hf://owner", "hf://owner/", "hf://o/r/x@a@b", "hf://o/r@a/x@b", "hf://o/r/../../x", "hf://o/r?x=1",
     "civitai:", "civitai:abc", "civitai:12@", "civitai:12@x", "civitai:-1", "civitai:0123456789abcdefg",
     "https://example.org/x.safetensors", "http://example.org/x"],
)  # fmt: skip
def test_names_that_cannot_be_meant(sites: Sites, name: str) -> None:
    with pytest.raises(UsageError):
        resolve(name, LOOKUP)
    assert sites.requests == []


# --- the hub ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def repository(sites: Sites, style: bytes, checkpoint: bytes) -> Sites:
    hub()
    sites.repositories["owner/style"] = {
        "main": {"README.md": b"# A style", "new.safetensors": style},
        "old": {"README.md": b"# A style", "sub/first.safetensors": style[:-4] + b"\0\0\0\0"},
    }
    sites.repositories["owner/many"] = {"main": {"b.safetensors": style, "a.safetensors": checkpoint, "x.bin": b"0"}}
    return sites


def test_a_file_is_pinned_to_the_commit(repository: Sites, style: bytes) -> None:
    (source,) = resolve("hf://owner/style/new.safetensors", ANY)
    assert source.name == f"hf://owner/style/new.safetensors@{COMMIT}"
    assert had(source) == style
    assert any(f"/resolve/{COMMIT}/" in path for path in repository.paths())
    assert not any("/resolve/main/" in path for path in repository.paths())


@pytest.mark.parametrize(
    "name", ["hf://owner/style/sub/first.safetensors@old", "hf://owner/style@old/sub/first.safetensors"]
)
def test_a_revision_is_pinned_to_its_commit(repository: Sites, style: bytes, name: str) -> None:
    (source,) = resolve(name, ANY)
    assert source.name == f"hf://owner/style/sub/first.safetensors@{OLDER}"
    assert had(source) == style[:-4] + b"\0\0\0\0"


def test_a_repository_stands_for_its_safetensors_files(repository: Sites) -> None:
    names = [source.name for source in resolve("hf://owner/many", ANY)]
    assert names == [f"hf://owner/many/{file}@{COMMIT}" for file in ("a.safetensors", "b.safetensors")]


def test_the_header_comes_first_and_alone_when_it_is_no_loras(repository: Sites, checkpoint: bytes) -> None:
    source = resolve("hf://owner/many/a.safetensors", ANY)[0]
    with pytest.raises(NotALora), source.fetched():
        pass
    fetches = [r for r in repository.requests if "/resolve/" in r.path or "/cdn/" in r.path]
    assert fetches
    assert all(r.headers.get("Range", "").startswith("bytes=0-") for r in fetches), "the rest was never asked for"
    asked = max(int(r.headers["Range"].rpartition("-")[2]) for r in fetches)
    assert asked < len(checkpoint) / 4


def test_a_long_header_takes_two_ranges(repository: Sites, style: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface, "FIRST", 100)
    assert had(resolve("hf://owner/style/new.safetensors", ANY)[0]) == style
    ranges = [r.headers["Range"] for r in repository.requests if "/cdn/" in r.path and "Range" in r.headers]
    length = int.from_bytes(style[:8], "little")
    assert ranges == ["bytes=0-99", f"bytes=0-{7 + length}"]


def test_a_server_without_ranges_is_cut_off(repository: Sites, style: bytes) -> None:
    repository.ranges = False
    assert had(resolve("hf://owner/style/new.safetensors", ANY)[0]) == style


@pytest.mark.parametrize(
    ("name", "said"),
    [("hf://owner/nosuch", "owner/nosuch"), ("hf://owner/style@nosuch", "owner/style"),
     ("hf://owner/style/nosuch.safetensors", "README.md")],
)  # fmt: skip
def test_what_the_hub_does_not_have_is_a_row(repository: Sites, name: str, said: str) -> None:
    (source,) = resolve(name, ANY)
    assert isinstance(source, Unresolved)
    with pytest.raises(SourceError, match=said), source.fetched():
        pass


def test_a_private_repository_needs_the_token_and_the_store_never_sees_it(
    repository: Sites, style: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.private.add("owner/style")
    assert isinstance(resolve("hf://owner/style", ANY)[0], Unresolved)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    (source,) = resolve("hf://owner/style/new.safetensors", ANY)
    assert "hf_secret" not in repr(source)
    assert had(source) == style
    stored = [r for r in repository.requests if "/cdn/" in r.path]
    assert stored
    assert all("Authorization" not in r.headers for r in stored)


@pytest.mark.parametrize(("fault", "said"), [("corrupt", "announces"), ("short", "announced")])
def test_other_bytes_than_announced_are_refused(repository: Sites, fault: str, said: str) -> None:
    setattr(repository, fault, True)
    source = resolve("hf://owner/style/new.safetensors", ANY)[0]
    with pytest.raises(SourceError, match=said), source.fetched():
        pass


def test_a_file_that_is_too_large_is_not_fetched(
    repository: Sites, style: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interface, "LARGEST", len(style) - 1)
    with pytest.raises(SourceError, match="not downloaded"), resolve("hf://owner/style", ANY)[0].fetched():
        pass


def test_a_truncated_upload_is_malformed(repository: Sites, style: bytes) -> None:
    repository.repositories["owner/cut"] = {"main": {"x.safetensors": style[: len(style) // 2]}}
    from auditor.lora import load_lora

    with pytest.raises(MalformedFile), resolve("hf://owner/cut", ANY)[0].fetched() as path:
        load_lora(path)


def test_a_hub_that_is_gone(repository: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        source = resolve("hf://owner/style", ANY)[0]
    assert isinstance(source, Unresolved)
    assert source.problem.exit_code == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_no_fault_of_the_network(repository: Sites) -> None:
    source = resolve("hf://owner/style/new.safetensors", ANY)[0]
    assert isinstance(source, interface.Remote)
    with pytest.raises(AuditorError, match="/dev/full could not be written: No space left") as told:
        download(source.url, Path("/dev/full"), 1 << 20, source.token)
    assert told.value.exit_code == 1
    assert not isinstance(told.value, SourceError)


# --- civitai ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def models(sites: Sites, style: bytes) -> Sites:
    sites.models[827184] = {
        2514310: {"style v2.safetensors": style, "pictures.zip": b"PK.."},
        11: {"style.safetensors": style[:-4] + b"\0\0\0\0"},
    }
    return sites


def test_a_model_is_its_newest_version_and_says_which(models: Sites, style: bytes) -> None:
    (source,) = resolve("civitai:827184", ANY)
    assert source.name == "civitai:827184@2514310/style v2.safetensors"
    assert had(source) == style


def test_a_version_is_itself(models: Sites, style: bytes) -> None:
    (source,) = resolve("civitai:827184@11", ANY)
    assert source.name == "civitai:827184@11/style.safetensors"
    assert had(source) != style
    (again,) = resolve(source.name, ANY)
    assert again == source, "the name in a report leads back to the file"


@pytest.mark.parametrize("name", ["civitai:1", "civitai:827184@12", "civitai:1@11"])
def test_what_civitai_does_not_have_is_a_row(models: Sites, name: str) -> None:
    assert isinstance(resolve(name, ANY)[0], Unresolved)


@pytest.mark.parametrize("digits", [10, 64])
def test_a_hash_is_sent_with_lookup_only(models: Sites, style: bytes, digits: int) -> None:
    digest = hashlib.sha256(style).hexdigest()[:digits]
    with pytest.raises(UsageError, match="--lookup"):
        resolve(f"civitai:{digest}", ANY)
    assert models.requests == []
    (source,) = resolve(f"civitai:{digest.upper()}", LOOKUP)
    assert had(source) == style
    assert models.paths()[0] == f"/api/v1/model-versions/by-hash/{digest}"


def test_the_hash_of_the_tensors_finds_the_file(models: Sites, style: bytes) -> None:
    length = int.from_bytes(style[:8], "little")
    digest = hashlib.sha256(style[8 + length :]).hexdigest()[:12]
    assert had(resolve(f"civitai:{digest}", LOOKUP)[0]) in (style, style[:-4] + b"\0\0\0\0")


def test_offline_forbids_a_lookup_whatever_is_allowed(models: Sites) -> None:
    with pytest.raises(UsageError, match="--offline"):
        by_hash("0" * 10, Network(offline=True, lookup=True))
    assert models.requests == []


def test_civitais_token_stays_with_civitai(models: Sites, style: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    models.token_needed = True
    with pytest.raises(SourceError, match="CIVITAI_TOKEN"), resolve("civitai:827184", ANY)[0].fetched():
        pass
    monkeypatch.setenv("CIVITAI_TOKEN", "civ_secret")
    assert had(resolve("civitai:827184", ANY)[0]) == style
    stored = [r for r in models.requests if "/cdn/" in r.path]
    assert stored
    assert all("Authorization" not in r.headers for r in stored)


def test_bytes_that_differ_from_the_announced_hash(models: Sites) -> None:
    models.corrupt = True
    with pytest.raises(SourceError, match="announces"), resolve("civitai:827184", ANY)[0].fetched():
        pass


# --- the command -----------------------------------------------------------------------------------------------------


def test_check_names_what_was_pinned(repository: Sites, style: bytes, set_folder: Path, tmp_path: Path) -> None:
    options = ["--refs", set_folder, "--format", "json", "--alpha", "0.2", "--resamples", "5"]
    done = checked(tmp_path, repository, "check", "hf://owner/style", *options)
    assert done.returncode == 11
    found = json.loads(done.stdout)
    assert found["suspect"]["path"] == f"hf://owner/style/new.safetensors@{COMMIT}"
    assert found["suspect"]["sha256"] == hashlib.sha256(style).hexdigest()
    assert found["verdict"]["artist"] == mini_set.ARTISTS[0]
    (tmp_path / "audit.json").write_text(done.stdout, encoding="utf-8")
    again = ["reproduce", "audit.json", found["suspect"]["path"], "--refs", set_folder, "--json"]
    assert json.loads(checked(tmp_path, repository, *again).stdout)["same_bytes"] is True


def test_in_a_batch_an_unreachable_file_is_a_row(
    repository: Sites, models: Sites, set_folder: Path, tmp_path: Path
) -> None:
    names = ["hf://owner/many", "civitai:1", "civitai:827184@2514310", "nosuch.safetensors"]
    done = processes.audit(
        tmp_path, "check", "-", "--refs", set_folder, "--format", "json", "--alpha", "0.2", "--resamples", "5",
        stdin="\n".join(names), env={"HF_ENDPOINT": repository.url, "AUDIT_CIVITAI": models.url},
    )  # fmt: skip
    assert done.returncode == 11
    audits = json.loads(done.stdout)["audits"]
    codes = [a["skipped"] and a["skipped"]["code"] for a in audits]
    assert codes == ["not-a-lora", None, "unreachable", None, "malformed"]
    assert audits[0]["suspect"]["path"] == f"hf://owner/many/a.safetensors@{COMMIT}"
    assert "/tmp" not in done.stdout.replace(str(tmp_path), "")
    assert audits[2]["verdict"]["label"] == "OUT_OF_SCOPE"


def test_a_scan_takes_repositories_and_lists_of_them(
    repository: Sites, style: bytes, checkpoint: bytes, set_folder: Path, tmp_path: Path
) -> None:
    """Every file of a repository is a row under its pinned name; what cannot be had is one with its reason."""
    table = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "list.txt").write_text(
        "hf://owner/style/new.safetensors\nhf://owner/gone\nhf://o/r@a@b/x.safetensors\n"
    )
    scan = ["scan", "hf://owner/many", "list.txt", "--refs", set_folder, "-o", "m.parquet", "--workers", "1"]
    done = checked(tmp_path, repository, *scan, "--alpha", "0.2", "--resamples", "5")
    assert done.returncode == 11, done.stderr
    rows = {row["path"]: row for row in table.read_table(tmp_path / "m.parquet").to_pylist()}
    many = "hf://owner/many/{}.safetensors@" + COMMIT
    assert set(rows) == {
        many.format("a"), many.format("b"), "hf://owner/style/new.safetensors", "hf://owner/gone",
        "hf://o/r@a@b/x.safetensors",
    }  # fmt: skip
    assert rows[many.format("b")]["artist"] == mini_set.ARTISTS[0]
    assert rows[many.format("b")]["sha256"] == hashlib.sha256(style).hexdigest()
    assert rows["hf://owner/style/new.safetensors"]["same_as"] == rows[many.format("b")]["content"]
    codes = {path: row["code"] for path, row in rows.items() if row["code"]}
    assert codes == {
        many.format("a"): "not-a-lora", "hf://owner/gone": "unreachable", "hf://o/r@a@b/x.safetensors": "unreachable",
    }  # fmt: skip
    assert many.format("a") in rows[many.format("a")]["reason"]
    assert not any("audit-" in str(row["reason"]) for row in rows.values())
    told = repository.requests[:]
    again = checked(tmp_path, repository, *scan, "--alpha", "0.2", "--resamples", "5", "--json")
    assert json.loads(again.stdout)["new"] == 2  # what could not be had is tried again
    assert not [r for r in repository.requests[len(told) :] if "/resolve/" in r.path]


def test_offline_opens_no_connection_at_all(
    repository: Sites, set_folder: Path, style: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    local = tmp_path / "x.safetensors"
    local.write_bytes(style)

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, forbidden, raising=True)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    refs = ["--refs", str(set_folder), "--alpha", "0.2"]
    assert main.guarded(["check", str(local), *refs, "--offline"]) == 11
    assert main.guarded(["check", str(local), *refs]) == 11
    for remote in ("hf://owner/style", "civitai:827184", "civitai:" + "0" * 10):
        assert main.guarded(["check", remote, *refs, "--offline", "--lookup"]) == 2
    assert main.guarded(["check", str(local), "--refs", "hf://owner/set", "--offline"]) == 2
    assert main.guarded(["refs", "pull", "hf://owner/set", "-o", str(tmp_path / "s"), "--offline"]) == 2
    assert main.guarded(["inspect", str(local), "--lookup", "--offline"]) == 2
    assert repository.requests == []
    assert "a connection was opened" not in capsys.readouterr().err


def test_inspect_looks_up_when_told(models: Sites, style: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(style)
    assert "lookup" not in json.loads(checked(tmp_path, models, "inspect", path, "--json").stdout)
    assert models.requests == []
    found = json.loads(checked(tmp_path, models, "inspect", path, "--json", "--lookup").stdout)["lookup"]
    assert (found["found"]["model"], found["found"]["version"]) == (827184, 2514310)
    assert models.paths() == [f"/api/v1/model-versions/by-hash/{hashlib.sha256(style).hexdigest()[:10]}"]
    path.write_bytes(style[:-8] + b"\0" * 8)
    assert (
        json.loads(checked(tmp_path, models, "inspect", path, "--json", "--lookup").stdout)["lookup"]["found"] is None
    )


# --- sets ------------------------------------------------------------------------------------------------------------


def test_a_set_travels_by_folder_and_hub(sites: Sites, set_folder: Path, tmp_path: Path, style: bytes) -> None:
    hub()
    done = checked(tmp_path, sites, "refs", "push", set_folder, "hf://owner/set/mini", "--json", HF_TOKEN="hf_secret")
    assert done.returncode == 0, done.stderr
    assert set(sites.commits[0]) == {"mini/manifest.json", "mini/arrays.npz"}, "never the features behind a set"
    done = checked(tmp_path, sites, "refs", "pull", "hf://owner/set/mini", "-o", "pulled", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["set"] == f"hf://owner/set/mini@{COMMIT}"
    for name in ("manifest.json", "arrays.npz"):
        assert (tmp_path / "pulled" / name).read_bytes() == (set_folder / name).read_bytes()
    assert sorted(p.name for p in (tmp_path / "pulled").iterdir()) == ["arrays.npz", "manifest.json"]
    done = checked(tmp_path, sites, "refs", "push", "pulled", "shelf/mini", "--json")
    assert done.returncode == 0, done.stderr
    (tmp_path / "x.safetensors").write_bytes(style)
    found = [
        checked(tmp_path, sites, "check", "x.safetensors", "--refs", refs, "--format", "json", "--resamples", "5",
                SOURCE_DATE_EPOCH="1700000000")
        for refs in ("hf://owner/set/mini", "shelf/mini")
    ]  # fmt: skip
    audits = [json.loads(done.stdout) | {"timing_s": None} for done in found]
    pinned, named = (audit["options"].pop("refs") for audit in audits)
    assert audits[0] == audits[1]
    assert (pinned, named) == (f"hf://owner/set/mini@{COMMIT}", "mini")
    (tmp_path / "audit.json").write_text(found[0].stdout, encoding="utf-8")
    for refs in ([], ["--refs", "shelf/mini"]):
        done = checked(tmp_path, sites, "reproduce", "audit.json", "x.safetensors", "--json", *refs)
        assert json.loads(done.stdout)["same_bytes"] is True, "the audit names where its set lies; a copy is as good"
    done = checked(tmp_path, sites, "reproduce", "audit.json", "x.safetensors", "--offline")
    assert done.returncode == 2


def test_a_damaged_set_is_neither_pulled_nor_pushed(sites: Sites, set_folder: Path, tmp_path: Path) -> None:
    hub()
    manifest = (set_folder / "manifest.json").read_bytes()
    arrays = (set_folder / "arrays.npz").read_bytes()
    sites.repositories["owner/set"] = {
        "main": {"manifest.json": manifest.replace(b"mini", b"mono"), "arrays.npz": arrays}
    }
    done = checked(tmp_path, sites, "refs", "pull", "hf://owner/set", "-o", "pulled")
    assert done.returncode == 1
    assert "digest" in done.stderr
    assert not (tmp_path / "pulled").exists()
    assert checked(tmp_path, sites, "check", "x", "--refs", "hf://owner/set").returncode == 1
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "manifest.json").write_bytes(manifest.replace(b"mini", b"mono"))
    (broken / "arrays.npz").write_bytes(arrays)
    assert checked(tmp_path, sites, "refs", "push", broken, "hf://owner/other").returncode == 1
    assert sites.commits == []


def test_pull_never_writes_over_anything(sites: Sites, set_folder: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    assert checked(tmp_path, sites, "refs", "pull", set_folder, "-o", full).returncode == 2
    assert (full / "mine.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert checked(tmp_path, sites, "refs", "pull", set_folder, "-o", "empty").returncode == 0
    assert checked(tmp_path, sites, "refs", "pull", tmp_path, "-o", "other").returncode == 1


@pytest.mark.parametrize("place", ["file/below", "file/far/below", "/proc/nowhere"])
def test_a_place_that_cannot_be_is_told_as_export_tells_it(set_folder: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    for command in ("export", "pull"):
        done = processes.audit(tmp_path, "refs", command, set_folder, "-o", place)
        assert done.returncode == 1
        assert "could not be written" in done.stderr
        assert "fault of audit" not in done.stderr
