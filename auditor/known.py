"""Known files that a suspect is compared with, and the note of them by which an audit can be checked.

In: files, by name.  Out: what stands under `options.known` of an audit: how many, their names and digests, one digest
over all.  The files themselves are compared in `auditor.evidence.copies`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from auditor.lora.relation import Known

LISTED = 200
"""Files that an audit names, the first by name; count and digest cover all.  Each audit of a batch holds the note."""


@dataclass(frozen=True)
class KnownFiles:
    """A house's known files, read once."""

    files: Mapping[str, Known] = field(default_factory=dict)
    """By name below the folder, with slashes."""
    folder: str = ""
    """Last part of the folder's name, for people; the whole path is the auditor's own affair."""
    unread: tuple[str, ...] = ()
    """Names of files that could not be read, so that nothing was compared with them."""

    def digest(self) -> str:
        """SHA-256 of the files' hex SHA-256s, sorted, a line each: `sha256sum F… | cut -c1-64 | sort | sha256sum`."""
        own = sorted(known.artifact.sha256 for known in self.files.values())
        return hashlib.sha256("".join(f"{one}\n" for one in own).encode("ascii")).hexdigest()

    def note(self) -> dict[str, Any]:
        """What an audit says of them: {folder, count, digest, files, unread}, names in order, at most `LISTED` each."""
        rows = [
            {"name": name, "sha256": known.artifact.sha256, "tensor_sha256": known.artifact.tensor_sha256}
            for name, known in sorted(self.files.items())[:LISTED]
        ]
        found = {"folder": self.folder, "count": len(self.files), "digest": self.digest(), "files": rows}
        return found | {"unread_count": len(self.unread), "unread": sorted(self.unread)[:LISTED]}
