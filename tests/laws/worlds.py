"""Simulated worlds in feature space: artists as random directions, recipes as nuisance, noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from auditor.embedding.backend import Settings
from auditor.embedding.features import Bases
from auditor.reference.calibrate import calibrate_view
from auditor.reference.set import View

NO_BASES = Bases({}, {})
SETTINGS = Settings(components=60, shrink=0.3, between=None)


@dataclass
class World:
    """A population of artists.  A file = what all files share + artist + recipe + noise, in `width` features."""

    rng: np.random.Generator
    width: int = 300
    style_dimensions: int = 30
    style: float = 1.0
    recipe: float = 2.0
    noise: float = 0.25

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
        return self.common + style + recipe + self.noise * self.width**0.5 * self.ball(len(style))

    def ball(self, count: int) -> np.ndarray:
        """Noise of length about 1."""
        return self.rng.standard_normal((count, self.width)) / np.sqrt(self.width)


def references(world: World, artists: int, files: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(styles of the artists, features of their files, artist of each file)."""
    styles = world.artists(artists)
    artist = np.repeat(np.arange(artists), files)
    return styles, world.files(styles[artist]), artist


def view_of(x: np.ndarray, artist: np.ndarray, settings: Settings = SETTINGS) -> View:
    """The view that calibration makes of features; works of an artist fall into two halves."""
    parts = np.unique(2 * artist + np.arange(len(artist)) % 2, return_inverse=True)[1]
    return calibrate_view("all", x, np.arange(len(x)), artist, parts, NO_BASES, settings)
