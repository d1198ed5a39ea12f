"""Recipes: how a LoRA is trained.  A nuisance for the audit, so the reference grid crosses many of them.

Each recipe follows the conventions of a real trainer: initial A, alpha, targets, optimiser, schedule, loss weights,
captions, crops.  They stand in the TOML files beside this one, a file per family of bases; users bring their own:

    [[recipe]]
    name = "my-kohya"
    dialect = "kohya"
    rank = [8, 16]               # a list crosses with other lists: four recipes, my-kohya-r8-a1, …
    alpha = [1, "rank/2"]        # numbers, "rank" or "rank/2"
    learning_rate = 1e-4
    steps = 800
    targets = "attention+ff+proj"

``role = "reference"`` recipes make reference sets; ``role = "suspect"`` recipes differ from all of them and only make
validation suspects, so that a card's figures are figures on files of another make.  ``role = "far"`` makes suspects
that no sensible reference resembles (trained far too short): nobody may be accused for how a file was trained.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import MISSING, dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from auditor.errors import UsageError

FOLDER = Path(__file__).resolve().parent
FAMILIES = ("mini", "sd15", "sd2", "sdxl", "sd3", "flux")
"""Families of bases, as `auditor.training.families.family_of` names them."""


@dataclass(frozen=True)
class Recipe:
    """One way to train a LoRA."""

    name: str
    dialect: Literal["diffusers", "kohya"]
    rank: int
    alpha: float
    learning_rate: float
    """Peak learning rate of A and B."""
    steps: int
    targets: Literal["attention", "attention+ff", "attention+ff+proj", "attention+ff+proj+conv"]
    initial: Literal["gaussian", "kaiming"] = "kaiming"
    """Initial A: 'gaussian' N(0, 1/rank²) as in diffusers' scripts, 'kaiming' uniform ±1/√in as in peft and kohya."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    caption: Literal["title", "painting", "trigger", "none"] = "title"
    """'title' alone, 'a painting of {title}', one fixed trigger phrase, or no caption."""
    crops: Literal["random", "whole", "mixed"] = "random"
    """Random crops at several scales, the whole picture, or both (a third whole)."""
    batch: int = 4
    min_snr: float | None = None
    """Min-SNR-gamma loss weight; None = plain mean squared error."""
    noise_offset: float = 0.0
    weight_decay: float = 1e-2
    optimiser: Literal["adamw", "lion"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 1.0
    """Largest norm of a LoRA's whole gradient."""
    warmup: int = 0
    """Steps over which the learning rate rises from 0."""
    role: Literal["reference", "suspect", "far"] = "reference"
    bases: tuple[str, ...] = ()
    """Families of bases that it is for, see FAMILIES; empty = any that the user names it for."""

    @property
    def gang_key(self) -> tuple[str, int, int, str]:
        """What the members of one gang must share; rank, alpha, rates, losses, captions and crops may differ."""
        return self.targets, self.batch, self.steps, self.optimiser


HINTS = get_type_hints(Recipe)
REQUIRED = [field.name for field in fields(Recipe) if field.default is MISSING]


def read_recipes(path: Path) -> list[Recipe]:
    """The recipes of a TOML file, lists of ranks and alphas crossed.  Raises UsageError naming file and entry."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise UsageError(f"{path} cannot be read: {problem.strerror}.", advice="Give a TOML file of recipes.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise UsageError(f"{path} is not TOML: {problem}.", advice="docs/factory.md shows a recipe.") from None
    tables = document.get("recipe", [document])
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{path} holds no recipe.", advice="Write one [[recipe]] table per recipe.")
    if beside := sorted(set(document) - {"recipe"} if "recipe" in document else ()):
        raise UsageError(
            f"{path} has {', '.join(beside)} outside its recipes, where it would not count.",
            advice="Put every entry below the [[recipe]] that it belongs to.",
        )
    found = [recipe for table in tables for recipe in expand(table, path)]
    names = [recipe.name for recipe in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"{path} names a recipe twice: {', '.join(twice)}.", advice="Give each its own name.")
    return found


def expand(table: dict[str, Any], path: Path) -> list[Recipe]:
    """One recipe per combination of the ranks and alphas of a table; see the module's docstring."""
    ranks, alphas = (v if isinstance(v, list) else [v] for v in (table.get("rank"), table.get("alpha")))
    if not ranks or not alphas:
        raise UsageError(
            f"The recipe {table.get('name', '?')!r} of {path.name} has an empty list of ranks or alphas.",
            advice="Give a number, or several.",
        )
    made = []
    for rank, alpha in product(ranks, alphas):
        entry = dict(table) | {"rank": rank, "alpha": _alpha(alpha, rank)}
        if len(ranks) > 1:
            entry["name"] = f"{entry.get('name')}-r{rank}"
        if len(alphas) > 1:
            entry["name"] = f"{entry.get('name')}-a{entry['alpha']:g}"
        made.append(build(entry, path))
    return made


def _alpha(alpha: Any, rank: Any) -> Any:
    """A number for 'rank' and 'rank/2'; anything else as it is."""
    if isinstance(rank, int) and alpha in ("rank", "rank/2"):
        return rank if alpha == "rank" else rank / 2
    return alpha


def build(entry: dict[str, Any], path: Path) -> Recipe:
    """A checked recipe.  Raises UsageError."""
    where = f"recipe {entry.get('name', '?')!r} of {path.name}"
    unknown = sorted(set(entry) - set(HINTS))
    missing = [name for name in REQUIRED if entry.get(name) is None]
    if unknown or missing:
        said = ", ".join([*(f"unknown {name!r}" for name in unknown), *(f"no {name!r}" for name in missing)])
        raise UsageError(f"The {where} has {said}.", advice=f"Known entries: {', '.join(HINTS)}.")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
    for name, value in values.items():
        if not _fits(value, HINTS[name]):
            choice = ", ".join(str(one) for one in get_args(HINTS[name]) if isinstance(one, str))
            advice = f"Give one of: {choice}." if choice else "docs/factory.md shows the entries and what they take."
            raise UsageError(f"The {where} has {name} = {value!r}.", advice=advice)
    recipe = Recipe(**values)
    _check_ranges(recipe, where)
    return recipe


def _fits(value: Any, hint: Any) -> bool:
    """Whether a TOML value is of a field's type."""
    arguments = get_args(hint)
    if hint in (str, int):
        return isinstance(value, hint) and not isinstance(value, bool)
    if hint is float or arguments == (float, type(None)):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(value, tuple):
        return all(isinstance(v, float if hint == HINTS["betas"] else str) for v in value) and bool(arguments)
    return value in arguments


def _check_ranges(recipe: Recipe, where: str) -> None:
    """Raises UsageError on a number outside its range or a family that nobody knows."""
    sound = {
        "name": re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}", recipe.name) is not None,
        "rank": 1 <= recipe.rank <= 1024,
        "alpha": 0 < recipe.alpha <= 4096,
        "learning_rate": 0 < recipe.learning_rate < 10,
        "steps": recipe.steps >= 1,
        "batch": recipe.batch >= 1,
        "min_snr": recipe.min_snr is None or recipe.min_snr > 0,
        "noise_offset": 0 <= recipe.noise_offset <= 1,
        "weight_decay": 0 <= recipe.weight_decay < 1,
        "betas": len(recipe.betas) == 2 and all(0 <= beta < 1 for beta in recipe.betas),
        "clip": recipe.clip > 0,
        "warmup": 0 <= recipe.warmup <= recipe.steps,
        "bases": set(recipe.bases) <= set(FAMILIES),
    }
    wrong = [f"{name} = {getattr(recipe, name)!r}" for name, right in sound.items() if not right]
    if wrong:
        raise UsageError(
            f"The {where} has {', '.join(wrong)}.", advice="docs/factory.md shows the entries and what they take."
        )


def shipped() -> list[Recipe]:
    """All recipes of the package, families in the order of FAMILIES, each file in its own order."""
    paths = [FOLDER / f"{family}.toml" for family in FAMILIES]
    return [recipe for path in paths for recipe in read_recipes(path)]


SHIPPED = tuple(shipped())
BY_NAME = {recipe.name: recipe for recipe in SHIPPED}
MINI = tuple(recipe for recipe in SHIPPED if "mini" in recipe.bases)
REFERENCE = tuple(recipe for recipe in MINI if recipe.role == "reference")
"""The recipes of the shipped set's references, in the order that its plan was drawn in."""
SUSPECT = tuple(recipe for recipe in MINI if recipe.role == "suspect")
FAR = tuple(recipe for recipe in MINI if recipe.role == "far")


def references_for(family: str) -> list[Recipe]:
    """The shipped reference recipes of a family of bases; empty where there are none."""
    return [recipe for recipe in SHIPPED if family in recipe.bases and recipe.role == "reference"]


def on_checkpoint(recipe: Recipe, checkpoint: str) -> Recipe:
    """The recipe under a name that tells what it is trained on.  Raises UsageError where that makes no file's name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}", checkpoint):
        raise UsageError(
            f"{checkpoint!r} cannot be part of a file's name.",
            advice="Name the checkpoint in at most 41 letters, digits, dots, hyphens and underscores.",
        )
    return replace(recipe, name=f"{recipe.name}-on-{checkpoint}")


def chosen(names: list[str], family: str) -> list[Recipe]:
    """The recipes that a user names: shipped ones, or those of a TOML file; none = all of the family.

    Raises UsageError for an unknown name, and for two recipes of one name.
    """
    found: list[Recipe] = []
    for name in names:
        if name.endswith(".toml"):
            found += read_recipes(Path(name))
        elif name in BY_NAME:
            found.append(BY_NAME[name])
        else:
            fitting = [recipe.name for recipe in SHIPPED if family in recipe.bases]
            raise UsageError(
                f"Unknown recipe: {name}.",
                advice=f"Known for this base ({family}): {', '.join(fitting) or 'none'}; or give a .toml file.",
            )
    found = found or references_for(family)
    twice = sorted({recipe.name for recipe in found if [r.name for r in found].count(recipe.name) > 1})
    if twice:
        raise UsageError(f"Recipes named twice: {', '.join(twice)}.", advice="Give each recipe its own name.")
    return found
