"""A validity card → one self-contained HTML page of tables and plots.

Enters: the dict of card.json, whose names come from the set's maker and are escaped like everything else.
Leaves: a page without scripts.  Plots that a card lacks are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from auditor.report.figures import Scale, svg, tag, ticks
from auditor.report.html import _environment
from auditor.report.texts import FIGURES
from auditor.report.untrusted import show
from auditor.report.view import DASH, number

Fields = Mapping[str, Any]
COLUMNS = ("top1", "open_set_auc", "found_at_alpha", "tpr_at_fpr_1", "false_attribution", "false_attribution_at_02")
NAMES = FIGURES | {
    "map_at_5": "Mean average precision, five artists deep",
    "tpr_at_fpr_1": "Found at 1 % false alarms",
    "false_attribution": "False attribution at α = .05",
    "false_attribution_at_02": "False attribution at α = .02",
    "found_at_alpha": "Found at α = .05",
    "open_set_auc": "Open-set AUC",
}
WIDE, HIGH, LEFT, BOTTOM = 340.0, 250.0, 44.0, 40.0


@dataclass(frozen=True)
class Line:
    """One line of a plot."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    step: bool = False
    dots: bool = False
    chance: bool = False
    """Drawn as something to compare with."""


def render_card(card: Fields) -> str:
    """The page of one card."""
    return (
        _environment()
        .get_template("card.html.jinja")
        .render(
            name=show(card["set"], 120),
            features=show(card["features"], 120),
            card=card,
            verdict=card.get("certificate"),
            headline_of=show(card.get("headline_of", "other works, other recipe"), 120),
            headline=[figure_row(k, v) for k, v in card["headline"].items()],
            tables=tables(card),
            plots=plots(card),
            structure=structure_rows(card),
            measured=[measured_table(found) for found in card.get("measured", {}).values()],
            ratios=[(name, ratio_rows(found)) for name, found in card.get("likelihood", {}).items()],
        )
    )


def figure_row(key: str, figure: Fields) -> tuple[str, str, str, str]:
    """Name, value, interval and number of artists."""
    return NAMES.get(key, show(key, 80)), cell(figure), interval(figure), str(figure.get("of", DASH))


def cell(figure: Fields | None) -> str:
    """A value with two decimals."""
    return DASH if not figure else f"{figure['value']:.2f}"


def interval(figure: Fields | None) -> str:
    """Its interval."""
    return "" if not figure else f"{figure['low']:.2f} … {figure['high']:.2f}"


def tables(card: Fields) -> list[dict[str, Any]]:
    """Conditions, recipes, hard negatives and ablations: a row each, the same columns."""
    given: tuple[tuple[str, Fields, Fields], ...] = (
        ("Kinds of suspect", card["conditions"], card.get("suspects", {})),
        ("Other works, by the suspect’s recipe", card.get("by_recipe", {}), {}),
        ("Hard negatives: artists left out of the set", card.get("hard_negatives", {}), {}),
        ("One change at a time, controls and baselines", card.get("ablations", {}), {}),
    )
    return [
        {
            "title": title,
            "columns": [NAMES[c] for c in COLUMNS],
            "rows": [
                (show(n, 120), str(counts.get(n, "")), [(cell(f.get(c)), interval(f.get(c))) for c in COLUMNS])
                for n, f in rows.items()
            ],
        }
        for title, rows, counts in given
        if rows
    ]


def measured_table(found: Fields) -> dict[str, Any]:
    """A table that a benchmark added: title, note, columns, rows of text."""
    return {
        "title": show(found["title"], 120),
        "note": show(found["note"], 400),
        "columns": [show(c, 80) for c in found["columns"]],
        "rows": [[show(c, 80) for c in row] for row in found["rows"]],
    }


def ratio_rows(found: Fields) -> list[tuple[str, str, str, str]]:
    """Cllr and its two parts, and the bounds."""
    rows = [figure_row(k, v) for k, v in found["figures"].items()]
    low, high = found["bounds"]["elub"]
    sources = found["bounds"]
    most = f"± {sources['log10_sources']:.2f}"
    rows.append(("Bound by number of artists", most, "log10 LR", str(sources["sources"])))
    rows.append(("Bounds by experience (ELUB)", f"{low:.2f} … {high:.2f}", "log10 LR", ""))
    for key, words in (("same_below_0", "Own artist, LR below 1"), ("different_above_0", "Stranger, LR above 1")):
        rows.append((words, f"{100 * found['misleading'][key]:.0f} %", "misleading", ""))
    return rows


def structure_rows(card: Fields) -> list[tuple[str, str]]:
    """Separation, clustering and drift in words."""
    rows = []
    if "separation" in card:
        s = card["separation"]
        rows.append(("Artists separate within their genre (label permutation)", f"p = {s['p']:.4f}"))
    for key, words in (
        ("adjusted_rand", "Clusters against artists, adjusted Rand index"),
        ("mutual_information", "Clusters against artists, mutual information"),
        ("silhouette_artist", "Silhouette by artist"),
        ("silhouette_genre", "Silhouette by genre"),
    ):
        if key in card.get("clustering", {}):
            rows.append((words, number(card["clustering"][key], 3)))
    if "drift" in card:
        own, wrong = card["drift"]["own_cosine"], card["drift"]["false_attribution"]
        rows.append(("Own-artist cosine, fitted → held out", f"{own['fitted']:.2f} → {own['held_out']:.2f}"))
        rows.append(("False attribution with a null of fitted files", f"{100 * wrong['uncalibrated']:.0f} %"))
        rows.append(("False attribution with held-out files, as audits use", f"{100 * wrong['calibrated']:.0f} %"))
    return rows


# ---------------------------------------------------------------------------------------------- plots


def plots(card: Fields) -> list[tuple[str, str, Markup]]:
    """(title, what to look for, figure) of every plot that the card has data for."""
    found = []
    if "curves" in card:
        roc, null = card["curves"]["roc"], card["curves"]["null_uniformity"]
        curve = Line("this set", roc["false_alarms"], roc["detections"])
        drawing = plot("roc", [diagonal(), curve], UNIT, SHARES)
        found.append(("ROC", "Higher is better; the diagonal is chance.", drawing))
        misses = [1 - d for d in roc["detections"]]
        line = Line("this set", roc["false_alarms"], misses)
        found.append(("Misses against false alarms", "Lower is better.", plot("det", [line], UNIT, MISSES)))
        steps = Line("impostors", null["p"], null["share"], step=True)
        words = "Artists outside the set should follow the diagonal; above it on the left they are accused too often."
        found.append(("P-values under the null", words, plot("null", [diagonal(), steps], UNIT, ("p", "share ≤ p"))))
    for i, (name, ratios) in enumerate(card.get("likelihood", {}).items()):
        found += [(f"{title}: {name}", words, drawn) for title, words, drawn in ratio_plots(f"r{i}", ratios)]
    return found


UNIT = (0.0, 1.0, 0.0, 1.0)
SHARES = ("false alarms", "detections")
MISSES = ("false alarms", "misses")


def diagonal() -> Line:
    """Chance."""
    return Line("chance", [0, 1], [0, 1], chance=True)


def ratio_plots(key: str, ratios: Fields) -> list[tuple[str, str, Markup]]:
    """Tippett, ECE and PAV."""
    t, e, p = ratios["tippett"], ratios["ece"], ratios["pav"]
    tippett = [Line("own artist", t["log10_lr"], t["same"]), Line("stranger", t["log10_lr"], t["different"])]
    ece = [
        Line("no evidence", e["prior_log10_odds"], e["silent"], chance=True),
        Line("ratios", e["prior_log10_odds"], e["ratios"]),
        Line("ideally recalibrated", e["prior_log10_odds"], e["recalibrated"]),
    ]
    span = (-2.0, 2.0, -2.0, 2.0)
    same = Line("as given = recalibrated", [-2, 2], [-2, 2], chance=True)
    pav = [same, Line("files", p["log10_lr"], p["recalibrated"], dots=True)]
    high = max(1.0, *e["ratios"])
    return [
        ("Tippett", "The further apart the lines, the better; strangers right of 0 are misleading.",
         plot(f"{key}-tippett", tippett, (-2, 2, 0, 1), ("log10 LR", "share above"))),
        ("ECE", "Ratios should cost less than no evidence at every prior.",
         plot(f"{key}-ece", ece, (-2, 2, 0, high), ("prior log10 odds", "bits"))),
        ("PAV", "Dots on the diagonal mean calibrated ratios.",
         plot(f"{key}-pav", pav, span, ("log10 LR", "recalibrated"))),
    ]  # fmt: skip


def plot(key: str, lines: Sequence[Line], span: tuple[float, float, float, float], axes: tuple[str, str]) -> Markup:
    """A small plot with axes and a legend; span = x from, to, y from, to.  Lines are cut at its edges."""
    x_scale = Scale(span[0], span[1], LEFT, WIDE - 10)
    y_scale = Scale(span[2], span[3], HIGH - BOTTOM, 10 + 16 * len(lines))
    marks = [*frame(x_scale, y_scale, span, axes)]
    colours = iter(range(1, 9))
    for i, line in enumerate(lines):
        colour = 0 if line.chance else next(colours)
        marks += drawn(line, colour, x_scale, y_scale, span)
        marks.append(tag("line", x1=LEFT + 4, x2=LEFT + 24, y1=12 + 15 * i, y2=12 + 15 * i, class_=f"curve c{colour}"))
        marks.append(tag("text", line.name, x=LEFT + 30, y=16 + 15 * i, class_="small"))
    described = f"{axes[1]} against {axes[0]}: " + ", ".join(line.name for line in lines)
    return svg(key, HIGH, axes[1], described, marks, width=WIDE)


def frame(x_scale: Scale, y_scale: Scale, span: Sequence[float], axes: tuple[str, str]) -> list[Markup]:
    """Axes with ticks and their names."""
    bottom, top = y_scale(span[2]), y_scale(span[3])
    marks = [
        tag("line", x1=LEFT, x2=x_scale(span[1]), y1=bottom, y2=bottom, class_="axis"),
        tag("line", x1=LEFT, x2=LEFT, y1=bottom, y2=top, class_="axis"),
        tag("text", axes[0], x=(LEFT + WIDE) / 2, y=HIGH - 6, class_="small", text_anchor="middle"),
        tag("text", axes[1], x=12, y=(bottom + top) / 2, class_="small", text_anchor="middle",
            transform=f"rotate(-90 12 {(bottom + top) / 2:.1f})"),
    ]  # fmt: skip
    for v in ticks(span[0], span[1], 5):
        marks.append(tag("text", f"{v:g}", x=x_scale(v), y=bottom + 15, class_="small", text_anchor="middle"))
    for v in ticks(span[2], span[3], 5):
        marks.append(tag("text", f"{v:g}", x=LEFT - 5, y=y_scale(v) + 4, class_="small", text_anchor="end"))
    return marks


def drawn(line: Line, index: int, x_scale: Scale, y_scale: Scale, span: Sequence[float]) -> list[Markup]:
    """The marks of one line."""
    inside = [
        (x_scale(min(max(x, span[0]), span[1])), y_scale(min(max(y, span[2]), span[3])))
        for x, y in zip(line.x, line.y, strict=True)
    ]
    if line.dots:
        return [tag("circle", cx=x, cy=y, r=2.2, class_=f"curve dots c{index}") for x, y in inside]
    path = f"M{inside[0][0]:.1f} {inside[0][1]:.1f}"
    for x, y in inside[1:]:
        path += f"H{x:.1f}V{y:.1f}" if line.step else f"L{x:.1f} {y:.1f}"
    return [tag("path", d=path, class_=f"curve c{index}")]
