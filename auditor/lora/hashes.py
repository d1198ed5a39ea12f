"""Hashes of a file, streamed in one pass: SHA-256 of all bytes and of the tensor section, and the short forms in use.

AutoV1 is the SHA-256 of 64 KiB from the first MiB on (8 digits), AutoV2 the file's SHA-256 (10 digits), AutoV3 that of
the tensor section (12 digits); kohya's `sshs_model_hash` is the last in full, and `sshs_legacy_hash` AutoV1 of the file
as it would be with only the training metadata (``ss_…``).  Source: kohya-ss/sd-scripts library/train_util.py
`precalculate_safetensors_hashes`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

from auditor.errors import MalformedFile
from auditor.lora.container import Container, open_regular, read_exactly, read_into
from auditor.lora.safetensors import MAX_HEADER, header_length
from auditor.lora.text import shown
from auditor.lora.weights import Artifact

MAX_FILE = 16 * 2**30
"""Bytes; larger files are not hashed: no LoRA is that large, and a sparse file of that size costs nothing to make."""
MAX_REFUSED = 4 * 2**30
"""Bytes of a file that was refused and is hashed all the same; larger ones are no LoRA by their size alone."""
BLOCK = 256 * 2**10
"""Bytes that are hashed at a time: they stay in the processor's cache between the two digests."""
AUTOV1 = (0x100000, 0x110000)


@dataclass(frozen=True)
class Hashes:
    """Hex digests of one file."""

    sha256: str
    tensor_sha256: str
    autov1: str
    size: int

    @property
    def autov2(self) -> str:
        """First 10 digits of `sha256`."""
        return self.sha256[:10]

    @property
    def autov3(self) -> str:
        """First 12 digits of `tensor_sha256`."""
        return self.tensor_sha256[:12]


def hash_file(path: str | os.PathLike[str]) -> Hashes:
    """All digests of a regular file; for containers without a safetensors header the tensor digest is the file's.

    Raises MalformedFile when the file cannot be read or is larger than `MAX_FILE`.
    """
    name = os.fspath(path)
    descriptor, size = open_regular(path)
    try:
        start = tensor_start(descriptor, size, name)
        whole = hashlib.sha256()
        tensors = hashlib.sha256() if start else whole
        for begin, block in blocks(descriptor, 0, size, name):
            whole.update(block)
            if start and begin + len(block) > start:
                tensors.update(block[max(0, start - begin) :])
        low, high = (min(edge, size) for edge in AUTOV1)
        window = hashlib.sha256(read_exactly(descriptor, low, high - low, name)) if high > low else hashlib.sha256()
        return Hashes(whole.hexdigest(), tensors.hexdigest(), window.hexdigest()[:8], size)
    finally:
        os.close(descriptor)


def tensor_digest(path: str | os.PathLike[str]) -> tuple[int, str]:
    """(bytes of the file, SHA-256 of its tensor section): half the work of `hash_file`.  Raises MalformedFile as it."""
    name = os.fspath(path)
    descriptor, size = open_regular(path)
    try:
        digest = hashlib.sha256()
        for _, block in blocks(descriptor, tensor_start(descriptor, size, name), size, name):
            digest.update(block)
        return size, digest.hexdigest()
    finally:
        os.close(descriptor)


def tensor_start(descriptor: int, size: int, name: str) -> int:
    """Offset of the tensor section in an open file of `size` bytes; 0 where it has no safetensors header.

    Raises MalformedFile for a file that is larger than `MAX_FILE`.
    """
    if size > MAX_FILE:
        raise MalformedFile(
            f"{shown(name)} has {size} bytes; files above {MAX_FILE // 2**30} GiB are not read.",
            advice="A LoRA is far smaller; name the LoRA file itself.",
        )
    length = header_length(read_exactly(descriptor, 0, min(size, 512), name), size)
    return 8 + length if length is not None and length <= min(MAX_HEADER, size - 8) else 0


def blocks(descriptor: int, begin: int, end: int, name: str) -> Iterator[tuple[int, memoryview]]:
    """(offset, bytes) one after the other, in one small buffer.  Raises MalformedFile where the file ends before."""
    room = memoryview(bytearray(min(BLOCK, max(0, end - begin))))
    for at in range(begin, end, BLOCK):
        block = room[: min(BLOCK, end - at)]
        read_into(descriptor, at, block, name)
        yield at, block


def legacy_hashes(container: Container) -> tuple[str, ...]:
    """kohya's `sshs_legacy_hash` as today's writers have it, then as those had it that did not pad headers; or ().

    The header is written anew with the ``ss_`` metadata alone; only its length counts, since the window that is hashed
    lies behind it.  () where it does not, for other containers than safetensors, and for truncated files.
    """
    if container.kind != "safetensors" or container.truncated or not container.entries:
        return ()
    start = min(entry.begin for entry in container.entries.values())
    document: dict[str, object] = {"__metadata__": {k: v for k, v in container.metadata.items() if k.startswith("ss_")}}
    for name, entry in container.entries.items():
        offsets = [entry.begin - start, entry.end - start]
        document[name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": offsets}
    length = len(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode())
    if 8 + length + 7 > AUTOV1[0]:
        return ()
    found = []
    for header in dict.fromkeys((-(-length // 8) * 8, length)):
        low, high = (min(edge - 8 - header + start, container.size) for edge in AUTOV1)
        found.append(hashlib.sha256(container.read_bytes(low, high - low)).hexdigest()[:8])
    return tuple(found)


def read_artifact(path: str | os.PathLike[str]) -> Artifact:
    """The file as bytes: size and digests.  Raises MalformedFile as `hash_file` does."""
    hashes = hash_file(path)
    return Artifact(os.fspath(path), hashes.size, hashes.sha256, hashes.tensor_sha256)


def read_refused(path: str | os.PathLike[str]) -> Artifact | None:
    """The digests of a file that cannot be audited: by them a policy or a report still tells it from others.

    None where it cannot be read, and where it is larger than `MAX_REFUSED`: what its header says takes no time, and
    hashing a checkpoint or a disk image only to pass it over would take a minute.
    """
    try:
        descriptor, size = open_regular(path)
        os.close(descriptor)
        return read_artifact(path) if size <= MAX_REFUSED else None
    except MalformedFile:
        return None
