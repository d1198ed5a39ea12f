"""The web service: POST a file, get its audit.

    POST /v1/audits     the file as the request's body, or as the field `file` of a form; JSON, HTML, Markdown or SARIF
    GET  /healthz       200 while every process that audits runs
    GET  /metrics       Prometheus
    GET  /openapi.json  the interface

What bounds it: bytes of a body, seconds to send it, seconds of an audit, processes, and requests that wait.  A file
lies in a temporary folder while it is audited and is removed whatever happens; nothing else is kept.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from auditor._version import __version__
from auditor.errors import AuditorError, UsageError
from auditor.service.workers import Job, Pool, Setting, TooLong

BLOCK = 2**20
READ_ON = 8 * 2**20
"""Bytes of a body that are read and dropped after it was found too large."""
LONGEST_NAME = 200
TYPES = {"json": "application/json", "html": "text/html", "md": "text/markdown", "sarif": "application/sarif+json"}
SHIELDS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
Format = Literal["json", "html", "md", "sarif"]
PARAMETERS = {"name", "format", "artist", "independent"}
"""Of a request; another one is refused, since whoever sends it takes it to have been heeded."""


@dataclass(frozen=True)
class Limits:
    """What one service gives to its users."""

    megabytes: float = 512.0
    """Largest body, in MiB."""
    upload_s: float = 120.0
    """Longest time to send a body."""
    audit_s: float = 60.0
    """Longest time of one audit."""
    workers: int = 2
    """Processes, so many audits at once."""
    queue: int = 16
    """Requests that may wait for a process; further ones are told to come back."""


class Metrics:
    """What is counted, in a registry of its own."""

    def __init__(self) -> None:
        """All at zero."""
        self.registry = CollectorRegistry()
        self.audits = Counter("audit_audits", "Finished audits by verdict", ["verdict"], registry=self.registry)
        self.refused = Counter("audit_refused", "Requests without an audit", ["reason"], registry=self.registry)
        self.waiting = Gauge("audit_waiting", "Requests that are audited or wait", registry=self.registry)
        buckets = (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
        self.seconds = Histogram("audit_seconds", "Waiting and auditing", buckets=buckets, registry=self.registry)


class Desk:
    """Takes requests in: counts them, bounds them, and hands files to the processes."""

    def __init__(self, pool: Pool, limits: Limits) -> None:
        """Nobody waits yet."""
        self.pool, self.limits, self.metrics = pool, limits, Metrics()
        self._inside = 0

    async def audit(self, request: Request, name: str | None, artists: list[str], independent: bool) -> dict[str, Any]:
        """The audit of a request's file.  Raises HTTPException with the reason there is none."""
        if unknown := set(request.query_params) - PARAMETERS:
            raise self.refusal(400, "parameter", f"There is no parameter {', '.join(sorted(unknown))!r}.")
        if self._inside >= self.limits.workers + self.limits.queue:
            raise self.refusal(503, "busy", "All places are taken; send the file again later.", {"Retry-After": "5"})
        self._inside += 1
        self.metrics.waiting.set(self._inside)
        try:
            with tempfile.TemporaryDirectory(prefix="audit-upload-") as folder:
                path = Path(folder) / "suspect"
                sent = await self._received(request, path)
                started = time.perf_counter()
                found = await self.pool.audit(Job(str(path), clean_name(name or sent), tuple(artists), independent))
                self.metrics.seconds.observe(time.perf_counter() - started)
        except AuditorError as problem:
            code = 504 if isinstance(problem, TooLong) else 400 if isinstance(problem, UsageError) else 500
            raise self.refusal(code, problem.code, str(problem)) from problem
        finally:
            self._inside -= 1
            self.metrics.waiting.set(self._inside)
        self.metrics.audits.labels(found["verdict"]["label"]).inc()
        return found

    async def _received(self, request: Request, path: Path) -> str:
        """Write the request's file to `path`; returns the name that the sender gives it."""
        try:
            async with asyncio.timeout(self.limits.upload_s):
                if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
                    return await self._form(request, path)
                with path.open("wb") as out:
                    async for block in self._bounded(request):
                        out.write(block)
                return ""
        except TimeoutError as error:
            seconds = f"{self.limits.upload_s:g}"
            raise self.refusal(408, "slow", f"The file was not here after {seconds} s.") from error
        except ClientDisconnect as error:
            raise self.refusal(400, "gone", "The sender left.") from error

    async def _form(self, request: Request, path: Path) -> str:
        """The field `file` of a form."""
        try:
            form = await MultiPartParser(request.headers, self._bounded(request), max_files=1, max_fields=8).parse()
        except (MultiPartException, KeyError) as error:
            raise self.refusal(400, "form", "The form cannot be read.") from error
        async with form_closed(form):
            file = form.get("file")
            if file is None or isinstance(file, str):
                raise self.refusal(400, "form", "The form has no file in its field 'file'.")
            with path.open("wb") as out:
                while block := await file.read(BLOCK):
                    out.write(block)
            return file.filename or ""

    async def _bounded(self, request: Request) -> AsyncGenerator[bytes, None]:
        """The body, piece by piece; refused where it is larger than allowed, after reading on a little.

        A sender who is cut off in the middle would never see the answer.
        """
        largest, seen, spare = int(self.limits.megabytes * 2**20), 0, READ_ON
        declared = request.headers.get("content-length", "")
        too_large = declared.isdigit() and int(declared) > largest
        async for block in request.stream():
            seen += len(block)
            too_large = too_large or seen > largest
            if not too_large:
                yield block
                continue
            spare -= len(block)
            if spare < 0:
                break
        if too_large:
            raise self.refusal(413, "large", f"The file is larger than {self.limits.megabytes:g} MiB.")

    def refusal(self, status: int, reason: str, detail: str, headers: dict[str, str] | None = None) -> HTTPException:
        """An answer without an audit, counted."""
        self.metrics.refused.labels(reason).inc()
        return HTTPException(status, detail={"code": reason, "reason": detail}, headers=SHIELDS | (headers or {}))


@asynccontextmanager
async def form_closed(form: Any) -> AsyncIterator[None]:
    """Close the form's spooled files whatever happens."""
    try:
        yield
    finally:
        await form.close()


def clean_name(name: str) -> str:
    """The last part of an untrusted file name, cut; 'upload' where nothing is left."""
    return re.split(r"[/\\]", name)[-1][:LONGEST_NAME] or "upload"


def create_app(setting: Setting, limits: Limits) -> FastAPI:
    """The application; its processes start with it and end with it."""
    pool = Pool(setting, limits.workers, limits.audit_s)
    desk = Desk(pool, limits)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        threads = ThreadPoolExecutor(limits.workers + 4)  # each audit is waited for in a thread
        asyncio.get_running_loop().set_default_executor(threads)
        await pool.start()
        try:
            yield
        finally:
            pool.stop()

    app = FastAPI(
        title="audit",
        version=__version__,
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        summary="Audits of LoRA files.",
    )

    @app.exception_handler(RequestValidationError)
    async def not_understood(_: Request, problem: RequestValidationError) -> JSONResponse:
        """A parameter that is none: 400, for 422 says that a file was looked at."""
        told = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in problem.errors())
        refused = desk.refusal(400, "parameter", f"{told}.")
        return JSONResponse({"detail": refused.detail}, refused.status_code, headers=refused.headers)

    answers: dict[int | str, dict[str, Any]] = {
        200: {"description": "The audit.", "content": {kind: {} for kind in TYPES.values()}},
        422: {"description": "The file was not audited (OUT_OF_SCOPE); the body says why. Never a clean bill."},
        400: {"description": "The form, a parameter or the question cannot be understood."},
        408: {"description": "The file came too slowly."},
        413: {"description": "The file is too large."},
        503: {"description": "Too many requests wait; try again after the seconds in Retry-After."},
        504: {"description": "The audit took too long and was ended."},
    }
    body = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}

    @app.post("/v1/audits", responses=answers, response_class=Response, openapi_extra={"requestBody": body})
    async def audit(
        request: Request,
        name: Annotated[str | None, Query(max_length=LONGEST_NAME, description="What to call the file.")] = None,
        format: Annotated[Format | None, Query(description="Instead of the header Accept.")] = None,
        artist: Annotated[list[str] | None, Query(description="Who is asked about: theirs, or not?")] = None,
        independent: Annotated[bool, Query(description="They were chosen independently of the file.")] = False,
    ) -> Response:
        """Audit one file."""
        wanted = format or ("html" if "text/html" in request.headers.get("accept", "") else "json")
        found = await desk.audit(request, name, artist or [], independent)
        from auditor.report import render

        text = await asyncio.to_thread(render, [found], wanted)
        note = found["options"].get("policy")
        told = {"X-Audit-Verdict": found["verdict"]["label"]}
        told |= {"X-Audit-Policy": "block" if note["blocks"] else note["outcome"]} if note else {}
        status = 422 if found["skipped"] else 200
        return Response(text, status, headers=SHIELDS | told, media_type=TYPES[wanted])

    @app.get("/healthz")
    async def health(response: Response) -> dict[str, Any]:
        """Whether audits can be had; where a process is missing, it is started again."""
        alive = pool.alive()
        if alive < limits.workers:
            pool.revive()  # a balancer that sends nothing here while this says 503 asks again
        response.status_code = 200 if alive == limits.workers else 503
        state = "ok" if alive == limits.workers else "starting"
        return {"status": state, "workers": alive, "set": pool.set_digest, "version": __version__}

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(generate_latest(desk.metrics.registry), media_type="text/plain; version=0.0.4")

    return app
