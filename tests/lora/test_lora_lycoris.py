"""ΔW of files that the lycoris-lora package itself wrote, against its own forward pass, for every algorithm it has.

The base weights are zero, so that what a wrapped layer gives for the unit vectors is ΔW, in that package's own words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auditor.errors import NotAuditable
from auditor.lora import load_lora

torch = pytest.importorskip("torch")
lycoris = pytest.importorskip("lycoris")
files = pytest.importorskip("safetensors.torch")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

LAYER = "mid_block.attentions.0.proj_in"
PATH = f"unet.{LAYER}"
LAYERS = {
    "linear": lambda: torch.nn.Linear(24, 36, bias=False),
    "convolution": lambda: torch.nn.Conv2d(12, 24, 3, padding=1, bias=False),
    "narrow convolution": lambda: torch.nn.Conv2d(12, 24, 1, bias=False),
}
FORMS: dict[str, dict[str, Any]] = {
    "lora": {"algo": "lora"},
    "lora, rank stabilised": {"algo": "lora", "rs_lora": True},
    "locon with a core": {"algo": "locon", "use_tucker": True},
    "loha": {"algo": "loha"},
    "loha with cores": {"algo": "loha", "use_tucker": True},
    "lokr": {"algo": "lokr", "factor": 3},
    "lokr, factor -1": {"algo": "lokr", "factor": -1},
    "lokr, both factored": {"algo": "lokr", "factor": 6, "decompose_both": True, "linear_dim": 1, "conv_dim": 1},
    "lokr with a core": {"algo": "lokr", "factor": 2, "use_tucker": True, "linear_dim": 2, "conv_dim": 2},
    "lokr, both whole": {"algo": "lokr", "factor": 4, "full_matrix": True},
    "full": {"algo": "full"},
    "glora": {"algo": "glora"},
}
DTYPES = ("float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")


class Tower(torch.nn.Module):
    """One layer under the path of a UNet's."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.mid_block = torch.nn.Module()
        self.mid_block.attentions = torch.nn.ModuleList([torch.nn.Module()])
        self.mid_block.attentions[0].proj_in = layer
        torch.nn.init.zeros_(layer.weight)

    def forward(self, x: Any) -> Any:
        return self.mid_block.attentions[0].proj_in(x)


def response(tower: Any, layer: Any) -> np.ndarray:
    """The layer's matrix (out, in · kernel), read off its answers to unit inputs."""
    with torch.no_grad():
        if isinstance(layer, torch.nn.Linear):
            return tower(torch.eye(layer.in_features)).T.double().numpy()
        size = layer.kernel_size[0]
        images = torch.zeros(layer.in_channels, layer.in_channels, 2 * size - 1, 2 * size - 1)
        images[torch.arange(layer.in_channels), torch.arange(layer.in_channels), size - 1, size - 1] = 1
        answers = tower(images)
        at = (answers.shape[-1] - size) // 2
        kernel = answers[:, :, at : at + size, at : at + size].flip(2, 3).permute(1, 0, 2, 3)
        return kernel.reshape(kernel.shape[0], -1).double().numpy()


def write(form: dict[str, Any], kind: str, path: Path, dtype: str = "float32") -> np.ndarray:
    """Save a randomly trained file; its ΔW as the package computes it from what was saved."""
    torch.manual_seed(0)
    layer = LAYERS[kind]()
    tower = Tower(layer)
    lycoris.LycorisNetwork.apply_preset({"target_module": [type(layer).__name__], "target_name": []})
    options = {"linear_dim": 4, "linear_alpha": 2.0, "conv_dim": 4, "conv_alpha": 2.0} | form
    network = lycoris.create_lycoris(tower, 1.0, **options)
    network.apply_to()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_((torch.randn_like(parameter) * 0.2).to(getattr(torch, dtype)))
    state = {name: value.to(getattr(torch, dtype)).contiguous() for name, value in network.state_dict().items()}
    files.save_file(state, path)
    return response(tower, layer)


def dense(path: Path) -> np.ndarray:
    module = load_lora(path).modules[PATH]
    return module.scale * module.up.astype(np.float64) @ module.down.astype(np.float64)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("form", FORMS)
def test_every_algorithm(form: str, kind: str, tmp_path: Path) -> None:
    expected = write(FORMS[form], kind, tmp_path / "a.safetensors")
    found = dense(tmp_path / "a.safetensors")
    assert np.abs(expected).max() > 0
    assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", ["lora", "loha", "lokr"])
def test_every_number_format(form: str, dtype: str, tmp_path: Path) -> None:
    """The package computes in single precision from the very numbers that the file holds, so nothing is lost."""
    expected = write(FORMS[form], "linear", tmp_path / "a.safetensors", dtype)
    found = dense(tmp_path / "a.safetensors")
    assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("algo", ["diag-oft", "boft", "ia3"])
def test_what_needs_the_base_is_named_and_compared(algo: str, tmp_path: Path) -> None:
    kind = "convolution" if algo == "boft" else "linear"
    write({"algo": algo, "linear_dim": 6, "conv_dim": 6}, kind, tmp_path / "a.safetensors")
    with pytest.raises(NotAuditable, match="follows from the file alone"):
        load_lora(tmp_path / "a.safetensors")
    read = load_lora(tmp_path / "a.safetensors", with_beside=True)
    assert not read.modules
    assert read.beside
    assert any("needs the base" in warning for warning in read.warnings)


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_the_direction_of_a_weight_decomposed_lora(kind: str, tmp_path: Path) -> None:
    """Its magnitudes are left out: ΔW is that of the same factors without them."""
    write({"algo": "lora", "dora_wd": True}, kind, tmp_path / "a.safetensors")
    state = files.load_file(tmp_path / "a.safetensors")
    up, down = (state[f"lycoris_{LAYER.replace('.', '_')}.lora_{side}.weight"].double() for side in ("up", "down"))
    expected = 0.5 * (up.reshape(up.shape[0], -1) @ down.reshape(down.shape[0], -1)).numpy()
    np.testing.assert_allclose(dense(tmp_path / "a.safetensors"), expected, rtol=1e-5, atol=1e-7)


def test_a_rotation_is_what_the_package_applies(tmp_path: Path) -> None:
    """R - I from the file, applied to a base, is the package's own change of it."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(24, 36, bias=False)
    tower = Tower(layer)
    torch.nn.init.normal_(layer.weight)
    base = layer.weight.detach().double().numpy().copy()
    lycoris.LycorisNetwork.apply_preset({"target_module": ["Linear"], "target_name": []})
    network = lycoris.create_lycoris(tower, 1.0, linear_dim=6, linear_alpha=0.0, algo="diag-oft")
    network.apply_to()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    files.save_file({k: v.contiguous() for k, v in network.state_dict().items()}, tmp_path / "a.safetensors")
    turn = load_lora(tmp_path / "a.safetensors", with_beside=True).beside[f"{PATH} (rotation)"].up.astype(np.float64)
    n = turn.shape[1]
    blocks, rows = turn.reshape(-1, n, n), base.reshape(-1, n, base.shape[1])
    expected = np.einsum("knm,kni->kmi", blocks, rows).reshape(base.shape)
    np.testing.assert_allclose(response(tower, layer) - base, expected, atol=1e-5)
