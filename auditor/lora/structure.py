"""What a file's header alone says: which modules it adapts, by what algorithm, of what shape and rank, of which base.

In:  an open `Container`, no tensor of which is read.  Out: `Structure`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from auditor.errors import NotALora
from auditor.lora.algorithms import old_glora
from auditor.lora.base_family import BaseFamily, base_family
from auditor.lora.container import Container
from auditor.lora.dialects import Dialect, dialects
from auditor.lora.dialects._paths import is_language_model
from auditor.lora.families import Family, Part, naming, recognise
from auditor.lora.text import shown

BESIDE = "beside:"
OTHER = "other:"
TRANSFORMER = "transformer."

Shape = tuple[int, ...]


class Module(NamedTuple):
    """One module as the file names it."""

    body: str
    """Its name in the file.  Untrusted text."""
    roles: dict[str, str]
    """Role (see `dialects._roles`) → tensor name."""


class Outline(NamedTuple):
    """What the shapes of a module's tensors say."""

    algorithm: str
    shape: tuple[int, int]
    """(out, in) of ΔW, kernels flattened."""
    rank: int
    """As the file means it."""


@dataclass
class Structure:
    """The names of a file, sorted into modules."""

    modules: dict[str, Module] = field(default_factory=dict)
    """By path as the dialect reads it, before families rename and split."""
    outlines: dict[str, Outline] = field(default_factory=dict)
    """By the same paths; only modules that make a ΔW and whose shapes fit together."""
    others: dict[str, list[str]] = field(default_factory=dict)
    """Method that is not read → tensor names."""
    foreign: list[str] = field(default_factory=list)
    """Modules with tensors of a LoRA, but of no image model that we know."""
    unread: list[str] = field(default_factory=list)
    """Names that say nothing, or whose module is unknown."""
    used: Counter[Dialect] = field(default_factory=Counter)
    base: BaseFamily = field(default_factory=lambda: BaseFamily("unknown", ()))
    family: Family | None = None
    """Whose table names the transformer's layers."""

    @property
    def dialect(self) -> str:
        """The dialect of most tensors."""
        return self.used.most_common(1)[0][0].name if self.used else "unknown"

    def parts(self, path: str) -> tuple[Part, ...]:
        """Canonical paths behind a path of the dialect; itself where no family knows it."""
        prefix, _, body = path.partition(".")
        if self.family is None:
            return (Part(path),)
        if prefix == "transformer":
            found = self.family.parts(body)
            return tuple(replace(part, target=TRANSFORMER + part.target) for part in found) or (Part(path),)
        renamed = self.family.text_parts.get(prefix, prefix)
        return (Part(f"{renamed}.{body}"),)


def describe(container: Container) -> Structure:
    """Sort the names of a file and conclude its base.  Raises MalformedFile when two tensors claim the same place."""
    found = Structure()
    for name in container.entries:
        _sort(container, found, name)
    for path, module in found.modules.items():
        shapes = {role: container.entries[name].shape for role, name in module.roles.items()}
        outline = outline_of(shapes)
        if outline is not None:
            found.outlines[path] = outline
    sizes = {path: outline.shape for path, outline in found.outlines.items()}
    layers = {p.removeprefix(TRANSFORMER): shape for p, shape in sizes.items() if p.startswith(TRANSFORMER)}
    recognised = recognise(layers) if layers else None
    found.family = recognised[0] if recognised else naming(layers) if layers else None
    found.base = base_family(sizes, container.metadata, recognised)
    return found


def _sort(container: Container, found: Structure, name: str) -> None:
    """Put one tensor where it belongs."""
    for dialect in dialects():
        key = dialect.split(name)
        if key is not None:
            break
    else:
        found.unread.append(name)
        return
    if key.path is None:
        found.foreign.append(key.body)
        found.unread.append(name)
        return
    found.used[dialect] += 1
    if key.role.startswith(OTHER):
        found.others.setdefault(key.role.removeprefix(OTHER), []).append(name)
        found.unread.append(name)
        return
    module = found.modules.get(key.path)
    if module is None:
        module = found.modules[key.path] = Module(key.body, {})
    roles = module.roles
    if key.role in roles:
        raise container.malformed(
            name,
            f"claims the same place as {shown(roles[key.role])!r}",
            "Save one LoRA alone in a file, in one naming.",
        )
    roles[key.role] = name


def outline_of(shapes: Mapping[str, Shape]) -> Outline | None:
    """Algorithm, shape and rank of a module from the shapes of its tensors by role; None when they make no ΔW."""
    for first, measure in _MEASURES:
        if any(role.startswith(first) for role in shapes):
            try:
                found = measure(shapes)
            except (KeyError, IndexError):
                return None
            return found if min(*found.shape, found.rank) > 0 else None
    return None


def _lora(shapes: Mapping[str, Shape]) -> Outline:
    """LoRA and LoCon."""
    down, up = shapes["down"], shapes["up"]
    kernel = math.prod(shapes["mid"][2:]) if "mid" in shapes else 1
    convolution = "mid" in shapes or math.prod(down[2:]) > 1
    return Outline("locon" if convolution else "lora", (up[0], math.prod(down[1:]) * kernel), down[0])


def _loha(shapes: Mapping[str, Shape]) -> Outline:
    """LoHa, with or without cores."""
    left, right = shapes["hada_w1_a"], shapes["hada_w1_b"]
    if "hada_t1" in shapes:
        return Outline("loha", (left[1], right[1] * math.prod(shapes["hada_t1"][2:])), left[0])
    return Outline("loha", (left[0], math.prod(right[1:])), left[1])


def _lokr(shapes: Mapping[str, Shape]) -> Outline:
    """LoKr in all forms of its factors."""
    sides = []
    ranks = []
    for half in "12":
        name = f"lokr_w{half}"
        if name in shapes:
            whole = shapes[name]
            sides.append((whole[0], math.prod(whole[1:])))
            continue
        left, right = shapes[name + "_a"], shapes[name + "_b"]
        core = shapes.get(f"lokr_t{half}")
        sides.append((left[1], right[1] * math.prod(core[2:])) if core else (left[0], math.prod(right[1:])))
        ranks.append(right[0])
    out, across = sides[0][0] * sides[1][0], sides[0][1] * sides[1][1]
    return Outline("lokr", (out, across), ranks[-1] if ranks else min(out, across))


def _full(shapes: Mapping[str, Shape]) -> Outline:
    """Full differences of matrices and kernels."""
    diff = shapes["diff"]
    out, across = diff[0], math.prod(diff[1:]) if len(diff) > 1 else 0
    return Outline("full", (out, across), min(out, across))


def _glora(shapes: Mapping[str, Shape]) -> Outline:
    """The additive half of GLoRA."""
    one, two = shapes["glora_b1"], shapes["glora_b2"]
    left, right = (two, one) if old_glora(one, two) else (one, two)
    return Outline("glora", (left[0], math.prod(right[1:])), right[0])


_MEASURES: tuple[tuple[str, Callable[[Mapping[str, Shape]], Outline]], ...] = (
    ("down", _lora), ("up", _lora), ("hada_", _loha), ("lokr_", _lokr), ("diff", _full), ("glora_b", _glora),
)  # fmt: skip


def refuse_foreign(container: Container, found: Structure) -> None:
    """Raise NotALora when no module is one of an image model."""
    if found.modules or found.others:
        return
    where, names = shown(container.path), list(container.entries)
    if not names:
        raise NotALora(f"{where} holds no tensors.", advice="Check that the right file was saved.")
    language = [body for body in found.foreign if is_language_model(body)]
    if language:
        raise NotALora(
            f"{where} is a LoRA of a language model (it adapts {shown(language[0])!r}).",
            advice="Audit a LoRA of an image model; this tool knows no style of texts.",
        )
    if found.foreign:
        raise NotALora(
            f"{where} adapts modules of no image model known here (such as {shown(found.foreign[0])!r}).",
            advice="If it is a LoRA of an image model, save it with the names of diffusers or kohya.",
        )
    what, advice = _what_instead(where, names)
    raise NotALora(what, advice=advice)


def _what_instead(where: str, names: list[str]) -> tuple[str, str]:
    """(what a file without LoRA tensors is, advice)."""
    checkpoint = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.", "conditioner.", "down_blocks.",
                  "mid_block.", "up_blocks.", "conv_in.", "text_model.", "transformer_blocks.", "double_blocks.",
                  "joint_blocks.", "single_transformer_blocks.", "unet.", "decoder.", "encoder.")  # fmt: skip
    if sum(name.endswith((".weight", ".bias")) and name.startswith(checkpoint) for name in names) * 2 > len(names):
        return (
            f"{where} is a full checkpoint, not a LoRA: its {len(names)} tensors are whole weights.",
            "Extract a LoRA from it against its base model, or audit the LoRA it was merged from.",
        )
    if any(name in ("emb_params", "clip_l", "clip_g", "string_to_param") or name.startswith("<") for name in names):
        return f"{where} is a textual-inversion embedding, not a LoRA.", "Audit a LoRA file."
    return (
        f"{where} holds no LoRA tensors (its first is {shown(names[0])!r}).",
        "Check that this is the LoRA file and not another output of the training.",
    )
