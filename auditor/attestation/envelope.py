"""Signatures with an offline Ed25519 key: DSSE v1 envelopes (secure-systems-lab/dsse, protocol.md).

What is signed is the payload's bytes with their type and lengths (PAE), so nothing depends on how JSON is written.  The
key id is the SHA-256 of the public key's SubjectPublicKeyInfo; it is a hint and decides nothing.  Needs the package
cryptography (extra "attest") to sign and to check; reading a payload needs nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auditor.errors import AttestationError, MalformedFile
from auditor.extras import need

PAYLOAD_TYPE = "application/vnd.in-toto+json"
PASSPHRASE = "AUDIT_KEY_PASSPHRASE"  # noqa: S105  (a variable's name)
LARGEST_KEY = 64 * 1024
MAKE_A_KEY = "openssl genpkey -algorithm ed25519 -out key.pem && openssl pkey -in key.pem -pubout -out key.pub"


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed: DSSE's pre-authentication encoding."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload: bytes, key: Path) -> dict[str, Any]:
    """An envelope around `payload`, signed with the private key in the PEM file `key`.

    An encrypted key is opened with the passphrase in AUDIT_KEY_PASSPHRASE.  Raises AttestationError.
    """
    private = _private(key)
    signature: bytes = private.sign(pae(PAYLOAD_TYPE, payload))
    return {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode("ascii"),
        "signatures": [{"keyid": _key_id(private.public_key()), "sig": base64.b64encode(signature).decode("ascii")}],
    }


def keyed(document: Mapping[str, Any]) -> bool:
    """Whether a document is an envelope rather than a bare statement."""
    return "payloadType" in document and "signatures" in document


def opened(envelope: Mapping[str, Any]) -> bytes:
    """The payload of an envelope, its signatures unchecked.  Raises AttestationError."""
    if envelope.get("payloadType") != PAYLOAD_TYPE:
        raise _malformed(f"its payload is of type {envelope.get('payloadType')!r}")
    return _decoded(envelope.get("payload"))


def signed_by(envelope: Mapping[str, Any], key: Path) -> bool:
    """Whether one of the envelope's signatures was made with the private half of the PEM file `key`."""
    exceptions = _crypto("cryptography.exceptions")
    public = _public(key)
    message = pae(PAYLOAD_TYPE, opened(envelope))
    signatures = envelope.get("signatures")
    if not isinstance(signatures, list) or not all(isinstance(entry, dict) for entry in signatures):
        raise _malformed("its signatures are no list of objects")
    for entry in signatures:
        try:
            public.verify(_decoded(entry.get("sig")), message)
        except exceptions.InvalidSignature:
            continue
        return True
    return False


def read_document(path: Path, largest: int = 64 * 1024 * 1024) -> dict[str, Any]:
    """A JSON object from a file: a bare statement or an envelope.

    Raises MalformedFile where it cannot be read, AttestationError where it is none.
    """
    try:
        if path.stat().st_size > largest:
            raise _malformed("it is larger than any statement")
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise MalformedFile(
            f"{path} cannot be read: {error.strerror or error}.", advice="Check its name and permissions."
        ) from error
    except (ValueError, RecursionError) as error:
        raise _malformed("it is no JSON") from error
    if not isinstance(found, dict):
        raise _malformed("it is no JSON object")
    return found


def _private(path: Path) -> Any:
    """The Ed25519 private key of a PEM file."""
    serialization, ed25519 = _crypto("cryptography.hazmat.primitives.serialization"), _ed25519()
    passphrase = os.environ.get(PASSPHRASE)
    try:
        key = serialization.load_pem_private_key(_pem(path), passphrase.encode() if passphrase else None)
    except TypeError as error:
        advice = f"Set {PASSPHRASE} to its passphrase; leave it unset for a key without one."
        raise AttestationError(f"The key {path} cannot be opened: {error}.", advice=advice) from error
    except (ValueError, _crypto("cryptography.exceptions").UnsupportedAlgorithm) as error:
        raise AttestationError(f"{path} is no private key in PEM form.", advice=f"Make one: {MAKE_A_KEY}") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise AttestationError(f"{path} is no Ed25519 key.", advice=f"Make one: {MAKE_A_KEY}")
    return key


def _public(path: Path) -> Any:
    """The Ed25519 public key of a PEM file."""
    serialization, ed25519 = _crypto("cryptography.hazmat.primitives.serialization"), _ed25519()
    try:
        key = serialization.load_pem_public_key(_pem(path))
    except (ValueError, _crypto("cryptography.exceptions").UnsupportedAlgorithm) as error:
        advice = "Give the public half: openssl pkey -in key.pem -pubout -out key.pub"
        raise AttestationError(f"{path} is no public key in PEM form.", advice=advice) from error
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise AttestationError(f"{path} is no Ed25519 key.", advice=f"Make one: {MAKE_A_KEY}")
    return key


def _pem(path: Path) -> bytes:
    """The bytes of a key file."""
    try:
        with path.open("rb") as stream:
            return stream.read(LARGEST_KEY)
    except OSError as error:
        raise AttestationError(
            f"The key {path} cannot be read: {error.strerror or error}.", advice="Check its name and permissions."
        ) from error


def _key_id(public: Any) -> str:
    """SHA-256 of the public key in DER form, as hex digits."""
    serialization = _crypto("cryptography.hazmat.primitives.serialization")
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(public.public_bytes(serialization.Encoding.DER, form)).hexdigest()


def _decoded(text: Any) -> bytes:
    """Base64 of either alphabet, as DSSE allows."""
    if not isinstance(text, str):
        raise _malformed("a part that should be base64 is missing")
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed("a part that should be base64 is not") from error


def _ed25519() -> Any:
    return _crypto("cryptography.hazmat.primitives.asymmetric.ed25519")


def _crypto(module: str) -> Any:
    """A module of the package cryptography."""
    return need(module, "attest", "signatures with a key")


def _malformed(what: str) -> AttestationError:
    return AttestationError(f"This is no statement: {what}.", advice="Give the file that audit attest wrote.")
