"""Figures into files, byte-identically."""

import io
import re
from collections.abc import Iterable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from analysis.formats import FORMATS
from analysis.plain_text import csv_text

METADATA: dict[str, dict[str, None]] = {"pdf": {"CreationDate": None}, "png": {"Software": None}, "svg": {"Date": None}}


def fix_layout(figure: Figure) -> None:
    """Make the layout, and keep it.

    Its last bits differ from one process to the next (the solver takes its constraints in the order of a set), and an
    SVG's ids depend on them: positions are rounded, to far less than a pixel.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for ax in figure.axes:
        ax.set_position(Bbox(np.round(ax.get_position().get_points(), 9)))


def save(
    figure: Figure, stem: Path, frame: pd.DataFrame, formats: Iterable[str] = FORMATS, caption: str = ""
) -> list[Path]:
    """Write the figure in each format, the frame it was drawn from as CSV, and its caption, if any, as text.

    The same input gives the same bytes.

    The layout is made once, so that all formats have the same. The canvases are called by themselves: Figure.savefig
    draws every figure a second time, to no effect once the layout is fixed.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    fix_layout(figure)
    saved = matplotlib.rcParams["savefig.dpi"]
    dpi = figure.dpi if saved == "figure" else saved
    written = []
    for form in formats:
        figure.set_dpi(dpi)  # each time: the canvas of PDFs sets it to 72 and leaves it there
        path = stem.with_suffix(f".{form}")
        path.write_bytes(render(figure, form, stem.name))
        written.append(path)
    table = stem.with_suffix(".csv")
    table.write_text(csv_text(frame), encoding="utf-8")
    if not caption:
        return [*written, table]
    words = stem.with_suffix(".txt")
    words.write_text(f"{caption}\n", encoding="utf-8")
    return [*written, table, words]


def render(figure: Figure, form: str, name: str) -> bytes:
    """The figure as a file of that format; the ids of an SVG begin with name, so that several stand in one page."""
    if form == "svg":
        text = io.StringIO()
        FigureCanvasSVG(figure).print_svg(text, metadata=METADATA["svg"])
        return prefix_ids(text.getvalue(), name).encode()
    buffer = io.BytesIO()
    if form == "png":
        FigureCanvasAgg(figure).print_png(buffer, metadata=METADATA["png"])
    else:
        FigureCanvasPdf(figure).print_pdf(buffer, metadata=METADATA["pdf"])
    return buffer.getvalue()


def prefix_ids(svg: str, name: str) -> str:
    """The SVG with `name-` before each id and each reference to one."""
    return re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
