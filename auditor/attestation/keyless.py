"""Signatures without a key of one's own: Sigstore bundles.  Needs the extra "sigstore".

Whoever signs shows an identity token (OpenID Connect); Sigstore's authority turns it into a certificate that lives for
minutes, and its log remembers that.  What can be checked later is *who* signed (an address, or a workflow of a
repository) and who vouched for that.  Signing therefore needs the network, and publishes the identity for good.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auditor.attestation.envelope import PAYLOAD_TYPE
from auditor.errors import AttestationError, UsageError
from auditor.extras import need

TOKEN = "AUDIT_ID_TOKEN"  # noqa: S105  (a variable's name)


def sign_keyless(payload: bytes, trust: Path | None = None) -> dict[str, Any]:
    """A Sigstore bundle around the statement `payload`.

    The identity is the token in AUDIT_ID_TOKEN, else the one that a continuous-integration service hands out.  trust:
    a client trust configuration as JSON, for an instance of one's own; by default the public one.  Raises
    AttestationError where there is no identity, or where the services cannot be had or refuse.
    """
    sign, dsse, failure = _sigstore("sign"), _sigstore("dsse"), _sigstore("errors").Error
    token = _token()
    try:
        with sign.SigningContext.from_trust_config(_trust(trust)).signer(token) as signer:
            found: dict[str, Any] = json.loads(signer.sign_dsse(dsse.Statement(payload)).to_json())
    except (failure, OSError, ValueError) as error:
        raise AttestationError(
            f"Sigstore did not sign: {error}.",
            advice="Signing needs the network and a fresh token. Without either, sign with --key.",
        ) from error
    return found


def is_bundle(document: Mapping[str, Any]) -> bool:
    """Whether a document is a Sigstore bundle around an envelope."""
    return "verificationMaterial" in document and isinstance(document.get("dsseEnvelope"), Mapping)


def signed_as(
    document: Mapping[str, Any],
    identity: str,
    issuer: str | None = None,
    root: Path | None = None,
    offline: bool = False,
) -> str | None:
    """None where the bundle was signed by `identity`, as `issuer` vouched, and stands in the log; else why not.

    root: a trusted root as JSON; by default the public one, fetched and kept by the library, with `offline` only what
    it kept.  Raises AttestationError where no root can be had.
    """
    verify, policy, models = _sigstore("verify"), _sigstore("verify.policy"), _sigstore("models")
    failure = _sigstore("errors").Error
    try:
        verifier = (
            verify.Verifier(trusted_root=models.TrustedRoot.from_file(str(root)))
            if root
            else verify.Verifier.production(offline=offline)
        )
    except (failure, OSError, ValueError) as error:
        raise AttestationError(
            f"The trusted root cannot be had: {error}.", advice="Name one with --trusted-root FILE, or go online once."
        ) from error
    try:
        bundle = models.Bundle.from_json(json.dumps(document))
        kind, _ = verifier.verify_dsse(bundle, policy.Identity(identity=identity, issuer=issuer))
    except (failure, ValueError) as error:
        return str(error) or type(error).__name__
    return None if kind == PAYLOAD_TYPE else f"its payload is of type {kind}"


def _token() -> Any:
    """The identity token of whoever signs."""
    oidc = _sigstore("oidc")
    raw = os.environ.get(TOKEN) or oidc.detect_credential()
    if not raw:
        raise UsageError(
            "There is no identity to sign with.",
            advice=f"Set {TOKEN} to an OpenID Connect token, or run where a CI service gives one. --key needs neither.",
        )
    try:
        return oidc.IdentityToken(raw)
    except _sigstore("errors").Error as error:
        raise AttestationError(f"The identity token cannot be used: {error}.", advice="Get a fresh one.") from error


def _trust(path: Path | None) -> Any:
    """Where to sign, and whom to trust."""
    config = _sigstore("models").ClientTrustConfig
    return config.production() if path is None else config.from_json(path.read_text(encoding="utf-8"))


def _sigstore(module: str) -> Any:
    """A module of the package sigstore."""
    return need(f"sigstore.{module}", "sigstore", "signatures by identity")
