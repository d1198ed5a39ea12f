"""Hashes of a file, streamed in one pass: SHA-256 of all bytes and of the tensor section, and the short forms in use.

AutoV1 is the SHA-256 of 64 KiB from the first MiB on (8 digits), AutoV2 the file's SHA-256 (10 digits), AutoV3 that of
the tensor section (12 digits); kohya's `sshs_model_hash` is the last in full.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from auditor.errors import MalformedFile
from auditor.lora.container import open_regular, read_exactly
from auditor.lora.safetensors import MAX_HEADER, header_length
from auditor.lora.text import shown
from auditor.lora.weights import Artifact

MAX_FILE = 16 * 2**30
"""Bytes; larger files are not hashed: no LoRA is that large, and a sparse file of that size costs nothing to make."""
BLOCK = 4 * 2**20
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
        if size > MAX_FILE:
            raise MalformedFile(
                f"{shown(name)} has {size} bytes; files above {MAX_FILE // 2**30} GiB are not read.",
                advice="A LoRA is far smaller; name the LoRA file itself.",
            )
        head = read_exactly(descriptor, 0, min(size, 512), name)
        length = header_length(head, size)
        start = 8 + length if length is not None and length <= min(MAX_HEADER, size - 8) else 0
        whole, tensors = hashlib.sha256(), hashlib.sha256()
        for begin in range(0, size, BLOCK):
            block = read_exactly(descriptor, begin, min(BLOCK, size - begin), name)
            whole.update(block)
            if begin + len(block) > start:
                tensors.update(memoryview(block)[max(0, start - begin) :])
        low, high = (min(edge, size) for edge in AUTOV1)
        window = hashlib.sha256(read_exactly(descriptor, low, high - low, name)) if high > low else hashlib.sha256()
        return Hashes(whole.hexdigest(), tensors.hexdigest(), window.hexdigest()[:8], size)
    finally:
        os.close(descriptor)


def read_artifact(path: str | os.PathLike[str]) -> Artifact:
    """The file as bytes: size and digests.  Raises MalformedFile as `hash_file` does."""
    hashes = hash_file(path)
    return Artifact(os.fspath(path), hashes.size, hashes.sha256, hashes.tensor_sha256)
