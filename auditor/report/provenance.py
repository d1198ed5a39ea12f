"""Rows about where an audit's figures come from: file, set, declared metadata, known files, how to run it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from auditor.report.numbers import DASH, count, person, size
from auditor.report.untrusted import show
from auditor.report.view import Row
from auditor.texts import say

Fields = Mapping[str, Any]
MOST_UNREAD = 10
MOST_ASKED = 100
DECLARED_BUDGET = 40_000
"""Characters of declared metadata that a document shows, all values together."""
SIZES = {"artists": "artists", "references": "references"}
"""What the size of a set is told by: place in the sentence → field."""


def known_text(audit: Fields) -> str:
    """With which known files the suspect was compared, and whether it goes back to one of them."""
    known, derivative = audit["options"].get("known"), audit["derivative"]
    if not known:
        return say("known.none")
    lead = say("known.lead", folder=show(known.get("folder") or say("known.unnamed"), 120), n=count(known["count"]))
    own = bool(derivative and derivative.get("sha256"))
    return f"{lead} {say('known.origin' if own else 'known.no.origin')}"


def known_unread(known: Fields | None) -> str:
    """Which known files could not be read; '' where all could."""
    unread = (known or {}).get("unread_count", 0)
    if not known or not unread:
        return ""
    names = [show(name, 80) for name in known["unread"][:MOST_UNREAD]]
    more = [say("known.more", n=count(unread - len(names)))] if unread > len(names) else []
    return say("known.unread", n=count(unread), names=", ".join([*names, *more]))


def suspect_rows(suspect: Fields) -> tuple[Row, ...]:
    """What the suspect file is."""
    rows = [*_digest_rows(suspect), *_config_rows(suspect)]
    rows.append(Row(say("row.bytes"), size(suspect["bytes"])))
    if suspect["dialect"] is None:  # not audited: how the file is made was not looked at
        return tuple(rows)
    rows.append(Row(say("row.dialect"), given_name(suspect["dialect"])))
    rows.append(Row(say("row.algorithm"), given_name(", ".join(map(str, suspect["algorithm"])) or None)))
    rows.append(Row(say("row.base_family"), given_name(suspect["base_family"])))
    rows.append(Row(say("row.modules"), count(suspect["modules"])))
    rows.append(Row(say("row.rank"), _rank(suspect["rank"])))
    return tuple(rows)


def identity_rows(suspect: Fields, info: Fields) -> tuple[Row, ...]:
    """File and set, with the digests that fix them."""
    rows = _digest_rows(suspect)
    sizes = say("set.size", **{k: count(info[v]) for k, v in SIZES.items()})
    rows.append(Row(say("row.set"), given_name(info["name"]), note=f"{given_name(info['base'])}; {sizes}"))
    return (*rows, Row(say("row.set.digest"), given_name(info["digest"]), code=True))


def _digest_rows(suspect: Fields) -> list[Row]:
    """The file and its digests; a file in which no tensors were found has none of theirs."""
    found = dict(suspect)
    if suspect["dialect"] is None and suspect["tensor_sha256"] == suspect["sha256"]:
        found["tensor_sha256"] = DASH if suspect["sha256"] else None
    return [Row(say(f"row.{k}"), given_name(found[k]), code=True) for k in ("path", "sha256", "tensor_sha256")]


def _config_rows(suspect: Fields) -> list[Row]:
    """The configuration that was read beside the file, and its digest."""
    if not suspect.get("config_sha256"):
        return []
    name = Row(say("row.config"), given_name(suspect.get("config_name")), code=True)
    return [name, Row(say("row.config.digest"), given_name(suspect["config_sha256"]), code=True)]


def given_name(value: object | None) -> str:
    """`value` made visible, or the word for what is not known."""
    return say("unknown") if value in (None, "") else show(value, 600)


def _rank(rank: Fields | None) -> str:
    """The ranks in words."""
    if not rank:
        return say("unknown")
    names = {k: f"{rank[k]:g}" for k in ("min", "max", "median")}
    return say("rank.one" if rank["min"] == rank["max"] else "rank.range", **names)


def set_rows(info: Fields) -> tuple[Row, ...]:
    """Which set was used."""
    return (
        Row(say("row.set.name"), given_name(info["name"])),
        Row(say("row.set.digest"), given_name(info["digest"]), code=True),
        Row(say("row.set.base"), given_name(info["base"]), code=True),
        Row(say("row.set.features"), given_name(info["features"]), code=True),
        Row(say("row.set.size"), say("set.size", **{k: count(info[v]) for k, v in SIZES.items()})),
    )


def declared_rows(declared: Mapping[str, str]) -> tuple[tuple[Row, ...], int]:
    """Declared metadata until the budget is spent, and how many values were left out."""
    rows: list[Row] = []
    left = DECLARED_BUDGET
    for key, value in declared.items():
        row = Row(show(key, 200), show(value), code=True)
        left -= len(row.name) + len(row.value) + 4 * sum(row.value.count(c) for c in "<>&'\"") + 80
        if left < 0:
            break
        rows.append(row)
    return tuple(rows), len(declared) - len(rows)


def reproduce_rows(audit: Fields) -> tuple[Row, ...]:
    """What a reader needs to get the same figures."""
    suspect, info = audit["suspect"], audit["reference_set"]
    asked = audit["options"].get("artists") or ()
    return (
        *([Row(say("row.asked"), ", ".join(person(name, 120) for name in asked[:MOST_ASKED]))] if asked else ()),
        *([Row(say("row.independent"), "✓")] if audit["options"].get("independent") else ()),
        Row(say("row.seed"), str(audit["seed"]), code=True),
        *(
            Row(say(f"row.{k}"), given_name(audit["options"][k]), code=True)
            for k in ("alpha", "resamples")
            if audit["options"].get(k) is not None
        ),
        Row(say("row.sha256"), given_name(suspect["sha256"]), code=True),
        *_config_rows(suspect),
        Row(say("row.set.digest"), given_name(info["digest"]), code=True),
        Row(say("row.set.features"), given_name(info["features"]), code=True),
        *_known_rows(audit["options"].get("known")),
        *_policy_rows(audit["options"].get("policy")),
        Row(
            say("row.tool"),
            say("masthead.tool", name=show(audit["tool"]["name"]), version=show(audit["tool"]["version"])),
        ),
        Row(say("row.made"), show(audit["created_at"], 80)),
    )


def _known_rows(known: Fields | None) -> tuple[Row, ...]:
    """How many known files were compared, and the digest over them."""
    if not known:
        return ()
    digest = Row(say("row.known.digest"), given_name(known["digest"]), code=True)
    return (Row(say("row.known"), count(known["count"])), digest)


def _policy_rows(policy: Fields | None) -> tuple[Row, ...]:
    """The digests of the policy that was in force, and what it made of the audit."""
    if not policy:
        return ()
    found = (("row.policy", policy.get("sha256")), ("row.baseline", policy.get("baseline_sha256")))
    made = say("policy.blocks" if policy["blocks"] else "policy.passes", reason=show(policy.get("reason") or "", 600))
    digests = (Row(say(key), given_name(value), code=True) for key, value in found if value)
    return (*digests, Row(say("row.policy.outcome"), made))


def command(audit: Fields) -> tuple[str, ...]:
    """The command line that gives this audit again, in pieces: command and file, then an option each."""
    options = {k: audit["options"].get(k) for k in ("refs", "features", "alpha", "resamples")} | {"seed": audit["seed"]}
    file = str(audit["suspect"]["path"])
    pieces = [["audit", "check", f"./{file}" if file.startswith("-") else file]]
    policy = audit["options"].get("policy")
    options["policy"] = (policy.get("file") or say("policy.unnamed")) if policy else None
    known = audit["options"].get("known")
    options["known"] = (known.get("folder") or say("known.unnamed")) if known else None
    pieces += [["--artist", str(name)] for name in audit["options"].get("artists") or ()]
    pieces += [["--independent"]] if audit["options"].get("independent") else []
    pieces += [[f"--{key}", str(value)] for key, value in options.items() if value is not None]
    return tuple(show(shlex.join(piece), 1200) for piece in pieces)
