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
from auditor.report.numbers import DASH, number
from auditor.report.page import report_templates
from auditor.report.untrusted import show
from auditor.texts import CARD_FIGURES, FIGURES, say

Fields = Mapping[str, Any]
COLUMNS = ("top1", "open_set_auc", "found_at_alpha", "tpr_at_fpr_1", "false_attribution", "false_attribution_at_02")
WHEN_ASKED = ("found_at_alpha", "false_p_at_alpha", "false_p_genre", "false_of_nearest", "auc", "cllr", "cllr_genre")
NAMES = FIGURES | CARD_FIGURES
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
        report_templates()
        .get_template("card.html.jinja")
        .render(
            name=show(card["set"], 120),
            features=show(card["features"], 120),
            card=card,
            verdict=card.get("certificate"),
            certified=certified(card),
            headline_of=show(card.get("headline_of", "other works, other recipe"), 120),
            headline=[figure_row(k, v) for k, v in card["headline"].items()],
            tables=tables(card),
            plots=plots(card),
            structure=structure_rows(card),
            measured=[measured_table(found) for found in card.get("measured", {}).values()],
            ratios=[(name, ratio_rows(found)) for name, found in card.get("likelihood", {}).items()],
        )
    )


def certified(card: Fields) -> str:
    """What a certificate says, with the error rate that it rests on; cards of earlier versions kept it elsewhere."""
    found = card.get("certificate") or {}
    counts = found.get("rate") or card.get("false_attribution_counts", {}).get(card.get("headline_of"))
    if not found.get("certified") or not counts:
        return ""
    low, high = f"{counts['low']:.3f}", f"{counts['high']:.3f}"
    return say("card.certified", alpha=found["alpha"], hits=counts["hits"], of=counts["of"], low=low, high=high)


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
    """Conditions, artists named beforehand, recipes, hard negatives and ablations: a row each."""
    suspects = card.get("suspects", {})
    asked = {name: NAMES[f"asked_{name}"] for name in WHEN_ASKED}
    usual = {name: NAMES[name] for name in COLUMNS}
    given: tuple[tuple[str, Fields, Fields, Mapping[str, str]], ...] = (
        (say("card.kinds"), card["conditions"], suspects, usual),
        (say("card.asked"), card.get("asked", {}), suspects, asked),
        (say("card.recipes"), card.get("by_recipe", {}), {}, usual),
        (say("card.hard"), card.get("hard_negatives", {}), {}, usual),
        (say("card.ablations"), card.get("ablations", {}), {}, usual),
    )
    return [
        {
            "title": title,
            "columns": list(columns.values()),
            "rows": [
                (show(n, 120), str(counts.get(n, "")), [(cell(f.get(c)), interval(f.get(c))) for c in columns])
                for n, f in rows.items()
            ],
        }
        for title, rows, counts, columns in given
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
    rows.append((say("card.bound.artists"), most, say("card.axis.lr"), str(sources["sources"])))
    rows.append((say("card.bound.elub"), f"{low:.2f} … {high:.2f}", say("card.axis.lr"), ""))
    for key in ("same_below_0", "different_above_0"):
        rows.append((say(f"card.{key}"), f"{100 * found['misleading'][key]:.0f} %", say("card.misleading"), ""))
    return rows


def structure_rows(card: Fields) -> list[tuple[str, str]]:
    """Separation, clustering and drift in words."""
    rows = []
    if "separation" in card:
        s = card["separation"]
        rows.append((say("card.separation"), f"p = {s['p']:.4f}"))
    for key in ("adjusted_rand", "mutual_information", "silhouette_artist", "silhouette_genre"):
        if key in card.get("clustering", {}):
            rows.append((say(f"card.{key}"), number(card["clustering"][key], 3)))
    if "drift" in card:
        own, wrong = card["drift"]["own_cosine"], card["drift"]["false_attribution"]
        rows.append((say("card.drift"), f"{own['fitted']:.2f} → {own['held_out']:.2f}"))
        rows.append((say("card.drift.fitted"), f"{100 * wrong['uncalibrated']:.0f} %"))
        rows.append((say("card.drift.held_out"), f"{100 * wrong['calibrated']:.0f} %"))
    return rows


# ---------------------------------------------------------------------------------------------- plots


def plots(card: Fields) -> list[tuple[str, str, Markup]]:
    """(title, what to look for, figure) of every plot that the card has data for."""
    found = []
    if "curves" in card:
        roc, null = card["curves"]["roc"], card["curves"]["null_uniformity"]
        curve = Line(say("card.line.set"), roc["false_alarms"], roc["detections"])
        drawing = plot("roc", [diagonal(), curve], UNIT, axes("false_alarms", "detections"))
        found.append(("ROC", say("card.roc"), drawing))
        misses = [1 - d for d in roc["detections"]]
        line = Line(say("card.line.set"), roc["false_alarms"], misses)
        found.append(
            (say("card.det.title"), say("card.det"), plot("det", [line], UNIT, axes("false_alarms", "misses")))
        )
        steps = Line(say("card.line.impostors"), null["p"], null["share"], step=True)
        drawing = plot("null", [diagonal(), steps], UNIT, axes("p", "share"))
        found.append((say("card.null.title"), say("card.null"), drawing))
    for i, (name, ratios) in enumerate(card.get("likelihood", {}).items()):
        found += [(f"{title}: {name}", words, drawn) for title, words, drawn in ratio_plots(f"r{i}", ratios)]
    return found


UNIT = (0.0, 1.0, 0.0, 1.0)


def axes(x: str, y: str) -> tuple[str, str]:
    """Names of the two axes."""
    return say(f"card.axis.{x}"), say(f"card.axis.{y}")


def diagonal() -> Line:
    """Chance."""
    return Line(say("card.line.chance"), [0, 1], [0, 1], chance=True)


def ratio_plots(key: str, ratios: Fields) -> list[tuple[str, str, Markup]]:
    """Tippett, ECE and PAV."""
    t, e, p = ratios["tippett"], ratios["ece"], ratios["pav"]
    tippett = [
        Line(say("card.line.own"), t["log10_lr"], t["same"]),
        Line(say("card.line.stranger"), t["log10_lr"], t["different"]),
    ]
    ece = [
        Line(say("card.line.silent"), e["prior_log10_odds"], e["silent"], chance=True),
        Line(say("card.line.ratios"), e["prior_log10_odds"], e["ratios"]),
        Line(say("card.line.ideal"), e["prior_log10_odds"], e["recalibrated"]),
    ]
    span = (-2.0, 2.0, -2.0, 2.0)
    same = Line(say("card.line.same"), [-2, 2], [-2, 2], chance=True)
    pav = [same, Line(say("card.line.files"), p["log10_lr"], p["recalibrated"], dots=True)]
    high = max(1.0, *e["ratios"])
    return [
        ("Tippett", say("card.tippett"),
         plot(f"{key}-tippett", tippett, (-2, 2, 0, 1), axes("lr", "above"))),
        ("ECE", say("card.ece"),
         plot(f"{key}-ece", ece, (-2, 2, 0, high), axes("prior", "bits"))),
        ("PAV", say("card.pav"),
         plot(f"{key}-pav", pav, span, axes("lr", "recalibrated"))),
    ]  # fmt: skip


def plot(key: str, lines: Sequence[Line], span: tuple[float, float, float, float], labels: tuple[str, str]) -> Markup:
    """A small plot with axes and a legend; span = x from, to, y from, to.  Lines are cut at its edges."""
    x_scale = Scale(span[0], span[1], LEFT, WIDE - 10)
    y_scale = Scale(span[2], span[3], HIGH - BOTTOM, 10 + 16 * len(lines))
    marks = [*frame(x_scale, y_scale, span, labels)]
    colours = iter(range(1, 9))
    for i, line in enumerate(lines):
        colour = 0 if line.chance else next(colours)
        marks += drawn(line, colour, x_scale, y_scale, span)
        marks.append(tag("line", x1=LEFT + 4, x2=LEFT + 24, y1=12 + 15 * i, y2=12 + 15 * i, class_=f"curve c{colour}"))
        marks.append(tag("text", line.name, x=LEFT + 30, y=16 + 15 * i, class_="small"))
    described = say("card.described", x=labels[0], y=labels[1], lines=", ".join(line.name for line in lines))
    return svg(key, HIGH, labels[1], described, marks, width=WIDE)


def frame(x_scale: Scale, y_scale: Scale, span: Sequence[float], labels: tuple[str, str]) -> list[Markup]:
    """Axes with ticks and their names."""
    bottom, top = y_scale(span[2]), y_scale(span[3])
    marks = [
        tag("line", x1=LEFT, x2=x_scale(span[1]), y1=bottom, y2=bottom, class_="axis"),
        tag("line", x1=LEFT, x2=LEFT, y1=bottom, y2=top, class_="axis"),
        tag("text", labels[0], x=(LEFT + WIDE) / 2, y=HIGH - 6, class_="small", text_anchor="middle"),
        tag("text", labels[1], x=12, y=(bottom + top) / 2, class_="small", text_anchor="middle",
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
