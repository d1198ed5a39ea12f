"""The validity card: how often this kind of set is right and wrong, measured on suspects whose artist is known.

Split-half protocol, both ways round: references from one half of every artist's works; suspects from the other half
("other works") and from the same half ("same works"), trained by other recipes and seeds; artists outside the set.
Every suspect is tried twice, with its artist in the set (genuine) and with it left out of the whole fit (impostor).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.embedding.backend import Floats, Labels, Settings
from auditor.embedding.features import KINDS, Factored, features, fit_bases
from auditor.embedding.sketches import controls
from auditor.errors import ReferenceSetError
from auditor.reference.build import DIRECTIONS, Read, read_folder
from auditor.reference.calibrate import ENOUGH, SETTINGS, VIEWS, view_modules
from auditor.reference.set import SUBNETWORKS, read_manifest
from auditor.reference.trials import Trials, run_half_out_trials, run_trials
from auditor.statistics.likelihood import cllr, fit_logistic
from auditor.statistics.metrics import Figure, auc, binomial_interval, equal_error_rate, over_groups

ALPHA = 0.05


@dataclass(frozen=True)
class Fold:
    """One direction of the protocol: reference and suspect rows of a corpus, and what each suspect is."""

    references: list[Read]
    suspects: list[Read]
    artists: list[str]
    works: NDArray[np.str_]
    """(m,) 'same', 'other' or 'outsider'."""
    recipe: NDArray[np.str_]
    """(m,) 'reference' or 'other'."""

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
    """Was the file trained as a reference (rather than as a validation suspect)?"""
    return "--ref-" in one.entry["file"]


def make_fold(corpus: Sequence[Read], half: str, crossed: bool = True) -> Fold:
    """References of one half against everything else; crossed: the other half's references are suspects as well."""
    references = [r for r in corpus if is_reference(r) and r.entry["part"] == half]
    suspects = [r for r in corpus if not is_reference(r) or (crossed and r.entry["part"] != half)]
    artists = sorted({r.entry["artist"] for r in references})
    works = ["outsider" if s.entry["artist"] not in artists else s.entry["part"] for s in suspects]
    works = [w if w == "outsider" else ("same" if w == half else "other") for w in works]
    recipe = ["reference" if is_reference(s) else "other" for s in suspects]
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


def control_matrix(name: str) -> Matrix:
    """Rank, norm or spectrum alone."""

    def build(fold: Fold, modules: list[str]) -> tuple[Floats, list[slice]]:
        rows = np.stack([controls(one.factored, modules)[name] for one in [*fold.references, *fold.suspects]])
        n = len(fold.references)
        scaled = (rows - rows[:n].mean(0)) / (rows[:n].std(0) + 1e-9)
        return np.asarray(scaled), [slice(0, scaled.shape[1])]

    return build


def all_modules(corpus: Sequence[Read]) -> list[str]:
    """Every module that any file adapts."""
    return sorted({path for one in corpus for path in one.factored})


def complete(one: Read, modules: list[str]) -> bool:
    """Does the file adapt (nearly) all of `modules`?"""
    return bool(np.mean([p in one.factored for p in modules]) >= ENOUGH)


def fold_trials(fold: Fold, matrix: Matrix, modules: list[str], settings: Settings) -> tuple[Fold, Trials]:
    """Trials of the suspects that adapt all of `modules`, against the references that do."""
    seen = replace(
        fold,
        references=[r for r in fold.references if complete(r, modules)],
        suspects=[s for s in fold.suspects if complete(s, modules)],
    )
    kept = np.array([complete(s, modules) for s in fold.suspects])
    seen = replace(seen, works=fold.works[kept], recipe=fold.recipe[kept])
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

    def where(self, works: str, recipe: str | None = None) -> Pool:
        """A condition of the card."""
        mask = (self.works == works) & ((self.recipe == recipe) if recipe else True)
        return Pool(self.trials.rows(mask), self.works[mask], self.recipe[mask], self.name[mask])


def pool(
    corpus: Sequence[Read],
    matrix: Matrix,
    settings: Settings,
    views: Sequence[str] = ("all", "attention"),
    crossed: bool = False,
) -> Pool:
    """Both folds; each suspect is tried in the first view that it fills, as `audit check` does."""
    found: list[tuple[Fold, Trials]] = []
    paths = all_modules(corpus)
    for half in ("a", "b"):
        left = make_fold(corpus, half, crossed)
        for view in views:
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
    for view in ("all", "attention"):
        modules = view_modules(paths, VIEWS[view])
        now, left = [s for s in left if complete(s, modules)], [s for s in left if not complete(s, modules)]
        if not now:
            continue
        inside = np.array(["half-out" if s.entry["artist"] in artists else "outsider" for s in now])
        fold = Fold([r for r in references if complete(r, modules)], now, artists, inside, np.full(len(now), "other"))
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
    joined = {field: np.concatenate([getattr(t, field) for _, t in found]) for field in Trials.__dataclass_fields__}
    return Pool(
        Trials(**joined),
        np.concatenate([f.works for f, _ in found]),
        np.concatenate([f.recipe for f, _ in found]),
        np.array([s.entry["artist"] for f, _ in found for s in f.suspects]),
    )


def figures(pooled: Pool, rng: np.random.Generator, resamples: int = 500) -> dict[str, dict[str, Any]]:
    """The headline figures of a condition, each with a 95 % interval from resampling artists."""
    t = pooled.trials
    measures: dict[str, Callable[[NDArray[np.intp]], float]] = {
        "top1": lambda i: float(np.mean(t.named[i] == t.artist[i])),
        "open_set_auc": lambda i: auc(t.genuine[i], t.impostor[i]),
        "found_at_alpha": lambda i: float(np.mean((t.p_genuine[i] <= ALPHA) & (t.named[i] == t.artist[i]))),
        "false_attribution": lambda i: float(np.mean(t.p_impostor[i] <= ALPHA)),
        "eer": lambda i: equal_error_rate(t.genuine[i], t.impostor[i]),
    }
    if len(t.artist) == 0:
        return {}
    if (t.artist < 0).all():
        measures = {"false_attribution": measures["false_attribution"]}
    return {name: asdict(over_groups(m, pooled.name, rng, resamples)) for name, m in measures.items()}


def false_attribution_band(pooled: Pool) -> dict[str, Any]:
    """False attributions as counts with the exact binomial interval, artists as the independent units."""
    p = pooled.trials.p_impostor
    hits, artists = int(np.sum(p <= ALPHA)), len(np.unique(pooled.name))
    share = hits / max(1, len(p))
    low, high = binomial_interval(round(share * artists), artists)
    return {"hits": hits, "of": len(p), "artists": artists, "low": low, "high": high}


def likelihood_cost(pooled: Pool, artists: int) -> dict[str, float]:
    """Cllr on artist-disjoint halves: calibrated on even artists, measured on odd ones, and the reverse."""
    t = pooled.trials
    costs = []
    for side in (0, 1):
        fit_rows, test_rows = t.artist % 2 == side, t.artist % 2 != side
        model = fit_logistic(t.own_score[fit_rows], t.impostor[fit_rows], artists // 2)
        costs.append(cllr(model.log10_lr(t.own_score[test_rows]), model.log10_lr(t.impostor[test_rows])))
    return {"cllr": float(np.mean(costs))}


def read_corpus(loras: Path) -> list[Read]:
    """Every readable LoRA below the folder."""
    return [one for one in read_folder(loras, None) if isinstance(one, Read)]


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


def ablations(
    corpus: Sequence[Read], settings: Settings, rng: np.random.Generator, thorough: bool
) -> dict[str, Any]:
    """One change at a time, on other works by other recipes; thorough: also sub-networks and fewer references."""
    plain, even = replace(settings, shrink=1.0), replace(settings, weigh=False)
    table = {
        "default": pool(corpus, embedding_matrix(), settings),
        "output covariance only": pool(corpus, embedding_matrix(("root-gram",)), settings),
        "update ΔW only": pool(corpus, embedding_matrix(("delta",)), settings),
        "no within-artist calibration": pool(corpus, embedding_matrix(), plain),
        "all blocks weighted alike": pool(corpus, embedding_matrix(), even),
        "control: rank only": pool(corpus, control_matrix("rank_only"), plain),
        "control: norm only": pool(corpus, control_matrix("norm_only"), plain),
        "control: spectrum only": pool(corpus, control_matrix("spectrum_only"), plain),
    }
    if thorough:
        table["output covariance without the root"] = pool(corpus, embedding_matrix(("gram",)), settings)
        for name in SUBNETWORKS:
            table[f"{name} only"] = pool(corpus, embedding_matrix(), settings, (name,))
        for count in (2, 3):
            fewer = few_references(corpus, count)
            table[f"{count} references an artist"] = pool(fewer, embedding_matrix(), settings)
    measured = {name: figures(pooled.where("other", "other"), rng, 200) for name, pooled in table.items()}
    rank = 16
    same_rank = [r for r in corpus if is_reference(r) and r.entry["rank"] == rank]
    for name, matrix in (("the paper's raw A and B", embedding_matrix(("paper",))), ("default", embedding_matrix())):
        pooled = pool(same_rank, matrix, settings, ("all",), crossed=True).where("other", "reference")
        measured[f"rank {rank} files only: {name}"] = figures(pooled, rng, 200)
    return measured


def evaluate(
    folder: str | Path,
    loras: str | Path | None = None,
    *,
    seed: int = 0,
    settings: Settings = SETTINGS,
    thorough: bool = False,
) -> dict[str, Any]:
    """Run the protocol on the LoRA files that a set was made from and write card.json into the set's folder.

    loras: the folder that `refs train` wrote, with its plan.json (halves, recipes, suspects).  Raises
    ReferenceSetError where it cannot give two halves of at least ten artists: too few to certify anything.
    """
    place = Path(folder)
    manifest = read_manifest(place)
    if loras is None:
        raise ReferenceSetError(
            "Evaluation needs the LoRA files that the set was made from.",
            advice="Give their folder: `audit refs evaluate DIR --loras LORAS`.",
        )
    corpus = read_corpus(Path(loras))
    artists = sorted({r.entry["artist"] for r in corpus if is_reference(r)})
    halves = {r.entry["part"] for r in corpus if is_reference(r)}
    if len(artists) < 10 or not {"a", "b"} <= halves:
        raise ReferenceSetError(
            f"{len(artists)} artists with parts {sorted(halves)} are too few to certify a set.",
            advice="Train references for at least ten artists with `audit refs train`, which splits works in halves.",
        )
    rng = np.random.default_rng(seed)
    pooled = pool(corpus, embedding_matrix(), settings, crossed=True)
    card = build_card(pooled, corpus, artists, manifest, settings, rng)
    write_card(place, card)
    card["ablations"] = ablations(corpus, settings, rng, thorough)
    write_card(place, card)
    return card


def write_card(place: Path, card: dict[str, Any]) -> None:
    """Write card.json."""
    (place / "card.json").write_text(json.dumps(card, indent=1), encoding="utf-8")


def build_card(
    pooled: Pool,
    corpus: Sequence[Read],
    artists: list[str],
    manifest: dict[str, Any],
    settings: Settings,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """All conditions, ablations and counts."""
    half_out = half_out_pool(corpus, embedding_matrix(), settings)
    conditions = {
        "other works, other recipe": pooled.where("other", "other"),
        "other works, reference recipe": pooled.where("other", "reference"),
        "same works, other recipe": pooled.where("same", "other"),
        "other works, other recipe, whole set for all others": half_out.where("half-out"),
        "artists outside the set": half_out.where("outsider"),
        "artists outside the split-half sets": pooled.where("outsider"),
    }
    headline = conditions["other works, other recipe"]
    measured = {name: figures(c, rng) for name, c in conditions.items()}
    return {
        "schema": "audit-validity-card/1",
        "set": manifest["name"],
        "features": manifest["features"],
        "settings": asdict(settings),
        "alpha": ALPHA,
        "artists": len(artists),
        "references_per_artist_and_half": sum(map(is_reference, corpus)) / len(artists) / 2,
        "suspects": {name: len(c.name) for name, c in conditions.items()},
        "headline": measured["other works, other recipe"] | likelihood_figure(headline, len(artists)),
        "conditions": measured,
        "false_attribution_counts": {name: false_attribution_band(c) for name, c in conditions.items()},
        "p_floor": 1 / (len(artists) + 1),
        "log10_lr_bound": float(np.log10(len(artists))),
    }


def likelihood_figure(pooled: Pool, artists: int) -> dict[str, Any]:
    """Cllr as a figure without an interval of its own."""
    value = likelihood_cost(pooled, artists)["cllr"]
    return {"cllr": asdict(Figure(value, value, value, artists))}
