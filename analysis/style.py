"""How each arm looks: its colour, line and marker, the same in every figure, and its entry in a legend.

Colours are Okabe and Ito's (Color Universal Design) with a dark red in place of yellow and a brown, and the viridis
scale; line style and marker say the same a second time.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import matplotlib
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D

from analysis.groups import grouping
from analysis.levels import level_text, on_levels
from analysis.load import StudyResults

GREY = "#595959"
OKABE_ITO = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#882255", "#8A5A2B")
PAIRS = (("#000000", "#8C8C8C"), ("#0072B2", "#56B4E9"), ("#D55E00", "#E69F00"), ("#00684B", "#5FC4A0"))
"""Of a 2x2x2 study: one pair for each setting of the first two toggles, dark = third toggle on, light = off."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))


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


def arm_style(study: StudyResults) -> dict[str, Look]:
    """Arm -> look, the same in every figure of a study and whichever arms have results.

    2x2x2: hue and marker by the first two toggles, lightness, line style and filling by the third. One numeric
    factor, or more arms than colours: a viridis scale in display order. Otherwise Okabe and Ito's colours, so too. Of a
    study with groups, arms that differ by their group alone look alike.
    """
    described = study.info.get("arms") or [{"name": a.name, "toggles": a.toggles} for a in study.arms]
    toggles = {arm["name"]: arm.get("toggles") or {} for arm in described}
    toggles |= {arm.name: arm.toggles for arm in study.arms if arm.name not in toggles}
    by = grouping(study.factors)
    if by:
        toggles = {name: {key: each[key] for key in each if key != by} for name, each in toggles.items()}
    levels = [each for name, each in study.factors.items() if name != by]
    if len(levels) == 3 and all(len(each) == 2 for each in levels):
        return {name: _cube_look(study, each) for name, each in toggles.items()}
    numeric = len(levels) == 1 and all(isinstance(x, int | float) and not isinstance(x, bool) for x in levels[0])
    kinds: list[object] = []
    for name, each in toggles.items():
        kinds += [kind] if (kind := each if by else name) not in kinds else []
    if numeric or len(kinds) > len(OKABE_ITO):
        scale = matplotlib.colormaps["viridis"]
        colors = [to_hex(scale(0.85 * i / max(1, len(kinds) - 1))) for i in range(len(kinds))]
    else:
        colors = list(OKABE_ITO[: len(kinds)])
    places = {name: kinds.index(each if by else name) for name, each in toggles.items()}
    return {
        name: Look(colors[i], LINES[i % len(LINES)], MARKERS[i % len(MARKERS)], i % 16 < 8)
        for name, i in places.items()
    }


def _cube_look(study: StudyResults, toggles: Mapping[str, Any]) -> Look:
    """The look of an arm of a 2x2x2 study, by its toggles."""
    on = [toggles.get(name) == level for name, level in on_levels(study).items() if name != grouping(study.factors)]
    pair = {(True, True): 0, (True, False): 1, (False, True): 2, (False, False): 3}[on[0], on[1]]
    return Look(PAIRS[pair][0 if on[2] else 1], "-" if on[2] else LINES[1], MARKERS[pair], on[2])


def arm_handle(study: StudyResults, name: str, label: str = "", **changes: Any) -> Line2D:
    """The legend entry of an arm."""
    return Line2D([], [], label=label or study.arm(name).label, **arm_style(study)[name].line(**changes))


def arm_labels(study: StudyResults) -> dict[str, str]:
    """Arm -> its name in a legend: of arms that look alike but for their group one, named without the group."""
    by = grouping(study.factors)
    if not by:
        return {arm.name: arm.label for arm in study.arms}
    first: dict[str, str] = {}
    for arm in study.arms:
        rest = [level_text(study, name, arm.toggles.get(name)) for name in study.factors if name != by]
        first.setdefault(" · ".join(rest), arm.name)
    return {name: label for label, name in first.items()}
