"""Where suspects come from: this machine, the Hugging Face Hub, Civitai.  A leaf: the core never imports it."""

from __future__ import annotations

from auditor.errors import NotAuditable, UsageError
from auditor.sources.interface import Local, Network, Remote, Source, Unresolved

__all__ = ["Local", "Network", "Remote", "Source", "Unresolved", "is_remote", "resolve"]

SCHEMES = ("hf://", "civitai:", "http://", "https://")


def is_remote(name: str) -> bool:
    """Whether a name is one of the network."""
    return name.lower().startswith(SCHEMES)


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
        if name.lower().startswith("civitai:"):
            from auditor.sources import civitai

            return list(civitai.resolve(name, network))
    except NotAuditable as problem:
        return [Unresolved(name, problem)]
    raise UsageError(f"{shown(name)}: web addresses are not read.", advice="Download the file and name the local copy.")
