"""The header of a safetensors file, read with suspicion.

In:  the header's bytes and the number of data bytes behind it.  Out: `Header`.  Stricter than the reference reader
where two readers could see different files (duplicate names), as strict elsewhere: offsets tile the data without hole,
overlap or rest, and every shape agrees with its bytes.  Format: 8 bytes little-endian length, JSON, data.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from auditor.errors import MalformedFile
from auditor.lora.dtypes import BYTES
from auditor.lora.text import shown

MAX_HEADER = 32 * 2**20
"""Bytes of JSON."""
MAX_TENSORS = 20_000
"""No LoRA known has a third of it; a limit keeps a file of a million empty tensors from costing seconds."""
MAX_DIMENSIONS = 8
MOST = 2**53
"""Largest number that a shape or an offset may hold."""
DAMAGED = "The file is damaged or was made to mislead; get it again from its source or save it again."


class Entry(NamedTuple):
    """Where a tensor lies."""

    dtype: str
    """'F32', 'BF16', …"""
    shape: tuple[int, ...]
    begin: int
    """First byte, counted from the start of the file."""
    end: int
    """Byte after the last."""
    strides: tuple[int, ...] | None = None
    """In elements, for torch tensors that are stored transposed; None when in row order."""


@dataclass(frozen=True)
class Header:
    """What a container's header says."""

    entries: dict[str, Entry]
    metadata: dict[str, str] = field(default_factory=dict)
    truncated: tuple[int, int] | None = None
    """(tensors present, tensors declared) when the data ends too early."""


def header_length(head: bytes, size: int) -> int | None:
    """Length of the header if `head` (the file's first bytes) looks like safetensors, complete or not; else None."""
    if size < 10 or head[8:9] != b"{":
        return None
    length = int.from_bytes(head[:8], "little")
    return length if 2 <= length <= 2**40 else None


def parse_header(raw: bytes, data_bytes: int, path: str) -> Header:
    """The header, with offsets made absolute.  Raises MalformedFile naming `path` and the tensor at fault."""
    document = _json(raw, path)
    metadata = _metadata(document.pop("__metadata__", None), path)
    if len(document) > MAX_TENSORS:
        raise _bad(path, f"declares {len(document)} tensors; at most {MAX_TENSORS} are read")
    start = 8 + len(raw)
    entries = {name: _entry(name, value, start, path) for name, value in document.items()}
    complete = _check_tiling(entries, start, data_bytes, path)
    return Header(entries, metadata, None if complete == len(entries) else (complete, len(entries)))


Pairs = tuple[tuple[str, Any], ...]
"""A JSON object as it stands, names given twice included: what the parser of the standard library makes at no cost."""


def _json(raw: bytes, path: str) -> dict[str, Any]:
    """The JSON object in `raw`, inner ones as `Pairs`: no name twice, no NaN, no absurd depth or number of objects."""
    if raw.count(b"{") > MAX_TENSORS + 2 and _objects(raw) > MAX_TENSORS + 2:
        raise _bad(path, f"has a header of more than {MAX_TENSORS} entries")

    def constant(text: str) -> None:
        raise _bad(path, f"has {text} in its header")

    try:
        text = raw.decode("utf-8")
        document = json.loads(text, object_pairs_hook=tuple, parse_constant=constant)
        if "\\u" in text:
            json.dumps(document, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise _bad(path, "has a header nested too deeply") from None
    except ValueError as error:
        raise _bad(path, f"has a header that is no valid JSON ({shown(error, 80)})") from None
    if not isinstance(document, tuple):
        raise _bad(path, "has a header that is no JSON object")
    return _unique(document, path)


def _objects(raw: bytes) -> int:
    """How many objects a header opens, text aside: the metadata may well hold JSON of their own."""
    return _TEXT.sub(b"", raw).count(b"{")


_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.S)


def _unique(pairs: Pairs, path: str) -> dict[str, Any]:
    """The object that `pairs` stand for.  Raises MalformedFile where two have one name."""
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _bad(path, f"names {shown(twice)!r} twice in its header")
    return made


def _metadata(value: Any, path: str) -> dict[str, str]:
    """The free text of the header: names and strings only."""
    if value is None:
        return {}
    if not isinstance(value, tuple) or not all(isinstance(text, str) for _, text in value):
        raise _bad(path, "has metadata that are not all text")
    return _unique(value, path)


_FIELDS = {"dtype", "shape", "data_offsets"}


def _entry(name: str, value: Any, start: int, path: str) -> Entry:
    """One tensor's entry, its data beginning at `start`; shape and bytes must agree."""
    fields = _unique(value, path) if isinstance(value, tuple) else {}
    if len(fields) < len(_FIELDS) or not fields.keys() >= _FIELDS:
        raise _bad(path, "lacks dtype, shape or data_offsets", name)
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BYTES:
        raise _bad(path, f"has the number format {shown(dtype, 40)!r}, which is not read", name)
    if not _whole_numbers(shape) or len(shape) > MAX_DIMENSIONS:
        raise _bad(path, f"has no valid shape ({shown(shape, 60)})", name)
    if not _whole_numbers(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _bad(path, f"has no valid offsets ({shown(offsets, 60)})", name)
    needed = math.prod(shape) * BYTES[dtype]
    if needed != offsets[1] - offsets[0]:
        raise _bad(
            path, f"declares {shown(needed)} bytes by its shape and {offsets[1] - offsets[0]} by its offsets", name
        )
    return Entry(dtype, tuple(shape), start + offsets[0], start + offsets[1])


def _whole_numbers(value: Any) -> bool:
    """Whether `value` is a list of integers in 0 … 2⁵³."""
    if not isinstance(value, list):
        return False
    for number in value:  # noqa: SIM110  a loop is quicker, and this is asked of every tensor
        if type(number) is not int or not 0 <= number <= MOST:
            return False
    return True


def _check_tiling(entries: dict[str, Entry], start: int, data_bytes: int, path: str) -> int:
    """How many tensors are complete, after checking that they tile the data without overlap, hole or rest."""
    cursor, end = start, start + data_bytes
    complete = 0
    for name, entry in sorted(entries.items(), key=_place):
        if entry.begin != cursor:
            what = "overlaps the tensor before it" if entry.begin < cursor else "leaves a hole before it"
            raise _bad(path, what, name)
        cursor = entry.end
        complete += cursor <= end
    if cursor < end:
        raise _bad(path, f"has {end - cursor} bytes after its last tensor that no tensor explains")
    return complete


def _place(item: tuple[str, Entry]) -> tuple[int, int]:
    """Sort key: where a tensor lies."""
    return item[1].begin, item[1].end


def _bad(path: str, what: str, tensor: str | None = None) -> MalformedFile:
    """MalformedFile about the file or, if given, the tensor."""
    where = shown(path) if tensor is None else f"{shown(path)}: tensor {shown(tensor)!r}"
    return MalformedFile(f"{where} {what}.", advice=DAMAGED)
