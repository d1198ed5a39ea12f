"""Number formats of the safetensors container, decoded by numpy alone to float32.

Names and layouts follow the safetensors format description; 8-bit floats follow the OCP 8-bit floating point
specification (E4M3 without infinities, E5M2 as the upper half of an IEEE half).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

PLAIN = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|u1",
}
"""Formats that numpy knows, with its name for them."""

BYTES = {name: np.dtype(code).itemsize for name, code in PLAIN.items()} | {"BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}
"""Bytes of one element of every format that is read."""


def _e4m3_table() -> NDArray[np.float32]:
    """Value of each of the 256 bytes in E4M3: bias 7, no infinity, 0x7F and 0xFF not a number."""
    byte = np.arange(256)
    exponent, mantissa = (byte >> 3) & 15, byte & 7
    value = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    value[(byte & 0x7F) == 0x7F] = np.nan
    return np.where(byte >= 128, -value, value).astype(np.float32)


E4M3 = _e4m3_table()


@cache
def half_table() -> NDArray[np.float32]:
    """Value of each of the 65,536 halves: a look-up is quicker than numpy's conversion, tenfold for tiny numbers."""
    return np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)


def decode(raw: bytes | memoryview, dtype: str) -> NDArray[np.float32]:
    """The elements of `raw` as a new float32 array of one dimension; numbers beyond float32 become infinite."""
    if dtype == "BF16":
        wide = np.frombuffer(raw, "<u2").astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    if dtype == "F16":
        return _halves(np.frombuffer(raw, "<u2"))
    if dtype == "F8_E4M3":
        return np.asarray(E4M3[np.frombuffer(raw, np.uint8)], np.float32)
    plain: NDArray[Any]
    if dtype == "F8_E5M2":
        plain = (np.frombuffer(raw, np.uint8).astype(np.uint16) << 8).view(np.float16)
    else:
        plain = np.frombuffer(raw, PLAIN[dtype])
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return plain.astype(np.float32)


CHUNK = 2**15
"""Halves that are looked up at a time: `take` makes an index of four times their size."""


def _halves(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Halves, given as their bits, in single precision."""
    out = np.empty(bits.size, np.float32)
    for begin in range(0, bits.size, CHUNK):
        part = slice(begin, begin + CHUNK)
        np.take(half_table(), bits[part], out=out[part], mode="clip")
    return out


def decode_into(raw: memoryview, dtype: str, out: NDArray[np.float32]) -> None:
    """`decode` into `out`, which has as many elements as `raw`."""
    if dtype == "F16":
        np.take(half_table(), np.frombuffer(raw, "<u2"), out=out, mode="clip")
    elif dtype == "BF16":
        wide = out.view(np.uint32)
        wide[:] = np.frombuffer(raw, "<u2")
        wide <<= 16
    else:
        out[:] = np.frombuffer(raw, "<f4") if dtype == "F32" else decode(raw, dtype)
