"""The files for continuous integration: well-formed, and their scripts run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import processes
import pytest

yaml = pytest.importorskip("yaml")
ROOT = processes.ROOT


def loaded(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def action() -> dict[str, Any]:
    found: dict[str, Any] = loaded("action.yml")
    return found


def step(action: dict[str, Any], name: str) -> dict[str, Any]:
    return next(s for s in action["runs"]["steps"] if s["id"] == name)


def test_the_action_is_a_composite_one_and_passes_inputs_as_data(action: dict[str, Any]) -> None:
    assert action["runs"]["using"] == "composite"
    used = set()
    for one in action["runs"]["steps"]:
        assert one["shell"] == "bash"
        assert "${{" not in one["run"], "an input inside a script would be run as a script"
        used |= set(re.findall(r"inputs\.([\w-]+)", " ".join(one["env"].values())))
        set_here = set(one["env"])
        assert set(re.findall(r"\bAUDIT_ACTION_\w+", one["run"])) <= set_here
    assert used == set(action["inputs"])


def run_step(one: dict[str, Any], folder: Path, inputs: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A step's script as the runner runs it: bash, expressions filled into the environment only."""

    def filled(value: str) -> str:
        value = re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda m: inputs.get(m[1], ""), value)
        return value.replace("${{ github.action_path }}", str(ROOT))

    environment = processes.environment({key: filled(value) for key, value in one["env"].items()})
    environment |= {"RUNNER_TEMP": str(folder), "GITHUB_OUTPUT": str(folder / "output.txt")}
    environment |= {"GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
    script = folder / "step.sh"
    script.write_text(one["run"], encoding="utf-8")
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
        cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture
def runner(tmp_path: Path) -> Path:
    """A runner's folder in which the first step is done: `audit` is that of the tests."""
    program = tmp_path / "audit-venv" / "bin" / "audit"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m auditor.cli "$@"\n')
    program.chmod(0o755)
    return tmp_path


@pytest.mark.slow
def test_the_action_audits(action: dict[str, Any], runner: Path, set_folder: Path, lora_folder: Path) -> None:
    uploads = runner / "uploads"
    uploads.mkdir()
    shutil.copy(lora_folder / "ada-alder" / "0.safetensors", uploads / "$(touch ran) `touch ran`.safetensors")
    inputs = {"files": "uploads\n", "refs": str(set_folder), "output": "reports"}
    done = run_step(step(action, "audit"), runner, inputs)
    assert done.returncode == 11, done.stderr
    told = dict(line.split("=", 1) for line in (runner / "output.txt").read_text().splitlines())
    assert told["exit-code"] == "11"
    assert json.loads((runner / told["sarif"]).read_text(encoding="utf-8"))["version"] == "2.1.0"
    assert "DERIVATIVE" in (runner / "summary.md").read_text(encoding="utf-8")
    assert not list(runner.rglob("ran"))
    done = run_step(step(action, "audit"), runner, inputs | {"fail-on": "never"})
    assert done.returncode == 0
    (runner / "p.toml").write_text('[block]\nverdicts = ["CONSISTENT"]\n')
    assert run_step(step(action, "audit"), runner, inputs | {"policy": "p.toml"}).returncode == 0
    assert run_step(step(action, "audit"), runner, inputs | {"files": "nosuch"}).returncode == 3


def test_the_action_installs_from_a_folder_of_wheels(action: dict[str, Any], tmp_path: Path) -> None:
    """`python3` is replaced by a script that writes down what pip is asked for."""
    bins = tmp_path / "bin"
    bins.mkdir()
    (bins / "python3").write_text(f'#!/bin/sh\n[ "$2" = pip ] && printf "%s\\n" "$@" >"{tmp_path}/asked"\nexit 0\n')
    (bins / "python3").chmod(0o755)
    cache = ["--no-index", "--find-links", "my wheels"]
    for inputs, asked in (
        ({"wheels": "my wheels", "install": "lora-style-audit==1"}, [*cache, "lora-style-audit==1"]),
        ({"wheels": "my wheels"}, [*cache, "lora-style-audit"]),
        ({}, [str(ROOT)]),
    ):
        one = step(action, "install")
        one = one | {"env": one["env"] | {"PATH": f"{bins}{os.pathsep}{os.environ['PATH']}"}}
        done = run_step(one, tmp_path, inputs)
        assert done.returncode == 0, done.stderr
        found = (tmp_path / "asked").read_text().splitlines()
        assert found[:5] == ["-m", "pip", "--python", f"{tmp_path}/audit-venv/bin/python", "install"]
        assert found[8:] == asked


def test_the_hook_is_one_that_pre_commit_takes() -> None:
    clientlib = pytest.importorskip("pre_commit.clientlib")
    (hook,) = clientlib.load_manifest(str(ROOT / ".pre-commit-hooks.yaml"))
    assert hook["entry"].split()[:2] == ["audit", "check"]
    assert re.search(hook["files"], "loras/x.safetensors")
    assert not re.search(hook["files"], "README.md")


def test_the_hooks_command_runs(set_folder: Path, lora_folder: Path, tmp_path: Path) -> None:
    (hook,) = loaded(".pre-commit-hooks.yaml")
    command = hook["entry"].split()[1:]
    file = lora_folder / "ada-alder" / "0.safetensors"
    assert processes.audit(tmp_path, *command, file, env={"AUDIT_REFS": str(set_folder)}).returncode == 11


def test_templates_call_commands_that_exist() -> None:
    gitlab = loaded("docs/ci/gitlab.yml")["audit-lora"]
    calls = [line for line in gitlab["script"] if line.startswith("audit ")]
    assert calls
    for call in calls:
        options = re.findall(r"--[\w-]+", call)
        known = processes.audit(ROOT, *call.split()[1:2], "--help").stdout
        assert all(option in known for option in options)
    github = loaded("docs/ci/github.yml")
    (used,) = [s for s in github["jobs"]["audit"]["steps"] if "audit@" in s.get("uses", "")]
    assert set(used["with"]) <= set(loaded("action.yml")["inputs"])


def test_the_image_carries_what_the_package_needs() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = {
        word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    }
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)
    users = [line for line in lines if line.startswith("USER ")]
    assert users == ["USER audit"]
    assert lines.index(users[0]) < next(i for i, line in enumerate(lines) if line.startswith("ENTRYPOINT"))
