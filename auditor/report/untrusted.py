"""Text that a suspect brought along, made safe to look at.

Enters: any string of a suspect's file (path, metadata, warnings) or of a reference set (names).
Leaves: one printable line.  Control, format and bidirectional characters become visible escapes, long values are cut.
Escaping for a document format (HTML, Markdown, XML, …) is the format's own business and comes on top of this.
"""

from __future__ import annotations

import re
import unicodedata

from auditor.texts import say

LIMIT = 4096
"""Characters of one untrusted value that a document shows."""

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_MARKS_IN_A_ROW = 3
_RIGHT = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff"
_RUN = re.compile(rf"[{_RIGHT}](?:[{_RIGHT} '.\-]*[{_RIGHT}])?")
"""Letters that run from right to left, with the spaces inside a name."""


def show(value: object, limit: int = LIMIT) -> str:
    r"""`value` as one visible line: `a<U+202E>b` becomes `a\u202eb`; cut at `limit` characters with a note."""
    text = str(value)
    cut = len(text) - limit
    line = text[:limit]
    if not (line.isascii() and line.isprintable()):  # most values need no look at every character
        line = "".join(_visible(char) for char in _few_marks(line))
    return f"{line} {say('cut', n=cut)}" if cut > 0 else line


def runs_left(text: str) -> bool:
    """Whether there are letters in `text` that run from right to left."""
    return _RUN.search(text) is not None


def isolated(text: str) -> str:
    """`text` with every name in letters that run from right to left set apart from its neighbours.

    Without that, the figures of two such names change places when a line is laid out (Unicode Standard Annex 9).
    """
    return _RUN.sub("\u2068\\g<0>\u2069", text)


def _few_marks(text: str) -> str:
    """`text` without the combining marks beyond three in a row, which would paint over neighbouring lines."""
    kept, run = [], 0
    for char in text:
        run = run + 1 if unicodedata.combining(char) else 0
        if run <= _MARKS_IN_A_ROW:
            kept.append(char)
    return "".join(kept)


def _visible(char: str) -> str:
    """`char`, or its escape when it does not show or changes how its neighbours show."""
    if char == " " or (char.isascii() and char.isprintable()):
        return char
    code = ord(char)
    noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    if not noncharacter and unicodedata.category(char) not in _HIDDEN:
        return char
    if char in _SHORT:
        return _SHORT[char]
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
