"""How much each searched option matters: fANOVA's shares, per arm and over all."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.common import Missing
from analysis.figures.searches import caption
from analysis.formats import COLUMN
from analysis.style import SMALL
from analysis.tuned.data import Tuned
from analysis.tuned.text import label

NAME = "importance"


def figure(found: Tuned) -> tuple[Figure, pd.DataFrame]:
    """A matrix of shares, a row per arm and a column per option, on column width."""
    frame = found.importance
    if frame.empty:
        raise Missing("too few completed trials for importance")
    options = [*found.search["dimensions"], *(["arm"] if "arm" in set(frame["option"]) else [])]
    table = frame.pivot(index="label", columns="option", values="share").reindex(columns=options)
    table = table.reindex(index=list(dict.fromkeys(frame["label"])))
    fig = plt.figure(figsize=(COLUMN, 1.1 + 0.22 * len(table)), layout="constrained")
    ax = fig.subplots()
    ax.imshow(table.to_numpy(dtype=float), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, row in enumerate(table.to_numpy(dtype=float)):
        for j, share in enumerate(row):
            if share == share:  # not NaN: over all arms alone the arm is an option
                color = "white" if share > 0.55 else "black"
                ax.text(j, i, f"{share:.2f}", ha="center", va="center", fontsize=SMALL, color=color)
    ax.set_xticks(range(len(options)), [label(option) for option in options], rotation=35, ha="right")
    ax.set_yticks(range(len(table)), list(table.index))
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    caption(fig, found, "share of all main effects on the validation score (fANOVA)")
    return fig, frame
