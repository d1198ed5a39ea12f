"""Where suspects come from: this machine, the Hugging Face Hub, Civitai.  A leaf: the core never imports it."""

from __future__ import annotations

import os
import re

from auditor.errors import NotAuditable, UsageError
from auditor.sources.interface import Local, Network, Remote, Source, Unresolved

__all__ = ["Local", "Network", "Remote", "Source", "Unresolved", "is_address", "is_remote", "require_local", "resolve"]

CIVITAI = "civitai:"
CIVITAI_PAGE = re.compile(
    r"https?://(www\.)?civitai\.com/models/(?P<model>\d{1,9})(/[^?#]*)?(\?([^#]*&)?(modelVersionId=(?P<version>\d{1,9}))?[^#]*)?(#.*)?",
    re.IGNORECASE,
)
"""A model's page on Civitai, as people copy it from the browser."""
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
"""Beginning of an address; of two letters at least, for one alone is a drive."""


def is_remote(name: str) -> bool:
    """Whether a name is one of the network, of whatever kind."""
    return name.lower().startswith(CIVITAI) or is_address(name)


def is_address(name: str) -> bool:
    """Whether a name has a scheme and two slashes."""
    return ADDRESS.match(name) is not None


def require_local(name: str) -> None:
    """Refuse a name of the network where only files of this machine are read.  Raises UsageError.

    What exists under a name is a file, whatever else the name looks like.
    """
    from auditor.lora.text import shown

    if is_remote(name) and not os.path.lexists(name):
        raise UsageError(
            f"{shown(name)} is not on this machine, and remote names are not read here.",
            advice="Download it first, then name the file.",
        )


def resolve(name: str, network: Network) -> list[Source]:
    """The suspects behind a remote name.  What the site does not give comes back as `Unresolved`.

    Raises UsageError for a name that cannot be meant, and for any name of the network when it is forbidden.
    """
    from auditor.lora.text import shown

    if network.offline:
        raise UsageError(
            f"{shown(name)} lies on the network, and --offline forbids it.",
            advice="Download the file first and name the local copy.",
        )
    try:
        if name.lower().startswith("hf://"):
            from auditor.sources import hub

            return list(hub.resolve(name))
        if name.lower().startswith(CIVITAI):
            from auditor.sources import civitai

            return list(civitai.resolve(name, network))
    except NotAuditable as problem:
        return [Unresolved(name, problem)]
    if page := CIVITAI_PAGE.fullmatch(name):
        version = f"@{page['version']}" if page["version"] else ""
        raise UsageError(
            f"{shown(name)} is a page, not a file.", advice=f"Write {CIVITAI}{page['model']}{version} for its file."
        )
    raise UsageError(
        f"{shown(name)}: remote names other than hf://… and civitai:… are not read here.",
        advice="Download the file and name the local copy.",
    )
