"""`load_lora`: any LoRA file of an image model → `LoraWeights`.

path ─► Container ─► Structure (names, shapes, base) ─► refusals ─► modules with scales ─► canonical modules
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from auditor.errors import MalformedFile, NotAuditable
from auditor.lora.algorithms import MAX_REWRITTEN, Fault, Scaling, TooLarge, build_module
from auditor.lora.beside import beside
from auditor.lora.config import ScaleConfig, header_configs, read_sidecar
from auditor.lora.container import MAX_READ, Container, open_container
from auditor.lora.dtypes import BYTES
from auditor.lora.families import Part
from auditor.lora.packed import Packed, PackedModule
from auditor.lora.structure import BESIDE, Structure, describe, refuse_foreign
from auditor.lora.text import shown
from auditor.lora.toil import NOT_COVERED, affordable
from auditor.lora.weights import LoraModule, LoraWeights
from auditor.lora.whole import WholeModule, named

PLAIN_ROLES = frozenset({"up", "down", "alpha", "scale", "dora"})
"""Roles of modules whose factors are two tensors of the file as they are, so that ΔW has their outer sizes."""
BUILDING_ROLES = ("down", "up", "hada_", "lokr_", "diff", "glora_b")
"""Beginnings of the roles of which a module can be made."""


def load_lora(path: str | os.PathLike[str], *, with_beside: bool = False) -> LoraWeights:
    """Read a LoRA file of any dialect.

    with_beside: read also what makes no ΔW (`LoraWeights.beside`), and accept a file that holds nothing else.  Raises
    NotAuditable: MalformedFile when the bytes are not what they claim, NotALora when they are something else.
    """
    with open_container(path) as container:
        structure = describe(container)
        refuse_foreign(container, structure)
        if _least_held(container, structure) > MAX_READ:
            raise container.too_large()
        container.read_ahead()
        reading = Reading(container, structure)
        reading.run()
        extra = reading.beside() if with_beside else {}
        if not reading.modules and not extra:
            raise nothing_readable(container, structure)
        return _finish(structure, reading, extra)


def _least_held(container: Container, structure: Structure) -> int:
    """Bytes that the factors of a file take at least, by its header: more than can be held is not begun with."""
    entries = container.entries
    names = (
        name for module in structure.modules.values() for role, name in module.roles.items() if role in ("up", "down")
    )
    return sum(math.prod(entries[name].shape) * min(4, BYTES[entries[name].dtype]) for name in names)


def check_names(path: str | os.PathLike[str]) -> None:
    """Refuse by its header alone, data unread, a safetensors file that `load_lora` would refuse for its names.

    Raises NotAuditable as `load_lora` does.
    """
    with open_container(path) as container:
        refuse_foreign(container, describe(container))


class Reading:
    """The modules of one file while they are read."""

    def __init__(self, container: Container, structure: Structure) -> None:
        """Nothing is read yet."""
        self.container, self.structure = container, structure
        self.modules: dict[str, LoraModule] = {}
        self.unread: list[str] = list(structure.unread)
        self.algorithms: set[str] = set()
        self.empty = True
        """Whether every module read so far changes nothing."""
        self._notes: list[str] = []
        self.scalings = _Scalings(container, structure, self._notes)
        self._large = self._doubled = self.dear = 0

    def run(self) -> None:
        """Read and keep every module."""
        numbers = 0
        for path, module in self.each():
            pieces = split_module(module, self.structure.parts(path), self.structure.modules[path].body)
            if isinstance(module, WholeModule) or module.algorithm in ("loha", "lokr"):
                numbers += max(module.held_numbers, *(piece.held_numbers for piece in pieces))
            doubled = any(piece.path in self.modules for piece in pieces)
            if doubled or numbers > MAX_REWRITTEN:
                self._doubled += doubled
                self._large += not doubled
                self.unread.extend(name for role, name in self._roles(path).items() if not _is_beside(role))
                continue
            self.modules.update({piece.path: piece for piece in pieces})
        self._leave_the_dear()

    def _leave_the_dear(self) -> None:
        """Drop the modules whose decompositions would take longer than one file may."""
        kept = affordable(self.modules)
        self.dear = len(self.modules) - len(kept)
        left = {module.source for path, module in self.modules.items() if path not in kept}
        self.modules = {path: self.modules[path] for path in kept}
        for module in self.structure.modules.values():
            if module.body in left:
                self.unread.extend(name for role, name in module.roles.items() if not _is_beside(role))

    def each(self) -> Iterator[tuple[str, LoraModule]]:
        """(path of the dialect, module) of every module that makes a ΔW; the others are noted as unread."""
        for path in sorted(self.structure.modules):
            roles = self._roles(path)
            if not any(role.startswith(BUILDING_ROLES) for role in roles) or self._is_vector(roles):
                self.unread.extend(roles.values())
                continue
            self.unread.extend(name for role, name in roles.items() if _is_beside(role))
            wanted = {role: name for role, name in roles.items() if not _is_beside(role)}
            tensors = {role: self.container.read(name) for role, name in wanted.items()}
            try:
                module = build_module(path, tensors, self.scalings.of(path), _fault(self.container, roles))
            except TooLarge:
                self._large += 1
                self.unread.extend(wanted.values())
                continue
            if module is not None:
                module = self._packed(module, wanted)
                self.algorithms.add(module.algorithm)
                self.empty = self.empty and module.empty
                yield path, module

    def _packed(self, module: LoraModule, wanted: Mapping[str, str]) -> LoraModule:
        """`module`, in the file's own number format where the file is large and nothing was computed from its factors.

        Where a format is wider than single precision, decoding makes it smaller, and it is left so.
        """
        if not self.container.large or isinstance(module, WholeModule) or not wanted.keys() <= PLAIN_ROLES:
            return module
        both = [self.container.entries[wanted[role]] for role in ("up", "down")]
        if any(entry.strides is not None or BYTES[entry.dtype] > 4 for entry in both):
            return module
        sides = [
            Packed(self.container.read_bytes(entry.begin, side.size * BYTES[entry.dtype]), entry.dtype, side.shape)
            for entry, side in zip(both, (module.up, module.down), strict=True)
        ]
        for role in ("up", "down"):
            self.container.repacked(wanted[role])
        return PackedModule(module, *sides)

    def _roles(self, path: str) -> Mapping[str, str]:
        """Role → tensor name of one module."""
        return self.structure.modules[path].roles

    def _is_vector(self, roles: Mapping[str, str]) -> bool:
        """Whether a module is the difference of a norm's or bias's vector, which is no linear map."""
        return "diff" in roles and len(self.container.entries[roles["diff"]].shape) < 2

    def warnings(self) -> list[str]:
        """What a reader must know, once everything was read."""
        found = list(self._notes)
        if self.scalings.holds_base:
            found.append(
                f"The configuration declares the start '{self.scalings.holds_base}': parts of the base's own weights "
                "are in these factors, and their product is no change of the base."
            )
        if self._large:
            found.append(f"{self._large} modules are too large to rewrite, and were not read.")
        if self.dear:
            found.append(
                f"{self.dear} modules are whole matrices or of very high rank, take too long to decompose, and are "
                f"{NOT_COVERED}: nothing here is said about them."
            )
        if self._doubled:
            found.append(
                f"{self._doubled} modules repeat layers that the file gives under other names, and were not read."
            )
        found.extend(_cautions(self.structure, self.methods(), methods_beside(self.structure), self.unread))
        if self.algorithms and self.empty:
            found.append("No effect: every module's change of weights is zero.")
        return [*found, *self.structure.base.warnings]

    def methods(self) -> set[str]:
        """Algorithms that were read, 'dora' among them where the file has magnitudes."""
        dora = any("dora" in module.roles for module in self.structure.modules.values())
        return self.algorithms | ({"dora"} if dora else set())

    def named_methods(self) -> tuple[str, ...]:
        """Algorithms for a report; those that were not read say so."""
        read = self.methods()
        return tuple(sorted(read | {f"{m} (unread)" for m in methods_beside(self.structure) if m not in read}))

    def beside(self) -> dict[str, LoraModule]:
        """What makes no ΔW, by names of its own."""
        found: dict[str, LoraModule] = {}
        for path in sorted(self.structure.modules):
            roles = self.structure.modules[path].roles
            extra = {role for role in roles if _is_beside(role) or (role == "diff" and self._is_vector(roles))}
            if not extra:
                continue
            tensors = {role: self.container.read(roles[role]) for role in extra | ({"alpha"} & roles.keys())}
            if "diff" in tensors:
                tensors["beside:norm"] = tensors.pop("diff")
            body = self.structure.modules[path].body
            canonical = self.structure.parts(path)
            where = canonical[0].target if len(canonical) == 1 else path
            for module in beside(where, tensors, _fault(self.container, roles)):
                found[module.path] = named(module, module.path, body)
        return found


def _is_beside(role: str) -> bool:
    """Whether a role makes no ΔW."""
    return role.startswith(BESIDE) or role in ("glora_a1", "glora_a2")


def split_module(module: LoraModule, parts: tuple[Part, ...], body: str) -> list[LoraModule]:
    """The canonical modules that `module` stands for; itself where its rows do not divide."""
    out, across = module.shape
    total = sum(part.share for part in parts)
    if out % total:
        return [named(module, module.path, body)]
    if len(parts) == 1:
        swap = (parts[0].swap and out == 2 * across) or (parts[0].turned and out % 2 == 0)
        return [named(_swapped(module) if swap else module, parts[0].target, body)]
    pieces, begin = [], 0
    for part in parts:
        end = begin + out * part.share // total
        pieces.append(named(_trimmed(module.rows(begin, end)), part.target, body))
        begin = end
    return pieces


def _swapped(module: LoraModule) -> LoraModule:
    """The halves of the rows in the other order."""
    half = module.shape[0] // 2
    if isinstance(module, WholeModule):
        return module.swapped()
    return _with_factors(module, np.concatenate([module.up[half:], module.up[:half]]), module.down)


def _trimmed(module: LoraModule) -> LoraModule:
    """`module` without the ranks that its rows do not use: trainers that keep parts apart pad them with zeros."""
    if isinstance(module, WholeModule):
        return module
    used = module.up.any(axis=0)
    if used.all() or not used.any():
        return module
    return _with_factors(module, module.up[:, used], module.down[used])


def _with_factors(module: LoraModule, up: NDArray[np.float32], down: NDArray[np.float32]) -> LoraModule:
    """`module` with other factors."""
    return LoraModule(
        module.path,
        np.ascontiguousarray(up),
        np.ascontiguousarray(down),
        module.scale,
        module.scale_source,
        module.algorithm,
        module.file_rank,
    )


def _fault(container: Container, roles: Mapping[str, str]) -> Fault:
    """How `build_module` names a tensor at fault."""

    def fault(role: str, what: str) -> MalformedFile:
        name = roles.get(role, roles.get(BESIDE + role, role))
        return container.malformed(name, what, "Save the LoRA again; its tensors do not fit together.")

    return fault


class _Scalings:
    """Scales of modules from configurations outside the tensors."""

    def __init__(self, container: Container, structure: Structure, warnings: list[str]) -> None:
        """Read them; what could not be applied goes to `warnings`."""
        self._modules = structure.modules
        self._configs = header_configs(container.metadata, container.path)
        self._peft = structure.dialect == "peft"
        self.config_sha256: str | None = None
        """See `LoraWeights.config_sha256`."""
        if not self._configs and self._peft:
            sidecar = read_sidecar(container.path)
            if sidecar is not None:
                self._configs[""], self.config_sha256 = sidecar
            elif not _have_scales(structure):
                warnings.append("No adapter_config.json lies beside this PEFT file; every scale was taken as 1.")
        odd = [pattern for config in self._configs.values() for pattern in config.unread_patterns]
        if odd:
            warnings.append(
                f"{len(odd)} patterns of alpha or rank are regular expressions and were not applied "
                f"(such as {shown(odd[0], 60)!r})."
            )
        declared = [k for k in ("ss_network_alpha", "lora_alpha", "network_alpha", "alpha") if k in container.metadata]
        if declared and not self._configs and not _have_scales(structure):
            warnings.append(
                f"The metadata entry {declared[0]} says {shown(container.metadata[declared[0]], 20)!r}, but no tensor "
                "gives a scale; it was taken as 1, as loaders do."
            )

    @property
    def holds_base(self) -> str:
        """See `LoraWeights.holds_base`."""
        return max((config.holds_base for config in self._configs.values()), default="")

    def of(self, path: str) -> Scaling:
        """For the module of path `path`."""
        config: ScaleConfig | None = self._configs.get(path.partition(".")[0], self._configs.get(""))
        return config.scaling(self._modules[path].body, peft=self._peft) if config else Scaling()


def _have_scales(structure: Structure) -> bool:
    """Whether any module carries its scale among its tensors."""
    return any("alpha" in module.roles or "scale" in module.roles for module in structure.modules.values())


def methods_beside(structure: Structure) -> dict[str, list[str]]:
    """Method → tensor names, for tensors that make no ΔW."""
    found: dict[str, list[str]] = {method: list(names) for method, names in structure.others.items()}
    for module in structure.modules.values():
        for role, name in module.roles.items():
            if _is_beside(role):
                found.setdefault(_method(role), []).append(name)
    return found


def _method(role: str) -> str:
    """What a role beside ΔW belongs to."""
    short = role.removeprefix(BESIDE)
    table = {"on_input": "ia3", "whole": "ia3", "rescale": "oft", "boft_s": "boft", "boft_R": "boft"}
    return table.get(short, "oft" if short.startswith("oft") else "glora" if short.startswith("glora") else short)


def nothing_readable(container: Container, structure: Structure) -> NotAuditable:
    """The error for a file whose tensors are known but make no ΔW without the base."""
    built = any(role.startswith(BUILDING_ROLES) for module in structure.modules.values() for role in module.roles)
    methods = ", ".join(sorted(methods_beside(structure))) or (
        "vectors or very large matrices" if built else "scales without factors"
    )
    return NotAuditable(
        f"{shown(container.path)} holds no module whose change of weights follows from the file alone ({methods}).",
        advice="Audit a LoRA, LoCon, LoHa or LoKr file; methods that multiply the base's weights need the base.",
    )


def _finish(structure: Structure, reading: Reading, extra: dict[str, LoraModule]) -> LoraWeights:
    """Put the result together."""
    return LoraWeights(
        modules=dict(sorted(reading.modules.items())),
        dialect=structure.dialect,
        algorithms=reading.named_methods(),
        base_family=structure.base.family,
        base_grounds=structure.base.grounds,
        declared=dict(reading.container.metadata),
        warnings=tuple(reading.warnings()),
        unread=tuple(sorted(set(reading.unread))),
        beside=extra,
        holds_base=reading.scalings.holds_base,
        config_sha256=reading.scalings.config_sha256,
    )


def _cautions(structure: Structure, read: set[str], beside_it: Mapping[str, list[str]], unread: list[str]) -> list[str]:
    """Warnings about what was not, or not fully, read."""
    found = []
    if "dora" in read:
        found.append("DoRA: only its direction part was read; the magnitudes need the base model.")
    for method, names in sorted(beside_it.items()):
        found.append(
            f"{len(names)} tensors of the method '{method}' were not read (such as {shown(names[0], 80)!r}): "
            f"{_WHY.get(method, 'they are none of a linear layer')}."
        )
    listed = {name for names in beside_it.values() for name in names}
    rest = [name for name in unread if name not in listed]
    if rest:
        found.append(f"{len(rest)} tensors were not read (such as {shown(rest[0], 80)!r}).")
    found.extend(dialect.caution for dialect in structure.used if dialect.caution)
    return found


_WHY = {
    "oft": "a rotation of the base's weights, whose effect needs the base",
    "boft": "a rotation of the base's weights, whose effect needs the base",
    "ia3": "a scaling of the base's weights, whose effect needs the base",
    "glora": "the half that multiplies the base's weights, whose effect needs the base",
    "bias": "a change of biases, which no feature uses",
    "norm": "a change of norms, which no feature uses",
    "tlora": "factors relative to a state that is not in the file",
    "replacement": "values that replace the base's",
}
