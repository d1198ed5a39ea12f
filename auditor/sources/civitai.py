"""`civitai:MODEL[@VERSION[/FILE]]` and `civitai:HASH`: files of Civitai, by its public REST API.

MODEL and VERSION are the site's numbers; without a version the newest one is taken, and the suspect's name says which.
HASH is AutoV2 (10 hex digits), AutoV3 (12) or SHA-256 (64); asking by hash tells the site what one holds, so it is done
only with --lookup.  A token, where a file needs one, is read from CIVITAI_TOKEN and sent to the site alone.
"""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import quote, urlsplit

from auditor.errors import SourceError, UsageError
from auditor.lora.text import shown
from auditor.sources.http import read_json
from auditor.sources.interface import Network, Remote

SCHEME = "civitai:"
NUMBERS = re.compile(r"(\d{1,9})(?:@(\d{1,9})(?:/(.+))?)?")
HASH = re.compile(r"[0-9a-f]{10}|[0-9a-f]{12}|[0-9a-f]{64}")
SITE = "https://civitai.com"


def resolve(name: str, network: Network) -> list[Remote]:
    """The suspect behind a name.  Raises UsageError for a malformed name, SourceError for an unknown one."""
    given = name[len(SCHEME) :].strip()
    if found := NUMBERS.fullmatch(given):
        return [_file(*_version(int(found[1]), int(found[2]) if found[2] else None), name, label=found[3])]
    rest = given.lower()
    if HASH.fullmatch(rest):
        version = by_hash(rest, network)
        if version is None:
            raise SourceError(f"Civitai knows no file with the hash {rest}.", advice="Check it, or give the model.")
        return [_file(version, version.get("modelId"), name, rest)]
    raise UsageError(
        f"{shown(name)} is no name on Civitai.", advice="Write civitai:MODEL[@VERSION], or civitai:HASH with --lookup."
    )


def by_hash(digest: str, network: Network) -> dict[str, Any] | None:
    """The version that holds a file with this hash, or None.  Raises UsageError unless sending a hash is allowed."""
    if network.offline:
        raise UsageError("--offline forbids asking a site.", advice="Leave --offline out, or --lookup.")
    if not network.lookup:
        raise UsageError(
            "Asking Civitai by hash tells it which file you hold.", advice="Add --lookup to send the hash all the same."
        )
    return _object(f"{_site()}/api/v1/model-versions/by-hash/{digest}")


def described(version: dict[str, Any]) -> dict[str, Any]:
    """What a version says of itself, for `audit inspect --lookup`: claims of its uploader."""
    model = version.get("model") if isinstance(version.get("model"), dict) else {}
    kept = {"model": version.get("modelId"), "version": version.get("id")}
    texts = {"name": (model or {}).get("name"), "version_name": version.get("name"), "base": version.get("baseModel")}
    kept |= {key: str(text)[:200] for key, text in texts.items() if text is not None}
    return kept | {"url": f"{_site()}/models/{kept['model']}?modelVersionId={kept['version']}"}


def _version(model: int, version: int | None) -> tuple[dict[str, Any], int]:
    """(the version's document, model number)."""
    if version is not None:
        found = _object(f"{_site()}/api/v1/model-versions/{version}")
        if found is None or found.get("modelId") not in (model, None):
            raise _unknown(f"civitai:{model}@{version}")
        return found, model
    document = _object(f"{_site()}/api/v1/models/{model}")
    versions = document.get("modelVersions") if document else None
    if not isinstance(versions, list) or not versions or not isinstance(versions[0], dict):
        raise _unknown(f"civitai:{model}")
    return versions[0], model


def _file(
    version: dict[str, Any], model: Any, name: str, digest: str | None = None, label: str | None = None
) -> Remote:
    """The file of a version: the one with the hash, the one of that label, else its primary weights."""
    files = [f for f in version.get("files") or [] if isinstance(f, dict) and isinstance(f.get("downloadUrl"), str)]
    weights = [f for f in files if f.get("type") in ("Model", "Pruned Model", None)]
    chosen = [f for f in files if digest and digest in _hashes(f).values()]
    if not digest:
        chosen += sorted(weights if label is None else files, key=lambda f: not f.get("primary"))
        chosen = [f for f in chosen if label in (None, _label(f))]
    if not chosen:
        raise SourceError(f"{shown(name)} offers no file of weights.", advice="Look at the model's page on the site.")
    file = chosen[0]
    number = version.get("id")
    pinned = f"{SCHEME}{model}@{number}/{_label(file)}"
    sha256 = _hashes(file).get("SHA256")
    own = urlsplit(file["downloadUrl"]).netloc == urlsplit(_site()).netloc
    return Remote(pinned, file["downloadUrl"], sha256, _token() if own else None)


def _label(file: dict[str, Any]) -> str:
    """What reports call a file of a version."""
    return quote(str(file.get("name") or "file"), safe=" .-_()[]")[:120]


def _hashes(file: dict[str, Any]) -> dict[str, str]:
    """A file's hashes, in lower case."""
    found = file.get("hashes")
    return {k: v.lower() for k, v in found.items() if isinstance(v, str)} if isinstance(found, dict) else {}


def _object(url: str) -> dict[str, Any] | None:
    """A JSON object, None where there is none."""
    found = read_json(url, _token())
    if found is not None and not isinstance(found, dict):
        raise SourceError(f"Civitai answered in a form that is not known: {shown(url)}.", advice="Try again later.")
    return found


def _token() -> str | None:
    """The user's token, for the site alone."""
    return os.environ.get("CIVITAI_TOKEN") or None


def _site() -> str:
    """The site, or another one of the same API."""
    return os.environ.get("AUDIT_CIVITAI", SITE).rstrip("/")


def _unknown(name: str) -> SourceError:
    return SourceError(f"Civitai knows no {name}.", advice="Check the numbers; they stand in the page's address.")
