"""The service as a real process on loopback: what it answers, what it refuses, what it leaves behind."""

from __future__ import annotations

import asyncio
import http.client
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import lora_writing as writing
import mini_set
import processes
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")
pytest.importorskip("python_multipart")

WAIT = 180.0


@dataclass
class Service:
    """A running service."""

    port: int
    scratch: Path
    """Its folder for temporary files."""
    process: subprocess.Popen[bytes]

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """(status, headers in lower case, body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def post(self, data: bytes, query: str = "", **headers: str) -> tuple[int, dict[str, str], Any]:
        """POST one file; JSON bodies come back decoded."""
        told = {"Content-Type": "application/octet-stream"} | {k.replace("_", "-"): v for k, v in headers.items()}
        status, answered, body = self.ask("POST", f"/v1/audits{query}", data, told)
        return status, answered, json.loads(body) if "json" in answered["content-type"] else body.decode()

    def metrics(self) -> dict[str, float]:
        """Every sample by its name with labels."""
        lines = self.ask("GET", "/metrics")[2].decode().splitlines()
        return {name: float(value) for name, _, value in (x.rpartition(" ") for x in lines if not x.startswith("#"))}


@contextmanager
def serving(folder: Path, *options: str | Path) -> Iterator[Service]:
    """`audit serve` with these options."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "auditor.cli", "serve", "--port", str(port), *map(str, options)]
    log = (folder / "log.txt").open("wb")
    process = subprocess.Popen(command, env=processes.environment({"TMPDIR": str(scratch)}), stdout=log, stderr=log)
    service = Service(port, scratch, process)
    try:
        deadline = time.monotonic() + WAIT
        while not up(service):
            assert process.poll() is None, (folder / "log.txt").read_text()
            assert time.monotonic() < deadline, (folder / "log.txt").read_text()
            time.sleep(0.1)
        yield service
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(WAIT)
        log.close()


def up(service: Service) -> bool:
    try:
        return service.ask("GET", "/healthz")[0] == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def style(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    made = writing.kohya(mini_set.lora(0, mini_set.FILES), 2.0)
    return mini_set.save(tmp_path_factory.mktemp("style") / "s.safetensors", made).read_bytes()


@pytest.fixture(scope="module")
def service(set_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    (folder / "policy.toml").write_text("[thresholds]\nalpha = 0.2\n", encoding="utf-8")
    options = ["--refs", set_folder, "--policy", folder / "policy.toml", "--workers", "1", "--max-megabytes", "1"]
    with serving(folder, *options) as found:
        yield found


def form(data: bytes, name: str, field: str = "file") -> tuple[bytes, str]:
    """A form with one file, and its content type."""
    head = f'--xYx\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
    return head.encode() + data + b"\r\n--xYx--\r\n", "multipart/form-data; boundary=xYx"


def left_behind(service: Service) -> Sequence[Path]:
    return [p for p in service.scratch.rglob("*") if p.is_file()]


def test_the_answer_is_the_audit(service: Service, style: bytes, set_folder: Path, tmp_path: Path) -> None:
    status, headers, found = service.post(style, "?name=style.safetensors")
    assert (status, headers["x-audit-verdict"], headers["x-audit-policy"]) == (200, "CONSISTENT", "block")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    from auditor.report import schema

    jsonschema.validate(found, schema())
    (tmp_path / "style.safetensors").write_bytes(style)
    done = processes.audit(
        tmp_path, "check", "style.safetensors", "--refs", set_folder, "--alpha", "0.2", "--format", "json"
    )
    same = json.loads(done.stdout)
    for differs in ("created_at", "timing_s"):
        found.pop(differs), same.pop(differs)
    assert found["options"].pop("policy")["outcome"] == "blocked"
    assert found == same


def test_every_form_of_the_answer(service: Service, style: bytes) -> None:
    for query, accept, kind, begins in (
        ("?format=html", "*/*", "text/html", "<!doctype html>"),
        ("", "text/html,*/*;q=0.8", "text/html", "<!doctype html>"),
        ("?format=md", "*/*", "text/markdown", "#"),
        ("?format=sarif", "*/*", "application/sarif+json", None),
    ):
        status, headers, body = service.post(style, query, Accept=accept)
        assert status == 200
        assert headers["content-type"].startswith(kind)
        assert begins is None or body.lower().startswith(begins)


def test_a_form_and_a_bare_body_give_the_same(service: Service, style: bytes) -> None:
    body, kind = form(style, "C:\\loras\\style.safetensors")
    status, _, found = service.post(body, Content_Type=kind)
    assert status == 200
    assert found["suspect"]["path"] == "style.safetensors"
    bare = service.post(style, "?name=style.safetensors")[2]
    for one in (bare, found):
        del one["timing_s"], one["created_at"]
    assert bare == found


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"", "malformed"), (b"hello", "malformed"), (b"\x80\x04pickle", "malformed"), (b"\x89PNG", "not-a-lora")],
)
def test_what_is_not_audited_is_never_a_success(service: Service, data: bytes, code: str) -> None:
    status, headers, found = service.post(data, "?name=x.safetensors")
    assert (status, headers["x-audit-verdict"]) == (422, "OUT_OF_SCOPE")
    assert found["skipped"]["code"] == code
    assert headers["x-audit-policy"] == "not-audited"
    assert str(service.scratch) not in json.dumps(found)
    assert "audit-upload" not in json.dumps(found)


def test_bodies_beyond_the_limit_are_refused(service: Service, style: bytes) -> None:
    big = style + b"\0" * (1 << 20)
    assert service.post(big)[0] == 413
    body, kind = form(big, "x")
    assert service.post(body, Content_Type=kind)[0] == 413


def test_a_body_without_declared_length_is_cut_at_the_limit(service: Service) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=WAIT)
    connection.request("POST", "/v1/audits", (b"\0" * 65536 for _ in range(64)), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})  # fmt: skip
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"rubbish", "multipart/form-data; boundary=xYx"), (b"rubbish", "multipart/form-data"), form(b"x", "x", "other")],
)
def test_forms_that_cannot_be_read(service: Service, body: bytes, kind: str) -> None:
    status, _, found = service.post(body, Content_Type=kind)
    assert (status, found["detail"]["code"]) == (400, "form")


def test_wrong_questions(service: Service, style: bytes) -> None:
    for wrong in ("?format=docx", "?format=", "?independent=maybe"):
        status, headers, body = service.post(style, wrong)
        assert status == 400, wrong
        assert "X-Audit-Verdict" not in headers
        assert body["detail"]["code"] == "parameter"
    assert service.ask("GET", "/v1/audits")[0] == 405
    assert service.ask("GET", "/docs")[0] == 404
    assert service.ask("GET", "/../etc/passwd")[0] == 404


def test_what_the_service_does_not_know_is_not_passed_over(service: Service, style: bytes) -> None:
    """Whoever sends alpha=.01, or a misspelt name, would take the answer for one to that question."""
    for query, code in (("?alpha=0.01", "parameter"), ("?artist=nobody", "usage"), ("?independent=true", "usage")):
        status, _, found = service.post(style, query)
        assert (status, found["detail"]["code"]) == (400, code), query
    status, _, found = service.post(style, "?artist=ada-alder")  # the policy protects all
    assert (status, found["detail"]["code"]) == (400, "usage")
    assert "protects" in found["detail"]["reason"]
    assert service.post(style)[0] == 200


def test_artists_can_be_asked_about(set_folder: Path, style: bytes, tmp_path: Path) -> None:
    (tmp_path / "style.safetensors").write_bytes(style)
    options = ("--refs", set_folder, "--artist", "Ben Birch", "--artist", "ada-alder", "--format", "json")
    expected = json.loads(processes.audit(tmp_path, "check", "style.safetensors", *options).stdout)
    with serving(tmp_path, "--refs", set_folder, "--workers", "1") as plain:
        status, _, found = plain.post(style, "?name=style.safetensors&artist=Ben%20Birch&artist=ada-alder")
    assert status == 200
    assert len(found["options"]["artists"]) == 2
    for differs in ("created_at", "timing_s"):
        found.pop(differs), expected.pop(differs)
    assert found == expected


def test_health_and_interface(service: Service, set_folder: Path) -> None:
    status, _, body = service.ask("GET", "/healthz")
    manifest = json.loads((set_folder / "manifest.json").read_text(encoding="utf-8"))
    found = json.loads(body)
    assert (status, found["status"], found["workers"], found["set"]) == (200, "ok", 1, manifest["digest"])
    interface = json.loads(service.ask("GET", "/openapi.json")[2])
    assert set(interface["paths"]) == {"/v1/audits", "/healthz", "/metrics"}
    assert {"200", "408", "413", "422", "503", "504"} <= set(interface["paths"]["/v1/audits"]["post"]["responses"])


def test_metrics_count(service: Service, style: bytes) -> None:
    before = service.metrics()
    service.post(style)
    service.post(b"hello")
    service.post(style + b"\0" * (1 << 20))
    after = service.metrics()

    def more(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    assert more('audit_audits_total{verdict="CONSISTENT"}') == 1
    assert more('audit_audits_total{verdict="OUT_OF_SCOPE"}') == 1
    assert more('audit_refused_total{reason="large"}') == 1
    assert more("audit_seconds_count") == 2
    assert after["audit_waiting"] == 0


def test_no_file_is_kept(service: Service, style: bytes) -> None:
    body, kind = form(style, "x")
    for data, header in ((style, "application/octet-stream"), (b"hello", "text/plain"), (body, kind)):
        service.post(data, Content_Type=header)
    assert left_behind(service) == []


def test_a_killed_process_is_replaced(set_folder: Path, style: bytes, tmp_path: Path) -> None:
    with serving(tmp_path, "--refs", set_folder, "--workers", "1") as service:
        assert service.post(style)[0] == 200
        (worker,) = [int(p) for p in children(service.process.pid) if "spawn_main" in command_line(p)]
        os.kill(worker, signal.SIGKILL)
        assert service.post(style)[0] in (200, 500)
        deadline = time.monotonic() + WAIT
        while not up(service):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert service.post(style)[0] == 200
    assert left_behind(service) == []


def test_an_audit_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """A file of rank 32 against the default set: ten times the limit where nothing else runs."""
    made = writing.kohya(writing.make(writing.mini_paths(), rank=32))
    large = writing.save(tmp_path / "large.safetensors", made).read_bytes()
    with serving(tmp_path, "--workers", "1", "--audit-timeout", "0.01") as service:
        statuses = [service.post(large)[0] for _ in range(3)]
        assert 504 in statuses
        assert set(statuses) <= {200, 504}
        assert service.metrics()['audit_refused_total{reason="timeout"}'] >= 1
        assert left_behind(service) == []


def test_slow_senders_and_a_full_queue_are_turned_away(set_folder: Path, style: bytes, tmp_path: Path) -> None:
    options = ["--refs", set_folder, "--workers", "1", "--queue", "1", "--upload-timeout", "3"]
    with serving(tmp_path, *options) as service:
        slow = [socket.create_connection(("127.0.0.1", service.port), WAIT) for _ in range(2)]
        for one in slow:
            one.sendall(b"POST /v1/audits HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nfirst")
        deadline = time.monotonic() + WAIT
        while service.metrics()["audit_waiting"] < 2:
            assert time.monotonic() < deadline
        status, headers, found = service.post(style)
        if status != 200:  # the slow ones may be gone already on a busy machine
            assert (status, found["detail"]["code"], headers["retry-after"]) == (503, "busy", "5")
        for one in slow:
            assert one.recv(100).startswith(b"HTTP/1.1 408")
            one.close()
        assert service.post(style)[0] == 200


def test_half_a_head_holds_a_connection_for_a_while_only(set_folder: Path, style: bytes, tmp_path: Path) -> None:
    """More such connections than the service takes at once (4 · (1 + 0) + 64)."""
    options = ["--refs", set_folder, "--workers", "1", "--queue", "0", "--upload-timeout", "2"]
    with serving(tmp_path, *options) as service:
        silent = [socket.create_connection(("127.0.0.1", service.port), WAIT) for _ in range(80)]
        for at, one in enumerate(silent):
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * (at % 2) + b"POST /v1/audits HTTP/1.1\r\nHo")
        for one in silent:
            while one.recv(4096):  # ends when the service closes the connection
                pass
            one.close()
        assert service.post(style)[0] == 200


def test_many_at_once_are_all_answered_alike(set_folder: Path, style: bytes, tmp_path: Path) -> None:
    with serving(tmp_path, "--refs", set_folder, "--workers", "2", "--queue", "30") as service:
        answers: list[Any] = []

        def ask() -> None:
            status, _, found = service.post(style, "?name=x")
            answers.append((status, found["verdict"], found["open_set"]))

        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 12
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][0] == 200


def test_what_is_wrong_is_said_before_anything_starts(set_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[nonsense]\n", encoding="utf-8")
    assert processes.audit(tmp_path, "serve", "--refs", "nosuch", "--port", "0").returncode == 2
    done = processes.audit(tmp_path, "serve", "--refs", set_folder, "--policy", "bad.toml", "--port", "0")
    assert done.returncode == 2
    assert "nonsense" in done.stderr


def children(parent: int) -> list[str]:
    """Process ids of a process's children (Linux)."""
    threads = list(Path(f"/proc/{parent}/task").glob("*/children"))
    if not threads:
        pytest.skip("needs /proc")
    return [child for path in threads for child in path.read_text().split()]


def command_line(process: str) -> str:
    return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def test_a_policy_with_a_misspelt_artist_does_not_start(set_folder: Path, tmp_path: Path) -> None:
    rules = tmp_path / "policy.toml"
    rules.write_text('[artists]\nof_concern = ["Ada Aldr"]', encoding="utf-8")
    done = processes.audit(tmp_path, "serve", "--refs", set_folder, "--policy", rules, "--port", "0")
    assert done.returncode == 2
    assert "Did you mean ada-alder?" in done.stderr


def test_a_policy_may_name_artists_as_people_do(set_folder: Path, style: bytes, tmp_path: Path) -> None:
    rules = tmp_path / "policy.toml"
    rules.write_text('[thresholds]\nalpha = 0.2\n[artists]\nof_concern = ["Ada Alder"]', encoding="utf-8")
    with serving(tmp_path, "--refs", set_folder, "--policy", rules, "--workers", "1") as found:
        assert found.post(style)[1]["x-audit-policy"] == "block"


def test_a_process_that_does_not_start_is_started_by_a_later_request(
    set_folder: Path, style: bytes, tmp_path: Path
) -> None:
    """The policy file is away while a process is replaced."""
    from auditor.errors import AuditorError
    from auditor.service.workers import Broken, Job, Pool, Setting

    suspect, rules = tmp_path / "style.safetensors", tmp_path / "policy.toml"
    suspect.write_bytes(style)
    rules.write_text("[thresholds]\nalpha = 0.2", encoding="utf-8")
    pool, job = Pool(Setting(str(set_folder), str(rules), None, 0), 1, WAIT), Job(str(suspect), "style")

    async def ask() -> str:
        found = await asyncio.wait_for(pool.audit(job), WAIT)
        return str(found["verdict"]["label"])

    async def story() -> None:
        await pool.start()
        try:
            assert await ask() == "CONSISTENT"
            rules.rename(tmp_path / "away.toml")
            for process in multiprocessing.active_children():
                process.kill()
            with pytest.raises(Broken, match="has ended"):
                await ask()
            assert (pool.alive(), multiprocessing.active_children()) == (0, [])
            with pytest.raises(AuditorError, match=r"policy .* cannot be read"):
                await ask()
            (tmp_path / "away.toml").rename(rules)
            assert await ask() == "CONSISTENT"
            assert (pool.alive(), len(multiprocessing.active_children())) == (1, 1)
            # and without a request, by whoever asks after its health
            rules.rename(tmp_path / "away.toml")
            for process in multiprocessing.active_children():
                process.kill()
            with pytest.raises(Broken, match="has ended"):
                await ask()
            (tmp_path / "away.toml").rename(rules)
            for _ in range(3):  # a second look starts no second process
                pool.revive()
            for _ in range(int(10 * WAIT)):
                if pool.alive():
                    break
                await asyncio.sleep(0.1)
            assert (pool.alive(), len(multiprocessing.active_children())) == (1, 1)
            assert await ask() == "CONSISTENT"
        finally:
            pool.stop()

    asyncio.run(story())


def test_a_process_that_is_not_ready_in_time_is_ended_and_the_start_named(
    set_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from auditor.service import workers

    monkeypatch.setattr(workers, "START", 0.001)
    pool = workers.Pool(workers.Setting(str(set_folder), None, None, 0), 2, WAIT)
    with pytest.raises(workers.Broken, match=r"not ready after 0\.001 s"):
        asyncio.run(pool.start())
    assert multiprocessing.active_children() == []
