"""Pictures → uint8 arrays, their perceptual hash, and the crops that training sees.

In:  ``DIR/<artist>/*.jpg`` (also png, webp); optionally ``CATALOGUE.csv`` beside or above DIR with columns
     ``file, artist, …, title``.  Out: ``Pictures`` and latents-ready float tensors in [-1, 1].
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from auditor.training.metadata import csv_rows

SUFFIXES = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"} | {".avif", ".heic", ".jp2"}
"""Files that are taken for pictures; one that Pillow cannot open is listed with its reason, not passed over."""
SIDE = 192  # pixels; every picture is scaled (shorter side) and cropped (centre) to this square
DARK = 1 / 16
"""Deep grey whose greatest value is less than this part of white is written in another range, such as 12 bits of 16."""
COLOUR_WORDS = ("red", "orange", "yellow", "green", "blue", "violet")


class Unreadable(ValueError):
    """One picture file that cannot be read.  Its text is the reason, in one line; always caught, file by file."""


@dataclass(frozen=True)
class Pictures:
    """Pictures of several artists.

    pixels: uint8 (n, 192, 192, 3); artist, title, file: n strings each; unread: (file, reason) of skipped files.
    """

    pixels: NDArray[np.uint8]
    artist: list[str]
    title: list[str]
    file: list[str]
    unread: list[tuple[str, str]] = field(default_factory=list)

    @cached_property
    def hashes(self) -> NDArray[np.bool_]:
        """Perceptual hash of each picture, (n, 64)."""
        return difference_hash(self.pixels)


def read_titles(folder: Path) -> dict[str, str]:
    """Titles by 'artist/name' from CATALOGUE.csv in `folder` or its parent; an empty dict if there is none.

    Raises UsageError where it cannot be read.
    """
    for place in (folder, folder.parent):
        catalogue = place / "CATALOGUE.csv"
        if catalogue.is_file():
            rows = csv_rows(catalogue, "file", "title")
            return {"/".join(Path(row["file"]).parts[-2:]): row["title"] for _, row in rows}
    return {}


def read_square(path: Path, side: int = SIDE) -> NDArray[np.uint8]:
    """One picture as uint8 (side, side, 3), the centre square of `read_upright`.  Raises Unreadable."""
    return centre_square(read_upright(path), side)


def centre_square(picture: Image.Image, side: int = SIDE) -> NDArray[np.uint8]:
    """The largest square in the middle of a picture, scaled: uint8 (side, side, channels)."""
    return np.asarray(ImageOps.fit(picture, (side, side), Image.Resampling.LANCZOS))


def read_upright(path: Path) -> Image.Image:
    """A picture file by `upright`.  Raises Unreadable, whatever the decoder makes of the file."""
    try:
        with Image.open(path) as opened:
            return upright(opened)
    except Exception as problem:  # decoders raise anything: RuntimeError, struct.error, TypeError have been seen
        raise Unreadable(why_unreadable(problem)) from problem


def why_unreadable(problem: Exception) -> str:
    """A reader's error in one line: its own words where they are meant for people, else that the file is damaged."""
    if isinstance(problem, MemoryError):
        return "it does not fit into memory"
    said = " ".join(str(problem).split())
    if isinstance(problem, (OSError, ValueError, SyntaxError, Image.DecompressionBombError)):
        return said or type(problem).__name__
    return f"it is damaged ({type(problem).__name__}: {said})"


def upright(opened: Image.Image) -> Image.Image:
    """Any picture as RGB: EXIF rotation applied, alpha laid on white, deep grey scaled, CMYK through its own profile.

    Raises anything where the file is broken; see `read_upright`.
    """
    turned = ImageOps.exif_transpose(opened)
    if turned.mode == "F" or turned.mode.startswith("I"):  # Pillow's own conversion clips at 255
        return from_deep_grey(turned)
    if "A" in turned.getbands() or "transparency" in turned.info:
        rgba = turned.convert("RGBA")
        turned = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    if turned.mode == "CMYK" and turned.info.get("icc_profile"):
        return through_profile(turned)
    return turned.convert("RGB")


def from_deep_grey(picture: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, or of floats, as RGB, its transparent value white.  Raises ValueError."""
    values = np.asarray(picture)
    if not np.isfinite(values).all():
        raise ValueError("some of its values are no numbers")
    black, white = grey_range(values)
    grey = ((values.astype(np.float64) - black) * (255 / (white - black))).round().astype(np.uint8)
    clear = picture.info.get("transparency")
    if isinstance(clear, int):
        grey[values == clear] = 255
    return Image.fromarray(grey).convert("RGB")


def grey_range(values: NDArray[np.generic]) -> tuple[float, float]:
    """What is black and what is white, which files do not say: by the range that the values need.

    Black is 0.  White is the least of 1 (floats only), 255 and 65535 that holds all values, but the greatest value
    itself where that holds none of them, or would leave the picture all but black.  Values below 0: least to greatest.
    """
    low, high = float(values.min()), float(values.max())
    if low < 0:
        return low, high if high > low else low + 1
    scales = [1.0] * (values.dtype.kind == "f") + [255.0, 65535.0]
    white = next((scale for scale in scales if high <= scale), high)
    return 0.0, high if 0 < high < white * DARK else white


def through_profile(picture: Image.Image) -> Image.Image:
    """A CMYK picture in sRGB by its embedded profile.  Raises ValueError where the profile is broken."""
    profile = io.BytesIO(picture.info["icc_profile"])
    try:
        converted = ImageCms.profileToProfile(picture, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except ImageCms.PyCMSError as problem:
        raise ValueError(f"its colour profile cannot be used: {problem}") from problem
    if converted is None:
        raise ValueError("its colour profile gave no picture")
    return converted


def read_pictures(folder: Path, artists: list[str] | None = None) -> Pictures:
    """All pictures of `folder`/<artist>/, artists and files in sorted order; unreadable files are listed, not fatal."""
    titles = read_titles(folder)
    pixels: list[NDArray[np.uint8]] = []
    artist_of: list[str] = []
    title_of: list[str] = []
    file_of: list[str] = []
    unread: list[tuple[str, str]] = []
    for artist in artists or sorted(p.name for p in folder.iterdir() if p.is_dir()):
        for path in sorted(p for p in (folder / artist).iterdir() if p.suffix.lower() in SUFFIXES):
            name = f"{artist}/{path.name}"
            try:
                pixels.append(read_square(path))
            except Unreadable as problem:
                unread.append((name, str(problem)))
                continue
            artist_of.append(artist)
            title_of.append(titles.get(name, ""))
            file_of.append(name)
    stacked = np.stack(pixels) if pixels else np.zeros((0, SIDE, SIDE, 3), np.uint8)
    return Pictures(stacked, artist_of, title_of, file_of, unread)


def to_float(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 (n, h, w, 3) in 0…255 → float32 (n, 3, h, w) in [-1, 1]."""
    return torch.from_numpy(np.array(pixels, order="C")).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def resize(batch: torch.Tensor, side: int) -> torch.Tensor:
    """Antialiased bilinear resize of (n, 3, h, w) to (n, 3, side, side)."""
    return F.interpolate(batch, size=(side, side), mode="bilinear", antialias=True, align_corners=False)


def crop_boxes(
    whole: int, count: int, rng: np.random.Generator, least: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(sides, tops, lefts) of one square crop of each of `count` pictures of side `whole`; sides `least`…`whole`."""
    sides = rng.integers(least, whole + 1, count)
    tops, lefts = rng.integers(0, whole - sides + 1, (2, count))
    return sides, tops, lefts


def even_boxes(
    whole: int, count: int, views: int, rng: np.random.Generator, least: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """`views` times the crops of `crop_boxes`, the sides of every picture spread evenly over `least`…`whole`.

    How near a crop stands changes what is seen as much as the painter does: sides that one artist's pictures shared
    could be learnt and found again as a style (docs/decisions/0023).
    """
    span = whole - least + 1
    spread = (rng.permuted(np.tile(np.arange(views), (count, 1)), axis=1) + rng.random((count, views))) / views
    sides = np.minimum(least + (spread * span).astype(np.int64), whole)
    places = rng.integers(0, whole - sides + 1, (2, count, views))
    return [(sides[:, k], places[0, :, k], places[1, :, k]) for k in range(views)]


def cut(
    pixels: NDArray[np.uint8], sides: NDArray[np.int64], tops: NDArray[np.int64], lefts: NDArray[np.int64], side: int
) -> torch.Tensor:
    """Crops of pictures (n, h, w, 3) at n places, resized: float32 (n, 3, side, side) in [-1, 1]."""
    places = zip(pixels, sides, tops, lefts, strict=True)
    return torch.cat([resize(to_float(p[None, t : t + s, lf : lf + s]), side) for p, s, t, lf in places])


def random_crops(
    pixels: NDArray[np.uint8], index: NDArray[np.int64], side: int, rng: np.random.Generator, least: int = 64
) -> torch.Tensor:
    """One random square crop of each picture `index`, float32 (len(index), 3, side, side) in [-1, 1]."""
    return cut(pixels[index], *crop_boxes(pixels.shape[1], len(index), rng, least), side)


def difference_hash(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """64-bit perceptual hash of each picture (n, h, w, 3): is a cell brighter than its right neighbour? (n, 64)."""
    grey = resize(to_float(pixels).mean(1, keepdim=True), 9)[:, 0, :8, :].numpy()
    return (grey[:, :, 1:] > grey[:, :, :-1]).reshape(len(pixels), 64)


def colour_words(batch: torch.Tensor) -> list[str]:
    """Two or three plain words on lightness, saturation and hue of each picture of (n, 3, h, w) in [-1, 1]."""
    mean = batch.float().mean((2, 3)).add(1).div(2).clamp(0, 1).numpy()
    words = []
    for red, green, blue in mean:
        light = 0.299 * red + 0.587 * green + 0.114 * blue
        high, low = max(red, green, blue), min(red, green, blue)
        tone = ("dark", "dim", "bright", "pale")[int(np.digitize(light, (0.22, 0.42, 0.62)))]
        chroma = (high - low) / max(high, 1e-6)
        if chroma < 0.06:
            words.append(f"{tone} grey")
            continue
        angle = np.degrees(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)) % 360
        hue = COLOUR_WORDS[int(np.digitize(angle, (18, 42, 70, 165, 260))) if angle < 330 else 0]
        words.append(f"{tone} {'vivid' if chroma > 0.45 else 'muted'} {hue}")
    return words
