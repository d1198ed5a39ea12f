"""Coordinates of a suspect → scores, p-values, likelihood ratios, controls, mixture, map: the evidence of an audit."""

from __future__ import annotations

import numpy as np

from auditor.evidence.artists import artist_scores, largest_ratio, without_claims
from auditor.evidence.controls import control_scores, recipe_test
from auditor.evidence.copies import copy_of, copy_of_known
from auditor.evidence.in_common import in_common
from auditor.evidence.maps import style_map
from auditor.evidence.mixtures import mixture
from auditor.evidence.significance import open_set
from auditor.reference.set import ReferenceSet

__all__ = [
    "artist_scores",
    "control_scores",
    "copy_of",
    "copy_of_known",
    "in_common",
    "largest_ratio",
    "make_ready",
    "mixture",
    "open_set",
    "style_map",
    "without_claims",
]


def make_ready(reference: ReferenceSet, alpha: float) -> None:
    """Work out now what every audit against the set at level alpha needs and no suspect changes (see `kept`).

    A reference of each view is scored for that, as if all its modules gave alike.
    """
    _ = reference.directions, reference.numbers
    for view in reference.views.values():
        point = view.points[:1]
        open_set(view, point, alpha, 1, 0, reference.artists)
        artist_scores(reference, view, np.repeat(point, len(view.bases.paths), 0))
        style_map(reference, view, point)
        for name in reference.controls:
            recipe_test(reference, view, name)
