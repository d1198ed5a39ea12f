"""`hf://owner/repo[/file][@revision]`: files of a model repository on the Hugging Face Hub, pinned to a commit.

Asks the hub through the package huggingface_hub (extra "hub"), which also knows the user's token and, by HF_ENDPOINT,
another hub.  The commit that a branch or tag stands for is part of the suspect's name.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from auditor.errors import SourceError, UsageError
from auditor.extras import need
from auditor.lora.text import shown
from auditor.sources.interface import Remote
from auditor.whole_file import make_folder, writable

SCHEME = "hf://"
NAME = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<early>[^@/]+))?(?:/(?P<file>[^@]+?))?/?(?:@(?P<late>[^@]+))?")
SET_FILES = ("manifest.json", "arrays.npz", "card.json")
MOST = 64
"""Files of a repository that are audited when none is named."""


@dataclass(frozen=True)
class Address:
    """A parsed hf:// name."""

    repo: str
    file: str | None
    revision: str | None


def parse(name: str) -> Address:
    """The parts of an hf:// name.  Raises UsageError."""
    found = NAME.fullmatch(name)
    if found is None or (found["early"] and found["late"]) or ".." in (found["file"] or "").split("/"):
        raise UsageError(
            f"{shown(name)} is no name on the hub.", advice="Write hf://owner/repo[/file.safetensors][@revision]."
        )
    return Address(found["repo"], found["file"], found["early"] or found["late"])


def resolve(name: str, most: float = MOST) -> list[Remote]:
    """The suspects behind a name: the file, or every .safetensors file of the repository, `most` at the most.

    Raises UsageError for a malformed name, AuditorError for a missing extra, SourceError when the hub cannot be asked
    or has no such repository, revision or file.
    """
    address = parse(name)
    info = _info(address)
    if not info.sha:
        raise SourceError(
            f"The hub names no commit for {shown(name)}.", advice="Give a revision: hf://owner/repo@main."
        )
    files = {s.rfilename: s for s in info.siblings or []}
    wanted = [address.file] if address.file else sorted(f for f in files if f.endswith(".safetensors"))
    if missing := [f for f in wanted if f not in files]:
        raise SourceError(
            f"{address.repo} has no file {shown(missing[0])} at {info.sha}.",
            advice=f"It has: {shown(', '.join(sorted(files)[:20]), 400)}.",
        )
    if not wanted or len(wanted) > most:
        raise SourceError(
            f"{address.repo} holds {len(wanted)} .safetensors files.",
            advice="Name one: hf://owner/repo/file.safetensors.",
        )
    return [_remote(address.repo, info.sha, files[file]) for file in wanted]


def pull_set(name: str, output: Path) -> dict[str, Any]:
    """Copy a reference set from the hub into the folder `output`; returns {set, files}.

    `name` is hf://owner/repo[/folder][@revision].  Raises SourceError, UsageError.
    """
    from auditor.sources.http import download, read_start

    address = parse(name)
    info = _info(address)
    folder = f"{address.file}/" if address.file else ""
    files = {s.rfilename: s for s in info.siblings or []}
    found = [f for f in SET_FILES if folder + f in files]
    if not {"manifest.json", "arrays.npz"} <= set(found):
        raise SourceError(
            f"{shown(name)} is no reference set at {info.sha}: it lacks manifest.json or arrays.npz.",
            advice="Name the folder of the set: hf://owner/repo/folder.",
        )
    make_folder(output)
    for file in found:
        remote = _remote(address.repo, str(info.sha), files[folder + file])
        size = read_start(remote.url, 1, remote.token).size
        digest = download(remote.url, output / f"{file}.part", size, remote.token)
        if remote.sha256 not in (None, digest):
            raise SourceError(f"{remote.name} differs from what the hub announces.", advice="Pull the set again.")
    with writable(output):
        for file in found:
            (output / f"{file}.part").replace(output / file)
    return {"set": f"{SCHEME}{address.repo}/{folder.rstrip('/')}".rstrip("/") + f"@{info.sha}", "files": found}


def push_set(folder: Path, name: str, message: str) -> dict[str, Any]:
    """Upload a reference set's files to the hub as one commit; returns {set, files}.  The token must allow it."""
    address = parse(name)
    if address.revision:
        raise UsageError("A push makes its own commit.", advice="Leave @revision out.")
    hub = _hub()
    files = [f for f in SET_FILES if (folder / f).is_file()]
    try:
        api = hub.HfApi(endpoint=_endpoint())
        api.create_repo(address.repo, exist_ok=True)
        done = api.upload_folder(
            repo_id=address.repo,
            folder_path=str(folder),
            path_in_repo=address.file,
            allow_patterns=list(files),
            commit_message=message,
        )
    except _failures(hub) as error:
        raise _failed(name, error) from error
    where = f"{SCHEME}{address.repo}" + (f"/{address.file}" if address.file else "")
    return {"set": f"{where}@{done.oid}", "files": files}


def _remote(repo: str, commit: str, file: Any) -> Remote:
    """One file at a commit."""
    hub = _hub()
    url = hub.hf_hub_url(repo, file.rfilename, revision=commit, endpoint=_endpoint())
    digest = file.lfs.sha256 if file.lfs is not None else None
    return Remote(f"{SCHEME}{repo}/{file.rfilename}@{commit}", url, digest, hub.get_token())


def _info(address: Address) -> Any:
    """What the hub says about a repository at a revision: commit and files."""
    hub = _hub()
    try:
        return hub.HfApi(endpoint=_endpoint()).model_info(
            address.repo, revision=address.revision, files_metadata=True, timeout=30
        )
    except _failures(hub) as error:
        raise _failed(f"{SCHEME}{address.repo}", error) from error


def _hub() -> Any:
    """The package huggingface_hub."""
    return need("huggingface_hub", "hub", "names on the hub")


def _endpoint() -> str | None:
    """Another hub than the public one, when HF_ENDPOINT says so."""
    return os.environ.get("HF_ENDPOINT") or None


def _failures(hub: Any) -> tuple[type[Exception], ...]:
    """What may come out of the package: its own errors, those of its HTTP client, those of the system."""
    client = import_module(type(hub.get_session()).__module__.partition(".")[0])
    return (hub.errors.HfHubHTTPError, hub.errors.HFValidationError, client.HTTPError, OSError)


def _failed(name: str, error: Exception) -> SourceError:
    """One sentence for whatever the hub said."""
    reason = shown(str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__, 300)
    return SourceError(
        f"The hub does not give {shown(name)} ({type(error).__name__}): {reason.rstrip('.')}.",
        advice="Check the name, the revision, the network, and HF_TOKEN where the repository is not public.",
    )
