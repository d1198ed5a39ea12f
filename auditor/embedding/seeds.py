"""Seeds from names: what is drawn for a module is the same on every machine, and another for every module."""

from __future__ import annotations

import hashlib


def seed_of(*parts: object) -> int:
    """A seed of 64 bits from the SHA-256 of `parts`, written out with '|' between them."""
    text = "|".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
