"""Where the suspect lies on a flat map of the set."""

from __future__ import annotations

from auditor.embedding.axes import Axes, principal
from auditor.embedding.points import Floats, unit
from auditor.evidence.kept import kept
from auditor.reference.set import ReferenceSet, View
from auditor.result import StyleMap


def style_map(reference: ReferenceSet, view: View, point: Floats) -> StyleMap:
    """First two principal axes of the artists' directions, with the suspect placed by the same projection."""
    axes, placed = kept(view, "map", lambda: placed_artists(view))
    own = axes(unit(point)[0])
    artists = [
        {"artist": n, "genre": g, "x": float(x), "y": float(y)}
        for n, g, (x, y) in zip(reference.artists, reference.genres, placed, strict=True)
    ]
    return StyleMap(artists, (float(own[0]), float(own[1])), axes.explained)


def placed_artists(view: View) -> tuple[Axes, Floats]:
    """The map's axes, and where the artists of a view lie on them (C, 2)."""
    directions = unit(view.centres)
    axes = principal(directions)
    return axes, axes(directions)
