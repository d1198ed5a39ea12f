"""Suspects beside known files: read once, settled by digests where these do, and audited no less than without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lora_writing as writing
import mini_set
import numpy as np
import pytest

import auditor.audit
import auditor.lora.algebra
import auditor.lora.relation
from auditor.audit import check
from auditor.evidence.copies import copy_of_known
from auditor.known import KnownFiles
from auditor.lora import load_lora, read_artifact
from auditor.lora.relation import Known, compare_files
from auditor.reference import ReferenceSet


@pytest.fixture(scope="module")
def reference(set_folder: Path) -> ReferenceSet:
    return ReferenceSet.load(set_folder)


@pytest.fixture
def strangers(tmp_path: Path) -> list[Path]:
    """Files by one artist that are no copies of each other."""
    written = ((i, writing.kohya(mini_set.lora(mini_set.STRANGER, i))) for i in range(4))
    return [mini_set.save(tmp_path / f"{i}.safetensors", tensors) for i, tensors in written]


def test_a_suspect_that_was_read_is_not_read_again(
    reference: ReferenceSet, strangers: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = KnownFiles({path.name: Known(path) for path in strangers[1:]})
    calls: list[str] = []

    def counted(name: str, own: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given, **options: calls.append(name) or own(*given, **options)

    for module in (auditor.audit, auditor.lora.relation):
        for name in ("load_lora", "read_artifact"):
            monkeypatch.setattr(module, name, counted(name, getattr(module, name)))
    check(strangers[0], reference, known=known, resamples=5)
    assert sorted(calls) == ["load_lora", "read_artifact"]


def test_norms_of_known_files_are_worked_out_once(strangers: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    known = {path.name: Known(path) for path in strangers[1:]}
    first, second = (Known(strangers[0]) for _ in range(2))
    expected = [compare_files(path, strangers[0]).figures for path in strangers[1:]]
    copy_of_known(first, known)
    own: list[bool] = []
    inner = auditor.lora.algebra.inner_product
    monkeypatch.setattr(auditor.lora.algebra, "inner_product", lambda a, b: own.append(a is b) or inner(a, b))
    copy_of_known(second, known)
    assert sum(own) == len(second.weights.modules)
    assert [other.against(second).figures for other in known.values()] == expected


@pytest.mark.parametrize("same", ["sha256", "tensor_sha256"])
def test_a_digest_settles_before_any_algebra(strangers: list[Path], same: str, monkeypatch: pytest.MonkeyPatch) -> None:
    suspect = Known(strangers[0])
    known = {path.name: Known(path) for path in strangers[1:]}
    again = replace(read_artifact(strangers[0]), **({"sha256": "0"} if same == "tensor_sha256" else {}))
    known["again"] = Known.of(again, load_lora(strangers[0], with_beside=True))
    compared: list[Known] = []
    against = Known.against
    monkeypatch.setattr(Known, "against", lambda self, other: compared.append(self) or against(self, other))
    found = copy_of_known(suspect, known)
    assert found is not None
    assert (found["of"], found["relation"]) == ("again", {"sha256": "same_file", "tensor_sha256": "same_tensors"}[same])
    assert compared == [known["again"]]


@pytest.mark.parametrize("alone", [True, False])
def test_what_lies_damaged_or_alone_beside_the_update_changes_no_audit(
    reference: ReferenceSet, strangers: list[Path], tmp_path: Path, alone: bool
) -> None:
    tensors = {} if alone else writing.kohya(mini_set.lora(mini_set.STRANGER, 0))
    blocks = np.ones((2, 4, 4) if alone else (2, 3), np.float32)
    tensors["lora_unet_mid_block_attentions_0_proj_out.oft_blocks"] = blocks
    path = writing.save(tmp_path / "suspect.safetensors", tensors)
    known = KnownFiles({strangers[1].name: Known(strangers[1])})
    plain, beside = (check(path, reference, resamples=5, known=files).to_dict() for files in (None, known))
    assert {k: plain[k] for k in ("verdict", "suspect", "skipped")} == {
        k: beside[k] for k in ("verdict", "suspect", "skipped")
    }
    assert (plain["skipped"] is None) is not alone
