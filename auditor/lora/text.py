"""Untrusted text (file names, tensor names, metadata) made safe to stand in a message."""

from __future__ import annotations

LONGEST = 160


def shown(text: object, longest: int = LONGEST) -> str:
    """`text` in one printable line of at most `longest` characters.

    Control characters, terminal escapes, direction marks and lone surrogates become backslash escapes.
    """
    source = str(text)
    safe = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii")
        for c in source[: longest + 1]
    )
    return safe if len(safe) <= longest and len(source) <= longest else safe[: longest - 1] + "…"
