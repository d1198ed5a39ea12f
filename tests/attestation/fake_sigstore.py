"""A Sigstore of one's own on loopback: a certificate authority and a log that speak the real services' API shapes.

Fulcio v1/v2 (`signingCert`) and Rekor v1 (`log/entries`), with their own keys and a trust configuration.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

ISSUER = "https://issuer.example"
SCT_LIST = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
ISSUER_EXTENSION = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")


def token(identity: str, seconds: int = 300) -> str:
    """An OpenID Connect token as the library reads it; nobody checks its signature before the authority does."""
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": identity, "aud": "sigstore", "iat": now, "nbf": now, "exp": now + seconds}
    parts = [json.dumps(part).encode() for part in ({"alg": "none", "typ": "JWT"}, claims)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in [*parts, b"none"])


def der(key: Any) -> bytes:
    """SubjectPublicKeyInfo."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    found: bytes = key.public_key().public_bytes(serialization.Encoding.DER, form)
    return found


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def signed(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


class Sigstore:
    """Keys of the authority, of its certificate log and of the signature log."""

    def __init__(self) -> None:
        self.ca, self.ct, self.log = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
        self.start = datetime.now(UTC) - timedelta(days=1)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fake authority")])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = x509.CertificateBuilder(name, name, self.ca.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(self.start).not_valid_after(self.start + timedelta(days=9))
        builder = builder.add_extension(x509.BasicConstraints(True, 0), True).add_extension(usage, True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(self.ca.public_key()), False)
        self.root = builder.sign(self.ca, hashes.SHA256())

    def certificate(self, request: dict[str, Any], bearer: str) -> dict[str, Any]:
        """Fulcio: a certificate of ten minutes with the token's identity, and its log's timestamp inside."""
        padded = bearer.split(".")[1] + "=="
        claims = json.loads(base64.urlsafe_b64decode(padded))
        csr = x509.load_pem_x509_csr(base64.b64decode(request["certificateSigningRequest"]))
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(self.root.subject, x509.Name([]), csr.public_key(), 7)
        builder = builder.not_valid_before(now - timedelta(seconds=5)).not_valid_after(now + timedelta(minutes=10))
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        san = x509.SubjectAlternativeName([x509.RFC822Name(claims["sub"])])
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (usage, True), (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False), (san, True),
            (x509.UnrecognizedExtension(ISSUER_EXTENSION, claims["iss"].encode()), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self.ca.public_key()), False),
        ]  # fmt: skip
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        tbs = builder.sign(self.ca, hashes.SHA256()).tbs_certificate_bytes
        final = builder.add_extension(x509.UnrecognizedExtension(SCT_LIST, self.timestamps(tbs)), False)
        chain = [final.sign(self.ca, hashes.SHA256()), self.root]
        pems = [c.public_bytes(serialization.Encoding.PEM).decode() for c in chain]
        return {"signedCertificateEmbeddedSct": {"chain": {"certificates": pems}}}

    def timestamps(self, tbs: bytes) -> bytes:
        """RFC 6962: the list of one signed certificate timestamp for a precertificate."""
        moment = int(time.time() * 1000)
        issuer = hashlib.sha256(der(self.ca)).digest()
        body = struct.pack("!BBQH", 0, 0, moment, 1) + issuer + len(tbs).to_bytes(3, "big") + tbs + b"\0\0"
        signature = signed(self.ct, body)
        stamp = struct.pack("!B32sQHBBH", 0, hashlib.sha256(der(self.ct)).digest(), moment, 0, 4, 3, len(signature))
        listed = struct.pack("!HH", len(stamp + signature) + 2, len(stamp + signature)) + stamp + signature
        length = [len(listed)] if len(listed) < 128 else [0x81, len(listed)]
        return bytes([4, *length]) + listed

    def entry(self, proposed: dict[str, Any]) -> dict[str, Any]:
        """Rekor: the log's only entry, with the proof that it is in the log."""
        content = proposed["spec"]["proposedContent"]
        envelope = json.loads(content["envelope"])
        digests = {"envelopeHash": content["envelope"].encode(), "payloadHash": base64.b64decode(envelope["payload"])}
        spec: dict[str, Any] = {
            k: {"algorithm": "sha256", "value": hashlib.sha256(v).hexdigest()} for k, v in digests.items()
        }
        spec["signatures"] = [{"signature": envelope["signatures"][0]["sig"], "verifier": content["verifiers"][0]}]
        body = json.dumps({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec}, sort_keys=True, separators=(",", ":"))
        root, key_id = hashlib.sha256(b"\0" + body.encode()).digest(), hashlib.sha256(der(self.log)).digest()
        found: dict[str, Any] = {"body": b64(body.encode()), "integratedTime": int(time.time())}
        found |= {"logID": key_id.hex(), "logIndex": 0}
        promise = signed(self.log, json.dumps(found, sort_keys=True, separators=(",", ":")).encode())
        note = f"fake log\n1\n{b64(root)}\n"
        checkpoint = f"{note}\n\u2014 fake-log {b64(key_id[:4] + signed(self.log, note.encode()))}\n"
        proof = {"logIndex": 0, "rootHash": root.hex(), "treeSize": 1, "hashes": [], "checkpoint": checkpoint}
        found["verification"] = {"inclusionProof": proof, "signedEntryTimestamp": b64(promise)}
        return {"ab" * 32: found}

    def trusted_root(self) -> dict[str, Any]:
        """Whom to trust, as Sigstore's clients read it."""
        since = {"start": self.start.strftime("%Y-%m-%dT%H:%M:%SZ")}

        def log(key: Any) -> dict[str, Any]:
            public = {"rawBytes": b64(der(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": since}
            identity = {"keyId": b64(hashlib.sha256(der(key)).digest())}
            return {"baseUrl": "http://log", "hashAlgorithm": "SHA2_256", "publicKey": public, "logId": identity}

        chain = [{"rawBytes": b64(self.root.public_bytes(serialization.Encoding.DER))}]
        authority = {"subject": {"organization": "fake", "commonName": "fake"}, "uri": "http://ca", "validFor": since}
        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(self.log)],
            "ctlogs": [log(self.ct)],
            "certificateAuthorities": [authority | {"certChain": {"certificates": chain}}],
        }

    def trust_config(self, url: str) -> dict[str, Any]:
        """Where to sign and whom to trust."""
        since = {"start": self.start.strftime("%Y-%m-%dT%H:%M:%SZ")}
        service = [{"url": url, "majorApiVersion": 1, "validFor": since, "operator": "fake"}]
        signing = {"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json"}
        signing |= {"caUrls": service, "rekorTlogUrls": service, "rekorTlogConfig": {"selector": "ANY"}}
        kind = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
        return {"mediaType": kind, "trustedRoot": self.trusted_root(), "signingConfig": signing}

    @contextmanager
    def served(self) -> Iterator[str]:
        """Both services on loopback; gives their address."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path.endswith("/signingCert"):
                    found = outer.certificate(body, self.headers["Authorization"].removeprefix("Bearer "))
                else:
                    found = outer.entry(body)
                raw = json.dumps(found).encode()
                self.send_response(201)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, format: str, *args: object) -> None:
                """Silence."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
