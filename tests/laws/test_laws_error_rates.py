"""The claim of the whole project, on worlds whose truth is known: claimed error rates are kept, and there is power."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats
from worlds import SETTINGS, World, columns_of, grams_of, references, view_of

from auditor.embedding.fit import fit
from auditor.embedding.points import centroids, cosines
from auditor.embedding.scores import fit_normaliser, lead
from auditor.evidence.artists import exclusion_p, per_artist_p
from auditor.evidence.impostors import scores_of
from auditor.evidence.membership import member_p, outsiders_no_match
from auditor.evidence.significance import open_set
from auditor.reference.set import View
from auditor.reference.trials import run_half_out_trials, run_trials, trial_cosines

ALPHA = 0.05
ARTISTS, FILES = 40, 6
COLUMNS = columns_of(World(np.random.default_rng()).width)


@dataclass(frozen=True)
class Judged:
    """A calibrated set of 40 artists with 6 files each, and its opinion of suspects that nobody has seen."""

    view: View
    styles: np.ndarray
    world: World

    def p(self, x: np.ndarray) -> np.ndarray:
        """Open-set p of each suspect's features."""
        return np.array([open_set(self.view, point, ALPHA, 1, 0).p for point in self.view.projection(x)[:, None]])


@pytest.fixture(scope="module")
def judged() -> Judged:
    world = World(np.random.default_rng(12))
    styles, x, artist = references(world, ARTISTS, FILES)
    return Judged(view_of(x, artist), styles, world)


def most_false(suspects: int, alpha: float = ALPHA, artists: int = ARTISTS) -> int:
    """99.95 % point of false attributions of one set, when suspect and null are exchangeable.

    The rate of one set is itself drawn: with k = ⌊α (C + 1)⌋ it is Beta(k, C + 1 - k).
    """
    k = int(alpha * (artists + 1) + 1e-9)
    return int(stats.betabinom.ppf(0.9995, suspects, k, artists + 1 - k))


def test_files_of_fresh_artists_are_rarely_attributed(judged: Judged) -> None:
    p = judged.p(judged.world.files(judged.world.artists(300)))
    assert np.sum(p <= ALPHA) <= most_false(300)
    assert np.sum(p <= 0.5) > 60  # the test is not simply mute
    assert p.min() >= 1 / (ARTISTS + 1)


def test_pure_noise_is_rarely_attributed(judged: Judged) -> None:
    world = judged.world
    about_the_mean = world.common + world.noise * world.rng.standard_normal((300, world.width))
    recipe_alone = world.files(np.zeros((300, world.width)))
    for x in (about_the_mean, recipe_alone):
        assert np.sum(judged.p(x) <= ALPHA) <= most_false(300)


def test_files_of_the_sets_artists_are_found_and_named(judged: Judged) -> None:
    truth = np.repeat(np.arange(ARTISTS), 3)
    x = judged.world.files(judged.styles[truth])
    points = judged.view.projection(x)
    named = np.array([scores_of(judged.view, point).argmax() for point in points[:, None]])
    assert np.mean(named == truth) > 0.9
    assert np.mean(judged.p(x) <= ALPHA) > 0.5


def less_of_everything(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Features of trainers that leave a third of what others leave, or a block not at all."""
    share = rng.uniform(0.1, 0.5, (len(x), len(COLUMNS))) * (rng.uniform(size=(len(x), len(COLUMNS))) < 0.8)
    return np.concatenate([x[:, c] * share[:, [k]] for k, c in enumerate(COLUMNS)], axis=1)


def test_files_that_show_less_of_everything_are_found_and_strangers_are_not(judged: Judged) -> None:
    """What they lack of all files' mean is the same for all of them, and is nobody's style."""
    world, rng = judged.world, np.random.default_rng(3)
    truth = np.repeat(np.arange(ARTISTS), 3)
    points = judged.view.projection(x := less_of_everything(world.files(judged.styles[truth]), rng))
    named = np.array([scores_of(judged.view, point).argmax() for point in points[:, None]])
    assert np.mean(named == truth) > 0.8
    assert np.mean(judged.p(x) <= ALPHA) > 0.4
    strangers = less_of_everything(world.files(world.artists(300)), rng)
    assert np.sum(judged.p(strangers) <= ALPHA) <= most_false(300)


def test_the_true_artist_is_rarely_excluded_and_others_often_are(judged: Judged) -> None:
    truth = np.repeat(np.arange(ARTISTS), 3)
    points = judged.view.projection(judged.world.files(judged.styles[truth]))
    excluded = np.stack([exclusion_p(judged.view, scores_of(judged.view, p)) for p in points[:, None]]) <= ALPHA
    own = np.zeros_like(excluded)
    own[np.arange(len(truth)), truth] = True
    assert np.sum(excluded[own]) <= most_false(len(truth))
    assert np.mean(excluded[~own]) > 0.3


def test_files_of_the_sets_artists_are_rarely_called_nobodys_and_outsiders_often_are(judged: Judged) -> None:
    """p_member, on works that no reference shows; what the set says of its own power is true."""
    world, view = judged.world, judged.view
    best = [
        np.array([scores_of(view, point).max() for point in view.projection(x)[:, None]])
        for x in (world.files(np.repeat(judged.styles, 5, axis=0)), world.files(world.artists(300)))
    ]
    called = [member_p(view, statistic) <= ALPHA for statistic in best]
    assert called[0].sum() <= most_false(5 * ARTISTS)
    assert called[1].mean() > 0.4
    assert outsiders_no_match(view, ALPHA) == pytest.approx(called[1].mean(), abs=0.2)


@pytest.mark.parametrize("style", [0.0, 0.4, 1.5], ids=["no styles", "faint styles", "clear styles"])
def test_over_many_sets_members_are_called_nobodys_at_the_claimed_rate(style: float) -> None:
    """A new set and a new member for every count, also where styles hardly show: 19 artists, α = 0.1."""
    worlds, alpha, artists, width = 60, 0.1, 19, 60
    members = outsiders = joint = 0
    for seed in range(worlds):
        world = World(np.random.default_rng([seed, 7]), width=width, style_dimensions=15, style=style)
        styles, x, artist = references(world, artists, 4)
        view = view_of(x, artist, blocks=1)
        member, other = (scores_of(view, point) for point in
                         view.projection(world.files(np.vstack([styles[:1], world.artists(1)])))[:, None])  # fmt: skip
        members += int(member_p(view, member.max())[0] <= alpha + 1e-9)
        outsiders += int(member_p(view, other.max())[0] <= alpha + 1e-9)
        joint += int(exclusion_p(view, other).max() <= alpha + 1e-9)
    limit = stats.binom.ppf(0.9995, worlds, alpha)
    assert members <= limit
    assert outsiders >= joint  # one test for all artists finds no less than excluding one after the other
    if style > 1:
        assert outsiders > limit


def test_one_named_artist_in_advance_is_rarely_accused_by_others_files(judged: Judged) -> None:
    """Question C for an artist fixed beforehand: at most α, each artist against all strangers."""
    x = judged.world.files(judged.world.artists(100))
    scores = [scores_of(judged.view, point) for point in judged.view.projection(x)[:, None]]
    accused = np.stack([per_artist_p(judged.view, s) for s in scores]) <= ALPHA
    assert 0 < accused.mean() < 2 * ALPHA


def test_likelihood_ratios_of_fresh_files_point_the_right_way(judged: Judged) -> None:
    view = judged.view

    def ratios(files: np.ndarray) -> np.ndarray:
        return view.calibration.log10_lr(view.statistic(cosines(view.projection(files), view.centres)))

    own, other = ratios(judged.world.files(judged.styles)), ratios(judged.world.files(judged.world.artists(40)))
    assert np.median(own) > 0.5
    assert np.median(other) < -0.5
    assert np.mean(10**other) < 1.2  # whoever comes first for a stranger: no support on average
    assert np.abs(other).max() <= np.log10(ARTISTS)
    # an LR of 10 or more in favour is reached by fewer than 1 in 10 of the others (Markov; here with room)
    assert np.mean(other >= 1) < 0.1


@pytest.mark.parametrize("recipe", [0.0, 3.0], ids=["same recipe", "any recipe"])
def test_over_many_sets_the_claimed_rate_is_kept(recipe: float) -> None:
    """A new set for every suspect, so that counts are binomial: 19 artists, α = 0.1, two values of p reject."""
    worlds, alpha, artists, width = 150, 0.1, 19, 120
    hits = {"stranger": 0, "noise": 0, "own artist left out": 0, "own artist": 0}
    for seed in range(worlds):
        world = World(np.random.default_rng([seed, int(recipe)]), width=width, style_dimensions=15, recipe=recipe)
        styles, x, artist = references(world, artists, 3)
        seen = world.files(np.vstack([world.artists(1), np.zeros((1, width)), styles[:1]]))
        trials = run_trials(np.vstack([x, seen]), columns_of(width, 2), artist, np.array([-1, -1, 0]), SETTINGS)
        for kind, p in zip(hits, [*trials.p_impostor, trials.p_genuine[2]], strict=True):
            hits[kind] += int(p <= alpha + 1e-9)
    limit = stats.binom.ppf(0.9995, worlds, alpha)
    for kind in ("stranger", "noise", "own artist left out"):
        assert hits[kind] <= limit, kind
    assert hits["own artist"] > 1.3 * limit


# --- trials: the same figures for suspects of known artists ---------------------------------------------------------


@pytest.fixture(scope="module")
def trial_world() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(features of references and suspects, artist of references, artist of suspects; -1 for outsiders)."""
    world = World(np.random.default_rng(21), width=150)
    styles, x, artist = references(world, 12, 4)
    suspects = np.array([0, 3, 3, 7, 11, -1, -1])
    extra = np.vstack([styles, world.artists(2)])
    seen = world.files(extra[[0, 3, 3, 7, 11, 12, 13]])
    return np.vstack([x, seen]), artist, suspects


STEP = 1.01 / 13 / 4
"""One reference of one of twelve artists on the other side: stored projections are rounded, trials are not."""


def test_genuine_trials_are_audits(trial_world: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    features, artist, suspects = trial_world
    n = len(artist)
    trials = run_trials(features, columns_of(150), artist, suspects, SETTINGS)
    view = view_of(features[:n], artist)
    for i, point in enumerate(view.projection(features[n:])[:, None]):
        audited = open_set(view, point, ALPHA, 1, 0)
        if suspects[i] >= 0:
            assert trials.p_genuine[i] == pytest.approx(audited.p, abs=STEP)
            assert trials.genuine[i] == pytest.approx(audited.statistic, rel=0.02)  # counted in spreads of strangers
            assert trials.own_score[i] == pytest.approx(scores_of(view, point)[suspects[i]], abs=0.02)
        else:
            crowded = 1 + (audited.p > 0.5)  # where the null is dense, rounding may move two; never where p decides
            assert trials.p_impostor[i] == pytest.approx(audited.p, abs=crowded * STEP)
            assert np.isnan([trials.genuine[i], trials.p_genuine[i], trials.own_score[i]]).all()
        assert trials.named[i] == scores_of(view, point).argmax()


def test_impostor_trials_are_audits_by_the_set_without_the_artist(
    trial_world: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """p-values agree with a set that never had the artist, up to what its null knew of it."""
    features, artist, suspects = trial_world
    n = len(artist)
    trials = run_trials(features, columns_of(150), artist, suspects, SETTINGS)
    null, _, without = trial_cosines(features, columns_of(150), artist, suspects, SETTINGS)
    for i in (0, 2, 4):
        kept = artist != suspects[i]
        relabelled = np.unique(artist[kept], return_inverse=True)[1]
        view = view_of(features[:n][kept], relabelled)
        others = np.delete(trials.other_scores[i], suspects[i])
        assert np.isnan(trials.other_scores[i, suspects[i]])
        assert np.corrcoef(others, scores_of(view, view.projection(features[n + i])))[0, 1] > 0.95
        left = np.arange(12) != suspects[i]
        reduced = fit_normaliser(null[np.ix_(kept, left)], relabelled)
        assert trials.impostor[i] == pytest.approx(float(lead(reduced(without[i : i + 1, left]))[0]))
        assert 1 / 12 <= trials.p_impostor[i] <= 1
    chosen = trials.rows(np.array([1, 4]))
    assert chosen.artist.tolist() == [3, 11]
    assert chosen.other_scores.shape == (2, 12)


def test_half_out_trials_use_the_set_without_the_suspects_half_of_the_works() -> None:
    """Genuine: the fit lacks the part, null and normaliser are the whole set's.  Impostor: as in other trials."""
    world = World(np.random.default_rng(22), width=150)
    styles, x, artist = references(world, 10, 4)
    parts = 2 * artist + np.arange(len(artist)) % 2
    suspects, halves = np.array([0, 0, 6, -1]), np.array([0, 1, 13, 99])
    features = np.vstack([x, world.files(np.vstack([styles[[0, 0, 6]], world.artists(1)]))])
    trials = run_half_out_trials(features, columns_of(150, 1), artist, parts, suspects, halves, SETTINGS)
    whole = run_trials(features, columns_of(150, 1), artist, suspects, SETTINGS)
    np.testing.assert_allclose(trials.impostor, whole.impostor, atol=1e-3)
    np.testing.assert_allclose(trials.p_impostor, whole.p_impostor, atol=1e-9)
    view = view_of(x, artist, blocks=1)
    for i in range(3):
        kept = parts != halves[i]
        fitted = fit(grams_of(np.vstack([x[kept], features[len(x) + i]]), np.append(artist[kept], 0)),
                     np.append(np.ones(kept.sum(), bool), False), SETTINGS)  # fmt: skip
        centres = centroids(fitted.points[:-1], artist[kept], 10, np.ones(kept.sum(), bool))
        cosine = cosines(fitted.points[-1:], centres)
        scores = view.normaliser(cosine)[0]
        assert trials.genuine[i] == pytest.approx(float(view.statistic(cosine)[0]), abs=0.02)
        assert trials.own_score[i] == pytest.approx(scores[suspects[i]], abs=0.02)
        assert trials.named[i] == scores.argmax()
    assert np.isnan([trials.genuine[3], trials.p_genuine[3], trials.own_score[3]]).all()
