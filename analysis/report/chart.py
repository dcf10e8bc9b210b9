"""Line charts of our own as SVG: drawn here, so that they stand without JavaScript; the script draws them anew.

A chart has a fixed size in its own units; `Scale` maps values to them. script.js has the same scales and ticks, for it
draws them for the arms that are chosen, smoothed, and on either kind of axis.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analysis.report.html import Html, escape, tag
from analysis.report.themes import themed

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 10, 44


@dataclass(frozen=True)
class Scale:
    """The values at the ends of both axes; log: y in powers of ten."""

    x: tuple[float, float]
    y: tuple[float, float]
    log: bool

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Place of a point."""
        low, high = (math.log10(each) for each in self.y) if self.log else self.y
        value = math.log10(y) if self.log else y
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1.0)
        up = (value - low) / ((high - low) or 1.0)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


@dataclass(frozen=True)
class Line:
    """A curve: its colour #RRGGBB, its dashes ("" for none), its points (y may be NaN)."""

    color: str
    dashes: str
    points: Sequence[tuple[float, float]]


def scale(lines: Iterable[Line], log: bool) -> Scale:
    """Axes that hold all points; log only if all values are positive and they span a power of ten."""
    points = [point for line in lines for point in line.points if math.isfinite(point[1])]
    xs, ys = [x for x, _ in points] or [0.0, 1.0], [y for _, y in points] or [0.0, 1.0]
    low, high = min(ys), max(ys)
    if log and low > 0 and high > 10 * low:
        return Scale((min(xs), max(xs)), (low / 1.1, high * 1.1), True)
    pad = 0.05 * (high - low) or abs(high) * 0.05 or 1.0
    bottom = 0.0 if 0 <= low < 0.4 * high else low - pad
    return Scale((min(xs), max(xs)), (bottom, high + pad), False)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values between low and high."""
    span = high - low
    if not span > 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * each for each in (1, 2, 5, 10) if span / (power * each) <= most)
    first = math.ceil(low / step - 1e-9)
    return [(first + i) * step for i in range(most + 2) if (first + i) * step <= high + 1e-9 * span]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between low and high, with 2 and 5 between them where there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if len(powers) > 4 else (1, 2, 5)
    return [factor * 10.0**power for power in powers for factor in factors if low <= factor * 10.0**power <= high]


def tick_text(value: float) -> str:
    """A tick's label."""
    text = f"{value:,.10g}" if abs(value) >= 1e-4 or value == 0 else f"{value:.0e}"
    return text.replace("-", "−")


def chart(lines: Sequence[Line], axes: Scale, name: str, title: str, description: str, x_label: str) -> Html:
    """The chart, with its alternative text."""
    paths = tag("g", [_path(line, axes) for line in lines], class_="lines")
    inside = [tag("g", _grid(axes), class_="axes"), paths, _frame(x_label)]
    title_id, text_id = f"{name}-title", f"{name}-desc"
    return tag(
        "svg",
        tag("title", title, id=title_id),
        tag("desc", description, id=text_id),
        inside,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_labelledby=title_id,
        aria_describedby=text_id,
        class_="chart",
    )


def _grid(axes: Scale) -> list[Html]:
    parts = []
    bottom = HEIGHT - BOTTOM
    for value in log_ticks(*axes.y) if axes.log else ticks(*axes.y):
        y = round(axes.at(axes.x[0], value)[1], 1)
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(tag("text", tick_text(value), x=LEFT - 8, y=y + 4, text_anchor="end"))
    for value in ticks(*axes.x, most=5):
        x = round(axes.at(value, axes.y[1])[0], 1)
        parts.append(tag("line", x1=x, x2=x, y1=bottom, y2=bottom + 4, class_="axis"))
        parts.append(tag("text", tick_text(value), x=x, y=bottom + 18, text_anchor="middle"))
    return parts


def _frame(x_label: str) -> list[Html]:
    bottom, middle = HEIGHT - BOTTOM, (LEFT + WIDTH - RIGHT) / 2
    return [
        tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=bottom, y2=bottom, class_="axis"),
        tag("text", escape(x_label), x=middle, y=HEIGHT - 6, text_anchor="middle"),
    ]


def _path(line: Line, axes: Scale) -> Html:
    """A curve; a value that is missing or cannot be drawn breaks it."""
    commands, pen = [], "M"
    for x, y in line.points:
        if not math.isfinite(y) or (axes.log and y <= 0):
            pen = "M"
            continue
        across, up = axes.at(x, y)
        commands.append(f"{pen}{across:.1f} {up:.1f}")
        pen = "L"
    look = f"stroke:{themed(line.color)}"
    return tag("path", d="".join(commands), style=look, stroke_dasharray=line.dashes or None, class_="line")
