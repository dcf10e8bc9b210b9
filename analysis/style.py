"""One look for every figure: sizes, fonts, colours of arms.

Fonts, sizes and lines stand in paper.mplstyle. Widths are those of a two-column paper in inches; nothing is smaller
than 7 points at that width. Colours are Okabe and Ito's (Color Universal Design) with a dark red in place of yellow and
a brown, and the viridis scale; line style and marker say the same a second time.
"""

import contextlib
import io
import logging
import re
import shutil
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

from analysis.choices import Choices, choosing, chosen
from analysis.groups import grouping
from analysis.levels import level_text, on_levels
from analysis.load import StudyResults
from analysis.plain_text import spell_out
from analysis.results import seeds_text as seeds_text
from core.errors import UserError

SMALL = 7
"""The smallest font size, in points."""
GREY = "#595959"
STYLE = Path(__file__).with_name("paper.mplstyle")
"""The style file: fonts, sizes, lines. Edit it, or lay one of your own over it with --style FILE."""
STYLES = {"serif": Path(__file__).with_name("serif.mplstyle")}
"""Styles of ours to lay over it, by name."""
OKABE_ITO = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#882255", "#8A5A2B")
PAIRS = (("#000000", "#8C8C8C"), ("#0072B2", "#56B4E9"), ("#D55E00", "#E69F00"), ("#00684B", "#5FC4A0"))
"""Of a 2x2x2 study: one pair for each setting of the first two toggles, dark = third toggle on, light = off."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))


def read_style(path: Path) -> dict[Any, Any]:
    """The settings in a matplotlib style file, or in one of ours by its name.

    Raises UserError where it cannot be read, has a line of no meaning, or asks for what is not installed.
    """
    path = path if path.is_file() else STYLES.get(str(path), path)
    if not path.is_file():
        names = ", ".join(STYLES)
        raise UserError(f"no style file {path}: name a matplotlib style sheet, such as a copy of {STYLE}, or {names}")
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(" ".join(record.getMessage().split()))  # type: ignore[method-assign]
    logger = logging.getLogger("matplotlib")
    logger.addHandler(handler)
    propagated, logger.propagate = logger.propagate, False
    try:
        read = dict(matplotlib.rc_params_from_file(path, use_default_template=False))
    except (OSError, ValueError) as error:  # such as a file that is not text
        raise UserError(f"style file {path} is unreadable: {error}") from error
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated
    if said:
        raise UserError(f"style file {path}: {said[0]}")
    if read.get("text.usetex"):
        check_latex(path)
    return read


LATEX = ("latex", "dvipng", "kpsewhich")
"""The programs by which matplotlib has LaTeX set text."""


def check_latex(path: Path) -> None:
    """Raise UserError where LaTeX is not there to set what the style file wants set by it."""
    missing = [name for name in LATEX if shutil.which(name) is None]
    if missing:
        raise UserError(
            f"style file {path}: text.usetex: True has LaTeX set all text, and {', '.join(missing)} is not installed; "
            "install LaTeX, or set text.usetex: False"
        )


RC = read_style(STYLE)


@contextlib.contextmanager
def styled(style: Mapping[Any, Any] | None = None, choices: Choices | None = None) -> Iterator[None]:
    """Within it figures have our style, and over it one of the user's; a matplotlibrc of theirs changes nothing.

    Raises UserError where LaTeX, which the user's style asks for, cannot set the text.
    """
    with matplotlib.rc_context(), choosing(choices or chosen()):
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**RC, **(style or {})})
        try:
            yield
        except RuntimeError as error:
            if not matplotlib.rcParams["text.usetex"]:
                raise
            reason = next((line for line in str(error).splitlines() if line.startswith("!")), str(error).split("\n")[0])
            raise UserError(f"text.usetex: True in the style: LaTeX cannot set the text ({reason})") from error


class Page(Figure):
    """A figure that pyplot does not know of: it belongs to who made it, whatever the backend, and notebooks show it.

    caption: what lines and bands are, and what the numbers are worth.
    """

    caption = ""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        with styled():
            self.savefig(file, format="png")
        return file.getvalue()


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


class Panel(NamedTuple):
    """Arms that share one column of a figure, and what they have in common."""

    title: str
    arms: tuple[str, ...]


def panels(study: StudyResults, within: str, most: int = 6) -> list[Panel]:
    """Spread the arms over columns: in a factorial, arms that differ in `within` alone share one.

    Up to four arms, or a study of one factor, stay in one panel (up to `most`; then they are cut into several).
    """
    names = [arm.name for arm in study.arms]
    if len(study.factors) > 1 and len(names) > 4:
        split = within if within in study.factors else list(study.factors)[-1]
        groups: dict[str, list[str]] = {}
        for arm in study.arms:
            rest = [level_text(study, name, arm.toggles.get(name)) for name in study.factors if name != split]
            title = " · ".join(rest)
            groups.setdefault(title if len(title) <= 18 else " ·\n".join(rest), []).append(arm.name)
        return [Panel(title, tuple(arms)) for title, arms in groups.items()]
    count = -(-len(names) // most)
    size = -(-len(names) // count)
    return [Panel("", tuple(names[i : i + size])) for i in range(0, len(names), size)]


def group_panels(study: StudyResults) -> list[Panel]:
    """A panel for each group that has arms; none in a study without groups."""
    by = grouping(study.factors)
    names = [arm.name for arm in study.arms]
    found = [(group, tuple(name for name in names if name in group.arms)) for group in study.groups]
    return [Panel(level_text(study, by, group.level), arms) for group, arms in found if arms]


def panel_grid(
    rows: int, columns: int, width: float, row_height: float, extra: float = 0.0
) -> tuple[Page, list[list[Axes]]]:
    """A figure of panels in the common style; extra: inches for legend and note."""
    figure = Page(
        figsize=(width, rows * row_height + extra),
        layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.03, hspace=0.04),
    )
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, [list(row) for row in axes]


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


SPACING = 1.2
"""Between columns of a legend, in sizes of its font."""


def legend_columns(labels: list[str], width: float) -> int:
    """In how many columns labels fit into so many inches, the rows as even as may be."""
    widths = [text_width(label) for label in labels]
    rc = matplotlib.rcParams
    beside = rc["legend.handlelength"] + rc["legend.handletextpad"] + SPACING  # in sizes of the font
    beside *= SMALL * _scale() / 72
    fits = [
        count
        for count in range(1, len(labels) + 1)
        if sum(beside + max(part) for part in np.array_split(widths, count)) <= width
    ]
    rows = -(-len(labels) // max(fits, default=1))
    return -(-len(labels) // rows)


def legend(figure: Figure, handles: Iterable[Line2D]) -> None:
    """One legend for the whole figure, below the panels, in as many columns as fit."""
    handles = list(handles)
    columns = legend_columns([str(handle.get_label()) for handle in handles], figure.get_figwidth())
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, columnspacing=SPACING)


def text_width(text: str) -> float:
    """Inches that a line of the size of legends is wide."""
    font = FontProperties(size=matplotlib.rcParams["legend.fontsize"])
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def _scale() -> float:
    """How much larger small text is than in our own style."""
    size = matplotlib.rcParams["legend.fontsize"]
    return size / SMALL if isinstance(size, int | float) else 1.0


def legend_height(study: StudyResults, width: float) -> float:
    """Inches that a legend of all arms takes."""
    labels = list(arm_labels(study).values())
    return 0.15 * _scale() * -(-len(labels) // legend_columns(labels, width)) + 0.1


def note_height(inches: float) -> float:
    """Inches that a note above the panels takes: none where it stands in the caption alone."""
    return inches if chosen().note else 0.05


def banner(figure: Page, worth: str, *what: str, margin: float = 0.1) -> None:
    """Keep for the caption what the numbers are worth (a study's banner), and what lines, bands and boxes are.

    Where a note is chosen it stands above the panels too; margin: inches that its lines leave free.
    """
    said = "; ".join(line for line in what if line)
    figure.caption = " ".join(f"{part[0].upper()}{part[1:].rstrip('.')}." for part in (said, worth) if part)
    if not chosen().note:
        return
    text = textwrap.fill(figure.caption, int((figure.get_figwidth() - margin) / (0.051 * _scale())))
    size = matplotlib.rcParams["legend.fontsize"]
    figure.suptitle(text, x=0.01, ha="left", fontsize=size, color=GREY, style="italic")


def range_text(study: StudyResults) -> str:
    """What line and band are."""
    seeds = seeds_text(study)
    return f"Lines: {seeds}" if seeds == "1 seed" else f"Lines: mean over {seeds}; bands: their range"


class Signs:
    """Characters that the style's fonts lack, collected while figures are drawn, in place of a warning for each."""

    WARNING = re.compile(r"Glyph (\d+) \(.*\) missing from font\(s\) (.*)\.")

    def __init__(self) -> None:
        self.lacking: dict[str, str] = {}

    def __enter__(self) -> "Signs":
        self._caught = warnings.catch_warnings()
        self._caught.__enter__()
        show = warnings.showwarning

        def showwarning(message: Warning | str, *rest: Any) -> None:
            found = self.WARNING.fullmatch(str(message))
            if found:
                self.lacking[chr(int(found[1]))] = found[2]
            else:
                show(message, *rest)

        warnings.showwarning = showwarning  # type: ignore[assignment]
        warnings.filterwarnings("always", "Glyph .* missing from font")
        return self

    def __exit__(self, *_: object) -> None:
        self._caught.__exit__(None, None, None)

    def said(self) -> list[str]:
        """One line that names them, if there are any."""
        fonts = ", ".join(dict.fromkeys(self.lacking.values()))
        signs = " ".join(spell_out(sign) for sign in sorted(self.lacking) if sign.strip())
        way = "name a font that has them as font.family in a file given with --style"
        return [f"boxes in figures: {fonts} has no sign for {signs}; {way}"] if signs else []
