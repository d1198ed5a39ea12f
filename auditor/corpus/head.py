"""What a file's header tells before any tensor is read: content key, base family, ranks.

A marketplace is mostly files of another base and copies; for both, the header and the bytes' hash settle the row.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from auditor.errors import MalformedFile
from auditor.lora.config import sidecar_bytes
from auditor.lora.container import Container
from auditor.lora.reader import PLAIN_ROLES, split_module
from auditor.lora.safetensors import Entry
from auditor.lora.structure import describe
from auditor.lora.weights import LoraModule, LoraWeights


@dataclass(frozen=True)
class Head:
    """The header of a well-formed file."""

    header_sha256: str
    """Of the bytes before the tensors; with the tensors' own digest it stands for the whole file."""
    table: str
    """Hex digest of the tensor table and of what scales come from; other metadata are left out."""
    declared: Mapping[str, str]
    """Untrusted."""
    outline: LoraWeights | None
    """Modules in their true shapes with factors of zeros that take no memory; None where only the tensors tell."""

    def content(self, tensor_sha256: str) -> str:
        """Hex key of everything that an audit depends on: files with one key have one verdict."""
        return hashlib.sha256(f"{tensor_sha256}|{self.table}".encode()).hexdigest()


def read_head(container: Container, own: str | None = None) -> Head:
    """The head of an open file.  Raises MalformedFile where two tensors claim one place.

    No outline is made of files of the base family `own`: their tensors are read in any case.
    """
    first = min((entry.begin for entry in container.entries.values()), default=0)
    table = hashlib.sha256(container.metadata.get("lora_adapter_metadata", "").encode("utf-8", "replace"))
    for name, entry in sorted(container.entries.items()):
        row = (name, entry.dtype, entry.shape, entry.begin - first, entry.strides)
        table.update(repr(row).encode("utf-8", "replace"))
    table.update(_sidecar(container.path))
    before = container.read_bytes(0, first) if container.kind == "safetensors" else b""
    header = hashlib.sha256(before).hexdigest()
    return Head(header, table.hexdigest(), container.metadata, outline(container, own))


def _sidecar(path: str) -> bytes:
    """What stands for the configuration that may lie beside a PEFT file: nothing, its digest, or why it is refused."""
    try:
        raw = sidecar_bytes(path)
    except MalformedFile as problem:
        return problem.message.encode("utf-8", "replace")
    return b"" if raw is None else hashlib.sha256(raw).digest()


def outline(container: Container, own: str | None = None) -> LoraWeights | None:
    """The file's modules by their shapes alone.

    None unless every module is a plain LoRA with fitting factors, and for files of the base family `own`.
    """
    structure = describe(container)
    if structure.base.family == own:
        return None
    modules: dict[str, LoraModule] = {}
    for path, named in sorted(structure.modules.items()):
        module = _shape(path, {role: container.entries[name] for role, name in named.roles.items()})
        if module is None:
            return None
        modules.update({piece.path: piece for piece in split_module(module, structure.parts(path), named.body)})
    if not modules or structure.others:
        return None
    base = structure.base
    return LoraWeights(modules, structure.dialect, ("lora",), base.family, base.grounds, dict(container.metadata))


def _shape(path: str, roles: Mapping[str, Entry]) -> LoraModule | None:
    """A module of zeros; None where the roles are others or do not fit."""
    if not {"down", "up"} <= roles.keys() <= PLAIN_ROLES:
        return None
    up, down = roles["up"].shape, roles["down"].shape
    if len(up) < 2 or len(down) < 2 or math.prod(up[2:]) != 1 or up[1] != down[0] or 0 in (*up, *down):
        return None
    nothing = np.float32(0)
    return LoraModule(
        path, np.broadcast_to(nothing, up[:2]), np.broadcast_to(nothing, (down[0], math.prod(down[1:]))), 1.0
    )
