"""A baseline for the card: what a vision model sees in pictures that the LoRAs generate, by the same protocol.

Pictures lie in PICTURES/<artist>/<file stem of the LoRA>/; the model is any file that maps pictures to numbers:
SqueezeNet 1.1 as .npz (arrays conv1.w, fire2.squeeze1x1.w, …; run here in numpy) or a TorchScript module (.pt, .ts)
that takes RGB in 0…1 as (n, 3, height, width).  Weights are given by path and never part of this project.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.embedding.points import Floats
from auditor.errors import ReferenceSetError
from auditor.extras import needing
from auditor.reference.build import Read
from auditor.reference.protocol import Fold, Matrix

Images = NDArray[np.float32]
Model = Callable[[Images], Floats]
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
SIDE = 128
"""Pixels that pictures are scaled to."""
IMAGENET_BGR = np.array([103.939, 116.779, 123.68], np.float32)
FIRES = (("fire2", "fire3"), ("fire4", "fire5"), ("fire6", "fire7", "fire8", "fire9"))
"""SqueezeNet 1.1: a pooling step before each group."""


def image_matrix(pictures: Path, model: Model) -> Matrix:
    """Features of the protocol from generated pictures: mean over a LoRA's pictures, scaled on the references."""
    known: dict[str, Floats] = {}

    def seen(one: Read) -> Floats:
        file = one.entry["file"]
        if file not in known:
            known[file] = model(load_pictures(pictures / one.entry["artist"] / Path(file).stem)).mean(0)
        return known[file]

    def build(fold: Fold, modules: list[str]) -> tuple[Floats, list[slice]]:
        rows = np.stack([seen(one) for one in [*fold.references, *fold.suspects]])
        n = len(fold.references)
        scaled = (rows - rows[:n].mean(0)) / (rows[:n].std(0) + 1e-6)
        return np.asarray(scaled, float), [slice(0, scaled.shape[1])]

    return build


def load_pictures(folder: Path) -> Images:
    """Pictures of a folder, RGB 0…1, (n, 3, SIDE, SIDE).  Raises ReferenceSetError where there are none."""
    with needing("train", "reading pictures"):
        from PIL import Image
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if not paths:
        raise ReferenceSetError(
            f"There are no pictures in {folder}.",
            advice="Generate some with every LoRA: `python benchmarks/pictures.py BASE LORAS -o PICTURES`.",
        )
    loaded = [np.asarray(Image.open(p).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for p in paths]
    return np.stack(loaded).transpose(0, 3, 1, 2).astype(np.float32) / 255


def load_model(path: Path) -> Model:
    """A vision model by path.  Raises ReferenceSetError where it is none."""
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as packed:
                weights = {key: packed[key].astype(np.float32) for key in packed.files}
            return squeezenet(weights)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as problem:
            raise ReferenceSetError(
                f"{path} does not hold the weights of SqueezeNet 1.1: {problem}.",
                advice="Give an .npz with conv1.w, conv1.b, fire2.squeeze1x1.w, …, or a TorchScript module.",
            ) from problem
    return torchscript(path)


def torchscript(path: Path) -> Model:
    """A TorchScript module, trusted by whoever names it: it is code."""
    with needing("train", "a TorchScript model"):
        import torch
    try:
        module = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as problem:
        raise ReferenceSetError(
            f"{path} is no TorchScript module.", advice="Save a model with torch.jit.script(model).save(path)."
        ) from problem

    def run(images: Images) -> Floats:
        with torch.no_grad():
            return np.asarray(module(torch.from_numpy(images)).flatten(1).numpy(), float)

    return run


def squeezenet(weights: dict[str, Images]) -> Model:
    """Mean and spread of every fire module's channels (Iandola et al. 2016), (n, channels · 2)."""
    expected = ["conv1", *(f"{fire}.{part}" for group in FIRES for fire in group for part in PARTS)]
    for name in expected:
        _ = weights[f"{name}.w"], weights[f"{name}.b"]

    def run(images: Images) -> Floats:
        x = images[:, ::-1] * 255 - IMAGENET_BGR[:, None, None]
        x = convolve(x, weights["conv1.w"], weights["conv1.b"], stride=2)
        found = []
        for group in FIRES:
            x = pool(x)
            for fire in group:
                x = fired(x, fire, weights)
                found += [x.mean((2, 3)), x.std((2, 3))]
        return np.concatenate(found, 1).astype(float)

    return run


PARTS = ("squeeze1x1", "expand1x1", "expand3x3")


def fired(x: Images, name: str, weights: dict[str, Images]) -> Images:
    """One fire module: squeeze, then two expansions side by side."""

    def layer(part: str, values: Images, pad: int = 0) -> Images:
        return convolve(values, weights[f"{name}.{part}.w"], weights[f"{name}.{part}.b"], pad=pad)

    squeezed = layer("squeeze1x1", x)
    return np.concatenate([layer("expand1x1", squeezed), layer("expand3x3", squeezed, pad=1)], 1)


def convolve(x: Images, kernel: Images, bias: Images, stride: int = 1, pad: int = 0) -> Images:
    """ReLU of a convolution; x (n, in, height, width), kernel (out, in, k, k)."""
    size = kernel.shape[2]
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows: Any = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (2, 3))[:, :, ::stride, ::stride]
    summed = np.tensordot(windows, kernel, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
    return np.asarray(np.maximum(summed + bias[:, None, None], 0), np.float32)


def pool(x: Images) -> Images:
    """Maximum over 3 × 3 windows in steps of 2."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))[:, :, ::2, ::2]
    return np.asarray(windows.max((4, 5)))
