"""The example suspects of ``examples/``, made from the default set's validation LoRAs."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from auditor.lora import LoraWeights, load_lora
from auditor.lora.algebra import canonical

CHOSEN = [
    ("01-serov-kohya-r6", "valentin-serov", "b", "suspect-r6-all"),
    ("02-canaletto-kohya-r6", "canaletto", "a", "suspect-r6-all"),
    ("03-hokusai-diffusers-r12-attention", "katsushika-hokusai", "a", "suspect-r12-attn"),
    ("04-outsider-hals-kohya-r6", "frans-hals", "a", "suspect-r6-all"),
    ("05-outsider-kunisada-diffusers-r12-attention", "utagawa-kunisada", "a", "suspect-r12-attn"),
]
COPIED = "joseph-wright/joseph-wright--ref-a-diffusers-r8-all.safetensors"
MERGED = [("valentin-serov", "b", "suspect-r6-all"), ("canaletto", "a", "suspect-r6-all")]


def merge(a: LoraWeights, b: LoraWeights, share: float, rank: int) -> dict[str, np.ndarray]:
    """Linear merge share·ΔW_a + (1 - share)·ΔW_b, cut to `rank` by its singular values; PEFT-style keys, float16."""
    tensors = {}
    for path in a.modules:
        (ua, sa, va), (ub, sb, vb) = canonical(a.modules[path]), canonical(b.modules[path])
        q_up, r_up = np.linalg.qr(np.concatenate([ua * sa * share, ub * sb * (1 - share)], axis=1))
        q_down, r_down = np.linalg.qr(np.concatenate([va, vb]).T)
        u, s, vt = np.linalg.svd(r_up @ r_down.T)
        root = np.sqrt(s[:rank])
        tensors[f"{path}.lora_A.weight"] = ((root[:, None] * vt[:rank]) @ q_down.T).astype(np.float16)
        tensors[f"{path}.lora_B.weight"] = ((q_up @ u[:, :rank]) * root).astype(np.float16)
    return tensors


def resave(source: Path, target: Path) -> None:
    """A kohya file rewritten in PEFT keys with alpha folded in: another file, the same update."""
    weights = load_lora(source)
    tensors = {}
    for path, module in weights.modules.items():
        inner = path.removeprefix("unet.")
        tensors[f"base_model.model.{inner}.lora_A.weight"] = module.down.astype(np.float16)
        tensors[f"base_model.model.{inner}.lora_B.weight"] = (module.up * module.scale).astype(np.float16)
    save_file(tensors, target, {"format": "pt"})


def rescale(source: Path, target: Path, strength: float) -> None:
    """A file in diffusers keys with its update multiplied by `strength`: a copy that no file hash recognises."""
    tensors = load_file(source)
    for name in [n for n in tensors if ".lora_B." in n or ".lora.up." in n]:
        tensors[name] = (tensors[name] * np.float16(strength)).astype(np.float16)
    save_file(tensors, target, {"format": "pt"})


def find(loras: Path, artist: str, half: str, recipe: str) -> Path:
    """The validation LoRA of an artist."""
    return loras / artist / f"{artist}--suspect-{half}-{recipe}.safetensors"


def write_examples(loras: Path, output: Path, chosen: list[tuple[str, str, str, str]]) -> None:
    """Copy the chosen validation LoRAs under telling names; chosen: (file name, artist, half, recipe)."""
    output.mkdir(parents=True, exist_ok=True)
    for name, artist, half, recipe in chosen:
        shutil.copyfile(find(loras, artist, half, recipe), output / f"{name}.safetensors")


def main() -> None:
    """Write the example suspects."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--loras", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    loras, output = options.loras, options.output
    write_examples(loras, output, CHOSEN)
    kohya = output / f"{CHOSEN[0][0]}.safetensors"
    resave(kohya, output / "06-resave-of-01-peft.safetensors")
    rescale(loras / COPIED, output / "08-rescaled-copy-of-a-reference.safetensors", 0.7)
    a, b = (load_lora(find(loras, artist, half, recipe)) for artist, half, recipe in MERGED)
    save_file(merge(a, b, 0.5, 8), output / "07-merge-of-01-and-02-r8.safetensors", {"format": "pt"})


if __name__ == "__main__":
    main()
