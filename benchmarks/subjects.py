"""Pictures that are no style of anybody: `python benchmarks/subjects.py DIR` draws a folder for each of six subjects.

LoRAs trained on them (`benchmarks/foreign.py --images DIR`) are suspects without any painter: a set must attribute them
to nobody (`benchmarks/outsiders.py`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE, COUNT = 160, 24
Drawing = Callable[[Image.Image, np.random.Generator], Image.Image]


def colour(rng: np.random.Generator) -> tuple[int, int, int]:
    """Any colour."""
    r, g, b = rng.integers(0, 256, 3).tolist()
    return r, g, b


def stripes(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Slanted stripes of two colours."""
    y, x = np.mgrid[:SIDE, :SIDE]
    wave = np.sin((x * np.cos(a := rng.uniform(0, np.pi)) + y * np.sin(a)) * rng.uniform(0.1, 0.6)) > 0
    return Image.fromarray(np.where(wave[..., None], colour(rng), colour(rng)).astype(np.uint8))


def discs(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Discs of any size and colour."""
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(5, 30))):
        (x, y), r = rng.uniform(0, SIDE, 2), rng.uniform(4, 40)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour(rng))
    return picture


def clouds(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Noise of all scales."""
    total = np.zeros((SIDE, SIDE, 3))
    for size in (4, 8, 16, 32, 64):
        layer = Image.fromarray(_bytes(rng.normal(0, 1, (size, size, 3))))
        total += np.asarray(layer.resize((SIDE, SIDE), Image.Resampling.BICUBIC), float) / size
    return Image.fromarray(_bytes(total))


def _bytes(x: np.ndarray) -> np.ndarray:
    """Scaled to 0…255."""
    return np.asarray(255 * (x - x.min()) / np.ptp(x), np.uint8)


def letters(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Lines of random letters, dark on light."""
    picture.paste((235, 235, 230), (0, 0, SIDE, SIDE))
    draw = ImageDraw.Draw(picture)
    for y in range(4, SIDE, 12):
        draw.text((4, y), "".join(chr(c) for c in rng.integers(65, 91, int(rng.integers(10, 26)))), fill=(20, 20, 30))
    return picture


def bricks(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A wall."""
    draw, base = ImageDraw.Draw(picture), np.array(colour(rng))
    width, height = rng.integers(16, 40), rng.integers(8, 20)
    for row, y in enumerate(range(0, SIDE, int(height))):
        for x in range(-int(width), SIDE, int(width)):
            left = x + (row % 2) * int(width) // 2
            shade = tuple(np.clip(base + rng.normal(0, 14, 3), 0, 255).astype(int).tolist())
            draw.rectangle((left, y, left + int(width) - 2, y + int(height) - 2), fill=shade)
    return picture


def lamps(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Blurred lights in the dark."""
    picture.paste((8, 8, 14), (0, 0, SIDE, SIDE))
    return discs(picture, rng).filter(ImageFilter.GaussianBlur(float(rng.uniform(3, 9))))


SUBJECTS: dict[str, Drawing] = {f.__name__: f for f in (stripes, discs, clouds, letters, bricks, lamps)}


def main() -> None:
    """Draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for i, (name, draw) in enumerate(SUBJECTS.items()):
        place = given.folder / name
        place.mkdir(parents=True, exist_ok=True)
        for k in range(COUNT):
            rng = np.random.default_rng([given.seed, i, k])
            draw(Image.new("RGB", (SIDE, SIDE), colour(rng)), rng).save(place / f"{k:03d}.png")


if __name__ == "__main__":
    main()
