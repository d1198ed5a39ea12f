"""`audit attest`, `audit verify`, `audit reproduce`: audits that others can check."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auditor.cli.documents import safe_name, write_text
from auditor.cli.exit_codes import NOT_AUDITABLE
from auditor.cli.known import known_files
from auditor.cli.options import AuditFile, Json, NoRemarks, Offline, local_path
from auditor.cli.output import complain, emit, emit_json, print_pairs, remark
from auditor.cli.report import read
from auditor.cli.sets import opened
from auditor.cli.suspects import named
from auditor.errors import AttestationError, UsageError
from auditor.gate import load_policy
from auditor.sources import Network, Source

if TYPE_CHECKING:
    from auditor.attestation import Check

Refs = Annotated[
    str | None,
    typer.Option(envvar="AUDIT_REFS", metavar="NAME|DIR|hf://…", help="Set to audit with; by default the one named."),
]
Known = Annotated[
    Path | None,
    typer.Option("--known", envvar="AUDIT_KNOWN", metavar="DIR", help="Known LoRA files that the audit compared with."),
]
SIGNS = {True: "ok", False: "FAILED", None: "not checked"}


def attest(
    audit: AuditFile,
    key: Annotated[
        Path | None,
        typer.Option(
            envvar="AUDIT_KEY", metavar="KEY.pem", help='Sign with this Ed25519 key. Needs the extra "attest".'
        ),
    ] = None,
    sigstore: Annotated[
        bool,
        typer.Option("--sigstore", help='Sign with the identity in AUDIT_ID_TOKEN. Needs the extra "sigstore".'),
    ] = False,
    trust_config: Annotated[
        Path | None,
        typer.Option(envvar="AUDIT_TRUST_CONFIG", metavar="FILE", help="A Sigstore other than the public one."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", envvar="AUDIT_OUTPUT", metavar="FILE|DIR", help="Default: stdout. A folder for several."
        ),
    ] = None,
    quiet: NoRemarks = False,
) -> None:
    """Make an in-toto statement of an audit: what was audited, with what, the verdict; --key or --sigstore sign it.

    Exit codes: 0 attested · 1 the tool failed · 2 wrong usage · 3 a file of several was not audited; the others are
    attested.
    """
    if key and sigstore:
        raise UsageError("--key and --sigstore are two ways to sign.", advice="Choose one.")
    audits = read(audit)
    if len(audits) > 1 and (output is None or not _is_folder(output)):
        raise UsageError(
            f"{audit} holds {len(audits)} audits, and a statement is about one.", advice="Name a folder: -o DIR."
        )
    made = _statements(audits)
    documents = [(one, _signed(text, key, sigstore, trust_config)) for one, text in made]
    if output is None:
        emit(documents[0][1])
        return
    for one, text in documents:
        path = output / f"{safe_name(one)}.intoto.json" if _is_folder(output) else output
        write_text(path, text)
        if not quiet:
            remark(f"Statement: {path}")
    if len(made) < len(audits):
        raise typer.Exit(NOT_AUDITABLE)


def _statements(audits: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], str]]:
    """Each audit with its statement; of several, one of a file that was not audited is told on stderr and left out."""
    from auditor.attestation import statement
    from auditor.attestation.statement import written

    made = []
    for one in audits:
        try:
            made.append((one, written(statement(one))))
        except UsageError as error:
            if len(audits) == 1:
                raise
            complain(f"{one['suspect']['path']}: {error}")
    return made


def _signed(text: str, key: Path | None, sigstore: bool, trust: Path | None) -> str:
    """A statement, signed as asked."""
    from auditor.attestation import sign, sign_keyless
    from auditor.attestation.statement import written

    payload = text.encode("ascii")
    if sigstore:
        return written(sign_keyless(payload, trust))
    return written(sign(payload, key)) if key else text


def verify(
    document: Annotated[
        Path, typer.Argument(metavar="STATEMENT.json", parser=local_path, help="What audit attest wrote.")
    ],
    suspect: Annotated[
        Path | None,
        typer.Option(metavar="FILE", parser=local_path, help="The file that the statement is said to be about."),
    ] = None,
    audit: Annotated[
        Path | None,
        typer.Option(metavar="AUDIT.json", parser=local_path, help="The audit that the statement is said to be about."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            envvar="AUDIT_PUBLIC_KEY", metavar="KEY.pub", help="Public key of whoever is said to have signed."
        ),
    ] = None,
    identity: Annotated[
        str | None, typer.Option(metavar="WHO", help="Who is said to have signed a Sigstore bundle.")
    ] = None,
    issuer: Annotated[str | None, typer.Option(metavar="URL", help="Who must have vouched for that identity.")] = None,
    trusted_root: Annotated[
        Path | None,
        typer.Option(envvar="AUDIT_TRUSTED_ROOT", metavar="FILE", help="Root of a Sigstore other than the public one."),
    ] = None,
    rerun: Annotated[bool, typer.Option("--rerun", help="Audit the file again and compare.")] = False,
    refs: Refs = None,
    known: Known = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Check a statement: signature, digests, and with --rerun the audit itself.

    Exit codes: 0 every check that was made passed · 1 one failed, or it is no statement of an audit · 2 wrong usage ·
    3 the file cannot be read. A check that lacks a key or a file is told as "not checked".
    """
    from auditor.attestation import Signer
    from auditor.attestation import verify as check
    from auditor.attestation.envelope import read_document
    from auditor.attestation.verify import parse

    one = _single(audit) if audit else None
    signer = Signer(identity, issuer, trusted_root, offline) if identity else None
    if signer is None and (issuer or trusted_root):
        raise UsageError("Nobody is named who should have signed.", advice="Give --identity too.")
    options: dict[str, Any] = {"key": key, "signer": signer, "suspect": suspect, "audit": one, "rerun_audit": rerun}
    statement = read_document(document)
    options["known"] = known_files(known) if known and rerun else None
    place = refs or (_recorded(parse(statement)["predicate"]) if rerun else None)
    if place is None:
        checks = check(statement, **options)
    else:
        with opened(place, Network(offline)) as reference:
            checks = check(statement, refs=reference.folder, **options)
    failed = any(c.passed is False for c in checks)
    _tell_checks(document, checks, as_json, failed)
    raise typer.Exit(AttestationError.exit_code if failed else 0)


def reproduce(
    audit: AuditFile,
    suspect: Annotated[
        str, typer.Argument(metavar="SUSPECT", help="The audited file, or its hf://… or civitai:… name.")
    ],
    refs: Refs = None,
    known: Known = None,
    policy: Annotated[
        Path | None,
        typer.Option(envvar="AUDIT_POLICY", metavar="FILE", help="Judge again by this policy and compare its digest."),
    ] = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Audit a file again as an audit says, and tell whether the same bytes come out; if not, which input differs.

    Exit codes: 0 the same bytes, or the same conclusions with figures that differ by rounding · 1 something else ·
    2 wrong usage · 3 the suspect cannot be read.
    """
    from auditor.attestation import reproduce as again

    one, network = _single(audit), Network(offline)
    place = refs or _recorded(one)
    rules = load_policy(policy) if policy else None
    files = known_files(known) if known else None
    with _source(suspect, network).fetched() as path:
        if place is None:
            found = again(one, path, None, files, rules)
        else:
            with opened(place, network) as reference:
                found = again(one, path, reference, files, rules)
    if as_json:
        emit_json({"audit": str(audit), "suspect": suspect} | found.to_dict())
    elif found.same_bytes:
        print_pairs({"same bytes": True, "sha256 without timing": found.audit_sha256["found"]})
    else:
        print_pairs({"same bytes": False, "same conclusions": found.same_figures, "what differs": found.causes})
        if found.results:
            print_pairs({"results that differ": {d.field: f"{d.recorded} → {d.found}" for d in found.results}})
    raise typer.Exit(0 if found.same_bytes or found.same_figures else AttestationError.exit_code)


def _source(name: str, network: Network) -> Source:
    """The one suspect behind a name."""
    if len(found := named([name], network)) != 1:
        raise UsageError(f"{name} is {len(found)} files.", advice="Name the one that the audit is about.")
    return found[0]


def _recorded(audit: Mapping[str, Any]) -> str | None:
    """The reference set that an audit or statement names, where it lies on the hub; None for one of this machine."""
    options = audit.get("options")
    name = options.get("refs") if isinstance(options, Mapping) else None
    return name if isinstance(name, str) and name.startswith("hf://") else None


def _single(path: Path) -> Mapping[str, Any]:
    """The one audit of a file."""
    audits = read(path)
    if len(audits) > 1:
        raise UsageError(f"{path} holds {len(audits)} audits.", advice="Give the JSON of one file's audit.")
    return audits[0]


def _is_folder(path: Path) -> bool:
    """Whether -o names a folder: one that exists, or a name without .json."""
    return os.path.isdir(path) or path.suffix != ".json"


def _tell_checks(document: Path, checks: list[Check], as_json: bool, failed: bool) -> None:
    """The checks as JSON or for people; on stderr, how many failed."""
    if as_json:
        rows = [{"check": c.name, "passed": c.passed, "detail": c.detail} for c in checks]
        emit_json({"statement": str(document), "ok": not failed, "checks": rows})
        return
    print_pairs({c.name: f"{SIGNS[c.passed]} – {c.detail}" for c in checks})
    if failed:
        complain(f"{document}: failed: {', '.join(c.name for c in checks if c.passed is False)}.")
