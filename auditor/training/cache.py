"""What training reads again and again, computed once: latents of every view of a picture, and text states.

Files lie under ``cache/`` of the output folder, named by a hash of all that they depend on; processes that share the
folder wait for each other instead of computing twice.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from auditor.errors import TrainingError
from auditor.training.families import Base
from auditor.training.gang import Member
from auditor.training.memory import out_of_memory
from auditor.training.pictures import Unreadable, cut, even_boxes, read_square, resize, to_float
from auditor.training.plan import Job, seed_of
from auditor.training.progress import EVERY
from auditor.training.recipes import Recipe
from auditor.training.works import Work, Works
from auditor.whole_file import whole_file

CROPS = 8
"""Random crops of each picture, cached after the whole picture."""
TOGETHER = 8
"""Pictures that are read and encoded at once."""
VERSION = 4
TRIGGER = "a painting in the style of zxq"
Tensors = dict[str, torch.Tensor]


def canvas(side: int) -> int:
    """Side in pixels of the square that crops are cut from: crops of `side` show a third of it, or two thirds."""
    return 3 * side if side <= 128 else side * 3 // 2


def caption_of(recipe: Recipe, title: str) -> str:
    """The training caption of a picture; see `Recipe.caption`."""
    return {
        "title": title,
        "painting": f"a painting of {title}" if title else "a painting",
        "trigger": TRIGGER,
        "none": "",
    }[recipe.caption]


class Cache:
    """Latents and text states per artist, on disk under `folder`."""

    def __init__(
        self, base: Base, works: Works, folder: Path, side: int, tell: Callable[[str], None] = lambda text: None
    ) -> None:
        """side: pixels of the pictures that the model is trained on; tell: gets a line where encoding takes long."""
        self.base, self.works, self.folder, self.side, self.tell = base, works, folder, side, tell
        self.by_artist = {artist: works.of(artist) for artist in dict.fromkeys(works.artist)}

    def member(self, job: Job, recipe: Recipe) -> Member:
        """The training inputs of one job.  Raises TrainingError when one of its pictures cannot be read any more."""
        views = self.views(job.artist, recipe.role)
        rows = {work.file: k for k, work in enumerate(self.by_artist.get(job.artist, []))}
        lost = [file for file in job.pictures if file not in rows]
        if lost:
            raise TrainingError(f"{lost[0]} cannot be read any more.", advice="Run again: it is planned without it.")
        chosen = [rows[file] for file in job.pictures]
        texts = {name: value[chosen] for name, value in self.texts(job.artist, recipe).items()}
        seen = {name: value[chosen] for name, value in views.items()}
        return Member(job.name, job.seed, recipe, seen.pop("latents"), texts, seen)

    def views(self, artist: str, role: str) -> Tensors:
        """latents (n, 1 + CROPS, 2c, h, w) float16 of an artist's pictures, and conditions of each view.

        Suspects see other crops than references do, as they would in other hands.
        """
        works = self.by_artist.get(artist, [])
        key = self.key("views", role, self.side, CROPS, *(work.digest for work in works))
        return self.stored(f"views-{artist}-{key}", lambda: self.encode_views(artist, role, works))

    def texts(self, artist: str, recipe: Recipe) -> Tensors:
        """Conditions of an artist's pictures under a recipe's captions."""
        texts = [caption_of(recipe, work.caption) for work in self.by_artist[artist]]
        key = self.key("texts", *texts)
        return self.stored(f"texts-{artist}-{key}", lambda: self.encode_texts(texts))

    def key(self, *parts: object) -> str:
        """A name for everything that a cached file depends on."""
        return hashlib.sha256(repr((VERSION, self.base.digest, *parts)).encode()).hexdigest()[:24]

    def stored(self, name: str, make: Callable[[], Tensors]) -> Tensors:
        """The tensors of a cached file, made if there is none."""
        path = self.folder / f"{name}.tensors"  # of safetensors' format, but none of the folder's LoRAs
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock"):
                if not path.is_file():
                    write_tensors(path, make())
        try:
            return load_file(path)
        except SafetensorError:  # damaged since, as a failing disk leaves it
            path.unlink(missing_ok=True)
            return self.stored(name, make)

    def encode_texts(self, texts: list[str]) -> Tensors:
        """Every different text once."""
        different = list(dict.fromkeys(texts))
        with self.base.encoders():
            parts = [self.base.encode_texts(different[i : i + 32]) for i in range(0, len(different), 32)]
        row = [different.index(text) for text in texts]
        return {name: torch.cat([part[name] for part in parts])[row].contiguous() for name in parts[0]}

    def encode_views(self, artist: str, role: str, works: Sequence[Work]) -> Tensors:
        """The whole picture, then `CROPS` crops of it, their places drawn from a seed of artist and role."""
        rng = np.random.default_rng(seed_of("crops", artist, role))
        whole = canvas(self.side)
        boxes = even_boxes(whole, len(works), CROPS, rng, self.side)
        chunks, told = [], time.monotonic()
        with self.base.encoders():
            for begin in range(0, len(works), TOGETHER):
                if time.monotonic() - told > EVERY:
                    told = time.monotonic()
                    self.tell(f"encoding the pictures of {artist}: {begin} of {len(works)}")
                part = slice(begin, begin + TOGETHER)
                pixels = np.stack([self.read(work, whole) for work in works[part]])
                views = [resize(to_float(pixels), self.side)]
                views += [cut(pixels, *(place[part] for place in box), self.side) for box in boxes]
                chunks.append(torch.stack([self.encoded(view).half() for view in views], 1))
        shorter = np.array([work.shorter for work in works])
        corners = [np.zeros((len(works), 2))]
        corners += [np.stack([tops, lefts], 1) * (self.side / sides)[:, None] for sides, tops, lefts in boxes]
        seen = [self.base.view_conditions(shorter, corner, self.side) for corner in corners]
        conditions = {name: torch.stack([view[name] for view in seen], 1) for name in seen[0]}
        return {"latents": torch.cat(chunks).contiguous()} | conditions

    def encoded(self, pictures: torch.Tensor) -> torch.Tensor:
        """Mean and log-variance of pictures (n, 3, h, w); fewer at a time where memory is short."""
        try:
            return self.base.encode_pictures(pictures)
        except (RuntimeError, MemoryError) as problem:
            if len(pictures) == 1 or not out_of_memory(problem):
                raise
        # Outside the clause above, whose traceback keeps the tensors alive.
        half = len(pictures) // 2
        return torch.cat([self.encoded(pictures[:half]), self.encoded(pictures[half:])])

    def read(self, work: Work, side: int) -> np.ndarray:
        """The centre square of a picture.  Raises TrainingError."""
        try:
            return read_square(self.works.folder / work.path, side)
        except (OSError, Unreadable) as problem:
            raise TrainingError(
                f"{work.file} cannot be read any more: {problem}.", advice="Run again: it is planned without it."
            ) from problem


def write_tensors(path: Path, tensors: Tensors) -> None:
    """Write tensors so that a reader sees all of them or nothing.  Raises OSError (disk full), leaving nothing."""
    with whole_file(path, only_writer=True) as partial:
        try:
            save_file(tensors, partial)
        except SafetensorError as problem:  # its own name for an I/O error
            said = re.sub(r".*I/O error: | \(os error \d+\)", "", str(problem))
            raise OSError(f"the cache {path.name} could not be written: {said}") from problem
