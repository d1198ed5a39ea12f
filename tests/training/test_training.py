"""Training: a gang gives what training alone gives, peft agrees, plans are sound, killed runs resume."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("peft")
pytestmark = [
    pytest.mark.train,
    pytest.mark.filterwarnings("ignore"),  # other people's packages warn about themselves
]

import torch  # noqa: E402
from diffusers import AutoencoderTiny, DDPMScheduler, UNet2DConditionModel  # noqa: E402
from PIL import Image  # noqa: E402

from auditor.lora import load_lora  # noqa: E402
from auditor.training import gang, references  # noqa: E402
from auditor.training.base import build_text_encoder, noise_scheduler, save, train_tokenizer  # noqa: E402
from auditor.training.export import write_lora  # noqa: E402
from auditor.training.pictures import colour_words, read_pictures  # noqa: E402
from auditor.training.recipes import BY_NAME, REFERENCE, SUSPECT, Recipe  # noqa: E402

RECIPE = Recipe("tiny", "diffusers", 4, 4, 2e-3, 4, "attention+ff", batch=2)


def tiny_unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=4,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=128,
        attention_head_dim=2,
        norm_num_groups=8,
    )
    return unet.eval().requires_grad_(False)


def member(seed: int) -> gang.Member:
    torch.manual_seed(seed)
    return gang.Member(f"m{seed}", seed, torch.randn(5, 9, 8, 4, 4) * 0.3, torch.randn(5, 6, 128))


def scheduler() -> DDPMScheduler:
    return noise_scheduler()


def test_a_gang_gives_what_each_member_gets_alone() -> None:
    unet = tiny_unet()
    together = gang.train_gang(unet, scheduler(), 1.0, RECIPE, [member(s) for s in (1, 2, 3)])
    alone = gang.train_gang(unet, scheduler(), 1.0, RECIPE, [member(2)])[0]
    moved = 0.0
    for path, (a, b) in alone.factors.items():
        np.testing.assert_allclose(together[1].factors[path][0], a, atol=2e-5)
        np.testing.assert_allclose(together[1].factors[path][1], b, atol=2e-4)
        moved += float(np.abs(b).sum())
    assert moved > 0
    assert any(not np.allclose(together[0].factors[p][1], b, atol=1e-4) for p, (_, b) in alone.factors.items())


def test_training_leaves_the_base_unchanged_and_without_hooks() -> None:
    unet = tiny_unet()
    before = {k: v.clone() for k, v in unet.state_dict().items()}
    gang.train_gang(unet, scheduler(), 1.0, RECIPE, [member(1)])
    assert all(torch.equal(before[k], v) for k, v in unet.state_dict().items())
    assert not any(module._forward_hooks for module in unet.modules())


def test_peft_and_torch_adamw_agree_with_the_gang() -> None:
    from peft import LoraConfig, inject_adapter_in_model

    unet, recipe, one = tiny_unet(), replace(RECIPE, alpha=2, weight_decay=0.01), member(7)
    ours = gang.train_gang(unet, scheduler(), 0.7, recipe, [one])[0]
    paths = list(gang.target_modules(unet, recipe.targets))
    start = gang.Factors(gang.target_modules(unet, recipe.targets), recipe, [one]).split()
    config = LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules=paths)
    model = inject_adapter_in_model(config, tiny_unet())
    layers = {p: model.get_submodule(p) for p in paths}
    for path, layer in layers.items():
        layer.lora_A["default"].weight.data.copy_(start[path][0][0])
        layer.lora_B["default"].weight.data.zero_()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    draws = gang.Draws(one, recipe)
    for _ in range(recipe.steps):
        latents, states, noise, times = draws.batch()
        noisy = scheduler().add_noise(latents * 0.7, noise, times)
        loss = (model(noisy, times, states).sample - noise).pow(2).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
    for path, layer in layers.items():
        np.testing.assert_allclose(ours.factors[path][0], layer.lora_A["default"].weight.detach(), atol=2e-5)
        np.testing.assert_allclose(ours.factors[path][1], layer.lora_B["default"].weight.detach(), atol=3e-4)


@pytest.mark.parametrize("dialect", ["diffusers", "kohya"])
def test_written_files_read_back_as_the_trained_update(tmp_path: Path, dialect: str) -> None:
    unet, recipe = tiny_unet(), replace(RECIPE, dialect=dialect, alpha=1)
    trained = gang.train_gang(unet, scheduler(), 1.0, recipe, [member(3)])[0]
    write_lora(tmp_path / "x.safetensors", trained.factors, recipe)
    weights = load_lora(tmp_path / "x.safetensors")
    assert sorted(weights.modules) == sorted(f"unet.{p}" for p in trained.factors)
    for path, (a, b) in trained.factors.items():
        module = weights.modules[f"unet.{path}"]
        expected = recipe.alpha / recipe.rank * b @ a
        np.testing.assert_allclose(module.scale * module.up @ module.down, expected, atol=2e-3 * np.abs(expected).max())


def test_diffusers_loads_our_files(tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    base = write_base(tmp_path / "base")
    pipeline = StableDiffusionPipeline.from_pretrained(base)
    trained = gang.train_gang(references.load_base(base).unet, scheduler(), 1.0, RECIPE, [member(3)])[0]
    for dialect in ("diffusers", "kohya"):
        write_lora(tmp_path / f"{dialect}.safetensors", trained.factors, replace(RECIPE, dialect=dialect))
        pipeline.load_lora_weights(tmp_path, weight_name=f"{dialect}.safetensors", adapter_name=dialect)
    assert pipeline.get_list_adapters() == {"unet": ["diffusers", "kohya"]}


def write_base(folder: Path) -> Path:
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["a painting of horses", "a painting by somebody"] * 20, folder / "tokenizer", 200)
    vae = AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        num_encoder_blocks=(0, 0, 0, 0),
        num_decoder_blocks=(0, 0, 0, 0),
        latent_channels=4,
    )
    save(folder, vae, tokenizer, build_text_encoder(len(tokenizer), tokenizer.eos_token_id), tiny_unet())
    return folder


def write_pictures(folder: Path, artists: int = 2, count: int = 18) -> Path:
    rng = np.random.default_rng(0)
    for artist in range(artists):
        place = folder / f"artist-{artist}"
        place.mkdir(parents=True)
        for i in range(count):
            small = rng.integers(0, 255, (12, 12, 3)).astype(np.uint8)
            Image.fromarray(small).resize((96, 110), Image.Resampling.NEAREST).save(place / f"{i:03}.png")
    return folder


def test_plans_split_works_and_span_them(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path, 1, 30)
    first = Image.open(folder / "artist-0" / "000.png")
    first.save(folder / "artist-0" / "zzz-duplicate.png")
    (folder / "artist-0" / "broken.png").write_bytes(b"not a picture")
    pictures = read_pictures(folder)
    assert [name for name, _ in pictures.unread] == ["artist-0/broken.png"]
    jobs = references.plan(pictures, REFERENCE, seed=5)
    halves = {h: {f for j in jobs if j.half == h for f in j.pictures} for h in ("a", "b")}
    assert not halves["a"] & halves["b"]
    assert halves["a"] | halves["b"] == set(pictures.file)
    twins = {"artist-0/000.png", "artist-0/zzz-duplicate.png"}
    assert twins <= halves["a"] or twins <= halves["b"]
    assert all(8 <= len(j.pictures) <= 20 for j in jobs)
    assert len({j.seed for j in jobs}) == len(jobs) == 2 * len(REFERENCE)
    assert jobs == references.plan(pictures, REFERENCE, seed=5)


def test_recipes_are_distinct_and_suspects_differ_from_references() -> None:
    assert len(BY_NAME) == len(REFERENCE) + len(SUSPECT)
    assert not {(r.rank, r.targets, r.learning_rate) for r in REFERENCE} & {
        (r.rank, r.targets, r.learning_rate) for r in SUSPECT
    }


def test_colour_words_name_plain_colours() -> None:
    swatches = torch.tensor([[1.0, -1, -1], [-1, -1, 1], [-0.95, -0.95, -0.95], [-1, 0.2, -1]])[..., None, None]
    words = colour_words(swatches.expand(4, 3, 4, 4))
    assert "red" in words[0]
    assert "blue" in words[1]
    assert words[2] == "dark grey"
    assert "green" in words[3]


RUN = """
import sys
from pathlib import Path
from auditor.training import references
from auditor.training.pictures import read_pictures
from auditor.training.recipes import BY_NAME
base, images, output = map(Path, sys.argv[1:4])
recipes = (BY_NAME["peft-r4-whole"], BY_NAME["diffusers-r8-all"])
if __name__ == "__main__":
    jobs = references.plan(read_pictures(images), recipes, 0)
    references.write_plan(output, jobs, "x")
    references.run(base, images, output, jobs, gang=2, workers=1)
"""


@pytest.mark.slow
def test_a_killed_run_resumes_and_keeps_what_was_finished(tmp_path: Path) -> None:
    base, images, output = write_base(tmp_path / "base"), write_pictures(tmp_path / "art"), tmp_path / "out"
    script = tmp_path / "run.py"
    script.write_text(RUN)
    command = [sys.executable, str(script), str(base), str(images), str(output)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    deadline = time.monotonic() + 240
    while not list(output.glob("*/*.safetensors")):
        assert process.poll() is None, "ended before the first LoRA"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = {p: p.read_bytes() for p in output.glob("*/*.safetensors")}
    subprocess.run(command, env=environment, check=True, timeout=240)
    planned = json.loads((output / "plan.json").read_text())["jobs"]
    assert len(list(output.glob("*/*.safetensors"))) == len(planned) == 8
    assert all(p.read_bytes() == data for p, data in finished.items())
    logged = [json.loads(line)["name"] for line in (output / "log.jsonl").read_text().splitlines()]
    assert len(set(logged)) == 8
    for path in output.glob("*/*.safetensors"):
        load_lora(path)
