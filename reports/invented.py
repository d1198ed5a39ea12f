"""A reference set of invented artists, whose styles are clearer than painters' are: the gallery shows NO_MATCH with it.

The default set's scores of members and outsiders overlap too much for that verdict.  Every file is drawn from numbers:
an artist is two output directions a layer, a file is those and noise.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from auditor.reference import calibrate, evaluate, import_folder

NAME = "invented-artists (demonstration, drawn from random numbers)"
ARTISTS, FILES = 24, 4
STRANGER = 1000
"""An artist with this number is in no set."""

Tensors = dict[str, NDArray[np.generic]]


def lora(like: Tensors, artist: int, number: int) -> Tensors:
    """File `number` of an artist, with the names and shapes of the kohya file `like`."""
    made = dict(like)
    for at, name in enumerate(sorted(k for k in like if k.endswith("lora_up.weight"))):
        out, rank = like[name].shape
        style = np.random.default_rng([1, artist, at]).standard_normal((out, 2))
        own = np.random.default_rng([2, artist, number, at])
        made[name] = (0.05 * (style @ own.standard_normal((2, rank)) + own.standard_normal((out, rank)))).astype("f4")
        down = name.replace("lora_up", "lora_down")
        made[down] = own.standard_normal(like[down].shape).astype("f4")
    return made


def build(like: Path, folder: Path) -> tuple[Path, Path]:
    """(the set, a suspect by a stranger) in `folder`; the set carries its card."""
    shapes, jobs = load_file(like), []
    for artist in range(ARTISTS):
        home = folder / "loras" / f"invented-artist-{artist + 1:02d}"
        home.mkdir(parents=True)
        for number in range(FILES):
            half = "ab"[number % 2]
            name = f"{home.name}--ref-{half}-{number}"
            jobs.append({"name": name, "half": half, "recipe": "invented", "pictures": []})
            save_file(lora(shapes, artist, number), home / f"{name}.safetensors")
    (folder / "loras" / "plan.json").write_text(json.dumps({"base": "", "jobs": jobs}), encoding="utf-8")
    import_folder(folder / "loras", folder / "set", k=6, name=NAME)
    calibrate(folder / "set")
    evaluate(folder / "set")
    suspect = folder / "by-nobody-of-the-set.safetensors"
    save_file(lora(shapes, STRANGER, 0), suspect)
    return folder / "set", suspect
