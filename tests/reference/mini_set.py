"""A small world of LoRA files: each artist moves its own output directions, every file has its own seed and writing.

The network has the names of a UNet and widths that no known base has, so its base family is 'unknown'.
"""

from __future__ import annotations

import json
from pathlib import Path

import lora_writing as writing
import numpy as np
from safetensors.numpy import save_file

from auditor.embedding.fit import Settings
from auditor.reference import calibrate, import_folder
from auditor.reference.set import digest_of

ARTISTS = ("ada-alder", "ben-birch", "cleo-cedar", "dan-dogwood", "eve-elm", "finn-fir", "gus-gorse", "hal-hazel",
           "ivy-iris", "joy-juniper", "kay-kapok", "lea-larch")  # fmt: skip
FILES = 4
SETTINGS = Settings(components=20, shrink=0.4)
DIRECTIONS = 6
COUNT, TOTAL = len(ARTISTS), len(ARTISTS) * FILES
STRANGER = 100
"""Artists from this number on are in no set."""


def shapes(
    blocks: tuple[tuple[str, int], ...] = (("down_blocks.0", 24), ("up_blocks.0", 20)),
) -> dict[str, tuple[int, int]]:
    """Modules of the network and their (out, in)."""
    found = {}
    for block, width in blocks:
        root = f"unet.{block}.attentions.0.transformer_blocks.0"
        for leaf in ("to_q", "to_k", "to_v", "to_out.0"):
            found[f"{root}.attn1.{leaf}"] = (width, width)
            found[f"{root}.attn2.{leaf}"] = (width, 12 if leaf in ("to_k", "to_v") else width)
        found[f"{root}.ff.net.0.proj"] = (2 * width, width)
        found[f"{root}.ff.net.2"] = (width, width)
    return found


def lora(artist: int, number: int, rank: int = 4) -> writing.Lora:
    """File `number` of an artist: canonical path → (up, down); numbers below FILES are references."""
    made = {}
    for at, (path, (out, into)) in enumerate(shapes().items()):
        style = np.random.default_rng([1, artist, at]).standard_normal((out, 2))
        own = np.random.default_rng([2, artist, number, at])
        up = style @ own.standard_normal((2, rank)) + 0.6 * own.standard_normal((out, rank))
        down = own.standard_normal((rank, into)) / np.sqrt(into)
        made[path] = (0.05 * up).astype(np.float32), down.astype(np.float32)
    return made


def mix(one: writing.Lora, other: writing.Lora, share: float) -> writing.Lora:
    """The merge share · one + (1 - share) · other, by concatenating ranks."""
    return {
        path: (
            np.hstack([np.float32(share) * up, np.float32(1 - share) * other[path][0]]),
            np.vstack([down, other[path][1]]),
        )
        for path, (up, down) in one.items()
    }


def save(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> Path:
    """A file by the safetensors package."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.array(value, order="C") for name, value in tensors.items()}, path, metadata)
    return path


DIALECTS = (
    writing.diffusers,
    writing.peft,
    lambda made: writing.kohya(made, 1.0),
    writing.diffusers_ab,
)


def write_artists(folder: Path, artists: tuple[str, ...] = ARTISTS, files: int = FILES) -> Path:
    """`folder`/<artist>/<number>.safetensors, with ranks 2 … 5 and dialects taking turns."""
    for a, name in enumerate(artists):
        for number in range(files):
            made = lora(a, number, rank=2 + (a + number) % 4)
            save(folder / name / f"{number}.safetensors", DIALECTS[(a + 3 * number) % 4](made))
    genres = {name: {"genre": "trees" if a % 2 else "shrubs"} for a, name in enumerate(artists)}
    (folder / "artists.json").write_text(json.dumps(genres), encoding="utf-8")
    return folder


def build(loras: Path, output: Path, name: str = "mini") -> Path:
    """Import and calibrate, as if it were known that every second file is of the other half of the works."""
    import_folder(loras, output, k=DIRECTIONS, name=name)
    rename_parts(output, {"part-0": "a", "part-1": "b"})
    calibrate(output, settings=SETTINGS)
    return output


def rename_parts(folder: Path, names: dict[str, str]) -> None:
    """Say otherwise of a set's references which works they are of."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for entry in manifest["references"]:
        entry["part"] = names[entry["part"]]
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    if (folder / "arrays.npz").is_file():
        seal(folder)


def seal(folder: Path) -> None:
    """Give a changed set the digest of what it holds now."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["digest"] = digest_of(manifest, (folder / "arrays.npz").read_bytes())
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
