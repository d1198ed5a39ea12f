"""Torch files (.pt, .bin) of the zip kind: a pickle that lays out tensors, and their bytes stored beside it.

A pickle is a program.  It is not given to Python's unpickler: `_Layout` below reads its instructions one by one and
knows only those that torch needs to describe tensors; it calls nothing, imports nothing and compares or hashes nothing
but names.  Everything else is refused.  The bytes of the tensors must be stored uncompressed, so nothing can inflate;
they are read from the file like those of a safetensors file.
"""

from __future__ import annotations

import math
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from auditor.errors import MalformedFile, NotALora
from auditor.lora.dtypes import BYTES
from auditor.lora.safetensors import MAX_DIMENSIONS, MAX_TENSORS, Entry, Header
from auditor.lora.text import LONGEST, shown

Read = Callable[[int, int], bytes]
"""(first byte, count) → exactly these bytes of the file, or MalformedFile."""

MAX_PICKLE = 16 * 2**20
MAX_DIRECTORY = 16 * 2**20
MAX_STEPS = 2_000_000
MAX_SHARED = 2
"""How many times the file's bytes its tensors may have together: a tied tensor or two share one storage, but a file of
which thousands do costs what a file of their full size does."""
CONVERT = "Convert it to .safetensors with the tool that wrote it, and audit that file."

STORAGES = {
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "DoubleStorage": "F64",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}


@dataclass(frozen=True)
class _Name:
    """A global name that the pickle mentions; it stays a name."""

    module: str
    name: str


@dataclass(frozen=True)
class _Storage:
    """Where a tensor's numbers lie."""

    dtype: str
    key: str
    elements: int


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage, as declared and not yet checked."""

    storage: _Storage
    offset: Any
    shape: Any
    strides: Any


class _Refused(Exception):
    """The pickle holds what no table of tensors needs; the message says what."""


def read_torch_zip(read: Read, size: int, path: str) -> Header:
    """The tensors of a torch file of `size` bytes.

    The tensors of a bare list are named by their places, ``[0 of 256]``.  Raises MalformedFile when it is damaged or
    holds anything but tensors, NotALora when it holds neither a table nor a list of them.
    """
    try:
        stored = _directory(read, size)
        layouts = [name for name in stored if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(layouts) != 1:
            raise _Refused("it holds no single 'data.pkl'")
        root = layouts[0].removesuffix("data.pkl")
        begin, length = stored[layouts[0]]
        if length > MAX_PICKLE:
            raise _Refused(f"its 'data.pkl' has {length} bytes")
        if root + "byteorder" in stored and read(*stored[root + "byteorder"]) != b"little":
            raise _Refused("its numbers are not little-endian")
        top = _Layout().run(read(begin, length))
        entries = _entries(top, root, stored, path)
        _check_shared(entries, size)
        return Header(entries)
    except _Refused as error:
        raise MalformedFile(
            f"{shown(path)} is a zip archive, but no torch file of tensors: {error}.", advice=CONVERT
        ) from None


def _directory(read: Read, size: int) -> dict[str, tuple[int, int]]:
    """Name → (first byte, bytes) of every file in the archive; all must be stored as they are."""
    tail = read(max(0, size - 65_557), min(size, 65_557))
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise _Refused("its directory is missing, so it is truncated or no zip at all")
    count, length, start = struct.unpack_from("<HII", tail, at + 10)
    if count == 0xFFFF or length > MAX_DIRECTORY or start + length > size:
        raise _Refused("its directory is damaged or too large")
    directory = read(start, length)
    found: dict[str, tuple[int, int]] = {}
    cursor = 0
    for _ in range(count):
        if directory[cursor : cursor + 4] != b"PK\x01\x02" or cursor + 46 > length:
            raise _Refused("its directory is damaged")
        flags, method = struct.unpack_from("<HH", directory, cursor + 8)
        packed, plain, names, extra, comment = struct.unpack_from("<IIHHH", directory, cursor + 20)
        (local,) = struct.unpack_from("<I", directory, cursor + 42)
        name = directory[cursor + 46 : cursor + 46 + names].decode("utf-8", "replace")
        cursor += 46 + names + extra + comment
        if flags & 1 or method != 0 or packed != plain:
            raise _Refused("its files are compressed or encrypted, which torch never does")
        if name in found:
            raise _Refused("it names a file twice")
        found[name] = (_data_begin(read, local, plain, size), plain)
    return found


def _data_begin(read: Read, local: int, length: int, size: int) -> int:
    """First byte of a stored file whose local header is at `local`."""
    if local + 30 > size:
        raise _Refused("its directory points outside the file")
    head = read(local, 30)
    names, extra = struct.unpack_from("<HH", head, 26)
    begin: int = local + 30 + names + extra
    if head[:4] != b"PK\x03\x04" or begin + length > size:
        raise _Refused("its directory points outside the file")
    return begin


def _entries(top: Any, root: str, stored: dict[str, tuple[int, int]], path: str) -> dict[str, Entry]:
    """Entries of the named tensors in `top`."""
    for _ in range(3):
        inner = [top[key] for key in ("state_dict", "model", "module") if isinstance(top, dict) and key in top]
        top = inner[0] if inner and isinstance(inner[0], dict) else top
    top = _only_table(top, path)
    if isinstance(top, list) and top and len(top) <= MAX_TENSORS and all(isinstance(value, _Tensor) for value in top):
        top = {f"[{number} of {len(top)}]": value for number, value in enumerate(top)}
    if not isinstance(top, dict):
        raise NotALora(
            f"{shown(path)} holds tensors without names, whose layers cannot be told.",
            advice="Convert it with the tool that wrote it to a .safetensors file with names.",
        )
    if len(top) > MAX_TENSORS:
        raise _Refused(f"it holds more than {MAX_TENSORS} tensors")
    return {
        key: _entry(value, root, stored)
        for key, value in top.items()
        if isinstance(key, str) and isinstance(value, _Tensor)
    }


def _only_table(top: Any, path: str) -> Any:
    """The one table or list of tensors inside `top`, where `top` is a table without any; else `top` itself.

    Raises NotALora where there are several.
    """
    if not isinstance(top, dict) or _holds_tensors(top):
        return top
    found: dict[str, Any] = {}
    seen, waiting = {id(top)}, [("", top)]
    while waiting:
        above, table = waiting.pop()
        for key, value in table.items():
            if not isinstance(value, dict | list) or id(value) in seen:
                continue
            seen.add(id(value))  # a table may hold itself
            name = f"{above}{shown(key)}"
            if _holds_tensors(value):
                found[name] = value
            elif isinstance(value, dict):
                waiting.append((f"{name[:LONGEST]}.", value))
    if len(found) > 1:
        named = ", ".join(repr(shown(name, 60)) for name in list(found)[:3])
        raise NotALora(
            f"{shown(path)} holds tensors in {len(found)} tables ({named}{', …' if len(found) > 3 else ''}), and which "
            "of them is the LoRA cannot be told.",
            advice="Save the table of the LoRA alone as .safetensors, and audit that file.",
        )
    return next(iter(found.values()), top)


def _holds_tensors(value: Any) -> bool:
    """Whether `value` is a table with a tensor under a name, or a list of nothing but tensors."""
    if isinstance(value, dict):
        return any(isinstance(key, str) and isinstance(one, _Tensor) for key, one in value.items())
    return isinstance(value, list) and bool(value) and all(isinstance(one, _Tensor) for one in value)


def _entry(tensor: _Tensor, root: str, stored: dict[str, tuple[int, int]]) -> Entry:
    """The place of one tensor, after checking shape, strides and offset against the stored bytes."""
    place = stored.get(f"{root}data/{tensor.storage.key}")
    shape, strides = tensor.shape, tensor.strides
    if place is None or not _sizes(shape) or not _sizes(strides) or len(shape) != len(strides):
        raise _Refused("a tensor has no stored numbers, no valid shape or no valid strides")
    if not _sizes((tensor.offset, tensor.storage.elements)):
        raise _Refused("a tensor has no valid offset")
    width, count = BYTES[tensor.storage.dtype], math.prod(shape)
    begin = place[0] + tensor.offset * width
    if (tensor.offset + count) * width > place[1]:
        raise _Refused("a tensor reaches beyond its stored numbers")
    plain, dense = _order(shape, strides)
    if not dense:
        raise _Refused("a tensor's strides skip or repeat numbers")
    return Entry(tensor.storage.dtype, shape, begin, begin + count * width, None if plain else strides)


def _check_shared(entries: dict[str, Entry], size: int) -> None:
    """Refuse tensors that share so much storage that they are far larger than the file of `size` bytes."""
    together = sum(entry.end - entry.begin for entry in entries.values())
    if together > MAX_SHARED * size:
        raise _Refused(f"its tensors share storage and have {together} bytes together, the file only {size}")


def _sizes(values: Any) -> bool:
    """Whether `values` is a tuple of at most eight integers in 0 … 2⁵³."""
    return (
        isinstance(values, tuple)
        and len(values) <= MAX_DIMENSIONS
        and all(type(value) is int and 0 <= value <= 2**53 for value in values)
    )


def _order(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[bool, bool]:
    """(in row order, a permutation of row order) for the dimensions that have more than one element."""
    if math.prod(shape) <= 1:
        return True, True
    used = [(stride, size) for stride, size in zip(strides, shape, strict=True) if size > 1]
    falling = sorted(used, reverse=True)
    expected, dense = 1, True
    for stride, size in reversed(falling):
        dense &= stride == expected
        expected *= size
    return used == falling and dense, dense


class _Mark:
    """A place on the stack."""


_MARK = _Mark()


class _Layout:
    """A reader of the few pickle instructions that describe tensors: a stack, a memo, and no calls."""

    def __init__(self) -> None:
        """Start empty."""
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, program: bytes) -> Any:
        """The object that `program` describes, made of dict, list, tuple, str, numbers and `_Tensor`."""
        try:
            for step, (opcode, argument, _) in enumerate(pickletools.genops(program)):
                if step > MAX_STEPS:
                    raise _Refused("its pickle is too long")
                if opcode.name == "STOP":
                    return self.stack.pop()
                handler = _HANDLERS.get(opcode.name)
                if handler is None:
                    raise _Refused(f"its pickle uses the instruction {opcode.name}, which no table of tensors needs")
                handler(self, argument)
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
            pass
        raise _Refused("its pickle is damaged")

    def pop_to_mark(self) -> list[Any]:
        """The objects above the last mark, which goes too."""
        items: list[Any] = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def push(self, value: Any) -> None:
        """Put `value` on the stack."""
        self.stack.append(value)

    def remember(self, index: Any) -> None:
        """Keep the top of the stack under `index`, or under the next number."""
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def name(self, argument: str) -> None:
        """A global name; which ones are allowed, `reduce` and `persistent` decide."""
        module, _, name = argument.partition(" ")
        self.push(_Name(module, name))

    def stack_name(self, _: Any) -> None:
        """A global name whose two parts lie on the stack."""
        name, module = self.stack.pop(), self.stack.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            self.refuse("a name that is no text")
        self.push(_Name(module, name))

    def tuple_of(self, count: int) -> None:
        """A tuple of the top `count` objects."""
        items = [self.stack.pop() for _ in range(count)][::-1]
        if any(item is _MARK for item in items):
            self.refuse("a misplaced mark")
        self.push(tuple(items))

    def set_items(self, items: list[Any]) -> None:
        """Put key, value, key, value, … in the table on top; keys are text or numbers."""
        table = self.stack[-1]
        if not isinstance(table, dict) or len(items) % 2:
            self.refuse("entries outside a table")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int):
                self.refuse("a table whose keys are no names")
            table[key] = value

    def extend(self, items: list[Any]) -> None:
        """Add to the list on top."""
        if not isinstance(self.stack[-1], list):
            self.refuse("entries outside a list")
        self.stack[-1].extend(items)

    def persistent(self, _: Any) -> None:
        """A storage: ('storage', torch.<Type>Storage, key, device, elements)."""
        place = self.stack.pop()
        if not isinstance(place, tuple) or len(place) != 5:
            self.refuse("a reference that is no storage")
        kind, key = place[1], place[2]
        if (
            not isinstance(kind, _Name)
            or kind.module != "torch"
            or kind.name not in STORAGES
            or not isinstance(key, str)
        ):
            self.refuse("a reference that is no storage of a known number format")
        self.push(_Storage(STORAGES[kind.name], key, place[4]))

    def reduce(self, _: Any) -> None:
        """The three calls that torch writes, understood without calling anything."""
        arguments, function = self.stack.pop(), self.stack.pop()
        called = f"{function.module}.{function.name}" if isinstance(function, _Name) else "nothing that has a name"
        if not isinstance(arguments, tuple):
            self.refuse("a call without arguments")
        if called == "collections.OrderedDict" and not arguments:
            self.push({})
        elif called == "torch._utils._rebuild_tensor_v2" and len(arguments) >= 4 and isinstance(arguments[0], _Storage):
            self.push(_Tensor(*arguments[:4]))
        elif called == "torch._utils._rebuild_parameter" and arguments and isinstance(arguments[0], _Tensor):
            self.push(arguments[0])
        else:
            self.refuse(f"a call of {shown(called, 80)}")

    def build(self, _: Any) -> None:
        """Attributes of a table (torch's `_metadata`) are dropped; nothing else may have any."""
        self.stack.pop()
        if not isinstance(self.stack[-1], dict):
            self.refuse("attributes of something that is no table")

    def refuse(self, what: str) -> NoReturn:
        """Give up."""
        raise _Refused(f"its pickle holds {what}")


_HANDLERS: dict[str, Callable[[_Layout, Any], None]] = {
    "PROTO": lambda layout, _: None,
    "FRAME": lambda layout, _: None,
    "MARK": lambda layout, _: layout.push(_MARK),
    "NONE": lambda layout, _: layout.push(None),
    "NEWTRUE": lambda layout, _: layout.push(True),
    "NEWFALSE": lambda layout, _: layout.push(False),
    "EMPTY_DICT": lambda layout, _: layout.push({}),
    "EMPTY_LIST": lambda layout, _: layout.push([]),
    "EMPTY_TUPLE": lambda layout, _: layout.push(()),
    **dict.fromkeys(
        ("BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), _Layout.push
    ),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "MEMOIZE"), _Layout.remember),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda layout, index: layout.push(layout.memo[index])),
    "GLOBAL": _Layout.name,
    "STACK_GLOBAL": _Layout.stack_name,
    "TUPLE": lambda layout, _: layout.push(tuple(layout.pop_to_mark())),
    "TUPLE1": lambda layout, _: layout.tuple_of(1),
    "TUPLE2": lambda layout, _: layout.tuple_of(2),
    "TUPLE3": lambda layout, _: layout.tuple_of(3),
    "SETITEM": lambda layout, _: layout.set_items([layout.stack.pop(-2), layout.stack.pop()]),
    "SETITEMS": lambda layout, _: layout.set_items(layout.pop_to_mark()),
    "APPEND": lambda layout, _: layout.extend([layout.stack.pop()]),
    "APPENDS": lambda layout, _: layout.extend(layout.pop_to_mark()),
    "BINPERSID": _Layout.persistent,
    "REDUCE": _Layout.reduce,
    "BUILD": _Layout.build,
}
