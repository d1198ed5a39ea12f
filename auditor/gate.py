"""A policy file → which verdicts stop an upload.  An audit says what was found; a policy, what a house does about it.

A policy is read only when it is named: never from the audited folder, never from the working folder.  Everything that
lets a file through despite its verdict carries a reason, and everything that expired says so.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.errors import UsageError
from auditor.lora.text import shown
from auditor.policy import ALPHA, DEFAULTS, Thresholds
from auditor.result import Audit
from auditor.texts import plain

if TYPE_CHECKING:
    from auditor.reference import ReferenceSet

BLOCKABLE = ("CONSISTENT", "DERIVATIVE", "INCONCLUSIVE")
"""What a policy may block.  OUT_OF_SCOPE always has its own exit code; NO_MATCH names nobody."""
DIGEST = re.compile(r"[0-9a-f]{64}")
LARGEST = 64 * 1024 * 1024
"""Bytes of a policy or baseline file that are read."""
ADVICE = "See docs/policy.md for the keys of a policy file."


@dataclass(frozen=True)
class Ignored:
    """One file that the house has looked at and lets pass until a date."""

    digest: str
    """SHA-256 (64 hex digits) of the file or of its tensors, as `kind` says."""
    kind: str
    """'sha256' or 'tensor_sha256'."""
    reason: str
    expires: date
    """The last day on which the entry counts."""
    artist: str | None = None
    """When given, only a verdict that names this artist is ignored."""

    def covers(self, audit: Audit) -> bool:
        """Whether this entry is about the audited file and its verdict, expired or not."""
        own = audit.suspect.sha256 if self.kind == "sha256" else audit.suspect.tensor_sha256
        return own == self.digest and self.artist in (None, audit.verdict.artist)


@dataclass(frozen=True)
class Policy:
    """What a house asks of an audit, and what it does with the answer."""

    sha256: str
    """Hex digest of the policy file's bytes; stands in audits and attestations."""
    alpha: float | None = None
    thresholds: Thresholds = DEFAULTS
    of_concern: tuple[str, ...] = ()
    """Artists whose naming blocks, as the file writes them or, after `read_for`, as a set does; empty: all of it."""
    absent: bool = False
    """Whether an artist whom a set lacks may be named: the policy is for several sets."""
    block: tuple[str, ...] = ("CONSISTENT", "DERIVATIVE")
    ignore: tuple[Ignored, ...] = ()
    baseline: frozenset[tuple[str, str, str | None]] = frozenset()
    """(tensor SHA-256, label, artist) of verdicts that are known and accepted."""
    baseline_sha256: str | None = None
    file: str = ""
    """Name of the policy file, without its folder: for people who look for it."""

    def require_whole_question(self, reference: ReferenceSet, artists: Sequence[str]) -> None:
        """Refuse to ask about some artists only where more are protected: the others would pass.  Raises UsageError."""
        asked = {reference.artists[a] for a in reference.asked(artists)}
        protected = set(self.of_concern) & set(reference.artists) or set(reference.artists)
        if asked and not asked >= protected:
            raise UsageError(
                "The artists asked about leave out artists whom the policy protects.",
                advice="Ask about nobody in particular, or about all artists of concern.",
            )

    def read_for(self, reference: ReferenceSet) -> Policy:
        """The policy with its artists named as the set names them; people's spelling does, as it does for --artist.

        Raises UsageError for an artist whom the set lacks, unless the policy allows that (`absent`).
        """
        from auditor.reference.set import alike, spelt

        known = {spelt(name): name for name in reference.artists}
        for name in [] if self.absent else self._named():
            if spelt(name) not in known:
                near = " or ".join(alike(spelt(name), list(known)))
                whole = f"The policy {self.file} names '{shown(name)}', who is not in the reference set."
                advice = f"Did you mean {near}?" if near else "No audit with this set could name them."
                raise UsageError(
                    whole, advice=f'{advice} A policy for several sets says so: [artists] absent = "allow".'
                )
        ignore = tuple(replace(e, artist=e.artist and known.get(spelt(e.artist), e.artist)) for e in self.ignore)
        return replace(self, of_concern=tuple(known.get(spelt(n), n) for n in self.of_concern), ignore=ignore)

    def unknown_artists(self, artists: Collection[str]) -> list[str]:
        """Artists of concern that a set does not hold: no audit against it can ever name them.  After `read_for`."""
        return [name for name in self.of_concern if name not in artists]

    def _named(self) -> list[str]:
        """Every artist whom the file names."""
        return [*self.of_concern, *(entry.artist for entry in self.ignore if entry.artist is not None)]


@dataclass(frozen=True)
class Outcome:
    """What the policy makes of one audit."""

    blocks: bool
    code: str
    """'blocked', 'not-blocking', 'not-of-concern', 'ignored', 'known' or 'not-audited'."""
    reason: str


def load_policy(path: str | Path) -> Policy:
    """Read a policy file (TOML).  Raises UsageError for whatever is not understood."""
    place = Path(path)
    raw = _bytes(place)
    try:
        document = tomllib.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _wrong(place, "is no text in UTF-8") from error
    except ValueError as error:
        raise _wrong(place, f"is no valid TOML: {error}") from error
    _known_keys(place, "", document, ("thresholds", "artists", "block", "ignore", "baseline"))
    limits = _table(place, document, "thresholds", ("alpha", "min_coverage", "min_log10_lr"))
    artists = _table(place, document, "artists", ("of_concern", "absent"))
    known, digest = _baseline(place, _table(place, document, "baseline", ("file",)))
    return Policy(
        sha256=hashlib.sha256(raw).hexdigest(),
        alpha=_number(place, limits, "alpha", None, 0, 1, inside=True),
        thresholds=Thresholds(
            _number(place, limits, "min_coverage", DEFAULTS.min_coverage, 0, 1) or 0.0,
            _number(place, limits, "min_log10_lr", None, 0, 100),
        ),
        of_concern=_names(place, artists, "of_concern", ()),
        absent=_absent(place, artists),
        block=_block(place, _table(place, document, "block", ("verdicts",))),
        ignore=_ignore(place, document.get("ignore", [])),
        baseline=known,
        baseline_sha256=digest,
        file=place.name,
    )


def level_of(alpha: float | None, policy: Policy | None) -> float:
    """The level of significance from option and policy.  Raises UsageError where they disagree."""
    asked = policy.alpha if policy else None
    if alpha is not None and asked is not None and alpha != asked:
        raise UsageError(
            f"--alpha {alpha:g} contradicts the policy's alpha = {asked:g}.", advice="Give the level in one place."
        )
    return next((level for level in (alpha, asked) if level is not None), ALPHA)


def gated(audit: Audit, policy: Policy) -> Audit:
    """The audit with the policy and its outcome in `options.policy`.  Today is the day of the audit."""
    outcome = judge(audit, policy)
    note: dict[str, Any] = {"file": policy.file, "sha256": policy.sha256, "baseline_sha256": policy.baseline_sha256}
    note |= {"blocks": outcome.blocks, "outcome": outcome.code, "reason": outcome.reason}
    return replace(audit, options=audit.options | {"policy": note})


def judge(audit: Audit, policy: Policy) -> Outcome:
    """What the policy makes of one audit; rules asked in order, the first that applies decides."""
    label, artist = audit.verdict.label, audit.verdict.artist
    if audit.skipped is not None or label == "OUT_OF_SCOPE":
        return Outcome(False, "not-audited", plain("gate.not_audited"))
    if label not in policy.block:
        return Outcome(False, "not-blocking", plain("gate.not_blocking", label=label))
    if policy.of_concern and label != "INCONCLUSIVE" and artist not in policy.of_concern:
        return Outcome(False, "not-of-concern", plain("gate.not_of_concern", artist=artist))
    if (audit.suspect.tensor_sha256, label, artist) in policy.baseline:
        return Outcome(False, "known", plain("gate.known"))
    entries = [entry for entry in policy.ignore if entry.covers(audit)]
    today = datetime.fromisoformat(audit.created_at).date()
    alive = [entry for entry in entries if today <= entry.expires]
    if alive:
        return Outcome(False, "ignored", plain("gate.ignored", day=alive[0].expires, reason=alive[0].reason))
    lapsed = (plain("gate.lapsed", day=entry.expires, reason=entry.reason) for entry in entries)
    return Outcome(True, "blocked", " ".join([plain("gate.blocks", label=label), *lapsed]))


def _bytes(path: Path) -> bytes:
    """All bytes of a small file."""
    try:
        if path.stat().st_size > LARGEST:
            raise _wrong(path, "is larger than any policy")
        return path.read_bytes()
    except OSError as error:
        raise _wrong(path, f"cannot be read: {error.strerror or error}") from error


def _baseline(policy: Path, table: Mapping[str, Any]) -> tuple[frozenset[tuple[str, str, str | None]], str | None]:
    """(known verdicts, digest) of the baseline file, whose path starts at the policy's folder."""
    if not table:
        return frozenset(), None
    if not isinstance(table.get("file"), str):
        raise _wrong(policy, 'has a baseline without file = "…"')
    place = policy.parent / table["file"]
    raw = _bytes(place)
    try:
        document = json.loads(raw)
        audits = document.get("audits", [document])
        known = {
            (a["suspect"]["tensor_sha256"], a["verdict"]["label"], a["verdict"]["artist"])
            for a in audits
            if a["skipped"] is None
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _wrong(place, "is no baseline: give what `audit check … --format json` wrote") from error
    return frozenset(known), hashlib.sha256(raw).hexdigest()


def _ignore(path: Path, entries: Any) -> tuple[Ignored, ...]:
    """The entries under [[ignore]]."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise _wrong(path, "writes ignore otherwise than as [[ignore]] tables")
    return tuple(_ignored(path, number, entry) for number, entry in enumerate(entries, start=1))


def _ignored(path: Path, number: int, entry: Mapping[str, Any]) -> Ignored:
    """One entry: exactly one digest, a reason, a date."""
    where = f"ignore entry {number}"
    _known_keys(path, f"{where}: ", entry, ("sha256", "tensor_sha256", "reason", "expires", "artist"))
    kinds = [kind for kind in ("sha256", "tensor_sha256") if kind in entry]
    if len(kinds) != 1 or not isinstance(entry[kinds[0]], str) or not DIGEST.fullmatch(entry[kinds[0]].lower()):
        raise _wrong(path, f"needs in {where} one of sha256 and tensor_sha256, in 64 hex digits")
    reason, expires, artist = entry.get("reason"), entry.get("expires"), entry.get("artist")
    if not isinstance(reason, str) or not reason.strip():
        raise _wrong(path, f"gives no reason in {where}")
    if not isinstance(expires, date) or isinstance(expires, datetime):
        raise _wrong(path, f"needs a date in {where}, unquoted: expires = 2027-01-31")
    if artist is not None and not isinstance(artist, str):
        raise _wrong(path, f"has an artist in {where} that is no text")
    return Ignored(entry[kinds[0]].lower(), kinds[0], reason, expires, artist)


def _block(path: Path, table: Mapping[str, Any]) -> tuple[str, ...]:
    """The verdicts that block."""
    chosen = _names(path, table, "verdicts", ("CONSISTENT", "DERIVATIVE"))
    wrong = [name for name in chosen if name not in BLOCKABLE]
    if wrong:
        raise _wrong(path, f"blocks {', '.join(wrong)}; what can be blocked is {', '.join(BLOCKABLE)}")
    return chosen


def _table(path: Path, document: Mapping[str, Any], name: str, keys: Collection[str]) -> Mapping[str, Any]:
    """The table [name], whose keys are all known; empty where it is missing."""
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise _wrong(path, f"writes {name} otherwise than as a table [{name}]")
    _known_keys(path, f"[{name}]: ", table, keys)
    return table


def _known_keys(path: Path, where: str, table: Mapping[str, Any], keys: Collection[str]) -> None:
    """Refuse a key that nobody reads: its author believes that it is in force."""
    unknown = [key for key in table if key not in keys]
    if unknown:
        raise _wrong(path, f"has unknown keys: {where}{', '.join(map(repr, unknown))}; known are {', '.join(keys)}")


def _number(
    path: Path,
    table: Mapping[str, Any],
    key: str,
    default: float | None,
    low: float,
    high: float,
    *,
    inside: bool = False,
) -> float | None:
    """A number of the table from low to high; `inside`: neither of them."""
    value = table.get(key, default)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise _wrong(path, f"needs {key} as a number from {low:g} to {high:g}, not {value!r}")
    if inside and value in (low, high):
        raise _wrong(path, f"needs {key} between {low:g} and {high:g}, not {value!r}")
    return float(value)


def _names(path: Path, table: Mapping[str, Any], key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """A list of texts of the table."""
    value = table.get(key, default)
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise _wrong(path, f"needs {key} as a list of texts")
    return tuple(value)


def _absent(path: Path, table: Mapping[str, Any]) -> bool:
    """Whether artists may be named whom a set lacks."""
    value = table.get("absent", "refuse")
    if value not in ("allow", "refuse"):
        raise _wrong(path, f'needs absent as "allow" or "refuse", not {value!r}')
    return bool(value == "allow")


def _wrong(path: Path, what: str) -> UsageError:
    return UsageError(f"The policy {path} {what}.", advice=ADVICE)
