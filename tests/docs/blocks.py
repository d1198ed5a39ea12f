"""The code blocks of a Markdown page, and how each kind is tried.

A block is skipped only by a comment right before it:  <!-- not run: REASON -->
A line of a `sh` block that ends in  # exit N  must exit with N; all others with 0.
A `toml` or `yaml` block whose first line is  # NAME  is written to NAME for the blocks after it.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^>]+?) -->\n\s*)?^```(?P<kind>[a-z]*)[^\n]*\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
EXPECTED = re.compile(r"^(?P<command>.*?)\s+# exit (?P<code>\d+)$")
RUNNABLE = ("sh", "python", "toml", "yaml", "json")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    line: int
    kind: str
    text: str
    reason: str | None
    """Why it is not run."""


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page that say what they are."""
    source = page.read_text(encoding="utf-8")
    found = [(m, source.count("\n", 0, m.start()) + 1) for m in FENCE.finditer(source)]
    return [Block(line, m["kind"], m["text"], m["reason"]) for m, line in found if m["kind"] in RUNNABLE]


def script(text: str) -> str:
    """A `sh` block as a script that stops at the first line with another exit code than expected."""
    lines = []
    for line in text.splitlines():
        found = EXPECTED.match(line)
        if found:
            told = shlex.quote(f"{found['command']}: exit code other than {found['code']}: ")
            line = (
                f"code=0; {found['command']} || code=$?; "
                f"[ $code -eq {found['code']} ] || {{ echo {told}$code >&2; exit 99; }}"
            )
        lines.append(line)
    return "set -eo pipefail\n" + "\n".join(lines) + "\n"


def run(block: Block, sandbox: Path, environment: dict[str, str]) -> None:
    """Try one block in `sandbox`; raises AssertionError where it does not work."""
    if block.kind == "toml":
        tomllib.loads(block.text)
    elif block.kind == "json":
        json.loads(block.text)
    elif block.kind == "yaml":
        import yaml

        assert yaml.safe_load(block.text)
    if block.kind in ("toml", "yaml", "json"):
        if named := re.match(r"# (\S+)\n", block.text):
            (sandbox / named[1]).write_text(block.text, encoding="utf-8")
        return
    command = ["bash", "-c", script(block.text)] if block.kind == "sh" else ["python", "-c", block.text]
    done = subprocess.run(
        command, cwd=sandbox, env=environment, capture_output=True, encoding="utf-8", timeout=600, check=False
    )
    assert done.returncode == 0, f"line {block.line}:\n{block.text}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
