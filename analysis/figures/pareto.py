"""Validation score against decoding time: every completed trial, and each arm's front."""

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.common import Missing, log_ticks
from analysis.figures.layout import banner, legend
from analysis.formats import COLUMN
from analysis.results import NAMES
from analysis.searches import Search
from analysis.style import arm_handle, arm_style
from analysis.style_sheet import Page

NAME = "pareto"


def figure(found: Search) -> tuple[Figure, pd.DataFrame]:
    """Trials as dots, fronts as steps, on column width."""
    frame = found.trials
    if not found.search.get("pareto") or frame.empty:
        raise Missing("the search had one objective (--objectives score,time gives the front)")
    if found.default is None:
        raise Missing("the arms have not run at the default yet")
    looks = arm_style(found.default)
    fig = Page(figsize=(COLUMN, 2.9), layout="constrained")
    ax = fig.subplots()
    for arm, own in frame.groupby("arm", sort=False):
        look = looks[str(arm)]
        face = look.color if look.filled else "white"
        ax.plot(own["decode_ms"], own["value"], look.marker, color=look.color, markerfacecolor=face, alpha=0.35)
        front = own[own["front"]].sort_values("decode_ms")
        ax.step(front["decode_ms"], front["value"], where="post", color=look.color, linestyle=look.linestyle)
        ax.plot(front["decode_ms"], front["value"], look.marker, color=look.color, markerfacecolor=face)
    ax.set_xscale("log")
    log_ticks(ax)
    ax.set_xlabel("decoding, CPU ms per sentence")
    ax.set_ylabel(f"validation {NAMES.get(found.metric, found.metric)}")
    legend(fig, [arm_handle(found.default, arm.name) for arm in found.default.arms if arm.name in set(frame["arm"])])
    banner(fig, found.banner, "dots: trials of the search; steps: fronts", margin=0.0)
    return fig, frame
