"""`load_lora`: any LoRA file of an image model → `LoraWeights`.

path ─► Container ─► (module, role) of every name ─► refusals ─► modules with scales ─► base family and warnings
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from auditor.errors import MalformedFile, NotALora, NotAuditable
from auditor.lora.algorithms import MAX_REWRITTEN, Fault, Scaling, TooLarge, build_module
from auditor.lora.base_family import base_family
from auditor.lora.config import ScaleConfig, header_configs, read_sidecar
from auditor.lora.container import Container, open_container
from auditor.lora.dialects import Dialect, dialects
from auditor.lora.dialects._paths import is_language_model
from auditor.lora.text import shown
from auditor.lora.weights import LoraModule, LoraWeights

BUILDING_ROLES = ("down", "up", "hada_", "lokr_", "diff")
"""Beginnings of the roles of which a module can be made."""


@dataclass
class Groups:
    """The names of a file, sorted into modules."""

    by_path: dict[str, dict[str, str]] = field(default_factory=dict)
    """Canonical path → role → tensor name."""
    bodies: dict[str, str] = field(default_factory=dict)
    """Canonical path → the module's name in the file.  Untrusted text."""
    others: dict[str, list[str]] = field(default_factory=dict)
    """Method without a ΔW of its own (see `_roles`) → tensor names."""
    foreign: list[str] = field(default_factory=list)
    """Modules with tensors of a LoRA, but of no image model that we know."""
    unread: list[str] = field(default_factory=list)
    """Names that say nothing, or whose module is unknown."""
    used: Counter[Dialect] = field(default_factory=Counter)


def load_lora(path: str | os.PathLike[str]) -> LoraWeights:
    """Read a LoRA file of any dialect.

    Raises NotAuditable: MalformedFile when the bytes are not what they claim, NotALora when they are something else.
    """
    with open_container(path) as container:
        groups = sort_names(container)
        _refuse_foreign(container, groups)
        warnings: list[str] = []
        modules = _modules(container, groups, warnings)
        if not modules:
            raise _nothing_readable(container, groups)
        return _finish(container, groups, modules, warnings)


def check_names(path: str | os.PathLike[str]) -> None:
    """Refuse by its header alone, data unread, a safetensors file that `load_lora` would refuse for its names.

    Raises NotAuditable as `load_lora` does.
    """
    with open_container(path) as container:
        _refuse_foreign(container, sort_names(container))


def sort_names(container: Container) -> Groups:
    """Sort the tensor names of a file.  Raises MalformedFile when two tensors claim the same place."""
    groups = Groups()
    for name in container.entries:
        for dialect in dialects():
            key = dialect.split(name)
            if key is not None:
                break
        else:
            groups.unread.append(name)
            continue
        if key.path is None:
            groups.foreign.append(key.body)
            groups.unread.append(name)
            continue
        groups.used[dialect] += 1
        if key.role.startswith("other:"):
            groups.others.setdefault(key.role.removeprefix("other:"), []).append(name)
            groups.unread.append(name)
            continue
        roles = groups.by_path.setdefault(key.path, {})
        if key.role in roles:
            raise container.malformed(
                name,
                f"claims the same place as {shown(roles[key.role])!r}",
                "Save one LoRA alone in a file, in one naming.",
            )
        roles[key.role] = name
        groups.bodies[key.path] = key.body
    return groups


def _refuse_foreign(container: Container, groups: Groups) -> None:
    """Raise NotALora when no module is one of an image model."""
    if groups.by_path or groups.others:
        return
    where, names = shown(container.path), list(container.entries)
    if not names:
        raise NotALora(f"{where} holds no tensors.", advice="Check that the right file was saved.")
    language = [body for body in groups.foreign if is_language_model(body)]
    if language:
        raise NotALora(
            f"{where} is a LoRA of a language model (it adapts {shown(language[0])!r}).",
            advice="Audit a LoRA of an image model; this tool knows no style of texts.",
        )
    if groups.foreign:
        raise NotALora(
            f"{where} adapts modules of no image model known here (such as {shown(groups.foreign[0])!r}).",
            advice="If it is a LoRA of an image model, save it with the names of diffusers or kohya.",
        )
    raise NotALora(*_what_instead(where, names)[:1], advice=_what_instead(where, names)[1])


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


def _modules(container: Container, groups: Groups, warnings: list[str]) -> dict[str, LoraModule]:
    """Read every module; what could not be is listed in `groups.unread` and `warnings`."""
    scalings = _Scalings(container, groups, warnings)
    modules: dict[str, LoraModule] = {}
    large: list[str] = []
    rewritten = 0
    for path in sorted(groups.by_path):
        roles = groups.by_path[path]
        if not any(role.startswith(BUILDING_ROLES) for role in roles):
            groups.unread.extend(roles.values())
            continue
        tensors = {role: container.read(name) for role, name in roles.items()}
        try:
            module = build_module(path, tensors, scalings.of(path), _fault(container, roles))
            if module is not None and module.algorithm in ("loha", "lokr", "full"):
                rewritten += module.up.size + module.down.size
                if rewritten > MAX_REWRITTEN:
                    raise TooLarge
        except TooLarge:
            large.append(path)
            groups.unread.extend(roles.values())
            continue
        if module is not None:
            modules[path] = module
    if large:
        warnings.append(f"{len(large)} modules are whole matrices or too large to rewrite, and were not read.")
    return modules


def _fault(container: Container, roles: Mapping[str, str]) -> Fault:
    """How `build_module` names a tensor at fault."""

    def fault(role: str, what: str) -> MalformedFile:
        return container.malformed(roles.get(role, role), what, "Save the LoRA again; its tensors do not fit together.")

    return fault


class _Scalings:
    """Scales of modules from configurations outside the tensors."""

    def __init__(self, container: Container, groups: Groups, warnings: list[str]) -> None:
        self._bodies = groups.bodies
        self._configs = header_configs(container.metadata, container.path)
        main = _main_dialect(groups)
        if not self._configs and main is not None and main.name == "peft":
            sidecar = read_sidecar(container.path)
            if sidecar is not None:
                self._configs = {"": sidecar}
            elif not any("alpha" in roles or "scale" in roles for roles in groups.by_path.values()):
                warnings.append("No adapter_config.json lies beside this PEFT file; every scale was taken as 1.")
        odd = [pattern for config in self._configs.values() for pattern in config.unread_patterns]
        if odd:
            warnings.append(
                f"{len(odd)} alpha patterns are regular expressions and were not applied "
                f"(such as {shown(odd[0], 60)!r})."
            )

    def of(self, path: str) -> Scaling:
        """For the module of canonical path `path`."""
        config: ScaleConfig | None = self._configs.get(path.partition(".")[0], self._configs.get(""))
        return config.scaling(self._bodies[path]) if config else Scaling()


def _main_dialect(groups: Groups) -> Dialect | None:
    """The dialect of most tensors."""
    return groups.used.most_common(1)[0][0] if groups.used else None


def _nothing_readable(container: Container, groups: Groups) -> NotAuditable:
    """The error for a file whose tensors are known but make no ΔW without the base."""
    built = any(role.startswith(BUILDING_ROLES) for roles in groups.by_path.values() for role in roles)
    methods = ", ".join(sorted(groups.others)) or (
        "whole or very large matrices" if built else "scales without factors"
    )
    return NotAuditable(
        f"{shown(container.path)} holds no module whose change of weights follows from the file alone ({methods}).",
        advice="Audit a LoRA, LoCon, LoHa or LoKr file; methods that multiply the base's weights need the base.",
    )


def _finish(container: Container, groups: Groups, modules: dict[str, LoraModule], warnings: list[str]) -> LoraWeights:
    """Put the result together, with base family and warnings."""
    read = {module.algorithm for module in modules.values()}
    read |= {"dora" for path in modules if "dora" in groups.by_path[path]}
    algorithms = tuple(sorted(read | {f"{method} (unread)" for method in groups.others}))
    if "dora" in algorithms:
        warnings.append("DoRA: only its direction part was read; the magnitudes need the base model.")
    for method, names in sorted(groups.others.items()):
        warnings.append(
            f"{len(names)} tensors of the method '{method}' were not read (such as {shown(names[0], 80)!r})."
        )
    listed = {name for names in groups.others.values() for name in names}
    rest = [name for name in groups.unread if name not in listed]
    if rest:
        warnings.append(f"{len(rest)} tensors were not read (such as {shown(rest[0], 80)!r}).")
    if not any(module.scale and module.up.any() and module.down.any() for module in modules.values()):
        warnings.append("No effect: every module's change of weights is zero.")
    warnings.extend(dialect.caution for dialect in groups.used if dialect.caution)
    base = base_family(modules, container.metadata)
    main = _main_dialect(groups)
    return LoraWeights(
        modules=modules,
        dialect=main.name if main else "unknown",
        algorithms=algorithms,
        base_family=base.family,
        base_grounds=base.grounds,
        declared=dict(container.metadata),
        warnings=(*warnings, *base.warnings),
        unread=tuple(sorted(groups.unread)),
    )
