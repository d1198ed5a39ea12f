"""Writes the gallery: one real audit of each kind as HTML and PDF, an index, and two pictures.  Run by `make gallery`.

Suspects are the shipped examples, and files made here: noise in the shape of an example, a LoRA for a base that the
default set does not speak about, and a stranger to a set of invented artists (invented.py).  Dates are fixed, so that
the gallery changes only when an audit does.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import invented
import numpy as np
import pypdfium2
from safetensors.numpy import load_file, save_file

from auditor import check
from auditor.report import render_html, render_index, render_pdf

HERE = Path(__file__).resolve().parent
EPOCH = "1763683200"
SUSPECTS = {
    "match": "examples/01-serov-kohya-r6.safetensors",
    "inconclusive": "examples/02-canaletto-kohya-r6.safetensors",
    "ruled-out": "examples/02-canaletto-kohya-r6.safetensors",
    "declared": "examples/02-canaletto-kohya-r6.safetensors",
    "mixture": "examples/07-merge-of-01-and-02-r8.safetensors",
    "no-match": "by-nobody-of-the-set.safetensors",
    "derivative": "examples/08-rescaled-copy-of-a-reference.safetensors",
    "noise": "noise.safetensors",
    "out-of-scope": "other-base.safetensors",
}
ASKED: dict[str, dict[str, Any]] = {
    "ruled-out": {"artists": ["anders-zorn"]},
    "declared": {"artists": ["canaletto"], "independent": True},
}
"""Kind → who is asked about."""
PICTURES = {"match": (0, "page-one.png"), "mixture": (3, "map.png")}
"""Kind → page of its PDF, and the picture of it."""
LARGEST_PICTURE = 150_000


def noise(folder: Path) -> None:
    """Tensors of an example, each replaced by normal noise of the same scale: a LoRA of nobody."""
    rng = np.random.default_rng(0)
    tensors = load_file(HERE.parent / "examples/04-outsider-hals-kohya-r6.safetensors")
    names = [k for k, v in tensors.items() if v.ndim]
    made = {k: (rng.standard_normal(tensors[k].shape) * tensors[k].std()).astype(tensors[k].dtype) for k in names}
    save_file({**tensors, **made}, folder / "noise.safetensors")


def other_base(folder: Path) -> None:
    """One layer of a LoRA for Stable Diffusion 1.5."""
    rng = np.random.default_rng(0)
    name = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    tensors = {
        f"{name}.lora_down.weight": rng.standard_normal((4, 768), np.float32),
        f"{name}.lora_up.weight": rng.standard_normal((640, 4), np.float32),
        f"{name}.alpha": np.float32([4.0]).reshape(()),
    }
    save_file(tensors, folder / "other-base.safetensors")


def picture(document: bytes, page: int, path: Path) -> None:
    """A page as a PNG of few colours."""
    image = pypdfium2.PdfDocument(io.BytesIO(document))[page].render(scale=1.6).to_pil().convert("RGB")
    image.quantize(64).save(path, optimize=True)
    if path.stat().st_size > LARGEST_PICTURE:
        sys.exit(f"{path} is larger than {LARGEST_PICTURE} bytes.")


def main() -> None:
    """Audit everything and write the documents."""
    os.environ["SOURCE_DATE_EPOCH"] = EPOCH
    audits, links = [], []
    with tempfile.TemporaryDirectory() as made:
        noise(Path(made))
        other_base(Path(made))
        demonstration, _ = invented.build(HERE.parent / "examples/04-outsider-hals-kohya-r6.safetensors", Path(made))
        for kind, path in SUSPECTS.items():
            os.chdir(HERE.parent if path.startswith("examples/") else made)
            audit = check(path, demonstration if kind == "no-match" else None, **ASKED.get(kind, {})).to_dict()
            document = render_pdf(audit)
            (HERE / f"{kind}.html").write_text(render_html(audit), encoding="utf-8")
            (HERE / f"{kind}.pdf").write_bytes(document)
            if kind in PICTURES:
                page, name = PICTURES[kind]
                picture(document, page, HERE / name)
            audits.append(audit)
            links.append([f"{kind}.html", f"{kind}.pdf"])
            print(f"{kind}: {audit['verdict']['label']}")
        os.chdir(HERE)
    (HERE / "index.html").write_text(render_index(audits, links), encoding="utf-8")


if __name__ == "__main__":
    main()
