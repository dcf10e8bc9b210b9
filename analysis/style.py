"""One look for every figure: sizes, fonts, colours of arms, and saving byte-identically.

Widths are those of a two-column paper in inches; nothing is smaller than 7 points at that width. Colours are Okabe and
Ito's (Color Universal Design) with a dark
red in place of yellow, and the viridis scale; line style and marker say the same a second time.
"""

import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from analysis.load import Study
from analysis.results import level_text, on_levels

COLUMN, PAGE = 3.35, 6.9
"""Widths in inches of a column and of a page."""
SMALL = 7
"""The smallest font size, in points."""
GREY = "#595959"
RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "ablation",
    "figure.dpi": 100,
    "savefig.dpi": 200,
}
OKABE_ITO = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#882255")
PAIRS = (("#000000", "#8C8C8C"), ("#0072B2", "#56B4E9"), ("#D55E00", "#E69F00"), ("#00684B", "#5FC4A0"))
"""Of a 2x2x2 study: one pair for each setting of the first two toggles, dark = third toggle on, light = off."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
METADATA: dict[str, dict[str, None]] = {"pdf": {"CreationDate": None}, "png": {"Software": None}, "svg": {"Date": None}}


class Look(NamedTuple):
    """How one arm is drawn; `filled`: whether its markers are."""

    color: str
    linestyle: Any
    marker: str
    filled: bool

    def line(self, **changes: Any) -> dict[str, Any]:
        """Keyword arguments for Axes.plot."""
        face = self.color if self.filled else "white"
        style = {"color": self.color, "linestyle": self.linestyle, "marker": self.marker}
        return style | {"markerfacecolor": face, "markeredgecolor": self.color, "markeredgewidth": 0.8} | changes


def arm_style(study: Study) -> dict[str, Look]:
    """Arm name -> look, the same in every figure of a study and whichever arms have results.

    2x2x2: hue and marker by the first two toggles, lightness, line style and filling by the third. One numeric
    factor, or more arms than colours: a viridis scale in display order. Otherwise Okabe and Ito's colours, so too.
    """
    described = study.info.get("arms") or [{"name": a.name, "toggles": a.toggles} for a in study.arms]
    toggles = {arm["name"]: arm.get("toggles") or {} for arm in described}
    toggles |= {arm.name: arm.toggles for arm in study.arms if arm.name not in toggles}
    levels = list(study.factors.values())
    if len(levels) == 3 and all(len(each) == 2 for each in levels):
        return {name: _cube_look(study, each) for name, each in toggles.items()}
    numeric = len(levels) == 1 and all(isinstance(x, int | float) and not isinstance(x, bool) for x in levels[0])
    names = list(toggles)
    if numeric or len(names) > len(OKABE_ITO):
        scale = plt.get_cmap("viridis")
        colors = [matplotlib.colors.to_hex(scale(0.85 * i / max(1, len(names) - 1))) for i in range(len(names))]
    else:
        colors = list(OKABE_ITO[: len(names)])
    return {
        name: Look(colors[i], LINES[i % len(LINES)], MARKERS[i % len(MARKERS)], i % 16 < 8)
        for i, name in enumerate(names)
    }


def _cube_look(study: Study, toggles: Mapping[str, Any]) -> Look:
    """The look of an arm of a 2x2x2 study, by its toggles."""
    on = [toggles.get(name) == level for name, level in on_levels(study).items()]
    pair = {(True, True): 0, (True, False): 1, (False, True): 2, (False, False): 3}[on[0], on[1]]
    return Look(PAIRS[pair][0 if on[2] else 1], "-" if on[2] else LINES[1], MARKERS[pair], on[2])


class Panel(NamedTuple):
    """Arms that share one column of a figure, and what they have in common."""

    title: str
    arms: tuple[str, ...]


def panels(study: Study, within: str, most: int = 6) -> list[Panel]:
    """Spread the arms over columns: in a factorial, arms that differ in `within` alone share one.

    Up to four arms, or a study of one factor, stay in one panel (up to `most`; then they are cut into several).
    """
    names = [arm.name for arm in study.arms]
    if len(study.factors) > 1 and len(names) > 4:
        split = within if within in study.factors else list(study.factors)[-1]
        groups: dict[str, list[str]] = {}
        for arm in study.arms:
            rest = [level_text(name, arm.toggles.get(name)) for name in study.factors if name != split]
            groups.setdefault(",\n".join(rest) if len(", ".join(rest)) > 18 else ", ".join(rest), []).append(arm.name)
        return [Panel(title, tuple(arms)) for title, arms in groups.items()]
    count = -(-len(names) // most)
    size = -(-len(names) // count)
    return [Panel("", tuple(names[i : i + size])) for i in range(0, len(names), size)]


def grid(
    rows: int, columns: int, width: float, row_height: float, extra: float = 0.0
) -> tuple[Figure, list[list[Axes]]]:
    """A figure of panels in the common style; extra: inches for legend and banner."""
    figure = plt.figure(
        figsize=(width, rows * row_height + extra),
        layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.03, hspace=0.04),
    )
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, [list(row) for row in axes]


def arm_handle(study: Study, name: str, **changes: Any) -> Line2D:
    """The legend entry of an arm."""
    return Line2D([], [], label=study.arm(name).label, **arm_style(study)[name].line(**changes))


def legend(figure: Figure, handles: Iterable[Line2D]) -> None:
    """One legend for the whole figure, below the panels, in as many columns as fit."""
    handles = list(handles)
    lengths = [len(str(handle.get_label())) for handle in handles]
    fits = [
        count
        for count in range(1, len(handles) + 1)
        if sum(0.5 + 0.052 * max(part) for part in np.array_split(lengths, count)) <= figure.get_figwidth()
    ]
    rows = -(-len(handles) // max(fits, default=1))
    figure.legend(handles=handles, loc="outside lower center", ncols=-(-len(handles) // rows), columnspacing=1.2)


def banner(figure: Figure, study: Study, *what: str) -> None:
    """Above the panels: what the numbers are worth (the study's banner), and what lines, bands and boxes are."""
    text = textwrap.fill("; ".join(line for line in (study.banner, *what) if line), int(figure.get_figwidth() / 0.051))
    figure.suptitle(text, x=0.01, ha="left", fontsize=SMALL, color=GREY, style="italic")


def seeds_text(study: Study) -> str:
    """ "3 seeds", "2-3 seeds" or "1 seed": how many results the arms have."""
    counts = sorted({len(study.values(study.metric, arm.name)) for arm in study.arms})
    if counts[-1] == 1:
        return "1 seed"
    return f"{counts[0]} seeds" if len(counts) == 1 else f"{counts[0]}-{counts[-1]} seeds"


def range_text(study: Study) -> str:
    """What line and band are."""
    seeds = seeds_text(study)
    return seeds if seeds == "1 seed" else f"mean and range over {seeds}"


def save(figure: Figure, stem: Path, frame: pd.DataFrame, formats: Iterable[str] = ("pdf", "png")) -> list[Path]:
    """Write the figure in each format and the frame it was drawn from as CSV; the same input gives the same bytes.

    The layout is made once, so that all formats have the same.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    written = []
    for form in formats:
        path = stem.with_suffix(f".{form}")
        figure.savefig(path, metadata=METADATA.get(form))
        written.append(path)
    plt.close(figure)
    table = stem.with_suffix(".csv")
    frame.to_csv(table, index=False, lineterminator="\n")
    return [*written, table]
