"""Gangs, for every family of bases: the weights of training alone, and those of peft with torch's own optimiser."""

from __future__ import annotations

from collections.abc import Callable
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
from tiny_bases import FAMILIES  # noqa: E402

from auditor.errors import TrainingError  # noqa: E402
from auditor.training import gang  # noqa: E402
from auditor.training.adapters import AdaptedLinear, Factors, adapted, target_modules  # noqa: E402
from auditor.training.families import Base, load_base  # noqa: E402
from auditor.training.families.objectives import Diffusion, Flow  # noqa: E402
from auditor.training.gang import Draws, Member, train_gang  # noqa: E402
from auditor.training.optimisers import AdamW, Lion, rate_at  # noqa: E402
from auditor.training.recipes import Recipe  # noqa: E402

RECIPE = Recipe("tiny", "diffusers", 4, 4, 2e-3, 3, "attention+ff+proj+conv", batch=2)
UNETS = ("mini", "sd15", "sd2", "sdxl")


def member(base: Base, seed: int, recipe: Recipe = RECIPE) -> Member:
    """Five made-up pictures of three views, with captions through the base's own text encoders."""
    generator = torch.Generator().manual_seed(seed)
    channels = base.config("vae")["latent_channels"]
    latents = torch.randn(5, 3, 2 * channels, 4, 4, generator=generator) * 0.3
    texts = base.encode_texts([f"a painting of {word}" for word in ("horses", "a river", "", "somebody", "horses")])
    shorter, corner = np.full(5, 100 + seed), np.full((5, 2), seed)
    views = base.view_conditions(shorter, corner, 32)
    return Member(f"m{seed}", seed, recipe, latents, texts, {k: v[:, None].repeat(1, 3, 1) for k, v in views.items()})


def different(family: str) -> list[Recipe]:
    """Recipes that may share a gang and differ in everything that they may."""
    snr = None if family in ("sd3", "flux") else 5.0
    return [
        RECIPE,
        replace(RECIPE, rank=2, alpha=1, initial="gaussian", schedule="cosine", caption="none", crops="whole"),
        replace(RECIPE, rank=6, learning_rate=5e-3, min_snr=snr, noise_offset=0.1, betas=(0.8, 0.99), clip=0.1),
    ]


def exact(folder: Path) -> Base:
    """In float64: AdamW divides small gradients by themselves, so that float32 noise would hide real differences."""
    return load_base(folder, dtype=torch.float64)


def assert_same(ours: gang.Trained, other: gang.Trained) -> None:
    assert list(ours.factors) == list(other.factors)
    moved = 0.0
    for path, (a, b) in other.factors.items():
        np.testing.assert_allclose(ours.factors[path][0], a, atol=1e-8, rtol=0)
        np.testing.assert_allclose(ours.factors[path][1], b, atol=1e-8, rtol=0)
        moved += float(np.abs(b).sum())
    assert moved > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_gang_gives_what_each_member_gets_alone(family: str, base_folder: Callable[[str], Path]) -> None:
    base = exact(base_folder(family))
    members = [member(base, seed, recipe) for seed, recipe in enumerate(different(family), start=1)]
    together = train_gang(base, members)
    for one, ours in zip(members, together, strict=True):
        assert_same(ours, train_gang(base, [one])[0])
    ranks = [{a.shape[0] for a, _ in ours.factors.values()} for ours in together]
    assert ranks == [{4}, {2}, {6}]


@pytest.mark.parametrize("family", FAMILIES)
def test_peft_and_torch_adamw_agree_with_the_gang(family: str, base_folder: Callable[[str], Path]) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    base = exact(base_folder(family))
    recipe = replace(RECIPE, alpha=2)
    one = member(base, 7, recipe)
    ours = train_gang(base, [one])[0]
    paths = list(target_modules(base, recipe.targets))
    start = Factors(target_modules(base, recipe.targets), [one], base).updates()[0]
    base.model = inject_adapter_in_model(
        LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules=paths), base.model
    )
    layers = {path: base.model.get_submodule(path) for path in paths}
    for path, layer in layers.items():
        layer.lora_A["default"].weight.data.copy_(torch.from_numpy(start[path][0]))
        layer.lora_B["default"].weight.data.zero_()
    trained = [p for p in base.model.parameters() if p.requires_grad]
    assert len(trained) == 2 * len(paths)
    optimiser = torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    draws = Draws(one, base)
    for _ in range(recipe.steps):
        loss = gang.member_losses(base, [recipe], gang.stacked([draws], base)).sum()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
    for path, layer in layers.items():
        np.testing.assert_allclose(ours.factors[path][0], layer.lora_A["default"].weight.detach(), atol=1e-8)
        np.testing.assert_allclose(ours.factors[path][1], layer.lora_B["default"].weight.detach(), atol=1e-8)


def test_a_compiled_base_trains_gang_after_gang(base_folder: Callable[[str], Path]) -> None:
    """The same weights for other members, scales and sizes as the base gives that is not compiled."""
    base = exact(base_folder("mini"))
    recipes = [(RECIPE, RECIPE), (RECIPE, replace(RECIPE, rank=2, alpha=7)), (replace(RECIPE, alpha=1),)]
    gangs = [[member(base, 10 * k + i, r) for i, r in enumerate(own)] for k, own in enumerate(recipes)]
    plain = [train_gang(base, members) for members in gangs]
    base.model.compile(dynamic=False, backend="aot_eager")
    for members, expected in zip(gangs, plain, strict=True):
        for ours, theirs in zip(train_gang(base, members), expected, strict=True):
            assert_same(ours, theirs)


def test_an_adapted_layer_is_itself_again_afterwards(base_folder: Callable[[str], Path]) -> None:
    base = exact(base_folder("mini"))
    modules = target_modules(base, RECIPE.targets)
    with pytest.raises(KeyError), adapted(modules, torch.ones(1, dtype=torch.float64)):
        next(iter(modules.values()))(torch.zeros(1, 1, 1))
    assert all("forward" not in vars(module) for module in base.model.modules())


def test_the_adapted_layers_gradient_is_that_of_the_formula() -> None:
    """By finite differences, with rows of several axes; the input's own gradient as well, where it has one."""
    generator = torch.Generator().manual_seed(0)
    x, w, bias, a, b = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((6, 2, 5), (4, 5), (4,), (3, 2, 5), (3, 4, 2))
    )
    scales = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64).view(3, 1, 1)
    update = torch.einsum("mor,mri,m->moi", b, a, scales.flatten()).repeat_interleave(2, 0)
    expected = torch.einsum("noi,nki->nko", w + update, x) + bias
    torch.testing.assert_close(AdaptedLinear.apply(x, w, bias, a, b, scales), expected)
    for of_input in (True, False):
        given = x.clone().requires_grad_(of_input), w, bias, a.requires_grad_(), b.requires_grad_(), scales
        assert torch.autograd.gradcheck(AdaptedLinear.apply, given)


def test_lion_agrees_with_its_definition() -> None:
    recipes = [replace(RECIPE, optimiser="lion", betas=(0.9, 0.99), learning_rate=1e-2, clip=1e9, weight_decay=0.1)]
    flat = torch.tensor([[1.0, -2.0, 0.5]], requires_grad=True)
    ours, momentum, expected = Lion(flat, recipes), np.zeros(3), np.array([1.0, -2.0, 0.5])
    for gradient in ([0.3, -0.1, 0.0], [-0.5, 0.2, 1.0]):
        flat.grad = torch.tensor([gradient])
        ours.step()
        update = np.sign(0.9 * momentum + 0.1 * np.array(gradient))
        expected = expected * (1 - 1e-2 * 0.1) - 1e-2 * update
        momentum = 0.99 * momentum + 0.01 * np.array(gradient)
        np.testing.assert_allclose(flat.detach()[0], expected, rtol=1e-6)


def test_a_gradient_is_clipped_for_each_member_by_itself() -> None:
    flat = torch.zeros(2, 2, requires_grad=True)
    optimiser = AdamW(flat, [RECIPE, RECIPE])
    flat.grad = torch.tensor([[30.0, 40.0], [0.3, 0.4]])
    optimiser.step()
    first = [optimiser.inner.state[row]["exp_avg"].tolist() for row in optimiser.rows]
    np.testing.assert_allclose(first, [[0.06, 0.08], [0.03, 0.04]], rtol=1e-4)


@pytest.mark.parametrize("kind", [AdamW, Lion])
def test_a_step_makes_no_tensor_of_the_gangs_size(kind: type[AdamW | Lion]) -> None:
    """Such tensors made gangs of forty at rank 32 crawl on a CPU: the system zeroed a gigabyte in every step."""
    recipes = different("mini")
    flat = torch.zeros(len(recipes), 50_000, requires_grad=True)
    optimiser = kind(flat, recipes)
    for _ in range(2):
        before = flat.detach().clone()
        flat.grad = torch.ones_like(flat)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as watched:
            optimiser.step()
        assert (flat != before).all()
    taken = [event.self_cpu_memory_usage for event in watched.events()]
    assert len(taken) > 5
    assert max(taken) < flat.nbytes / len(recipes)


def test_rates_warm_up_and_fall_as_their_schedule_says() -> None:
    ten = replace(RECIPE, steps=10, learning_rate=1.0, warmup=2)
    assert [rate_at(ten, s) for s in (0, 1, 2, 9)] == [0.5, 1.0, 1.0, 1.0]
    assert rate_at(replace(ten, schedule="cosine"), 6) == pytest.approx(0.5)
    assert rate_at(replace(ten, schedule="linear"), 9) == pytest.approx(1 / 8)


@pytest.mark.parametrize("family", FAMILIES)
def test_training_leaves_the_base_unchanged_and_without_hooks(family: str, base_folder: Callable[[str], Path]) -> None:
    base = load_base(base_folder(family))
    before = {k: v.clone() for k, v in base.model.state_dict().items()}
    train_gang(base, [member(base, 1)])
    assert all(torch.equal(before[k], v) for k, v in base.model.state_dict().items())
    assert not any(module._forward_hooks for module in base.model.modules())


def test_a_member_that_diverges_does_not_touch_the_others(base_folder: Callable[[str], Path]) -> None:
    base = exact(base_folder("mini"))
    bad = member(base, 2)
    bad.latents[:] = float("nan")
    both = train_gang(base, [member(base, 1), bad])
    assert np.isnan(both[1].loss)
    assert_same(both[0], train_gang(base, [member(base, 1)])[0])


def test_gradient_checkpointing_changes_nothing(base_folder: Callable[[str], Path]) -> None:
    base = exact(base_folder("sdxl"))
    plain = train_gang(base, [member(base, 1)])[0]
    base.model.enable_gradient_checkpointing()
    assert_same(train_gang(base, [member(base, 1)])[0], plain)


def test_half_precision_trains_float32_adapters(base_folder: Callable[[str], Path]) -> None:
    base, half = (load_base(base_folder("sd15"), dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    full, rough = (train_gang(b, [member(b, 1)])[0] for b in (base, half))
    assert next(half.model.parameters()).dtype == torch.bfloat16
    for path, (a, b) in full.factors.items():
        assert rough.factors[path][1].dtype == np.float32
        np.testing.assert_allclose(rough.factors[path][0], a, atol=2e-2)
        assert rough.factors[path][1].shape == b.shape
    assert rough.loss == pytest.approx(full.loss, rel=0.05)


def test_recipes_of_two_kinds_make_no_gang_and_unknown_targets_no_lora(base_folder: Callable[[str], Path]) -> None:
    base = load_base(base_folder("mini"))
    with pytest.raises(TrainingError, match="one kind"):
        train_gang(base, [member(base, 1), member(base, 2, replace(RECIPE, steps=4))])
    flux = load_base(base_folder("flux"))
    with pytest.raises(TrainingError, match="no layer"):
        train_gang(flux, [member(flux, 1, replace(RECIPE, targets="conv"))])  # type: ignore[arg-type]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_each_base_learns_is_what_its_scheduler_declares(family: str, base_folder: Callable[[str], Path]) -> None:
    base = load_base(base_folder(family))
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 64, 4, 2, 2, generator=generator)
    times = base.objective.draw_times(64, generator)
    noisy, target, _ = base.objective.pair(clean, noise, times)
    assert times.min() >= 0
    assert times.max() < 1000
    if isinstance(base.objective, Flow):
        assert family in ("sd3", "flux")
        sigma = ((noisy - clean) / (noise - clean)).mean((1, 2, 3))
        torch.testing.assert_close(target, noise - clean)
        assert 0 < sigma.min() < sigma.max() < 1
        return
    assert isinstance(base.objective, Diffusion)
    kept = base.objective.scheduler.alphas_cumprod[times].view(-1, 1, 1, 1)
    torch.testing.assert_close(noisy, kept.sqrt() * clean + (1 - kept).sqrt() * noise)
    velocity = kept.sqrt() * noise - (1 - kept).sqrt() * clean
    torch.testing.assert_close(target, velocity if family == "sd2" else noise)


def test_min_snr_weighs_noise_and_velocity_as_published(base_folder: Callable[[str], Path]) -> None:
    times = torch.tensor([0, 500, 999])
    for family in ("mini", "sd2"):
        objective = load_base(base_folder(family)).objective
        kept = objective.scheduler.alphas_cumprod[times]
        snr = kept / (1 - kept)
        expected = torch.minimum(snr, torch.tensor(5.0)) / (snr if family == "mini" else snr + 1)
        torch.testing.assert_close(objective.weights(times, 5.0), expected)
        assert (objective.weights(times, None) == 1).all()
    with pytest.raises(TrainingError, match="min_snr"):
        load_base(base_folder("flux")).objective.weights(times, 5.0)
