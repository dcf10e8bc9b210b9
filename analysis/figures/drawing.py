"""All figures of a study."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import ablation, embedding_norms, loss_collapse, one_shot, per_step, score_steps
from analysis.figures.common import Missing, TooTall
from analysis.figures.names import drawable, whole
from analysis.formats import FORMATS
from analysis.load import Study
from analysis.saving import save
from analysis.style import Signs, styled

MODULES = (ablation, embedding_norms, loss_collapse, per_step, one_shot, score_steps)


def draw(module: Any, study: Study, width: float | None = None) -> tuple[Figure, pd.DataFrame]:
    """A module's figure with names that can be drawn, and its frame with whole names; for use within the style."""
    figure, frame = module.figure(drawable(study), width)
    return figure, whole(frame, {arm.name: arm.label for arm in study.arms}, study.control)


def redraw(
    study: Study,
    out: Path,
    formats: Iterable[str] = FORMATS,
    width: float | None = None,
    style: Mapping[Any, Any] | None = None,
) -> tuple[list[Path], list[str]]:
    """Draw every figure of a study into the folder out: files written, and a line for each figure left out.

    width: of all figures, in inches; by default each has its own, and one that does not fit keeps its own, which is
    said. style: settings of matplotlib over those of paper.mplstyle.
    """
    written: list[Path] = []
    said = []
    with styled(style), Signs() as signs:
        for module in MODULES:
            try:
                try:
                    figure, frame = draw(module, study, width)
                except TooTall as reason:
                    said.append(f"{module.NAME} keeps its own width: {reason}")
                    figure, frame = draw(module, study)
                written += save(figure, out / module.NAME, frame, formats)
            except Missing as missing:
                said.append(f"{module.NAME} left out: {missing}")
    return written, said + signs.said()
