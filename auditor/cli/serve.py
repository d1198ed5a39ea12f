"""`audit serve`: the audit as a small web service."""

from __future__ import annotations

from typing import Annotated

import typer

from auditor.cli.check import warn_of_absent
from auditor.cli.options import Alpha, PolicyFile, Refs, ResamplingSeed
from auditor.cli.output import remark
from auditor.extras import needing

LONGEST_HEAD_S = 10.0
"""Seconds that the head of a request may take at most."""


def serve(
    refs: Refs = None,
    policy: PolicyFile = None,
    host: Annotated[str, typer.Option(envvar="AUDIT_HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, envvar="AUDIT_PORT", help="0 takes a free one.")] = 8080,
    alpha: Alpha = None,
    seed: ResamplingSeed = 0,
    workers: Annotated[int, typer.Option(min=1, envvar="AUDIT_WORKERS", help="Audits at once.")] = 2,
    queue: Annotated[int, typer.Option(min=0, envvar="AUDIT_QUEUE", help="Requests that may wait.")] = 16,
    max_megabytes: Annotated[
        float, typer.Option(min=0.001, envvar="AUDIT_MAX_MEGABYTES", help="Largest file, in MiB.")
    ] = 512.0,
    upload_timeout: Annotated[
        float, typer.Option(min=0.01, envvar="AUDIT_UPLOAD_TIMEOUT", help="Seconds in which a file must be here.")
    ] = 120.0,
    audit_timeout: Annotated[
        float, typer.Option(min=0.01, envvar="AUDIT_AUDIT_TIMEOUT", help="Seconds that one audit may take.")
    ] = 60.0,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", envvar="AUDIT_QUIET", help="No remarks, no access log.")
    ] = False,
) -> None:
    """Serve audits over HTTP: POST a file to /v1/audits, get its audit. No file is kept. Needs the extra "service".

    It knows no users and no encryption: put it behind something that does.
    """
    with needing("service", "the service"):
        import uvicorn

        from auditor.service.app import Limits, create_app
    from auditor.gate import level_of, load_policy
    from auditor.reference import ReferenceSet
    from auditor.service.connection import prompt_within
    from auditor.service.workers import Setting

    reference = ReferenceSet.load(refs)  # what is wrong with set or policy is said before anything starts
    rules = load_policy(policy).read_for(reference) if policy else None
    level_of(alpha, rules)
    warn_of_absent(rules, reference.artists)
    limits = Limits(max_megabytes, upload_timeout, audit_timeout, workers, queue)
    app = create_app(Setting(refs, str(policy) if policy else None, alpha, seed), limits)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=prompt_within(min(upload_timeout, LONGEST_HEAD_S)),
        log_level="warning" if quiet else "info",
        access_log=not quiet,
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=5,
        limit_concurrency=4 * (workers + queue) + 64,
    )
    if not quiet:
        remark(f"Serving audits; POST a file to http://{host}:{port}/v1/audits")
    uvicorn.Server(config).run()
