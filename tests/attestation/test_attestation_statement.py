"""Statements and envelopes, by the words of in-toto and DSSE and by other implementations of the signature."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.attestation import PREDICATE_TYPE, opened, sign, signed_by, statement, verify
from auditor.attestation.envelope import PASSPHRASE, PAYLOAD_TYPE, pae, read_document
from auditor.attestation.statement import PREDICATE_FIELDS, audit_digest, canonical, written
from auditor.errors import AttestationError, MalformedFile, UsageError

STATEMENT_SCHEMA = {  # from the words of the in-toto Attestation Framework, spec/v1/statement.md
    "type": "object",
    "required": ["_type", "subject", "predicateType"],
    "properties": {
        "_type": {"const": "https://in-toto.io/Statement/v1"},
        "subject": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["digest"],
                "properties": {
                    "name": {"type": "string"},
                    "digest": {
                        "type": "object",
                        "minProperties": 1,
                        "propertyNames": {"pattern": "^[a-z0-9_]+$"},
                        "additionalProperties": {"type": "string", "pattern": "^[0-9a-f]+$"},
                    },
                },
            },
        },
        "predicateType": {"type": "string", "pattern": "^[a-z][a-z0-9+.-]*:"},
        "predicate": {"type": "object"},
    },
    "additionalProperties": False,
}


def bad(audit: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return copy.deepcopy(audit) | parts


# --- statement -------------------------------------------------------------------------------------------------------


def test_the_statement_is_in_totos_and_about_these_bytes(audit: dict[str, Any], stranger: Path) -> None:
    made = statement(audit)
    jsonschema.Draft202012Validator(STATEMENT_SCHEMA).validate(made)
    raw = stranger.read_bytes()
    header = int.from_bytes(raw[:8], "little")
    assert [s["name"] for s in made["subject"]] == ["stranger.safetensors", "stranger.safetensors#tensors"]
    assert made["subject"][0]["digest"]["sha256"] == hashlib.sha256(raw).hexdigest()
    assert made["subject"][1]["digest"]["sha256"] == hashlib.sha256(raw[8 + header :]).hexdigest()


def test_the_predicate_repeats_the_audit_under_its_own_names(audit: dict[str, Any], set_folder: Path) -> None:
    predicate = statement(audit)["predicate"]
    for same in ("tool", "created_at", "seed", "options", "verdict", "coverage", "derivative"):
        assert predicate[same] == audit[same]
    assert predicate["reference_set"].items() <= audit["reference_set"].items()
    manifest = json.loads((set_folder / "manifest.json").read_text(encoding="utf-8"))
    assert predicate["reference_set"]["digest"] == manifest["digest"]
    assert predicate["open_set"].items() <= audit["open_set"].items()
    assert {"p", "p_min", "alpha", "null_artists"} <= set(predicate["open_set"])
    assert [a["artist"] for a in predicate["artists"]] == [a["artist"] for a in audit["artists"][:3]]
    assert predicate["policy"] is None
    assert audit["suspect"]["path"] not in json.dumps(statement(audit)), "folders of the auditor's machine are private"


def test_the_predicate_leaves_nothing_out(audit: dict[str, Any]) -> None:
    assert tuple(statement(audit)["predicate"]) == PREDICATE_FIELDS


def test_the_policy_is_in_the_predicate(audit: dict[str, Any]) -> None:
    note = {"sha256": "a" * 64, "baseline_sha256": "b" * 64, "blocks": True, "outcome": "blocked", "reason": "…"}
    found = statement(bad(audit, options=audit["options"] | {"policy": note}))["predicate"]["policy"]
    assert found["digest"] == {"sha256": "a" * 64}
    assert found["baseline"] == {"sha256": "b" * 64}
    assert (found["blocks"], found["outcome"]) == (True, "blocked")


def test_the_digest_of_an_audit_forgets_its_timing_and_nothing_else(audit: dict[str, Any]) -> None:
    assert audit_digest(bad(audit, timing_s={"read": 9.0})) == audit_digest(audit)
    assert audit_digest(dict(reversed(list(audit.items())))) == audit_digest(audit)
    for field in set(audit) - {"timing_s"}:
        assert audit_digest(bad(audit, **{field: "other"})) != audit_digest(audit), field
    assert hashlib.sha256(canonical(audit)).hexdigest() == audit_digest(audit)


def test_nothing_is_attested_about_a_file_that_was_not_audited(audit: dict[str, Any]) -> None:
    skipped = {"code": "malformed", "reason": "broken", "advice": "mend"}
    with pytest.raises(UsageError, match="nothing to attest"):
        statement(bad(audit, skipped=skipped))


@pytest.mark.parametrize("missing", ["suspect", "verdict", "open_set", "options", "seed"])
def test_half_an_audit_is_refused(audit: dict[str, Any], missing: str) -> None:
    half = {key: value for key, value in audit.items() if key != missing}
    with pytest.raises(AttestationError, match=missing):
        statement(half)


# --- envelope --------------------------------------------------------------------------------------------------------


def test_pre_authentication_encoding_is_the_specifications() -> None:
    """The example of secure-systems-lab/dsse, protocol.md."""
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@given(st.text(), st.binary(), st.text(), st.binary())
def test_encoding_is_injective(kind: str, payload: bytes, other_kind: str, other: bytes) -> None:
    assert (pae(kind, payload) == pae(other_kind, other)) == ((kind, payload) == (other_kind, other))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with key.pem, key.pub, other.pem, other.pub, locked.pem (passphrase 'tulip') and rsa.pem."""
    pytest.importorskip("cryptography")
    from cryptography.hazmat.primitives import serialization as ser
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

    folder = tmp_path_factory.mktemp("keys")

    def save(name: str, key: Any, passphrase: bytes | None = None) -> None:
        lock = ser.BestAvailableEncryption(passphrase) if passphrase else ser.NoEncryption()
        (folder / f"{name}.pem").write_bytes(key.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, lock))
        public = key.public_key().public_bytes(ser.Encoding.PEM, ser.PublicFormat.SubjectPublicKeyInfo)
        (folder / f"{name}.pub").write_bytes(public)

    own = ed25519.Ed25519PrivateKey.generate()
    save("key", own)
    save("locked", own, b"tulip")
    save("other", ed25519.Ed25519PrivateKey.generate())
    save("rsa", rsa.generate_private_key(65537, 2048))
    return folder


def test_signature_holds_for_its_key_alone(keys: Path) -> None:
    envelope = sign(b"payload", keys / "key.pem")
    assert (envelope["payloadType"], opened(envelope)) == (PAYLOAD_TYPE, b"payload")
    assert signed_by(envelope, keys / "key.pub")
    assert not signed_by(envelope, keys / "other.pub")
    assert not signed_by(envelope | {"signatures": []}, keys / "key.pub")


def test_one_good_signature_of_several_is_enough(keys: Path) -> None:
    one, other = sign(b"x", keys / "key.pem"), sign(b"x", keys / "other.pem")
    both = one | {"signatures": other["signatures"] + one["signatures"]}
    assert signed_by(both, keys / "key.pub")
    assert signed_by(both, keys / "other.pub")


@given(st.data())
def test_any_change_of_the_payload_breaks_the_signature(keys: Path, data: st.DataObject) -> None:
    payload = data.draw(st.binary(min_size=1, max_size=64))
    envelope = sign(payload, keys / "key.pem")
    changed = data.draw(st.binary(max_size=64).filter(lambda other: other != payload))
    forged = envelope | {"payload": base64.b64encode(changed).decode()}
    assert not signed_by(forged, keys / "key.pub")


def test_the_signature_is_openssls(keys: Path, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl")
    envelope = sign(b"payload", keys / "key.pem")
    (tmp_path / "message").write_bytes(pae(PAYLOAD_TYPE, b"payload"))
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    command = [openssl, "pkeyutl", "-verify", "-pubin", "-inkey", str(keys / "key.pub"), "-rawin"]
    done = subprocess.run(
        [*command, "-in", "message", "-sigfile", "sig"], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    der = subprocess.run(
        [openssl, "pkey", "-pubin", "-in", str(keys / "key.pub"), "-outform", "DER"], capture_output=True, check=True
    ).stdout
    assert envelope["signatures"][0]["keyid"] == hashlib.sha256(der).hexdigest()


def test_another_implementation_reads_the_envelope(keys: Path) -> None:
    dsse = pytest.importorskip("securesystemslib.dsse")
    signer = pytest.importorskip("securesystemslib.signer")
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    envelope = sign(b"payload", keys / "key.pem")
    public = load_pem_public_key((keys / "key.pub").read_bytes())
    keyid = envelope["signatures"][0]["keyid"]
    found = dsse.Envelope.from_dict(copy.deepcopy(envelope))
    assert found.payload == b"payload"
    assert list(found.verify([signer.SSlibKey.from_crypto(public, keyid)], threshold=1)) == [keyid]


def test_a_locked_key_needs_its_passphrase(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSPHRASE, raising=False)
    with pytest.raises(AttestationError, match=PASSPHRASE):
        sign(b"x", keys / "locked.pem")
    monkeypatch.setenv(PASSPHRASE, "rose")
    with pytest.raises(AttestationError):
        sign(b"x", keys / "locked.pem")
    monkeypatch.setenv(PASSPHRASE, "tulip")
    assert signed_by(sign(b"x", keys / "locked.pem"), keys / "key.pub")


@pytest.mark.parametrize("name", ["rsa.pem", "key.pub", "nosuch.pem"])
def test_keys_that_cannot_sign(keys: Path, name: str) -> None:
    with pytest.raises(AttestationError):
        sign(b"x", keys / name)


@pytest.mark.parametrize("name", ["rsa.pub", "key.pem", "nosuch.pub"])
def test_keys_that_cannot_check(keys: Path, name: str) -> None:
    with pytest.raises(AttestationError):
        signed_by(sign(b"x", keys / "key.pem"), keys / name)


MALFORMED = {
    "nothing": {},
    "another type": {"_type": "https://in-toto.io/Statement/v0.1", "predicateType": PREDICATE_TYPE},
    "another predicate": {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "https://slsa.dev/provenance/v1",
    },
    "an envelope of something else": {"payloadType": "text/plain", "payload": "", "signatures": []},
    "an envelope of nothing": {"payloadType": PAYLOAD_TYPE, "payload": "", "signatures": []},
    "an envelope of a list": {"payloadType": PAYLOAD_TYPE, "payload": "W10=", "signatures": []},
    "an envelope that is no base64": {"payloadType": PAYLOAD_TYPE, "payload": "§§§", "signatures": []},
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_documents_are_refused(case: str) -> None:
    with pytest.raises(AttestationError):
        verify(MALFORMED[case])


@pytest.mark.parametrize("text", ["", "[]", "[" * 99999, "{", "\xff"])
def test_files_that_are_no_documents(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.json").write_text(text, encoding="latin-1")
    with pytest.raises(AttestationError):
        read_document(tmp_path / "s.json")
    with pytest.raises(MalformedFile):
        read_document(tmp_path / "nosuch.json")


def test_written_documents_are_plain(audit: dict[str, Any]) -> None:
    text = written(statement(audit))
    assert text.isascii()
    assert json.loads(text) == statement(audit)
