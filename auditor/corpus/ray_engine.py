"""The same rows on a Ray cluster: Ray Data streams names to actors, each of which runs the local pool on its batch.

Scheduling, retries of lost machines and back-pressure are Ray's.  Each actor keeps one local worker process, so that a
hostile file costs its row there as it does here.  Copies are recognised by each actor among its own files only; the
others are audited once more, with the same outcome.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

from auditor.corpus.rows import Options, Row, Scanner, failed
from auditor.corpus.workers import Limits, Lost, Pool
from auditor.errors import AuditorError
from auditor.extras import need
from auditor.lora.text import shown

WINDOW = 100_000
"""Names handed to Ray at once."""
BATCH = 64
"""Most names of one call of an actor."""


class RayScanner:
    """An actor: names in, journal lines out."""

    def __init__(self, options: Options, limits: Limits) -> None:
        """One local worker, started with the first batch; it ends with the actor."""
        self._pool = Pool(partial(Scanner, options), 1, limits)
        self._contents: set[str] = set()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """{'name': …} → {'line': …}, one line each."""
        from auditor.corpus.journal import encode

        names = (bytes(name).decode("utf-8", "surrogateescape") for name in batch["name"])
        rows = (failed(n, r.reason) if isinstance(r, Lost) else r for n, r in self._pool.run(names, self._claimed))
        return {"line": [encode(row) for row in rows]}

    def _claimed(self, content: str) -> bool:
        """Whether this actor has this content already."""
        known = content in self._contents
        self._contents.add(content)
        return known


def ray_rows(names: Iterator[str], options: Options, workers: int, limits: Limits) -> Iterator[Row]:
    """Rows of `names` as they finish, on the cluster that `ray.init` finds (RAY_ADDRESS) or on this machine."""
    from auditor.corpus.journal import decode

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a Ray that we start tells nobody of it
    ray = need("ray", "ray", "the engine ray")
    data = need("ray.data", "ray", "the engine ray")
    if not ray.is_initialized():
        try:
            ray.init(log_to_driver=False)
        except Exception as error:  # Ray raises plain exceptions here
            raise AuditorError(
                f"Ray could not be reached or started: {shown(error, 300)}.",
                advice="Check RAY_ADDRESS, or use --engine local.",
            ) from error
    while window := [name.encode("utf-8", "surrogateescape") for name in islice(names, WINDOW)]:
        share = min(BATCH, math.ceil(len(window) / workers))  # a short list is for all actors, too
        items = data.from_items([{"name": name} for name in window], override_num_blocks=math.ceil(len(window) / share))
        made = items.map_batches(
            RayScanner,
            fn_constructor_args=(options, limits),
            batch_size=None,  # a block is a batch: its rows are in the journal as soon as it is done
            compute=data.ActorPoolStrategy(size=workers),
            num_cpus=1,
        )
        for item in made.iter_rows():
            yield decode(item["line"])
