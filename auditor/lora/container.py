"""A file of weights as a table of tensors that can be read one by one; what the file is, its first bytes decide.

In:  a path.  Out: `Container`, whose entries were all checked against the file's size before anything is allocated.
Nothing is ever unpickled or executed; names inside the file are never used as paths.
"""

from __future__ import annotations

import math
import os
import stat
from codecs import getincrementaldecoder
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from auditor.errors import MalformedFile, NotALora, NotAuditable
from auditor.lora.dtypes import BYTES, decode, decode_into
from auditor.lora.safetensors import MAX_HEADER, Entry, Header, header_length, parse_header
from auditor.lora.text import shown
from auditor.lora.torch_zip import read_torch_zip

MAX_READ = 1_280 * 2**20
"""Most bytes of numbers that are held of one file; keeps an audit below 2 GiB."""

MAX_AHEAD = 768 * 2**20
"""Most bytes of float32 that are decoded in one go, into one piece of memory; larger files go tensor by tensor."""

BLOCK = 2**16
"""Bytes that are read and decoded at a time: little enough to stay in the processor's cache."""

MAX_MAGNITUDE = 1e12
"""Largest weight, alpha or scale that is taken for real; keeps fourth powers of it finite in float64."""

SAVE_AGAIN = "Save the LoRA again as .safetensors with the tool that trained it, and audit that file."
DOWNLOAD_AGAIN = "Download the file again and compare its size with the one shown by its source."


class Container:
    """An open file of weights.  Use it as a context manager; `read` gives one tensor."""

    def __init__(self, descriptor: int, path: str, size: int, kind: str, header: Header) -> None:
        """Take over `descriptor`, open for reading on a file of `size` bytes whose header was checked."""
        self._descriptor = descriptor
        self._budget = MAX_READ
        self._ahead: dict[str, NDArray[np.float32]] = {}
        self.path = path
        """As the user named it.  Untrusted text."""
        self.size = size
        """Bytes of the file."""
        self.kind = kind
        """'safetensors' or 'torch-zip'."""
        self.metadata: Mapping[str, str] = header.metadata
        """The header's free text.  Untrusted."""
        self.entries: Mapping[str, Entry] = header.entries
        """Tensors by name; offsets are absolute and lie inside the file unless `truncated`."""
        self.truncated = header.truncated
        """(tensors present, tensors declared) when the file ends too early, else None."""

    def __enter__(self) -> Container:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; harmless when closed already."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def read(self, name: str) -> NDArray[np.float32]:
        """Tensor `name` as finite float32 in its declared shape.

        Raises MalformedFile for NaN, infinity, absurd magnitudes, an early end, or more data than one audit may hold.
        """
        entry = self.entries[name]
        count = math.prod(entry.shape)
        self._budget -= 4 * count
        if self._budget < 0:
            raise self.too_large()
        if name in self._ahead:
            return self._ahead[name]
        raw = self.read_bytes(entry.begin, count * BYTES[entry.dtype])
        values = decode(raw, entry.dtype)
        if values.size:
            low, high = float(values.min()), float(values.max())
            if not (math.isfinite(low) and math.isfinite(high)):
                raise self.malformed(
                    name,
                    "holds NaN or infinite numbers",
                    "The training run diverged or the file is damaged; audit an earlier checkpoint.",
                )
            if max(-low, high) > MAX_MAGNITUDE:
                raise self.malformed(
                    name, f"holds a number beyond {MAX_MAGNITUDE:g}, which no training writes", DOWNLOAD_AGAIN
                )
        if entry.strides is not None:
            return np.ascontiguousarray(
                np.lib.stride_tricks.as_strided(values, entry.shape, [4 * s for s in entry.strides], writeable=False)
            )
        return values.reshape(entry.shape)

    def read_ahead(self) -> None:
        """Decode all tensors of a safetensors file in one pass, for `read` to hand out.

        Does nothing for larger files than `MAX_AHEAD`, and where any number is not fit for use: then `read` names the
        tensor at fault.
        """
        tensors = sorted(self.entries.items(), key=lambda item: item[1].begin)
        numbers = sum(math.prod(entry.shape) for _, entry in tensors)
        if self.kind != "safetensors" or self.large:
            return
        values = np.empty(numbers, np.float32)
        at = 0
        for dtype, run in groupby(tensors, lambda item: item[1].dtype):
            members = [entry for _, entry in run]
            count = (members[-1].end - members[0].begin) // BYTES[dtype]
            if not self._decode_run(members[0].begin, dtype, values[at : at + count]):
                return
            at += count
        at = 0
        for name, entry in tensors:
            count = math.prod(entry.shape)
            self._ahead[name] = values[at : at + count].reshape(entry.shape)
            at += count

    def _decode_run(self, begin: int, dtype: str, out: NDArray[np.float32]) -> bool:
        """Fill `out` with adjoining numbers from byte `begin` on; False where one is not fit for use."""
        size, step = BYTES[dtype], BLOCK // BYTES[dtype]
        block = memoryview(bytearray(min(BLOCK, len(out) * size)))
        for start in range(0, len(out), step):
            part = out[start : start + step]
            raw = block[: len(part) * size]
            read_into(self._descriptor, begin + start * size, raw, self.path)
            decode_into(raw, dtype, part)
            if not (part.min() >= -MAX_MAGNITUDE and part.max() <= MAX_MAGNITUDE):
                return False
        return True

    @cached_property
    def large(self) -> bool:
        """Whether `read_ahead` leaves the file to be read tensor by tensor, and its factors are to be kept packed."""
        return 4 * sum(math.prod(entry.shape) for entry in self.entries.values()) > MAX_AHEAD

    def too_large(self) -> NotAuditable:
        """The error for a file that cannot be held."""
        return NotAuditable(
            f"{shown(self.path)} holds more than {MAX_READ // 2**20} MiB of LoRA weights.",
            advice="Reduce its rank with a resize tool, or audit a smaller export of it.",
        )

    def repacked(self, name: str) -> None:
        """Count tensor `name`, which was read, as held in its own format only."""
        entry = self.entries[name]
        self._budget += (4 - BYTES[entry.dtype]) * math.prod(entry.shape)

    def release(self) -> None:
        """Count what was read so far as no longer held."""
        self._budget = MAX_READ

    def read_bytes(self, begin: int, count: int) -> bytes:
        """Exactly `count` bytes from `begin`."""
        return read_exactly(self._descriptor, begin, count, self.path)

    def malformed(self, tensor: str, what: str, advice: str) -> MalformedFile:
        """The error to raise when `tensor` is at fault."""
        return MalformedFile(f"{shown(self.path)}: tensor {shown(tensor)!r} {what}.", advice=advice)


def read_exactly(descriptor: int, begin: int, count: int, path: str) -> bytes:
    """`count` bytes at offset `begin`; MalformedFile if the file ends before (it may shrink while it is read)."""
    pieces, at, end = [], begin, begin + count
    while at < end:
        try:
            piece = os.pread(descriptor, min(end - at, 2**26), at)
        except OSError as error:
            raise _unreadable(path, error) from error
        if not piece:
            raise _ends(path, at)
        pieces.append(piece)
        at += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def read_into(descriptor: int, begin: int, target: memoryview, path: str) -> None:
    """Fill `target` from offset `begin`; MalformedFile as `read_exactly`."""
    at = 0
    while at < len(target):
        try:
            count = os.preadv(descriptor, [target[at:]], begin + at)
        except OSError as error:
            raise _unreadable(path, error) from error
        if not count:
            raise _ends(path, begin + at)
        at += count


def _ends(path: str, at: int) -> MalformedFile:
    """The error for a file that ends too early."""
    return MalformedFile(f"{shown(path)} ends at byte {at}, before the end of its data.", advice=DOWNLOAD_AGAIN)


def open_regular(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(descriptor, size) of a regular file, opened for reading; never blocks on pipes or devices.

    Raises MalformedFile for anything else: missing, forbidden, folder, pipe, socket, device, loop of links.
    """
    name = os.fspath(path)
    try:
        descriptor = os.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from error
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        return descriptor, status.st_size
    os.close(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise MalformedFile(f"{shown(name)} is a folder, not a file.", advice="Name the .safetensors file inside it.")
    raise MalformedFile(
        f"{shown(name)} is no regular file (a pipe, socket or device).", advice="Name a .safetensors file on disk."
    )


def open_container(path: str | os.PathLike[str], *, allow_truncated: bool = False) -> Container:
    """Open a file of weights.

    Raises MalformedFile or NotALora, by what the file's first bytes say it is, with advice.  With `allow_truncated` a
    safetensors file that ends too early is opened all the same, to be described but not read.
    """
    name = os.fspath(path)
    descriptor, size = open_regular(path)
    try:
        head = read_exactly(descriptor, 0, min(size, 512), name)
        if header_length(head, size) is not None:
            return Container(
                descriptor, name, size, "safetensors", _header(descriptor, name, head, size, allow_truncated)
            )
        if head.startswith(b"PK\x03\x04"):

            def read(begin: int, count: int) -> bytes:
                return read_exactly(descriptor, begin, count, name)

            return Container(descriptor, name, size, "torch-zip", read_torch_zip(read, size, name))
        raise _foreign(name, head, size)
    except BaseException:
        os.close(descriptor)
        raise


def _header(descriptor: int, name: str, head: bytes, size: int, allow_truncated: bool) -> Header:
    """The checked header of a safetensors file."""
    length = int.from_bytes(head[:8], "little")
    if length > MAX_HEADER:
        raise MalformedFile(
            f"{shown(name)} declares a header of {length} bytes; at most {MAX_HEADER} are read.", advice=SAVE_AGAIN
        )
    if 8 + length > size:
        raise MalformedFile(
            f"{shown(name)} is truncated: its header alone needs {8 + length} bytes and the file has {size}.",
            advice=DOWNLOAD_AGAIN,
        )
    header = parse_header(read_exactly(descriptor, 8, length, name), size - 8 - length, name)
    if header.truncated and not allow_truncated:
        present, declared = header.truncated
        raise MalformedFile(
            f"{shown(name)} is truncated: {present} of its {declared} tensors are complete in {size} bytes.",
            advice=DOWNLOAD_AGAIN,
        )
    return header


@dataclass(frozen=True)
class _Sign:
    """A kind of file that is no LoRA, by its first bytes."""

    starts: tuple[bytes, ...]
    what: str
    advice: str
    error: type[NotAuditable] = MalformedFile


_SIGNS = (
    _Sign(
        (b"version https://git-lfs",),
        "is a git-lfs pointer, not the weights themselves",
        "Run `git lfs pull`, or download the file through its page.",
    ),
    _Sign(
        (b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--"),
        "is a web page (often a login or an error page)",
        "Download the file again while logged in, and check that its size is some megabytes.",
    ),
    _Sign(
        (b"gguf", b"ggml", b"ggla"),
        "is a GGUF/GGML file of a quantised model",
        "Audit the original .safetensors LoRA.",
        NotALora,
    ),
    _Sign(
        (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        "is a bare Python pickle, which is never opened here",
        "Convert it to .safetensors on a machine where running its code does no harm.",
    ),
    _Sign(
        (b"\x1f\x8b", b"7z\xbc\xaf", b"rar!", b"bzh", b"\xfd7zxz", b"pk\x05\x06"),
        "is a compressed archive",
        "Unpack it and audit the .safetensors file inside.",
    ),
    _Sign(
        (b"\x89png", b"\xff\xd8\xff", b"gif8", b"riff"),
        "is a picture or a sound, not weights",
        "Name the LoRA file itself.",
        NotALora,
    ),
    _Sign((b"%pdf-",), "is a PDF, not a file of weights", "Name the LoRA file itself.", NotALora),
    _Sign((b"\x89hdf", b"\x93numpy", b"onnx"), "is an array or model file of another library", SAVE_AGAIN, NotALora),
)


def _foreign(name: str, head: bytes, size: int) -> NotAuditable:
    """The error for a file that is no container we read."""
    if not size:
        return MalformedFile(f"{shown(name)} is empty.", advice=DOWNLOAD_AGAIN)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for sign in _SIGNS:
        if start.startswith(sign.starts) or head.lower().startswith(sign.starts):
            return sign.error(f"{shown(name)} {sign.what}.", advice=sign.advice)
    if head[257:262] == b"ustar":
        return MalformedFile(f"{shown(name)} is a tar archive or a torch file of the old kind.", advice=SAVE_AGAIN)
    if _is_text(head):
        return MalformedFile(f"{shown(name)} is text, not a file of weights.", advice=DOWNLOAD_AGAIN)
    return MalformedFile(
        f"{shown(name)} is no safetensors file: its first 8 bytes are no length of a header that fits {size} bytes.",
        advice=SAVE_AGAIN,
    )


def _is_text(head: bytes) -> bool:
    """Whether `head`, perhaps cut inside a character, is UTF-8 text without control characters."""
    try:
        text = getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(c.isprintable() or c in "\t\r\n" for c in text)


def _unreadable(path: str, error: Exception) -> MalformedFile:
    """The error for a file that the operating system does not let us read."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return MalformedFile(f"{shown(path)} cannot be read: {shown(reason)}.", advice="Check its name and permissions.")
