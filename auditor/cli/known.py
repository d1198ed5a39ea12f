"""The option --known → the LoRA files below a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from auditor.cli.output import complain
from auditor.errors import NotAuditable

if TYPE_CHECKING:
    from auditor.known import KnownFiles


def known_files(folder: Path) -> KnownFiles:
    """Every LoRA below `folder`; what cannot be read is told on stderr and noted: it is nobody's original.

    Raises UsageError for a folder that is not there or holds no weights.
    """
    from auditor.known import KnownFiles
    from auditor.lora.relation import Known
    from auditor.sources.local import expand

    found: dict[str, Known] = {}
    unread: list[str] = []
    for path in expand([str(folder)], ()):
        name = path.relative_to(folder).as_posix() if folder.is_dir() else path.name
        try:
            found[name] = Known(path)
        except NotAuditable as problem:
            complain(f"Not compared with: {problem.message}")
            unread.append(name)
    return KnownFiles(found, folder.resolve().name, tuple(unread))
