"""Which letters a PDF can set, and with which fonts; what no font holds becomes a placeholder that can be read.

The typesetter's own fonts hold Latin, Greek and Cyrillic.  For other scripts the extra [pdf] brings FiraGO (Arabic,
Hebrew, Thai, Georgian, Devanagari), Noto Sans CJK (Chinese, Japanese, Korean) and Noto Sans Symbols, all under the
Open Font License.  They are loaded only for a document that needs them.  Fonts of the machine are never used, so that
the same audit gives the same bytes everywhere.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import re
import unicodedata
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

PACKAGES = ("typst", "pymupdf_fonts", "noto_cjk_sans_otc", "fontTools")
"""What the extra [pdf] installs, as it is imported."""
OWN = (
    *((0x20, 0x7E), (0xA0, 0x241), (0x250, 0x2E9), (0x300, 0x33F), (0x374, 0x377), (0x37A, 0x37F), (0x384, 0x38A)),
    *((0x38C, 0x38C), (0x38E, 0x3A1), (0x3A3, 0x3CE), (0x400, 0x45F), (0x490, 0x4BF), (0x531, 0x556), (0x559, 0x55F)),
    *((0x561, 0x587), (0x589, 0x58A), (0x1E00, 0x1E9B)),
    *((0x1EA0, 0x1EF9), (0x2010, 0x2027), (0x202F, 0x2037), (0x2039, 0x203F), (0x20A0, 0x20B5), (0x2116, 0x2116)),
    *((0x2122, 0x2122), (0x2190, 0x21FF), (0x2212, 0x2212), (0x2248, 0x2248), (0x2260, 0x2265), (0x25A0, 0x25FF)),
)
"""Code points that the typesetter's own fonts hold."""
FAMILIES = {
    "FiraGO_Regular": "FiraGO",
    "NotoSansSymbols_Regular": "Noto Sans Symbols",
    "NotoSansSymbols2_Regular": "Noto Sans Symbols2",
}
"""Module of pymupdf_fonts → family of the font in it."""
CJK, CJK_FILE = "Noto Sans CJK JP", "NotoSansCJK-Regular.ttc"
"""One face of the collection: it has Chinese and Korean too, Han characters in their Japanese shapes."""
MOST_NAMED = 12
"""Characters without a font that a text names in full; in a text of more they are code points only."""

_OWN = "".join(f"{chr(low)}-{chr(high)}" for low, high in OWN).replace("\\", r"\\").replace("]", r"\]")
_PLAIN = re.compile(f"[{_OWN}\u200b\u2066-\u2069]*")
"""Text that the typesetter's own fonts can set; breaks and isolates show nothing and need no font."""
_SELECTORS = re.compile("[\ufe00-\ufe0f]")
"""Variation selectors: they choose among shapes of the character before, which one font does not have."""


def missing() -> str:
    """The first package of the extra [pdf] that is not installed; '' where all are."""
    return next((name for name in PACKAGES if importlib.util.find_spec(name) is None), "")


def plain(text: str) -> bool:
    """Whether the typesetter's own fonts can set `text`."""
    return _PLAIN.fullmatch(unicodedata.normalize("NFC", text)) is not None


def normal(text: str) -> str:
    """`text` composed, without the selectors that no font here heeds."""
    return _SELECTORS.sub("", unicodedata.normalize("NFC", text))


def families() -> list[str]:
    """The families of the extra, in the order in which a letter is looked for."""
    return [*FAMILIES.values(), CJK]


def printable(text: str, more: bool = True) -> str:
    """`text` as it can be set: characters that no font holds become `[U+1F3A8 artist palette]`.

    A letter and the marks on it must be in one font; marks that are not become placeholders.  `more`: with the fonts
    of the extra, not only the typesetter's own.
    """
    text = normal(text)
    if plain(text):
        return text
    found = [_known(cluster, more) for cluster in _clusters(text)]
    named = sum(not known for piece in found for _, known in piece) <= MOST_NAMED
    return "".join(char if known else _placeholder(char, named) for piece in found for char, known in piece)


def font_files(folder: Path) -> list[Path]:
    """Writes the fonts of the extra into `folder`: they lie packed in their packages."""
    made = [*((folder / f"{name}.ttf", _packed(name)) for name in FAMILIES), (folder / CJK_FILE, _cjk())]
    for path, data in made:
        path.write_bytes(data)
    return [path for path, _ in made]


def _clusters(text: str) -> list[str]:
    """`text` cut into letters, each with the marks that follow it."""
    found: list[str] = []
    for char in text:
        if found and unicodedata.category(char).startswith("M"):
            found[-1] += char
        else:
            found.append(char)
    return found


def _known(cluster: str, more: bool) -> list[tuple[str, bool]]:
    """Each character of a letter with its marks, and whether it can be set there."""
    if _PLAIN.fullmatch(cluster) or (more and any(font.issuperset(map(ord, cluster)) for font in _holdings())):
        return [(char, True) for char in cluster]
    letter, marks = cluster[0], cluster[1:]
    alone = bool(_PLAIN.fullmatch(letter)) or (more and any(ord(letter) in font for font in _holdings()))
    return [(letter, alone and not unicodedata.combining(letter)), *((mark, False) for mark in marks)]


def _placeholder(char: str, named: bool) -> str:
    """A character as its code point and, where it is one of few, its name."""
    name = unicodedata.name(char, "").lower() if named else ""
    return f"[U+{ord(char):04X}{' ' * bool(name)}{name}]"


@cache
def _holdings() -> tuple[frozenset[int], ...]:
    """The code points of each font of the extra."""
    from fontTools.ttLib import TTFont

    fonts = [TTFont(io.BytesIO(_packed(name)), lazy=True) for name in FAMILIES]
    fonts.append(TTFont(io.BytesIO(_cjk()), fontNumber=0, lazy=True))
    return tuple(frozenset(font.getBestCmap()) for font in fonts)


def _packed(name: str) -> bytes:
    found = importlib.import_module(f"pymupdf_fonts.{name}").fontbuffer
    return bytes(found)


def _cjk() -> bytes:
    with as_file(files("noto_cjk_sans_otc") / CJK_FILE) as path:
        return path.read_bytes()
