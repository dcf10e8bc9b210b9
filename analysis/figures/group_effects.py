"""The panel of effects of a study with groups: one block an effect, in it a line a group, and one of their mean."""

from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.transforms import blended_transform_factory

from analysis.load import StudyResults
from analysis.results import MAIN, effect_name
from analysis.style import GREY


class Line(NamedTuple):
    """A line of the panel: the head of a block (no row), or an effect in a group. place: lines from the top."""

    place: float
    name: str
    row: "pd.Series | None"


def drawn_effects(tested: pd.DataFrame) -> pd.DataFrame:
    """The main effects in groups and in their mean: interactions and distances stand in the table."""
    return tested[tested["kind"].isin(MAIN)] if "group" in tested else tested


def lines(study: StudyResults, rows: pd.DataFrame) -> list[Line]:
    """The lines of rows that are effects, in their order."""
    found: list[Line] = []
    for effect, block in rows.groupby("label", sort=False):
        found.append(Line(len(found), effect_name(study, str(effect)), None))
        found += [Line(len(found) + i, str(row["group"]), row) for i, (_, row) in enumerate(block.iterrows())]
    return found


def label_lines(ax: Axes, found: list[Line]) -> None:
    """Names of groups beside the axes, heads of blocks within them."""
    left = blended_transform_factory(ax.transAxes, ax.transData)
    for line in found:
        if line.row is None:
            ax.text(0.02, line.place, line.name, transform=left, va="center", weight="bold", parse_math=False, zorder=5)
            if line.place:
                ax.axhline(line.place - 0.5, color=GREY, linewidth=0.4)
    named = [line for line in found if line.row is not None]
    ax.set_yticks([line.place for line in named], [line.name for line in named])
    ax.set_ylim(len(found) - 0.4, -0.6)
