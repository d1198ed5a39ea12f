"""Sigstore bundles, made and checked by the library itself against an authority and a log on loopback."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fake_sigstore
import processes
import pytest

from auditor.attestation import PREDICATE_TYPE, Signer, is_bundle, sign_keyless, statement, verify
from auditor.attestation.keyless import TOKEN
from auditor.attestation.statement import written
from auditor.attestation.verify import parse
from auditor.errors import AttestationError, UsageError

WHO = "reviewer@marketplace.example"


@dataclass(frozen=True)
class Signed:
    """A bundle, the statement inside, and whom to trust."""

    bundle: dict[str, Any]
    statement: dict[str, Any]
    root: Path
    config: Path

    def check(self, bundle: dict[str, Any] | None = None, **other: Any) -> tuple[bool | None, str]:
        asked: dict[str, Any] = {"identity": WHO, "issuer": fake_sigstore.ISSUER, "trusted_root": self.root} | other
        found = verify(bundle or self.bundle, signer=Signer(**asked))[1]
        return found.passed, found.detail


@pytest.fixture(scope="module")
def signed(audit: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    folder, fake = tmp_path_factory.mktemp("sigstore"), fake_sigstore.Sigstore()
    with fake.served() as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv(TOKEN, fake_sigstore.token(WHO))
        (folder / "root.json").write_text(json.dumps(fake.trusted_root()), encoding="utf-8")
        (folder / "config.json").write_text(json.dumps(fake.trust_config(url)), encoding="utf-8")
        made = statement(audit)
        bundle = sign_keyless(written(made).encode(), folder / "config.json")
        yield Signed(bundle, made, folder / "root.json", folder / "config.json")


def test_a_bundle_says_who_signed_which_statement(signed: Signed) -> None:
    assert is_bundle(signed.bundle)
    assert parse(signed.bundle) == signed.statement
    assert signed.check() == (True, f"made by {WHO}, as {fake_sigstore.ISSUER} vouched")
    assert verify(signed.bundle)[1].passed is None
    assert verify(signed.bundle, key=Path("some.pub"))[1].passed is False


@pytest.mark.parametrize("other", [{"identity": "someone@else.example"}, {"issuer": "https://other.example"}])
def test_another_identity_or_issuer_did_not_sign(signed: Signed, other: dict[str, str]) -> None:
    assert signed.check(**other)[0] is False


def test_another_authority_is_not_trusted(signed: Signed, tmp_path: Path) -> None:
    root = tmp_path / "other.json"
    root.write_text(json.dumps(fake_sigstore.Sigstore().trusted_root()), encoding="utf-8")
    assert signed.check(trusted_root=root)[0] is False


def test_a_changed_statement_is_not_the_signed_one(signed: Signed) -> None:
    changed = copy.deepcopy(signed.bundle)
    other = signed.statement | {"predicate": signed.statement["predicate"] | {"seed": 99}}
    changed["dsseEnvelope"]["payload"] = fake_sigstore.b64(written(other).encode())
    assert parse(changed)["predicate"]["seed"] == 99
    assert signed.check(changed)[0] is False


def test_a_bare_statement_has_no_signer(signed: Signed) -> None:
    assert signed.check(signed.statement)[0] is False


def test_no_identity_no_signature(signed: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    import sigstore.oidc

    monkeypatch.delenv(TOKEN)
    monkeypatch.setattr(sigstore.oidc, "detect_credential", lambda: None)
    with pytest.raises(UsageError, match="no identity"):
        sign_keyless(b"{}", signed.config)
    monkeypatch.setenv(TOKEN, fake_sigstore.token(WHO, seconds=-60))
    with pytest.raises(AttestationError, match="token cannot be used"):
        sign_keyless(b"{}", signed.config)


def test_services_that_cannot_be_had_are_an_error(signed: Signed, tmp_path: Path) -> None:
    (tmp_path / "gone.json").write_text(json.dumps(fake_sigstore.Sigstore().trust_config("http://127.0.0.1:9")))
    with pytest.raises(AttestationError, match="did not sign"):
        sign_keyless(written(signed.statement).encode(), tmp_path / "gone.json")
    with pytest.raises(AttestationError, match="trusted root"):
        signed.check(trusted_root=tmp_path / "nosuch.json")


def test_the_commands(signed: Signed, audit_file: Path, tmp_path: Path) -> None:
    token = {TOKEN: fake_sigstore.token(WHO)}
    asked = ["attest", audit_file, "--sigstore", "--trust-config", signed.config, "-o", "signed.json"]
    made = processes.audit(tmp_path, *asked, env=token)
    assert (made.returncode, made.stdout) == (0, ""), made.stderr
    trusted = ["verify", "signed.json", "--trusted-root", signed.root]
    found = processes.audit(tmp_path, *trusted, "--identity", WHO, "--issuer", fake_sigstore.ISSUER, "--json")
    assert found.returncode == 0, found.stderr
    assert [c["passed"] for c in json.loads(found.stdout)["checks"]] == [True, True]
    assert PREDICATE_TYPE in found.stdout
    assert processes.audit(tmp_path, *trusted, "--identity", "x@y").returncode == 1
