"""Two thousand suspects under the null: attributed as often as claimed, at .05 and at .02, within binomial noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from auditor.embedding.scores import fit_normaliser, impostor_scores
from auditor.statistics.conformal import conformal_p

SETS, SUSPECTS, ARTISTS = 200, 10, 99
"""99 artists: α = .05 and .02 are whole numbers of hundredths, so that the claim is exact and not merely safe."""


def cosines_of(rng: np.random.Generator, files: int, columns: np.ndarray, kind: str) -> np.ndarray:
    """Cosines (files, C) of impostors with artists: artists differ in how near everybody is, files in their recipe."""
    loud = np.exp(0.5 * rng.standard_normal((files, 1)))  # a recipe that makes all cosines larger
    if kind == "near somebody":
        loud = loud * (1 + stats.expon.rvs(size=(files, 1), random_state=rng))
    spread = rng.standard_normal((files, len(columns))) * (1 + 0.3 * np.abs(columns))
    return np.asarray(loud * (0.3 * columns + spread))


@pytest.fixture(scope="module", params=["alike", "near somebody"])
def p_values(request: pytest.FixtureRequest) -> np.ndarray:
    """Open-set p of 2 000 suspects of artists outside 200 sets; suspects and references are of one kind."""
    found = []
    for seed in range(SETS):
        rng = np.random.default_rng([seed, 7])
        columns = rng.standard_normal(ARTISTS)
        null = cosines_of(rng, ARTISTS, columns, request.param)
        np.fill_diagonal(null, np.nan)
        artist = np.arange(ARTISTS)
        seen = fit_normaliser(null, artist)(cosines_of(rng, SUSPECTS, columns, request.param))
        statistic = np.nanmax(impostor_scores(null, artist), 1)
        found.append(conformal_p(seen.max(1), statistic, artist))
    return np.concatenate(found)


@pytest.mark.parametrize("alpha", [0.05, 0.02])
def test_the_claimed_rate_lies_in_the_binomial_band(p_values: np.ndarray, alpha: float) -> None:
    """Ten suspects share a set, which widens the band a little; the plain 95 % band is asked all the same."""
    count = SETS * SUSPECTS
    assert p_values.size == count >= 2000
    low, high = stats.binom.ppf([0.025, 0.975], count, alpha)
    assert low <= np.sum(p_values <= alpha + 1e-12) <= high


def test_p_values_are_uniform(p_values: np.ndarray) -> None:
    grid = np.arange(1, 100) / 100
    share = np.array([np.mean(p_values <= g + 1e-12) for g in grid])
    assert np.abs(share - grid).max() < 0.04
