"""A small picture of an estimate with its interval; screen readers pass it over: the numbers stand beside it."""

import math
from collections.abc import Sequence

from analysis.report.html import Html, join, tag
from analysis.stats import Interval

WIDTH, HEIGHT, MARGIN = 300, 30, 8


def interval_picture(effect: Interval, edges: Sequence[float], few: Sequence[float] = ()) -> Html | None:
    """A line from low to high with a dot at the estimate, and a mark where a claim turns from true to false.

    few: values of which each gets a dot, in place of interval and estimate. None where there is no interval or nothing
    to hold it against.
    """
    if not edges or not (few or effect.defined) or not math.isfinite(effect.estimate):
        return None
    points = [*(few or (effect.low, effect.high, effect.estimate)), *edges]
    low, high = min(points), max(points)
    span = (high - low) or 1.0

    def place(x: float) -> str:
        return f"{MARGIN + (WIDTH - 2 * MARGIN) * (x - low) / span:.1f}"

    middle = HEIGHT / 2
    marks = [_mark(place(edge), f"{edge:.3g}".replace("-", "−")) for edge in edges]
    bar = None if few else tag("line", x1=place(effect.low), x2=place(effect.high), y1=middle, y2=middle, class_="bar")
    dots = [tag("circle", cx=place(x), cy=middle, r="4.5", class_="dot") for x in few or [effect.estimate]]
    box = f"0 0 {WIDTH} {HEIGHT}"
    return tag("svg", join(marks, bar, dots), viewBox=box, class_="interval", aria_hidden="true", focusable="false")


def _mark(at: str, text: str) -> Html:
    """A dashed line at an edge with its value; at the right end the value stands to its left."""
    late = float(at) > WIDTH - 5 * MARGIN
    value = tag("text", text, x=f"{float(at) + (-4 if late else 4):.1f}", y="10", text_anchor="end" if late else None)
    return join(tag("line", x1=at, x2=at, y1="2", y2=HEIGHT - 2, class_="edge"), value)
