"""A local server that speaks the parts of the two sites' interfaces that we use, and remembers every request.

Shapes: huggingface.co/docs/hub/api (model info with blobs, resolve with its redirect and headers, create, preupload,
commit) and developer.civitai.com (models, model-versions, by-hash, download with its redirect).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT, OLDER = "c0ffee" + "1" * 34, "dead" + "0" * 36
NAMED = {COMMIT: "main", OLDER: "old"}
"""Commit → the revision that stands there: the hub answers to both."""


@dataclass
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Sites:
    """What the server offers, and what it was asked."""

    url: str = ""
    repositories: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    """Repository → revision → file → bytes."""
    models: dict[int, dict[int, dict[str, bytes]]] = field(default_factory=dict)
    """Civitai's model → version → file → bytes; the first version is the newest."""
    private: set[str] = field(default_factory=set)
    """Repositories that need the token 'hf_secret'."""
    token_needed: bool = False
    """Whether Civitai's downloads need the token 'civ_secret'."""
    ranges: bool = True
    """Whether ranges are honoured."""
    corrupt: bool = False
    """Whether downloads arrive with a wrong byte."""
    short: bool = False
    """Whether downloads end early."""
    requests: list[Request] = field(default_factory=list)
    commits: list[dict[str, bytes]] = field(default_factory=list)

    def paths(self, method: str = "GET") -> list[str]:
        """Paths asked for, without queries."""
        return [urlsplit(r.path).path for r in self.requests if r.method == method]

    def bytes_of(self, digest: str) -> bytes:
        """A stored file by SHA-256."""
        everything = [f for r in self.repositories.values() for v in r.values() for f in v.values()]
        everything += [f for m in self.models.values() for v in m.values() for f in v.values()]
        return next(f for f in everything if hashlib.sha256(f).hexdigest() == digest)


@contextmanager
def served() -> Iterator[Sites]:
    """The server, running on loopback while the context lasts."""
    sites = Sites()

    class Handler(_Handler):
        """Bound to these sites."""

        offered = sites

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    sites.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield sites
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    offered: Sites
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Stay silent."""

    def handle_one_request(self) -> None:
        """A reader that leaves in the middle of a file is no error here."""
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.offered.requests.append(Request(self.command, self.path, dict(self.headers), body))
        path = unquote(urlsplit(self.path).path)
        for pattern, method in ROUTES:
            if found := re.fullmatch(pattern, path):
                method(self, *found.groups(), body=body)
                return
        self.json(404, {"error": "Not found"})

    def json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        self.raw(status, json.dumps(value).encode(), {"Content-Type": "application/json"} | (headers or {}))

    def raw(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    # --- the hub

    def allowed(self, repo: str) -> bool:
        """Whether the request may see the repository."""
        return repo not in self.offered.private or self.headers.get("Authorization") == "Bearer hf_secret"

    def model_info(self, repo: str, revision: str | None = None, *, body: bytes) -> None:
        versions = self.offered.repositories.get(repo)
        if versions is None:
            self.json(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif not self.allowed(repo):
            self.json(403, {"error": "Access to model is restricted"}, {"X-Error-Code": "GatedRepo"})
        elif (files := versions.get(NAMED.get(revision or "main", revision or "main"))) is None:
            self.json(404, {"error": f"Invalid rev id: {revision}"}, {"X-Error-Code": "RevisionNotFound"})
        else:
            commit = {"main": COMMIT, "old": OLDER}.get(revision or "main", revision)
            blobs = parse_qs(urlsplit(self.path).query).get("blobs") == ["True"] or "blobs=true" in self.path
            siblings = [_sibling(name, data, blobs) for name, data in files.items()]
            fixed = {"private": False, "gated": False, "disabled": False, "downloads": 7, "likes": 1, "tags": ["lora"]}
            self.json(200, {"_id": "6", "id": repo, "modelId": repo, "sha": commit, "siblings": siblings, **fixed})

    def tree(self, repo: str, revision: str, *, body: bytes) -> None:
        files = self.offered.repositories.get(repo, {}).get({COMMIT: "main", OLDER: "old"}.get(revision, revision), {})
        entries = []
        for name, data in files.items():
            sibling = _sibling(name, data, True)
            entry = {"type": "file", "path": name, "size": len(data), "oid": sibling["blobId"]}
            if "lfs" in sibling:
                entry["lfs"] = {"oid": sibling["lfs"]["sha256"], "size": len(data), "pointerSize": 134}
            entries.append(entry)
        self.json(200, entries)

    def resolve(self, repo: str, revision: str, name: str, *, body: bytes) -> None:
        files = self.offered.repositories.get(repo, {}).get(NAMED.get(revision, revision), {})
        if name not in files or not self.allowed(repo):
            self.json(
                404 if self.allowed(repo) else 403, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"}
            )
            return
        digest = hashlib.sha256(files[name]).hexdigest()
        told = {"X-Repo-Commit": revision, "Accept-Ranges": "bytes"}
        if name.endswith((".json", ".md")):
            self.file(files[name], told | {"ETag": f'"{digest[:40]}"'})
        else:
            linked = {"X-Linked-Size": str(len(files[name])), "X-Linked-Etag": f'"{digest}"'}
            # The store is another host, where the hub's client sends no HEAD: there it would miss the hub's headers.
            store = self.offered.url.replace("127.0.0.1", "localhost" if self.command == "HEAD" else "127.0.0.1")
            self.raw(302, b"", told | linked | {"Location": f"{store}/cdn/{digest}"})

    def cdn(self, digest: str, *, body: bytes) -> None:
        self.file(self.offered.bytes_of(digest), {"Accept-Ranges": "bytes"})

    def file(self, data: bytes, headers: dict[str, str]) -> None:
        if self.offered.corrupt:
            data = data[:-1] + bytes([data[-1] ^ 1])
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        if wanted and self.offered.ranges:
            low, high = int(wanted[1]), min(int(wanted[2]), len(data) - 1)
            self.raw(206, data[low : high + 1], headers | {"Content-Range": f"bytes {low}-{high}/{len(data)}"})
        elif self.offered.short:
            self.close_connection = True
            self.raw(200, data[: len(data) // 2], headers | {"Content-Length": str(len(data))})
        else:
            self.raw(200, data, headers)

    def create(self, *, body: bytes) -> None:
        name = json.loads(body)["name"]
        repo = f"owner/{name}" if "/" not in name else name
        self.offered.repositories.setdefault(repo, {"main": {}})
        self.json(200, {"url": f"{self.offered.url}/{repo}", "id": repo})

    def preupload(self, repo: str, revision: str, *, body: bytes) -> None:
        files = json.loads(body)["files"]
        self.json(200, {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]})

    def commit(self, repo: str, revision: str, *, body: bytes) -> None:
        lines = [json.loads(line) for line in body.decode().splitlines()]
        files = {x["value"]["path"]: base64.b64decode(x["value"]["content"]) for x in lines if x["key"] == "file"}
        self.offered.commits.append(files)
        self.offered.repositories[repo]["main"] |= files
        url = f"{self.offered.url}/{repo}/commit/{COMMIT}"
        self.json(200, {"success": True, "commitOid": COMMIT, "commitUrl": url, "hookOutput": ""})

    # --- civitai

    def civitai_model(self, model: str, *, body: bytes) -> None:
        versions = self.offered.models.get(int(model))
        if versions is None:
            self.json(404, {"error": f"No model with id {model}"})
            return
        listed = [_version(self.offered, int(model), number) for number in versions]
        self.json(200, {"id": int(model), "name": "A style", "type": "LORA", "nsfw": False, "modelVersions": listed})

    def civitai_version(self, version: str, *, body: bytes) -> None:
        for model, versions in self.offered.models.items():
            if int(version) in versions:
                self.json(
                    200, _version(self.offered, model, int(version)) | {"model": {"name": "A style", "type": "LORA"}}
                )
                return
        self.json(404, {"error": f"No version with id {version}"})

    def civitai_hash(self, digest: str, *, body: bytes) -> None:
        for model, versions in self.offered.models.items():
            for number in versions:
                found = _version(self.offered, model, number)
                if any(digest.lower() == h.lower() for f in found["files"] for h in f["hashes"].values()):
                    self.json(200, found | {"model": {"name": "A style", "type": "LORA"}})
                    return
        self.json(404, {"error": f"No version with hash {digest}"})

    def civitai_download(self, version: str, *, body: bytes) -> None:
        if self.offered.token_needed and self.headers.get("Authorization") != "Bearer civ_secret":
            self.json(401, {"error": "Unauthorized"})
            return
        files = next(v[int(version)] for v in self.offered.models.values() if int(version) in v)
        digest = hashlib.sha256(next(iter(files.values()))).hexdigest()
        self.raw(302, b"", {"Location": f"{self.offered.url.replace('127.0.0.1', 'localhost')}/cdn/{digest}"})


def _sibling(name: str, data: bytes, blobs: bool) -> dict[str, Any]:
    """A file of a repository as the hub lists it."""
    if not blobs:
        return {"rfilename": name}
    found: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": hashlib.sha1(data).hexdigest()}
    if not name.endswith((".json", ".md")):
        found["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return found


def _version(sites: Sites, model: int, number: int) -> dict[str, Any]:
    """A version as Civitai describes it."""
    address = f"{sites.url}/api/download/models/{number}"
    files = []
    for place, (name, data) in enumerate(sites.models[model][number].items()):
        digest = hashlib.sha256(data).hexdigest().upper()
        length = int.from_bytes(data[:8], "little")
        tensors = hashlib.sha256(data[8 + length :]).hexdigest().upper()
        files.append(
            {
                "id": number * 10 + place,
                "name": name,
                "type": "Model" if place == 0 else "Training Data",
                "sizeKB": len(data) / 1024,
                "metadata": {"format": "SafeTensor", "size": None, "fp": None},
                "pickleScanResult": "Success",
                "hashes": {"AutoV2": digest[:10], "SHA256": digest, "AutoV3": tensors[:12]},
                "downloadUrl": address,
                "primary": place == 0,
            }
        )
    fixed = {"baseModel": "Other", "status": "Published", "trainedWords": [], "images": []}
    return {"id": number, "modelId": model, "name": f"v{number}", "files": files, "downloadUrl": address, **fixed}


REPO = r"([\w.-]+/[\w.-]+)"
ROUTES = (
    (rf"/api/models/{REPO}", _Handler.model_info),
    (rf"/api/models/{REPO}/revision/(.+)", _Handler.model_info),
    (rf"/api/models/{REPO}/tree/([^/]+)", _Handler.tree),
    (rf"/api/models/{REPO}/preupload/(.+)", _Handler.preupload),
    (rf"/api/models/{REPO}/commit/(.+)", _Handler.commit),
    (r"/api/repos/create", _Handler.create),
    (rf"/{REPO}/resolve/([^/]+)/(.+)", _Handler.resolve),
    (r"/cdn/([0-9a-f]{64})", _Handler.cdn),
    (r"/api/v1/models/(\d+)", _Handler.civitai_model),
    (r"/api/v1/model-versions/(\d+)", _Handler.civitai_version),
    (r"/api/v1/model-versions/by-hash/(\w+)", _Handler.civitai_hash),
    (r"/api/download/models/(\d+)", _Handler.civitai_download),
)
