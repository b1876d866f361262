"""Charts as inline SVG, each with a title and a description in words.

Drawn by Vega-Lite. Decimals go in as text and become coordinates inside the drawing library; every figure that
can be read in a chart is the exact text that came in. Each chart is as wide as a telephone: a page sets several
side by side. Colours differ in lightness too, for print and for colour-blind readers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import altair as alt
import vl_convert
from markupsafe import Markup

from ..errors import Fault
from ..texts import Words
from .facts import BANDS, Course, ZoneUse

WIDTH = 328  # CSS pixels: a telephone of 360 less the page's margins
_BAR = 26
_FONT = "system-ui, sans-serif"
_INK, _WITHIN, _ABOVE = "#1a1a1a", "#9ecae1", "#a63603"
_ON_BAND = (_INK, _INK, "#ffffff", "#ffffff")  # of a count on its band
BAND_COLOURS = dict(zip(BANDS, ("#deebf7", "#9ecae1", "#2171b5", _ABOVE), strict=True))
PART_COLOURS = {"within": _WITHIN, "above": _ABOVE}
_OPENING = re.compile(r'^<svg [^>]*viewBox="([0-9. -]+)"[^>]*>')


@dataclass(frozen=True)
class Chart:
    """A drawing, the title over it and the sentence under it, as the page shows them."""

    svg: Markup
    title: str = ""
    caption: str = ""


@dataclass(frozen=True)
class Bar:
    """A bar of a ranking: its label, its length, and the figure as it is shown."""

    label: str
    length: Decimal
    shown: str


def use_by_zone(uses: Sequence[ZoneUse], title: str, words: Words, key: str) -> Chart:
    """Groups of one point class: a bar a zone, its parts the groups by use of their threshold."""
    rows = [
        {"zone": str(words.code(use.zone)), "band": words.text(band), "order": place, "groups": str(count),
         "shown": str(count) if count else "", "ink": _ON_BAND[place]}
        for use in uses
        for place, (band, count) in enumerate(zip(BANDS, use.bands, strict=True))
    ]  # fmt: skip
    bands = [words.text(band) for band in BANDS]
    base = _chart(rows, "groups").encode(
        x=alt.X(
            "groups:Q", stack="zero", title=words.text("groups"), axis=alt.Axis(tickMinStep=1, format="d")
        ),
        y=alt.Y("zone:N", sort=[str(words.code(use.zone)) for use in uses], title=None),
        order=alt.Order("order:O"),
    )
    bars = base.mark_bar(stroke="#555555", strokeWidth=1).encode(
        color=_coloured("band:N", bands, list(BAND_COLOURS.values()))
    )
    counts = base.mark_text(align="right", dx=-4, fontWeight="bold").encode(
        text="shown:N", color=alt.Color("ink:N", scale=None)
    )
    told = [
        words.text("use_desc", zone=words.code(use.zone).main, groups=use.groups, over=use.over, use=use.use)
        for use in uses
    ]
    return Chart(
        _drawn(alt.layer(bars, counts).properties(height=alt.Step(_BAR)), key, title, "; ".join(told)), title
    )


def ranking(bars: Sequence[Bar], title: str, key: str) -> Chart:
    """Horizontal bars, each under its label, the figure at the right."""
    rows = [
        {"place": place, "label": bar.label, "length": str(bar.length), "shown": bar.shown}
        for place, bar in enumerate(bars)
    ]
    base = _chart(rows, "length").encode(y=alt.Y("place:O", axis=None))
    drawn = base.mark_bar(color=_ABOVE, yOffset=8, height=12).encode(x=alt.X("length:Q", axis=None))
    labels = base.mark_text(align="left", yOffset=-8, limit=WIDTH * 2 // 3, color=_INK).encode(
        x=alt.value(0), text="label:N"
    )
    figures = base.mark_text(align="right", yOffset=-8, color=_INK).encode(
        x=alt.value("width"), text="shown:N"
    )
    described = "; ".join(f"{bar.label}: {bar.shown}" for bar in bars)
    return Chart(
        _drawn(alt.layer(drawn, labels, figures).properties(height=alt.Step(38)), key, title, described)
    )


def daily_course(course: Course, title: str, caption: str, words: Words, key: str) -> Chart:
    """Running total by day: what is within the threshold and what is above it, the threshold, the crossing."""
    parts = [words.text("within"), words.text("above")]
    rows = [
        {"day": day.day.isoformat(), "part": part, "order": order, "points": str(points)}
        for day in course.days
        for order, (part, points) in enumerate(zip(parts, (day.within, day.above), strict=True))
    ]
    days = alt.X("day:O", title=words.text("day"), axis=_day_axis(course))
    bars = (
        _chart(rows, "points")
        .mark_bar()
        .encode(
            x=days,
            y=alt.Y("points:Q", stack="zero", title=None, axis=alt.Axis(tickCount=5, minExtent=58)),
            order=alt.Order("order:O"),
            color=_coloured("part:N", parts, list(PART_COLOURS.values())),
        )
    )
    threshold = _chart([{"threshold": str(course.group["threshold_points"])}], "threshold")
    line = threshold.mark_rule(color=_INK, strokeDash=[6, 3], strokeWidth=2).encode(y="threshold:Q")
    layers = [bars, line, *_crossing(course, days)]
    return Chart(_drawn(alt.layer(*layers).properties(height=180), key, title, caption), title, caption)


def _day_axis(course: Course) -> alt.Axis:
    """Every fifth day, named by its number: labels of all of them would not fit."""
    named = [day.day.isoformat() for day in course.days if day.day.day in (1, 5, 10, 15, 20, 25, 30)]
    return alt.Axis(values=named, labelExpr="substring(datum.value, 8)", labelAngle=0)


def _crossing(course: Course, days: alt.X) -> list[alt.Chart]:
    """The day of crossing, named above the drawing, where no bar can hide it."""
    if course.crossed is None:
        return []
    place, last = course.days.index(course.crossed), len(course.days) - 1
    side: Literal["left", "right", "center"] = (
        "left" if place < 3 else "right" if place > last - 3 else "center"
    )
    row = {"day": course.crossed.day.isoformat(), "shown": f"▼ {course.crossed.day:%m-%d}"}
    crossed = alt.Chart(alt.Data(values=[row]), width=WIDTH).encode(x=days)
    line = crossed.mark_rule(color=_INK, strokeDash=[1, 3], strokeWidth=1)
    named = crossed.mark_text(color=_INK, fontWeight="bold", align=side)
    return [line, named.encode(y=alt.value(-8), text="shown:N")]


def _coloured(field: str, parts: list[str], colours: list[str]) -> alt.Color:
    """Colours without a legend: the page has one for all its charts, in text that wraps."""
    return alt.Color(field, scale=alt.Scale(domain=parts, range=colours), legend=None)


def _chart(rows: list[dict[str, Any]], measure: str) -> alt.Chart:
    """A chart over rows whose measure is written as text, so that no figure is rounded on its way."""
    data = alt.Data(values=rows, format=alt.DataFormat(parse={measure: "number"}))
    return alt.Chart(data, width=WIDTH)


def _drawn(chart: alt.LayerChart | alt.FacetChart, key: str, title: str, description: str) -> Markup:
    """The SVG with title and description, without the namespaces that a page does not need."""
    styled = (
        chart.properties(autosize=alt.AutoSizeParams(type="fit-x", contains="padding"))
        .configure(aria=False, background="transparent", font=_FONT, padding=2)
        .configure_axis(labelFontSize=12, titleFontSize=12, titleFontWeight="normal", gridColor="#dddddd")
        .configure_axisY(labelLimit=110)
        .configure_text(fontSize=12)
        .configure_view(stroke=None)
    )
    svg = vl_convert.vegalite_to_svg(styled.to_dict())
    opening = _OPENING.match(svg)
    if opening is None:
        raise Fault(f"chart {key}", f"a drawing that begins {svg[:200]}", "an SVG with a viewBox")
    head = Markup(
        '<svg class="chart" role="img" viewBox="{box}" aria-labelledby="{key}-title {key}-desc">'
        '<title id="{key}-title">{title}</title><desc id="{key}-desc">{description}</desc>'
    ).format(box=opening[1], key=key, title=title, description=description)
    return head + Markup(svg[opening.end() :])  # noqa: S704 - escaped by the library that drew it
