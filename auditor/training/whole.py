"""Files that are there whole or not at all, whatever happens to the process that writes them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` at the end, or is removed when the block raises.

    Only one process may write `path` at a time (a lock, a claim): what a killed one left of it is removed first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    left = re.compile(re.escape(path.stem) + r"\.\d+\.part")
    for other in path.parent.iterdir():
        if left.fullmatch(other.name):
            other.unlink(missing_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.part")
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
