"""Pictures for people who rather look than read: the base alone, with the suspect, with the nearest references.

Same prompts, same seeds, same sampler; only the LoRA differs.  A look, never a measurement: no figure comes from it.
LoRA files go through the auditor's own reader, never through a library's, and are added to the base's weights.
Deterministic on one machine: CPU noise from fixed seeds, float32 on a CPU.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from PIL import Image, ImageDraw

from auditor.errors import OutOfScope, TrainingError
from auditor.lora import LoraWeights, load_lora, read_artifact
from auditor.training.devices import require_device
from auditor.training.families import base_digest, family_of, hush

PROMPTS = (
    "a painting",
    "a landscape with trees, dark muted green",
    "a portrait of a woman, bright vivid red",
    "ships at sea, pale muted blue",
)
"""Subjects for bases that can draw them, colours for the shipped one, which knows little else."""
PARTS = ("unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3")
SHOWN = 192  # pixels of a small picture on the sheet
LABEL = 18


@dataclass(frozen=True)
class Row:
    """One line of the exhibit."""

    label: str
    pictures: list[Image.Image]
    applied: int
    """Modules of the LoRA that the base has; 0 for the base alone."""
    sha256: str = ""
    """Of the LoRA's file: what ties the exhibit to an audit."""


@dataclass(frozen=True)
class Exhibit:
    """Rows of pictures, a column per prompt and seed."""

    base: str
    base_digest: str
    columns: list[tuple[str, int]]
    rows: list[Row]


def make_exhibit(
    base: Path,
    loras: Sequence[tuple[str, Path]],
    *,
    prompts: Sequence[str] = PROMPTS,
    seeds: Sequence[int] = (1, 2),
    steps: int = 30,
    guidance: float = 2.0,
    device: str = "cpu",
) -> Exhibit:
    """Generate every prompt with every seed for the base alone and for each (label, LoRA file).

    Raises UsageError for a device that is not there, OutOfScope when a LoRA has no module of the base, NotAuditable
    errors of the reader, TrainingError when the base cannot be loaded.
    """
    require_device(device)
    read = [(label, load_lora(path), read_artifact(path).sha256) for label, path in loras]
    pipeline = load_pipeline(base, device)
    columns = [(prompt, seed) for prompt in prompts for seed in seeds]
    rows = [Row("base alone", sample(pipeline, columns, steps, guidance), 0)]
    for label, weights, sha256 in read:
        with applied(pipeline, weights) as count:
            rows.append(Row(label, sample(pipeline, columns, steps, guidance), count, sha256))
    return Exhibit(base.name, base_digest(base), columns, rows)


def load_pipeline(base: Path, device: str) -> DiffusionPipeline:
    """The base's pipeline: float32 on a CPU, half precision elsewhere.  Raises TrainingError."""
    family_of(base)
    hush()
    try:
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        pipeline = DiffusionPipeline.from_pretrained(base, torch_dtype=dtype, local_files_only=True)
    except (OSError, ValueError) as problem:
        raise TrainingError(
            f"The base {base} cannot be loaded: {str(problem).splitlines()[0]}",
            advice="Give a whole base in the diffusers layout.",
        ) from problem
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


@contextmanager
def applied(pipeline: DiffusionPipeline, weights: LoraWeights) -> Iterator[int]:
    """While open, the base's weights carry the LoRA's update at strength 1; yields how many modules do.

    Raises OutOfScope when none fits.
    """
    kept: list[tuple[torch.nn.Parameter, torch.Tensor]] = []
    try:
        for path, module in weights.modules.items():
            weight = find_weight(pipeline, path)
            if weight is None or module.up.shape[0] * module.down.shape[1] != weight.numel():
                continue
            kept.append((weight, weight.detach().cpu().clone()))
            delta = module.scale * torch.tensor(module.up) @ torch.tensor(module.down)
            with torch.no_grad():
                weight.add_(delta.view_as(weight).to(weight))
        if not kept:
            raise OutOfScope("The LoRA has no module of this base.", advice="Give the base that it was made for.")
        yield len(kept)
    finally:
        with torch.no_grad():
            for weight, before in kept:
                weight.copy_(before)


def find_weight(pipeline: DiffusionPipeline, path: str) -> torch.nn.Parameter | None:
    """The weight of a module by its canonical path, or None."""
    part, _, inner = path.partition(".")
    model = getattr(pipeline, part, None) if part in PARTS else None
    if model is None:
        return None
    modules = dict(model.named_modules())
    # Newer text encoders have no level `text_model`.
    found = modules.get(inner) or modules.get(inner.removeprefix("text_model."))
    weight = getattr(found, "weight", None)
    return weight if isinstance(weight, torch.nn.Parameter) else None


def sample(
    pipeline: DiffusionPipeline, columns: Sequence[tuple[str, int]], steps: int, guidance: float
) -> list[Image.Image]:
    """One picture per (prompt, seed), in one batch."""
    generators = [torch.Generator("cpu").manual_seed(seed) for _, seed in columns]
    prompts = [prompt for prompt, _ in columns]
    out = pipeline(prompts, num_inference_steps=steps, guidance_scale=guidance, generator=generators, output_type="pil")
    return list(out.images)


def sheet(exhibit: Exhibit) -> Image.Image:
    """All pictures on one sheet, a line of text above each row; small pictures are enlarged without smoothing."""
    side = max(SHOWN, exhibit.rows[0].pictures[0].width)
    height = side + LABEL + 4
    whole = Image.new("RGB", (len(exhibit.columns) * (side + 4) + 4, len(exhibit.rows) * height + 4), "white")
    draw = ImageDraw.Draw(whole)
    for r, row in enumerate(exhibit.rows):
        draw.text((4, 4 + r * height), plain(row.label), fill="black")
        for c, picture in enumerate(row.pictures):
            place = (4 + c * (side + 4), 4 + r * height + LABEL)
            whole.paste(picture.resize((side, side), Image.Resampling.NEAREST), place)
    return whole


def plain(label: str) -> str:
    """A label in what the sheet's own font can draw."""
    return label.encode("latin-1", "replace").decode("latin-1")


def png(picture: Image.Image) -> bytes:
    """A picture as PNG, without any metadata."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def page(exhibit: Exhibit) -> str:
    """A page in one file: no script, nothing loaded from elsewhere; labels are escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("auditor.training", "templates"), autoescape=True, undefined=StrictUndefined
    )
    rows = [
        {
            "label": row.label,
            "applied": row.applied,
            "sha256": row.sha256,
            "pictures": [_embedded(picture) for picture in row.pictures],
        }
        for row in exhibit.rows
    ]
    return environment.get_template("exhibit.html.jinja").render(exhibit=exhibit, rows=rows)


def _embedded(picture: Image.Image) -> str:
    """A picture as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(png(picture)).decode()}"
