"""The image baseline: SqueezeNet in numpy against torch, pictures as features, and clear refusals."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from auditor.errors import ReferenceSetError
from auditor.training.vision import FIRES, convolve, image_matrix, load_model, pool, squeezenet

WIDTHS = {"fire2": 4, "fire3": 4, "fire4": 5, "fire5": 5, "fire6": 6, "fire7": 6, "fire8": 7, "fire9": 7}


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    """A narrow SqueezeNet."""
    rng, made, into = np.random.default_rng(seed), {}, 8

    def layer(name: str, out: int, across: int, size: int) -> None:
        kernel = rng.standard_normal((out, across, size, size)) / (size * np.sqrt(across))
        made[f"{name}.w"] = kernel.astype(np.float32)
        made[f"{name}.b"] = rng.standard_normal(out).astype(np.float32) / 10

    layer("conv1", into, 3, 3)
    for group in FIRES:
        for fire in group:
            layer(f"{fire}.squeeze1x1", 3, into, 1)
            layer(f"{fire}.expand1x1", WIDTHS[fire], 3, 1)
            layer(f"{fire}.expand3x3", WIDTHS[fire], 3, 3)
            into = 2 * WIDTHS[fire]
    return made


@pytest.mark.parametrize(("size", "stride", "pad"), [(1, 1, 0), (3, 1, 1), (3, 2, 0)])
def test_layers_against_torch(size: int, stride: int, pad: int) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, kernel = (rng.standard_normal(s).astype(np.float32) for s in ((2, 4, 13, 11), (5, 4, size, size)))
    bias = rng.standard_normal(5).astype(np.float32)
    theirs = torch.conv2d(*map(torch.from_numpy, (x, kernel, bias)), stride=stride, padding=pad).relu()
    np.testing.assert_allclose(convolve(x, kernel, bias, stride, pad), theirs.numpy(), atol=1e-4)
    np.testing.assert_allclose(pool(x), torch.max_pool2d(torch.from_numpy(x), 3, 2).numpy())


def test_a_picture_has_the_same_features_alone_and_in_company() -> None:
    model = squeezenet(weights())
    images = np.random.default_rng(1).random((3, 3, 64, 64)).astype(np.float32)
    together = model(images)
    assert together.shape == (3, 2 * 2 * sum(WIDTHS.values()))
    np.testing.assert_allclose(model(images[1:2])[0], together[1], rtol=1e-4, atol=1e-4)
    assert np.abs(together[0] - together[1]).max() > 1e-3


def test_pictures_become_rows_scaled_on_the_references(tmp_path: Path) -> None:
    Image = pytest.importorskip("PIL.Image")
    entries: list[Any] = []
    for artist, shade in (("a", 40), ("b", 200)):
        for number in range(3):
            folder = tmp_path / artist / f"{artist}--{number}"
            folder.mkdir(parents=True)
            for i in range(2):
                Image.new("RGB", (16, 16), (shade + number, shade, i)).save(folder / f"{i}.png")
            entry = {"artist": artist, "file": f"{artist}/{artist}--{number}.safetensors"}
            entries.append(SimpleNamespace(entry=entry))
    fold: Any = SimpleNamespace(references=entries[:2] + entries[3:5], suspects=[entries[2], entries[5]])
    calls = []

    def model(images: np.ndarray) -> np.ndarray:
        calls.append(len(images))
        return np.asarray(images.mean((2, 3)), float)

    build = image_matrix(tmp_path, model)
    x, columns = build(fold, [])
    assert columns == [slice(0, 3)]
    np.testing.assert_allclose(x[:4].mean(0), 0, atol=1e-9)
    assert x[4, 0] < 0 < x[5, 0]
    build(fold, [])
    assert calls == [2] * 6  # every LoRA's pictures are looked at once
    with pytest.raises(ReferenceSetError, match="no pictures"):
        build(SimpleNamespace(references=[SimpleNamespace(entry={"artist": "c", "file": "c/x"})], suspects=[]), [])


def test_a_model_is_read_by_path(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", **weights())  # type: ignore[arg-type]
    images = np.random.default_rng(1).random((1, 3, 64, 64)).astype(np.float32)
    np.testing.assert_array_equal(load_model(tmp_path / "m.npz")(images), squeezenet(weights())(images))
    broken = weights()
    del broken["fire5.expand3x3.b"]
    np.savez(tmp_path / "b.npz", **broken)  # type: ignore[arg-type]
    for name in ("b.npz", "none.npz"):
        with pytest.raises(ReferenceSetError, match=r"SqueezeNet 1\.1"):
            load_model(tmp_path / name)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
def test_torchscript_models_run(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.jit.script(torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2))).save(str(tmp_path / "m.pt"))
    seen = load_model(tmp_path / "m.pt")(np.ones((2, 3, 8, 8), np.float32))
    np.testing.assert_allclose(seen, np.ones((2, 12)))
    (tmp_path / "bad.pt").write_bytes(b"nothing")
    with pytest.raises(ReferenceSetError, match="TorchScript"):
        load_model(tmp_path / "bad.pt")
