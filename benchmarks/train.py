"""How many LoRAs an hour does one device train: gangs of 1, 4, 8, 16, 32 against one at a time with peft.

One at a time is the loop of diffusers' example script (`train_text_to_image_lora.py`) written out: adapters by peft,
torch's fused AdamW, gradient clipping, a learning-rate schedule, on the same frozen model, the same cached latents and
text states, the same process.  Random weights: no hub is needed, and speed does not depend on them.

    python benchmarks/train.py --size sd15 --batch 1 --batch 4          # a GPU; also --size sdxl
    OMP_NUM_THREADS=1 python benchmarks/train.py --size tiny --gang 1 --gang 4    # a CPU, to see that it runs
    OMP_NUM_THREADS=1 python benchmarks/train.py --size mini --rank 32 --batch 1 --batch 4 --gang 1 --gang 8 --gang 16

Columns: seconds a step (on a CPU processor time, so that a busy machine changes little); a step's time in those of the
gang of one in the same table (above its size, the gang loses); LoRAs an hour at `--lora-steps` steps each; how many
times one at a time; peak memory (of a GPU); model FLOPs a second (forward, and backward to the
activations and the adapters) and their share of the rate that large bf16 (on a CPU: float32) matrix products reach.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from auditor.training.families.interface import Base
from auditor.training.families.objectives import Diffusion
from auditor.training.families.stable_diffusion import StableDiffusion1
from auditor.training.families.stable_diffusion_xl import StableDiffusionXL
from auditor.training.gang import Draws, Member, member_losses, stacked, train_gang
from auditor.training.published import SD15, build
from auditor.training.recipes import Recipe

MINI = {  # the shipped base's shape
    "sample_size": 8,
    "in_channels": 12,
    "out_channels": 12,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3,
    "up_block_types": ("CrossAttnUpBlock2D",) * 3,
    "block_out_channels": (64, 128, 192),
    "layers_per_block": 1,
    "cross_attention_dim": 128,
    "attention_head_dim": 4,
    "norm_num_groups": 16,
}
RECIPE = Recipe("benchmark", "diffusers", 16, 16, 1e-4, 1, "attention+ff")
TINY = SD15 | {"block_out_channels": (32, 64, 64, 64), "norm_num_groups": 16, "attention_head_dim": 4}
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@dataclass(frozen=True)
class Size:
    """A model and its inputs."""

    side: int
    """Of the latents."""
    width: int
    """Of the text states."""
    pooled: int = 0
    channels: int = 4
    tokens: int = 77


SIZES = {
    "tiny": Size(16, 768),
    "mini": Size(8, 128, channels=12, tokens=24),
    "sd15": Size(64, 768),
    "sdxl": Size(128, 2048, 1280),
}
SMALL = {"tiny": TINY, "mini": MINI}


@dataclass(frozen=True)
class Timed:
    """One row of the table."""

    name: str
    loras: int
    seconds: float
    """Median of a step that advances `loras` LoRAs."""
    flops: float
    """Of that step."""
    bytes: int


def make_base(name: str, device: str, dtype: torch.dtype, layout: torch.memory_format = torch.channels_last) -> Base:
    """A frozen base with random weights; layout: of its convolutions."""
    torch.manual_seed(0)
    kind = StableDiffusionXL if name == "sdxl" else StableDiffusion1
    model = UNet2DConditionModel(**SMALL[name]).to(device, dtype) if name in SMALL else build(name, device, dtype)
    return kind.of(model.to(memory_format=layout), Diffusion(DDPMScheduler(**SCHEDULE)))


def make_member(size: Size, recipe: Recipe, seed: int) -> Member:
    """A member with cached latents and text states of ten pictures."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(10, 2, 2 * size.channels, size.side, size.side, generator=generator).half()
    texts = {"states": torch.randn(10, size.tokens, size.width, generator=generator)}
    views = {}
    if size.pooled:
        texts["pooled"] = torch.randn(10, size.pooled, generator=generator)
        views["time_ids"] = torch.full((10, 2, 6), 1024.0)
    return Member(f"m{seed}", seed, recipe, latents, texts, views)


def now(device: str) -> float:
    """Seconds, when the device has done all it was given; on a CPU those that this process had it for."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def matrix_rate(device: str, dtype: torch.dtype) -> float:
    """FLOPs a second of a large square matrix product, the best of several."""
    n = 8192 if device != "cpu" else 1024
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    best = 0.0
    for _ in range(10):
        started = now(device)
        a @ b
        best = max(best, 2 * n**3 / (now(device) - started))
    return best


def timed(name: str, loras: int, step: Callable[[], None], steps: int, device: str, flops: float) -> Timed:
    """Time `steps` calls after two that warm up."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for k in range(steps + 2):
        started = now(device)
        step()
        if k >= 2:
            seconds.append(now(device) - started)
    peak = torch.cuda.max_memory_allocated() if device != "cpu" else 0
    return Timed(name, loras, statistics.median(seconds), flops, peak)


def one_step_flops(base: Base, member: Member) -> float:
    """FLOPs of forward and backward for one LoRA's batch, counted on a run."""
    with FlopCounterMode(display=False) as counter:
        train_gang(base, [replace(member, recipe=replace(member.recipe, steps=1))])
    return float(counter.get_total_flops())


def alone(base: Base, member: Member, steps: int, flops: float) -> Timed:
    """diffusers' example loop, written out with peft."""
    from diffusers.optimization import get_scheduler
    from peft import LoraConfig
    from peft.tuners.tuners_utils import BaseTunerLayer

    recipe, model = member.recipe, base.model
    targets = ["to_k", "to_q", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2"]
    model.add_adapter(LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules=targets))
    trained = [p for p in model.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.data = parameter.data.float()
    optimiser = torch.optim.AdamW(trained, lr=recipe.learning_rate, fused=base.device.type != "cpu")
    schedule = get_scheduler("constant", optimizer=optimiser)
    draws = Draws(member, base)

    def step() -> None:
        with torch.autocast(base.device.type, dtype=torch.bfloat16, enabled=base.dtype != torch.float32):
            loss = member_losses(base, [recipe], stacked([draws], base)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()

    row = timed("one at a time, peft", 1, step, steps, base.device.type, flops)
    model.delete_adapters("default")
    assert not any(isinstance(module, BaseTunerLayer) and module.active_adapters for module in model.modules())
    return row


def together(base: Base, members: list[Member], steps: int, flops: float, autocast: bool) -> Timed:
    """A gang of our own."""
    recipe = replace(members[0].recipe, steps=steps + 2)
    at: list[float] = []

    def each_step(step: int) -> None:
        at.append(now(base.device.type))

    if base.device.type != "cpu":
        torch.cuda.reset_peak_memory_stats()
    train_gang(
        base,
        [replace(member, recipe=recipe) for member in members],
        autocast=lambda: torch.autocast(base.device.type, dtype=torch.bfloat16, enabled=autocast),
        each_step=each_step,
    )
    seconds = statistics.median(b - a for a, b in itertools.pairwise(at[1:]))
    peak = torch.cuda.max_memory_allocated() if base.device.type != "cpu" else 0
    return Timed(f"gang of {len(members)}", len(members), seconds, flops * len(members), peak)


def compare(base: Base, size: Size, batch: int, options: argparse.Namespace, rate: float) -> list[dict[str, object]]:
    """All rows of one batch size; a gang that does not fit says so."""
    recipe = replace(RECIPE, batch=batch, rank=options.rank, alpha=options.rank)
    flops = one_step_flops(base, make_member(size, recipe, 0))
    if options.compile:  # nothing is compiled while FLOPs are counted
        base.model.compile(dynamic=False)
    gangs, half = [], base.dtype != torch.float32
    for gang in options.gang:
        members = [make_member(size, recipe, seed) for seed in range(gang)]
        try:
            gangs.append(together(base, members, options.steps, flops, half and options.autocast))
        except torch.OutOfMemoryError:
            print(f"batch {batch}: a gang of {gang} does not fit", flush=True)
        gc.collect()
        torch.cuda.empty_cache()
    # Last, for peft's wrappers may stay in the model; and as the example runs it, not compiled.
    base.model._compiled_call_impl = None
    first = alone(base, make_member(size, recipe, 0), options.steps, flops)
    rows = []
    print(f"\nbatch {batch}: {flops / 1e12:.4g} TFLOP a LoRA and step")
    print(f"{'':22}{'s a step':>10}{'of gang 1':>10}", end="")
    print(f"{'LoRAs/h':>10}{'×':>7}{'GiB':>7}{'TFLOP/s':>10}{'of matrix rate':>16}")
    single = next((row.seconds for row in gangs if row.loras == 1), float("nan"))
    for row in (first, *gangs):
        hourly = 3600 * row.loras / row.seconds / options.lora_steps
        times, speed = row.loras / row.seconds * first.seconds, row.flops / row.seconds
        memory = f"{row.bytes / 2**30:.1f}" if row.bytes else "–"
        print(
            f"{row.name:22}{row.seconds:10.4f}{row.seconds / single:10.2f}"
            f"{hourly:10.2f}{times:7.2f}{memory:>7}{speed / 1e12:10.3g}{speed / rate:16.1%}",
            flush=True,
        )
        rows.append({"batch": batch, "times": times, "lorasPerHour": hourly, "mfu": speed / rate} | vars(row))
    return rows


def main() -> None:
    """Measure, and print a table per batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--gang", type=int, action="append")
    parser.add_argument("--batch", type=int, action="append")
    parser.add_argument("--rank", type=int, default=RECIPE.rank)
    parser.add_argument("--steps", type=int, default=10, help="steps that are measured")
    parser.add_argument("--lora-steps", type=int, default=800, help="steps that a LoRA takes")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument(
        "--channels-first", action="store_true", help="lay convolutions out as GroupNorm wants it on a GPU"
    )
    parser.add_argument("--autocast", action=argparse.BooleanOptionalAction, default=True, help="of the gangs")
    parser.add_argument("--json", help="also write the rows to this file")
    options = parser.parse_args()
    options.gang, options.batch = options.gang or [1, 4, 8, 16, 32], options.batch or [1]
    dtype = torch.float32 if options.device == "cpu" else torch.bfloat16
    rate = matrix_rate(options.device, dtype)
    where = torch.cuda.get_device_name() if options.device != "cpu" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{options.size} on {where}; {dtype} matrix product {rate / 1e12:.3g} TFLOP/s")
    rows: list[dict[str, object]] = []
    for batch in options.batch:
        layout = torch.contiguous_format if options.channels_first else torch.channels_last
        base = make_base(options.size, options.device, dtype, layout)
        if options.checkpointing:
            base.model.enable_gradient_checkpointing()
        rows += compare(base, SIZES[options.size], batch, options, rate)
    if options.json:
        with open(options.json, "w") as handle:
            json.dump({"device": where, "size": options.size, "matrix_rate": rate, "rows": rows}, handle, indent=1)


if __name__ == "__main__":
    main()
