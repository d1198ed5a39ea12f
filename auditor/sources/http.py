"""HTTP for the sources: JSON, a range of bytes, a whole file; nothing is sent but the request itself.

Credentials go to the host they are for and are dropped at redirects; a redirect from https to http is refused.  Every
failure of the network is a `SourceError`, so that one unreachable file is a row of the batch and not its end; a full
disk here is none.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from auditor._version import __version__
from auditor.errors import SourceError
from auditor.lora.text import shown
from auditor.whole_file import writable

TIMEOUT = 30.0
"""Seconds without any byte after which a server counts as silent."""
LARGEST_JSON = 32 * 2**20
BLOCK = 2**20
ROOM = "Make room there, or name another folder for temporary files with TMPDIR."
TRY_AGAIN = "Check the name and the network, or download the file with the site's own client and name the local copy."


@dataclass(frozen=True)
class Piece:
    """The beginning of a remote file."""

    data: bytes
    size: int
    """Bytes of the whole file."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects of web addresses, never to a less protected scheme."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """The next request, or an error."""
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise urllib.error.URLError(f"redirected from https to {urlsplit(newurl).scheme or 'nowhere'}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def read_json(url: str, token: str | None = None) -> Any:
    """The JSON document behind `url`; None where the server knows of none (404).  Raises SourceError."""
    try:
        with _network(url), closing(_open(url, {"Accept": "application/json"}, token)) as answer:
            raw = answer.read(LARGEST_JSON + 1)
    except SourceError as error:
        if getattr(error.__cause__, "code", None) == 404:
            return None
        raise
    try:
        if len(raw) > LARGEST_JSON:
            raise ValueError("too long")
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{_host(url)} did not answer with JSON for {shown(url)}.", advice=TRY_AGAIN) from error


def read_start(url: str, count: int, token: str | None = None) -> Piece:
    """The first `count` bytes by a range request, and the file's size; a server without ranges is cut off there."""
    asked = {"Range": f"bytes=0-{count - 1}", "Accept-Encoding": "identity"}
    with _network(url), closing(_open(url, asked, token)) as answer:
        data = answer.read(count)
        size = _size(answer.status, answer.headers)
    if size is None:
        raise SourceError(f"{_host(url)} does not say how large {shown(url)} is.", advice=TRY_AGAIN)
    return Piece(data, size)


def download(url: str, target: Path, size: int, token: str | None = None) -> str:
    """Write the `size` bytes behind `url` to `target` and return their SHA-256.

    Raises SourceError where they cannot be had, AuditorError where `target` cannot be written.
    """
    digest, seen = hashlib.sha256(), 0
    with _network(url):
        answer = _open(url, {"Accept-Encoding": "identity"}, token)
    with closing(answer), writable(target, ROOM), target.open("wb") as out:
        for block in _blocks(answer, url):
            seen += len(block)
            if seen > size:
                break
            digest.update(block)
            out.write(block)
    if seen != size:
        raise SourceError(
            f"{shown(url)} was announced with {size} bytes and {'more' if seen > size else seen} came.",
            advice=TRY_AGAIN,
        )
    return digest.hexdigest()


def _blocks(answer: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    """What is left of an answer, block by block.  Raises SourceError."""
    while True:
        with _network(url):
            block = answer.read(BLOCK)
        if not block:
            return
        yield block


@contextmanager
def _network(url: str) -> Iterator[None]:
    """A block that talks to the server of `url` and does nothing else: whatever goes wrong in it is a SourceError."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise _refused(url, error) from error
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(url, error) from error


def _open(url: str, headers: Mapping[str, str], token: str | None) -> http.client.HTTPResponse:
    """The answer to a GET, redirects followed; the token goes to the first host alone."""
    if urlsplit(url).scheme not in ("https", "http"):
        raise SourceError(f"{shown(url)} is no web address.", advice=TRY_AGAIN)
    request = urllib.request.Request(url, headers={"User-Agent": f"audit/{__version__}", **headers})  # noqa: S310
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    opener = urllib.request.build_opener(_Redirects)
    answer: http.client.HTTPResponse = opener.open(request, timeout=TIMEOUT)
    return answer


def _size(status: int, headers: Any) -> int | None:
    """The whole file's size from Content-Range, or from Content-Length where the range was ignored."""
    found = re.fullmatch(r"bytes \d+-\d+/(\d+)", headers.get("Content-Range", "")) if status == 206 else None
    length = found.group(1) if found else headers.get("Content-Length", "") if status == 200 else ""
    return int(length) if length.isdigit() else None


def _host(url: str) -> str:
    return shown(urlsplit(url).netloc)


def _refused(url: str, error: urllib.error.HTTPError) -> SourceError:
    """The error for an answer that is no success."""
    if error.code in (401, 403):
        advice = "The file needs an account: set HF_TOKEN or CIVITAI_TOKEN, or download it and name the local copy."
        return SourceError(f"{_host(url)} does not give {shown(url)} to anybody ({error.code}).", advice=advice)
    return SourceError(f"{_host(url)} answered {error.code} for {shown(url)}.", advice=TRY_AGAIN)


def _unreachable(url: str, error: Exception) -> SourceError:
    """The error for a server that does not answer."""
    reason = getattr(error, "reason", None) or error
    return SourceError(f"{_host(url)} cannot be reached: {shown(reason)}.", advice=TRY_AGAIN)
