"""Controls: whom would rank, norm or spectrum, which know nothing of style, accuse by themselves?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from auditor.embedding.features import Factored
from auditor.embedding.points import Floats, artist_weights
from auditor.embedding.sketches import controls
from auditor.evidence.kept import kept
from auditor.reference.set import ReferenceSet, View
from auditor.statistics.conformal import ConformalNull

ROWS = 16  # references compared with all artists at a time: the differences stay in the processor's cache
SINGLED_OUT = 1.25
"""How many times better, a layer on geometric average, a recipe must fit one artist than the next one to point to
anybody: recipes that all artists have reach less (benchmarks/controls.py)."""
LEAST_VARIANCE = 0.01
"""Of one artist's recipes, in z-scores squared: artists whose files are all alike have a width as well."""


def control_scores(reference: ReferenceSet, factored: dict[str, Factored], view: View) -> dict[str, dict[str, Any]]:
    """The open-set test on rank, norm and spectrum alone: whom would the recipe by itself accuse?

    H0: the suspect comes from an artist outside the set, and its recipe is exchangeable with those of references whose
    own artist was left out.  Statistic: how much better it fits the first artist's recipes than the next one's.  p = 1
    where that is hardly better (`SINGLED_OUT`), or the recipe lies outside of what any artist's are: such a recipe
    points to nobody.
    """
    columns = [reference.modules.index(p) for p in view.bases.paths]
    seen = controls(factored, reference.modules)
    result = {}
    for name in reference.controls:
        first, p = recipe_test(reference, view, name).test(seen[name][columns])
        result[name] = {"top_artist": reference.artists[first], "p": p}
    return result


@dataclass(frozen=True)
class RecipeModel:
    """One control: where artists' references lie by recipe alone, in z-scores of `mean` and `spread`."""

    mean: Floats
    spread: Floats
    centres: Floats
    """(C, D) mean of each artist's references."""
    variances: Floats
    """(C, D) their variance."""

    def apart(self, seen: Floats) -> Floats:
        """How far (n, C) figures (n, D) lie from each artist's recipes: mean square in their standard deviations.

        A mean over layers and not their sum, for the layers of a file go together.
        """
        found = np.empty((len(seen), len(self.centres)))
        for begin in range(0, len(seen), ROWS):
            z = (seen[begin : begin + ROWS] - self.mean) / self.spread
            found[begin : begin + ROWS] = ((z[:, None, :] - self.centres) ** 2 / self.variances).mean(2)
        return found

    def fits(self, apart: Floats) -> Floats:
        """Log-likelihood (n, C), a layer on average and but for a constant, of figures that lie so far apart (n, C)."""
        return np.asarray(-0.5 * (apart + np.log(self.variances).mean(1)))


@dataclass(frozen=True)
class RecipeTest:
    """A control made ready: the model, how far recipes of left-out artists lead, and how far apart recipes are."""

    model: RecipeModel
    null: ConformalNull
    furthest: float
    """The largest distance of a reference from its own artist's recipes."""

    def test(self, seen: Floats) -> tuple[int, float]:
        """The artist whose recipes fit figures (D,) best, and p."""
        apart = self.model.apart(seen[None])
        fits = self.model.fits(apart)
        first, ahead = int(np.argmax(fits[0])), float(lead_over_next(fits)[0])
        if ahead < np.log(SINGLED_OUT) or apart[0, first] > self.furthest:
            return first, 1.0
        return first, float(self.null(ahead)[0])


def lead_over_next(fits: Floats) -> Floats:
    """How far the best of each row (n, C) is above the second, (n,); NaN columns are left out."""
    first = np.sort(np.where(np.isnan(fits), -np.inf, fits), axis=1)
    return np.asarray(first[:, -1] - first[:, -2])


def recipe_test(reference: ReferenceSet, view: View, name: str) -> RecipeTest:
    """The control `name` of a view; made once for a set, since no suspect changes it."""
    columns = [reference.modules.index(p) for p in view.bases.paths]
    return kept(view, ("recipe", name), lambda: fit_recipe(reference.controls[name][view.rows][:, columns], view))


def fit_recipe(known: Floats, view: View) -> RecipeTest:
    """From the references' figures (n, D)."""
    weight = artist_weights(view.artist, np.ones(len(known), bool))
    mean = weight @ known
    spread = np.sqrt(weight @ (known - mean) ** 2) + 1e-9
    z = (known - mean) / spread
    own = [z[view.artist == a] for a in range(len(view.centres))]
    centres, variances = np.stack([rows.mean(0) for rows in own]), np.stack([rows.var(0) for rows in own])
    count = np.array([len(rows) for rows in own])[:, None]
    variances = (count * variances + variances.mean(0) + LEAST_VARIANCE) / (count + 1)  # few files: part of everybody's
    model = RecipeModel(mean, spread, centres, variances)
    apart, own_column = model.apart(known), (np.arange(len(known)), view.artist)
    fits = model.fits(apart)
    fits[own_column] = np.nan
    return RecipeTest(model, ConformalNull.of(lead_over_next(fits), view.artist), float(apart[own_column].max()))
