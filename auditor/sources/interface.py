"""What every source gives: suspects that have a name and can be had as a local file for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from auditor.errors import NotAuditable, SourceError

LARGEST = 2 * 2**30
"""Bytes of a remote file that is downloaded; a LoRA is smaller."""
FIRST = 256 * 1024
"""Bytes of the first range request; most headers fit in."""


@dataclass(frozen=True)
class Network:
    """What the user allows."""

    offline: bool = False
    """Open no connection at all."""
    lookup: bool = False
    """Hashes may be sent to a site."""


class Source(Protocol):
    """One suspect, wherever it lies."""

    @property
    def name(self) -> str:
        """What reports call it; pinned to a version where the source has versions."""

    def fetched(self) -> AbstractContextManager[Path]:
        """The suspect as a local file; raises NotAuditable.  A downloaded copy is gone afterwards."""


@dataclass(frozen=True)
class Local:
    """A file on this machine."""

    path: Path

    @property
    def name(self) -> str:
        """The path as given."""
        return str(self.path)

    @contextmanager
    def fetched(self) -> Iterator[Path]:
        """The file itself."""
        yield self.path


@dataclass(frozen=True)
class Unresolved:
    """A name that led nowhere: a row of the batch with its reason."""

    name: str
    problem: NotAuditable

    @contextmanager
    def fetched(self) -> Iterator[Path]:
        """Raises the problem."""
        raise self.problem
        yield Path()  # pragma: no cover  (makes this a generator)


@dataclass(frozen=True)
class Remote:
    """A file behind an address, pinned to a version."""

    name: str
    url: str
    sha256: str | None
    """Hex digest as the site announces it; checked after the download."""
    token: str | None = None

    def __repr__(self) -> str:
        """Without the token."""
        return f"Remote({self.name!r})"

    @contextmanager
    def fetched(self) -> Iterator[Path]:
        """Header first, by range requests; the rest only if the header is a LoRA's.  Removed afterwards."""
        from auditor.sources.http import download

        with TemporaryDirectory(prefix="audit-") as folder:
            path = Path(folder) / ("suspect.safetensors" if self.url.endswith(".safetensors") else "suspect")
            size = self._look(path)
            digest = download(self.url, path, size, self.token)
            if self.sha256 is not None and digest != self.sha256.lower():
                raise SourceError(
                    f"{self.name} has SHA-256 {digest}, and its site announces {self.sha256.lower()}.",
                    advice="Download it again; if it stays so, the site or the way to it altered the file.",
                )
            yield path

    def _look(self, path: Path) -> int:
        """Size of the file, after its header alone was looked at.  Raises NotAuditable for what is no LoRA."""
        from auditor.lora.reader import check_names
        from auditor.lora.safetensors import MAX_HEADER, header_length
        from auditor.sources.http import ROOM, read_start
        from auditor.whole_file import writable

        start = read_start(self.url, FIRST, self.token)
        if start.size > LARGEST:
            raise SourceError(
                f"{self.name} has {start.size} bytes; files above {LARGEST // 2**30} GiB are not downloaded.",
                advice="A LoRA is far smaller; name the LoRA file itself.",
            )
        length = header_length(start.data[:512], start.size)
        if length is None or 8 + length > start.size or length > MAX_HEADER:
            return start.size  # not safetensors, or not whole: reading the file says what it is
        if 8 + length > len(start.data):
            start = read_start(self.url, 8 + length, self.token)
        with (
            writable(path, ROOM),
            path.open("wb") as sparse,
        ):  # header only; the hole behind it takes no space and is never read
            sparse.write(start.data[: 8 + length])
            sparse.truncate(start.size)
        try:
            check_names(path)
        except NotAuditable as problem:
            raise type(problem)(problem.message.replace(str(path), self.name), advice=problem.advice) from problem
        return start.size
