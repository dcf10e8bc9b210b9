"""How much each searched option matters: fANOVA's shares, per arm and over all."""

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.figures.common import Missing
from analysis.figures.layout import banner, note_height
from analysis.formats import COLUMN, PAGE
from analysis.searches import Search, label
from analysis.style_sheet import SMALL, Page

NAME = "importance"
NARROW = 8
"""So many options fit on column width."""


def figure(found: Search) -> tuple[Figure, pd.DataFrame]:
    """A matrix of shares, a row per arm and a column per option, on column width, or of many options on page width."""
    import seaborn  # takes a second and brings scipy.stats and statsmodels: only who draws this figure waits for them

    frame = found.importance
    if frame.empty:
        raise Missing("too few completed trials for importance")
    options = [*found.search["dimensions"], *(["arm"] if "arm" in set(frame["option"]) else [])]
    table = frame.pivot(index="label", columns="option", values="share").reindex(columns=options)
    table = table.reindex(index=list(dict.fromkeys(frame["label"]))).astype(float)
    width = COLUMN if len(options) <= NARROW else PAGE
    fig = Page(figsize=(width, 0.7 + note_height(0.4) + 0.22 * len(table)), layout="constrained")
    FigureCanvasAgg(fig)  # seaborn draws it once; without a canvas of its own it would ask for pyplot's
    ax = fig.subplots()
    shades = seaborn.light_palette("#56B4E9", as_cmap=True)  # black on the darkest of them is still easy to read
    words = {"size": SMALL, "color": "black"}
    seaborn.heatmap(
        table, ax=ax, cmap=shades, vmin=0, vmax=1, cbar=False, linewidths=0.5, annot=True, fmt=".2f", annot_kws=words
    )
    ax.set_xticklabels([label(option) for option in options], rotation=35, ha="right")
    ax.set_yticklabels(list(table.index), rotation=0)
    ax.set(xlabel="", ylabel="")
    ax.tick_params(length=0)
    ax.grid(visible=False)
    banner(
        fig,
        found.banner,
        "share of all main effects on the validation score (fANOVA)",
        margin=0.0,
    )
    return fig, frame
