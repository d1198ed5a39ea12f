"""The protocol behind the validity card: files whose artist is known become trials, by halves of works and by artists.

Split-half, both ways round: references from one half of every artist's works; suspects from the other half ("other
works") and from the same half ("same works"), trained by other recipes and seeds; artists outside the set.
Every suspect is tried twice, with its artist in the set (genuine) and with it left out of the whole fit (impostor).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auditor.embedding.features import KINDS, Factored, factor, features, fit_bases
from auditor.embedding.fit import Settings
from auditor.embedding.points import Floats, Labels
from auditor.embedding.sketches import controls
from auditor.lora.weights import LoraModule
from auditor.reference.build import DIRECTIONS, Read, kinds_and_directions, read_folder, require_folder
from auditor.reference.calibrate import VIEWS, covers, view_modules
from auditor.reference.set import SUBNETWORKS
from auditor.reference.trials import Trials, run_half_out_trials, run_trials


@dataclass(frozen=True)
class Fold:
    """One direction of the protocol: reference and suspect rows of a corpus, and what each suspect is."""

    references: list[Read]
    suspects: list[Read]
    artists: list[str]
    works: NDArray[np.str_]
    """(m,) 'same', 'other' or 'outsider'."""
    recipe: NDArray[np.str_]
    """(m,) 'reference', 'other', 'foreign': by another trainer, or 'far': trained as nobody would."""

    @property
    def reference_artist(self) -> Labels:
        """(n,) index into artists."""
        return np.array([self.artists.index(r.entry["artist"]) for r in self.references], dtype=np.intp)

    @property
    def suspect_artist(self) -> Labels:
        """(m,) index into artists, -1 for outsiders."""
        known = {name: i for i, name in enumerate(self.artists)}
        return np.array([known.get(s.entry["artist"], -1) for s in self.suspects], dtype=np.intp)


def is_reference(one: Read) -> bool:
    """Is the file a reference, as all are but the validation suspects that `refs train` names so?"""
    return "--suspect-" not in one.entry["file"]


def kind_of_recipe(one: Read) -> str:
    """'reference', 'other', 'foreign' or 'far', see `Fold`."""
    if is_reference(one):
        return "reference"
    first = str(one.entry["recipe"]).split("-")[0]
    return first if first in ("far", "foreign") else "other"


def make_fold(corpus: Sequence[Read], half: str, crossed: bool = True) -> Fold:
    """References of one half against everything else; crossed: the other half's references are suspects as well."""
    references = [r for r in corpus if is_reference(r) and r.entry["part"] == half]
    suspects = [r for r in corpus if not is_reference(r) or (crossed and r.entry["part"] != half)]
    artists = sorted({r.entry["artist"] for r in references})
    works = ["outsider" if s.entry["artist"] not in artists else s.entry["part"] for s in suspects]
    works = [w if w == "outsider" else ("same" if w == half else "other") for w in works]
    recipe = [kind_of_recipe(s) for s in suspects]
    return Fold(references, suspects, artists, np.array(works), np.array(recipe))


Matrix = Callable[[Fold, list[str]], tuple[Floats, list[slice]]]
"""Fold and module paths → features (n + m, D), references first, and their blocks."""


def embedding_matrix(kinds: tuple[str, ...] = KINDS, k: int = DIRECTIONS) -> Matrix:
    """The features of a set, bases fitted on the fold's references only."""

    def build(fold: Fold, modules: list[str]) -> tuple[Floats, list[slice]]:
        def cut(one: Read) -> dict[str, Factored]:
            return {p: one.factored[p] for p in modules if p in one.factored}

        bases = fit_bases([cut(r) for r in fold.references], k, kinds=kinds)
        rows = np.stack([features(cut(one), bases)[0] for one in [*fold.references, *fold.suspects]])
        return rows, [block for _, _, block in bases.blocks()]

    return build


def features_of(name: str, kinds: tuple[str, ...] | None = None) -> Matrix:
    """The features that a set's manifest names; kinds: others instead, in as many directions."""
    own, k = kinds_and_directions(name)
    return embedding_matrix(kinds or own, k)


def control_matrix(name: str) -> Matrix:
    """Rank, norm or spectrum alone; where all artists' means are alike, which tells nothing, noise (seed 0) instead."""

    def build(fold: Fold, modules: list[str]) -> tuple[Floats, list[slice]]:
        rows = np.stack([controls(one.factored, modules)[name] for one in [*fold.references, *fold.suspects]])
        n = len(fold.references)
        scaled = (rows - rows[:n].mean(0)) / (rows[:n].std(0) + 1e-9)
        means = [scaled[:n][fold.reference_artist == a].mean(0) for a in range(len(fold.artists))]
        if np.ptp(means, axis=0).max() < 1e-6:
            scaled = np.random.default_rng(0).standard_normal(rows.shape)
        return np.asarray(scaled), [slice(0, scaled.shape[1])]

    return build


def all_modules(corpus: Sequence[Read]) -> list[str]:
    """Every module that any reference adapts: what else a suspect adapts, no set can look at."""
    return sorted({path for one in corpus if is_reference(one) for path in one.factored})


def complete(one: Read, modules: list[str]) -> bool:
    """Does the file adapt (nearly) all of `modules`?"""
    return covers(one.factored, modules)


def filled(fold: Fold, modules: list[str]) -> Fold:
    """The references and suspects of a fold that adapt all of `modules`."""
    kept = np.array([complete(s, modules) for s in fold.suspects])
    return replace(
        fold,
        references=[r for r in fold.references if complete(r, modules)],
        suspects=[s for s, keep in zip(fold.suspects, kept, strict=True) if keep],
        works=fold.works[kept],
        recipe=fold.recipe[kept],
    )


def fold_trials(fold: Fold, matrix: Matrix, modules: list[str], settings: Settings) -> tuple[Fold, Trials]:
    """Trials of the suspects that adapt all of `modules`, against the references that do."""
    seen = filled(fold, modules)
    x, columns = matrix(seen, modules)
    return seen, run_trials(x, columns, seen.reference_artist, seen.suspect_artist, settings)


@dataclass(frozen=True)
class Pool:
    """Trials of several folds and views together."""

    trials: Trials
    works: NDArray[np.str_]
    recipe: NDArray[np.str_]
    name: NDArray[np.str_]
    """Suspect's artist by name."""
    recipe_name: NDArray[np.str_]
    """Suspect's recipe by name."""

    def where(self, works: str, recipe: str | None = None) -> Pool:
        """A condition of the card."""
        return self.rows((self.works == works) & ((self.recipe == recipe) if recipe else True))

    def rows(self, mask: NDArray[np.bool_]) -> Pool:
        """Some of the suspects."""
        return Pool(
            self.trials.rows(mask), self.works[mask], self.recipe[mask], self.name[mask], self.recipe_name[mask]
        )


def whole_views(corpus: Sequence[Read], views: Mapping[str, str] = VIEWS) -> list[str]:
    """Views that references on either half of every artist's works fill: no set of these files has others."""
    references, paths = [r for r in corpus if is_reference(r)], all_modules(corpus)
    everybody = {(r.entry["artist"], half) for r in references for half in "ab"}
    modules = {name: view_modules(paths, pattern) for name, pattern in views.items()}
    return [
        name
        for name, own in modules.items()
        if own and {part_key(r) for r in references if complete(r, own)} >= everybody
    ]


def pool(
    corpus: Sequence[Read],
    matrix: Matrix,
    settings: Settings,
    views: Sequence[str] | None = None,
    crossed: bool = False,
) -> Pool:
    """Both folds; each suspect is tried in the first of the views (None: the whole ones) that it fills."""
    found: list[tuple[Fold, Trials]] = []
    paths = all_modules(corpus)
    for half in ("a", "b"):
        left = make_fold(corpus, half, crossed)
        for view in whole_views(corpus) if views is None else views:
            modules = view_modules(paths, (VIEWS | SUBNETWORKS)[view])
            fold, trials = fold_trials(left, matrix, modules, settings)
            found.append((fold, trials))
            rest = np.array([not complete(s, modules) for s in left.suspects], bool)
            left = replace(
                left,
                suspects=[s for s, keep in zip(left.suspects, rest, strict=True) if keep],
                works=left.works[rest],
                recipe=left.recipe[rest],
            )
            if not left.suspects:
                break
    return join(found)


def half_out_pool(corpus: Sequence[Read], matrix: Matrix, settings: Settings) -> Pool:
    """Suspects of other recipes against the whole set without their own half of their artist's works."""
    references = [r for r in corpus if is_reference(r)]
    left = [r for r in corpus if not is_reference(r)]
    artists, paths = sorted({r.entry["artist"] for r in references}), all_modules(corpus)
    numbers = {key: i for i, key in enumerate(sorted({part_key(r) for r in corpus}))}
    found: list[tuple[Fold, Trials]] = []
    for view in whole_views(corpus):
        modules = view_modules(paths, VIEWS[view])
        now, left = [s for s in left if complete(s, modules)], [s for s in left if not complete(s, modules)]
        if not now:
            continue
        inside = np.array(["half-out" if s.entry["artist"] in artists else "outsider" for s in now])
        recipe = np.array([kind_of_recipe(s) for s in now])
        fold = Fold([r for r in references if complete(r, modules)], now, artists, inside, recipe)
        x, columns = matrix(fold, modules)
        parts = [np.array([numbers[part_key(r)] for r in rows], np.intp) for rows in (fold.references, now)]
        trials = run_half_out_trials(
            x, columns, fold.reference_artist, parts[0], fold.suspect_artist, parts[1], settings
        )
        found.append((fold, trials))
    return join(found)


def part_key(one: Read) -> tuple[str, str]:
    """Artist and half of a file."""
    return one.entry["artist"], one.entry["part"]


def join(found: Sequence[tuple[Fold, Trials]]) -> Pool:
    """Trials of several folds and views as one pool."""
    if not found:
        none, names, nobody = np.zeros(0), np.zeros(0, np.str_), np.zeros(0, np.intp)
        scores = np.zeros((0, 0))
        trials = Trials(
            nobody, none, nobody, none, none, none, none, scores,
            own_rank=nobody, accused=nobody, own_lead=none, own_p=none, other_leads=scores, other_p=scores,
        )  # fmt: skip
        return Pool(trials, names, names, names, names)
    joined = {field: np.concatenate([getattr(t, field) for _, t in found]) for field in Trials.__dataclass_fields__}
    return Pool(
        Trials(**joined),
        np.concatenate([f.works for f, _ in found]),
        np.concatenate([f.recipe for f, _ in found]),
        np.array([s.entry["artist"] for f, _ in found for s in f.suspects]),
        np.array([s.entry["recipe"] for f, _ in found for s in f.suspects]),
    )


def read_corpus(loras: Path) -> list[Read]:
    """Every readable LoRA below the folder.  Raises ReferenceSetError where there is no such folder."""
    require_folder(loras)
    return [one for one in read_folder(loras, None) if isinstance(one, Read)]


RANDOM = "(random weights)"
"""Artist of the suspects that were never trained, before a number: each stands for itself."""


def never_trained(corpus: Sequence[Read], rng: np.random.Generator, count: int = 40) -> list[Read]:
    """Suspects with random weights, in the shapes, ranks and strengths of `count` validation suspects."""
    models = [r for r in corpus if not is_reference(r)][:count]

    def empty(f: Factored) -> Factored:
        left, right = (rng.standard_normal(side.shape) for side in (f.left, f.right))
        made = factor(LoraModule("random", left.astype(np.float32), right.astype(np.float32), 1.0))
        share = float(np.linalg.norm(f.singular) / np.linalg.norm(made.singular))
        return Factored(made.left * share, made.right, made.singular * share, None)

    return [
        Read(
            {
                "file": f"{RANDOM}/--suspect-{i}",
                "artist": f"{RANDOM} {i}",
                "part": "a",
                "recipe": "none",
                "rank": one.entry["rank"],
            },
            {path: empty(f) for path, f in one.factored.items()},
            one.base_family,
        )
        for i, one in enumerate(models)
    ]


def few_references(corpus: Sequence[Read], count: int) -> list[Read]:
    """The corpus with only the first `count` references of each artist and half that fill every module."""
    paths = all_modules(corpus)
    kept: dict[tuple[str, str], int] = {}
    result = []
    for one in corpus:
        if is_reference(one):
            key = (one.entry["artist"], one.entry["part"])
            if not complete(one, paths) or kept.get(key, 0) >= count:
                continue
            kept[key] = kept.get(key, 0) + 1
        result.append(one)
    return result
