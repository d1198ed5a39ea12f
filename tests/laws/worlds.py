"""Simulated worlds in feature space: artists as random directions, recipes as nuisance, noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from auditor.embedding.features import Bases
from auditor.embedding.fit import Settings
from auditor.embedding.grams import Grams
from auditor.reference.calibrate import calibrate_view
from auditor.reference.set import View

SETTINGS = Settings(components=60, shrink=0.3)


@dataclass
class World:
    """A population of artists.  A file = what all files share + artist + recipe + noise, in `width` features."""

    rng: np.random.Generator
    width: int = 300
    style_dimensions: int = 30
    style: float = 1.0
    recipe: float = 2.0
    noise: float = 1.0

    def __post_init__(self) -> None:
        self.common = 3 * self.rng.standard_normal(self.width)
        self.styles = self.rng.standard_normal((self.style_dimensions, self.width)) / np.sqrt(self.style_dimensions)
        self.recipes = self.rng.standard_normal((4, self.width)) / 2

    def artists(self, count: int) -> np.ndarray:
        """What `count` new artists add to their files."""
        return self.style * self.rng.standard_normal((count, self.style_dimensions)) @ self.styles

    def files(self, style: np.ndarray) -> np.ndarray:
        """One new file for each row of `style`."""
        recipe = self.recipe * self.rng.standard_normal((len(style), 4)) @ self.recipes
        return self.common + style + recipe + self.noise * self.rng.standard_normal((len(style), self.width))


def references(world: World, artists: int, files: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(styles of the artists, features of their files, artist of each file)."""
    styles = world.artists(artists)
    artist = np.repeat(np.arange(artists), files)
    return styles, world.files(styles[artist]), artist


def bases_of(width: int, blocks: int = 5) -> Bases:
    """Bases whose features are `width` numbers in equal blocks; what they project is of no interest here."""
    names = [f"unet.block{i:02d}" for i in range(blocks)]
    return Bases({n: np.zeros((1, width // blocks)) for n in names}, {n: np.zeros((1, 1)) for n in names}, ("delta",))


def columns_of(width: int, blocks: int = 5) -> list[slice]:
    """The blocks of `bases_of`."""
    return [block for _, _, block in bases_of(width, blocks).blocks()]


def grams_of(
    x: np.ndarray,
    artist: np.ndarray,
    blocks: int = 1,
    fitted: np.ndarray | None = None,
) -> Grams:
    """Gram matrices of features; by default all are references."""
    fitted = np.ones(len(x), bool) if fitted is None else fitted
    return Grams(x, columns_of(x.shape[1], blocks), artist, fitted)


def view_of(x: np.ndarray, artist: np.ndarray, settings: Settings = SETTINGS, blocks: int = 5) -> View:
    """The view that calibration makes of features; works of an artist fall into two halves."""
    parts = np.unique(2 * artist + np.arange(len(artist)) % 2, return_inverse=True)[1]
    return calibrate_view("all", x, np.arange(len(x)), artist, parts, bases_of(x.shape[1], blocks), settings)
