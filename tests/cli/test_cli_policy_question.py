"""A policy and a question about some artists only: those whom it protects must not pass unasked."""

from __future__ import annotations

import pytest

CONCERN = '[artists]\nof_concern = ["valentin-serov"]\n'


@pytest.mark.parametrize(
    ("policy", "artist", "code"),
    [(CONCERN, "anders-zorn", 2), (CONCERN, "valentin-serov", 11), ("", "valentin-serov", 2), (CONCERN, None, 11)],
)
def test_whom_a_policy_protects_must_be_asked_about(run, tmp_path, example, policy, artist, code):
    (tmp_path / "policy.toml").write_text(policy)
    done = run("check", example, "--policy", "policy.toml", *(("--artist", artist) if artist else ()))
    assert done.returncode == code
    assert ("leave out artists whom the policy protects" in done.stderr) == (code == 2)
