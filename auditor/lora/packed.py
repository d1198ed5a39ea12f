"""Modules of large files, kept in the number format of the file and decoded each time they are looked at.

A file of 1 GB in half precision would take 2 GiB in single precision; so it takes 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from auditor.lora.dtypes import BYTES, decode
from auditor.lora.weights import LoraModule, Matrix


@dataclass(frozen=True)
class Packed:
    """A matrix as the file's own bytes, row after row."""

    raw: bytes
    dtype: str
    shape: tuple[int, int]

    def rows(self, begin: int, end: int) -> Packed:
        """Rows `begin` … `end` - 1."""
        width = self.shape[1] * BYTES[self.dtype]
        return Packed(self.raw[begin * width : end * width], self.dtype, (end - begin, self.shape[1]))

    def matrix(self) -> Matrix:
        """The numbers."""
        return decode(self.raw, self.dtype).reshape(self.shape)


class PackedModule(LoraModule):
    """ΔW = scale · up @ down, the factors packed."""

    packed: tuple[Packed, Packed]
    """up (out, rank), down (rank, in)."""

    def __init__(self, module: LoraModule, up: Packed, down: Packed) -> None:
        """`module` with its factors packed, which are the same numbers."""
        values = (module.path, (up, down), module.scale, module.scale_source, module.algorithm, module.file_rank)
        names = ("path", "packed", "scale", "scale_source", "algorithm", "file_rank", "source")
        for name, value in zip(names, (*values, module.source), strict=True):
            object.__setattr__(self, name, value)

    @property
    def up(self) -> Matrix:
        """See `LoraModule.up`; decoded at each call."""
        return self.packed[0].matrix()

    @property
    def down(self) -> Matrix:
        """See `LoraModule.down`; decoded at each call."""
        return self.packed[1].matrix()

    @property
    def rank(self) -> int:
        """See `LoraModule.rank`."""
        return self.packed[1].shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """See `LoraModule.shape`."""
        return self.packed[0].shape[0], self.packed[1].shape[1]

    @property
    def held_numbers(self) -> int:
        """See `LoraModule.held_numbers`."""
        return sum(math.prod(one.shape) for one in self.packed)

    def rows(self, begin: int, end: int) -> LoraModule:
        """See `LoraModule.rows`."""
        return PackedModule(self, self.packed[0].rows(begin, end), self.packed[1])

    def renamed(self, path: str, source: str) -> PackedModule:
        """The same under another path, with its name in the file."""
        made = PackedModule(self, *self.packed)
        object.__setattr__(made, "path", path)
        object.__setattr__(made, "source", source)
        return made
