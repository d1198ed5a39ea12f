"""The scan of a corpus: names → rows → one Parquet file, resumable at any point.

Rows of an earlier scan in the same OUT are kept, and files that have not changed since are not read again, but for
those that could not be had or on which a worker was lost.  Of a file that is, the new row takes the place of the old.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor._version import __version__
from auditor.corpus.journal import Journal
from auditor.corpus.names import version
from auditor.corpus.newest import only_newest
from auditor.corpus.rows import LOST, Options, Row, Scanner, failed
from auditor.corpus.store import SCHEMA, Columns, columns_of, differences, finish, parquet, read_rows, settings_of
from auditor.corpus.workers import Limits, Lost, Pool
from auditor.errors import SourceError, UsageError
from auditor.frame import now
from auditor.reference.set import ReferenceSet
from auditor.statistics.conformal import p_floor

Heard = Callable[[Row], None]
SEEN = ["version", "content", "same_as", "code"]
AGAIN = (SourceError.code, LOST)
"""Codes of rows that say nothing of the file: the network, a limit or a fault of audit was in the way."""
FDR = (
    "Benjamini-Hochberg over the open-set p-values of this file, one test for each distinct content, or for each "
    "update however saved where duplicates were looked for"
)


@dataclass(frozen=True)
class Summary:
    """What a scan found."""

    rows: int
    labels: dict[str, int]
    new: int
    """Rows made by this run; the others were there before."""
    tests: int
    """Distinct contents with a p-value; with duplicates looked for, distinct updates."""
    least_q: float
    """The least q that this batch can give one file alone: p_min · tests."""
    discoveries: int
    """Of these with q ≤ alpha."""
    groups: int
    """Groups of near-duplicates; 0 when they were not looked for."""


def scan(
    names: Iterable[str],
    out: Path,
    options: Options,
    *,
    workers: int = 1,
    limits: Limits | None = None,
    engine: str = "local",
    heard: Heard = lambda row: None,
) -> Summary:
    """Scan `names` into `out`.

    `heard` is told every new row.  Raises UsageError for an `out` of another scan, ReferenceSetError for a set that
    cannot be used.  May be interrupted or killed anywhere: the same call goes on where it stopped.
    """
    reference = ReferenceSet.load(options.refs)
    reference.require_features(options.features)
    settings, columns = settings_for(reference, options), columns_for(reference)
    now()  # a malformed SOURCE_DATE_EPOCH is told once, and not by every worker
    parquet()  # asked for before a folder is made that an environment without it could not fill
    sources = [out] if earlier(out, settings) else []
    limits = limits or Limits()
    with Journal(parts_folder(out), settings, columns) as journal:
        done = Done([*sources, *journal.parts], journal)
        fresh = 0
        for row in rows_of(done.remaining(names), options, workers, limits, engine, done):
            journal.append(row)
            heard(row)
            fresh += 1
        journal.flush()
        everything = only_newest([*sources, *journal.parts], parts_folder(out) / "newest.parquet", columns)
        groups: dict[str, int] = {}
        updates: dict[str, int] = {}
        if options.duplicates:
            from auditor.corpus.duplicates import find

            kin = find(everything, out, workers, limits)
            groups, updates = kin.groups, kin.updates
        q = finish(everything, out, columns, settings, groups, updates)
        journal.remove()
    return summary(out, q, options.alpha, fresh, settings["set"]["p_min"])


def rows_of(
    names: Iterator[str], options: Options, workers: int, limits: Limits, engine: str, done: Done
) -> Iterator[Row]:
    """New rows, as they finish."""
    if engine == "ray":
        from auditor.corpus.ray_engine import ray_rows

        yield from ray_rows(names, options, workers, limits)
        return
    with Pool(partial(Scanner, options), workers, limits) as pool:
        for name, row in pool.run(names, done.claimed):
            yield failed(name, row.reason) if isinstance(row, Lost) else row


def settings_for(reference: ReferenceSet, options: Options) -> dict[str, Any]:
    """What must agree for rows to stand in one file."""
    manifest, about = reference.manifest, reference.asked(options.artists, options.independent)
    described = {"name": manifest["name"], "digest": manifest["digest"], "features": manifest["features"]}
    described |= {
        "base": manifest["base"]["family"],
        "artists": reference.artists,
        "p_min": p_floor(len(reference.artists) - (len(about) if options.independent else 0)),
    }
    asked = {key: value for key, value in asdict(options).items() if key != "refs"}
    asked["artists"] = [reference.artists[a] for a in about]
    return {"schema": SCHEMA, "tool": __version__, "set": described, "options": asked, "false_discovery": FDR}


def columns_for(reference: ReferenceSet) -> Columns:
    """The columns of a scan against this set."""
    widths = {name: int(view.points.shape[1]) for name, view in reference.views.items()}
    return columns_of(len(reference.artists), widths)


def parts_folder(out: Path) -> Path:
    """Where unfinished rows of `out` are kept."""
    return out.with_name(out.name + ".parts")


def earlier(out: Path, settings: dict[str, Any]) -> bool:
    """Whether `out` holds rows of the same scan.  Raises UsageError when it is of another one."""
    if not out.exists():
        return False
    known = settings_of(out)
    if known != settings:
        raise UsageError(
            f"{out} was scanned with other options ({differences(known, settings)}); its rows cannot stand beside new "
            "ones.",
            advice="Give another -o, or remove that file to scan everything again.",
        )
    return True


class Done:
    """What is finished: files by name and state, contents by key."""

    def __init__(self, sources: Sequence[Path], journal: Journal) -> None:
        """Read what earlier runs left; 32 bytes a file and some 100 a content are kept in memory."""
        self._contents: set[str] = set()
        self._here: set[str] = set()
        known = chain.from_iterable(read_rows(source, SEEN) for source in sources)
        self._versions = np.sort(np.fromiter(self._finished(chain(known, journal.pending(SEEN))), "S32"))

    def _finished(self, rows: Iterable[Row]) -> Iterator[bytes]:
        """Versions of the files that need not be looked at again; their contents are noted on the way."""
        for row in rows:
            if row["content"] and not row["same_as"]:
                self._contents.add(row["content"])
            if row["code"] not in AGAIN:
                yield row["version"].encode("ascii")

    def remaining(self, names: Iterable[str]) -> Iterator[str]:
        """The names that have no row yet, each once."""
        for name in names:
            key = version(name)
            at = int(np.searchsorted(self._versions, key.encode()))
            if (at < len(self._versions) and self._versions[at] == key.encode()) or key in self._here:
                continue
            self._here.add(key)
            yield name

    def claimed(self, content: str) -> bool:
        """Whether this content is or will be audited through another file; if not, it is the asker's from now on."""
        if content in self._contents:
            return True
        self._contents.add(content)
        return False


def summary(out: Path, q: NDArray[np.float64], alpha: float, fresh: int, p_min: float) -> Summary:
    """Figures of the finished file.  q: of its tests; p_min: the least p that a file can have in it."""
    labels: Counter[str] = Counter()
    groups: set[int] = set()
    for row in read_rows(out, ["label", "group"]):
        labels[row["label"]] += 1
        groups.add(row["group"])
    least_q, found = min(1.0, p_min * len(q)), int(np.sum(q <= alpha))
    return Summary(labels.total(), dict(labels.most_common()), fresh, len(q), least_q, found, len(groups - {None}))
