"""Audits as statements that others can check: in-toto statements, signatures, verification, reproduction.

A leaf above the audit: the core never imports it.
"""

from auditor.attestation.envelope import keyed, opened, sign, signed_by
from auditor.attestation.keyless import is_bundle, sign_keyless, signed_as
from auditor.attestation.reproduce import Reproduction, reproduce
from auditor.attestation.statement import PREDICATE_TYPE, STATEMENT_TYPE, statement
from auditor.attestation.verify import Check, Signer, verify

__all__ = [
    "PREDICATE_TYPE",
    "STATEMENT_TYPE",
    "Check",
    "Reproduction",
    "Signer",
    "is_bundle",
    "keyed",
    "opened",
    "reproduce",
    "sign",
    "sign_keyless",
    "signed_as",
    "signed_by",
    "statement",
    "verify",
]
