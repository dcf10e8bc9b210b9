"""Figures for a paper: column and page width, a style file, embedded fonts, SVGs that stand in one page."""

import itertools
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from fake_runs import write_study
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.figures import ablation, drawing, loss_collapse, per_step
from analysis.figures.__main__ import inches
from analysis.figures.facets import TooTall
from analysis.formats import COLUMN, PAGE
from analysis.load import StudyResults, load
from analysis.saving import fix_layout, prefix_ids, render, save
from analysis.style_sheet import RC, SMALL, STYLE, read_style, styled
from core.errors import UserError

ROOT = Path(__file__).parents[1]
by_name = pytest.mark.parametrize("module", drawing.MODULES, ids=lambda module: module.NAME)


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    return load(write_study(tmp_path_factory.mktemp("runs"), "modules", seeds=(1, 2)))


@pytest.fixture(scope="module")
def factors(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    return load(write_study(tmp_path_factory.mktemp("runs"), "noise_factor", seeds=(1, 2)))


def drawn(module: Any, study: StudyResults, width: float | None) -> Figure:
    """The figure with its layout made."""
    with styled():
        figure: Figure = module.figure(study, width)[0]
        figure.draw_without_rendering()
    plt.close(figure)
    return figure


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of axis labels, titles, legend and banner that lie over each other by more than a point."""
    texts = [each for ax in figure.axes for each in (ax.xaxis.label, ax.yaxis.label, ax.title) if each.get_text()]
    named = [(text.get_text(), text.get_window_extent()) for text in texts]
    named += [("legend", each.get_window_extent()) for each in figure.legends]
    named += [(text.get_text(), text.get_window_extent()) for text in figure.texts]
    found = []
    for (one, a), (other, b) in itertools.combinations(named, 2):
        wide, high = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        if min(wide, high) > figure.dpi / 72:
            found.append((one, other))
    return found


@by_name
@pytest.mark.parametrize("width", [COLUMN, PAGE], ids=["column", "page"])
def test_text_is_readable_whole_and_not_overprinted(module: Any, width: float, modules: StudyResults) -> None:
    if module.NAME == "loss_collapse" and width == COLUMN:
        with pytest.raises(TooTall, match="4 x 6 panels"):
            drawn(module, modules, width)
        return
    figure = drawn(module, modules, width)
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    assert min(float(text.get_fontsize()) for text in shown) >= SMALL
    box = figure.get_tightbbox()
    across, high = figure.get_size_inches()
    assert across == pytest.approx(width)
    assert high <= 9
    assert min(box.x0, box.y0) >= -0.01
    assert box.x1 <= across + 0.01
    assert box.y1 <= high + 0.01
    assert not overlaps(figure)


@by_name
def test_a_study_of_one_factor_has_narrow_figures_that_can_be_wide(module: Any, factors: StudyResults) -> None:
    with styled():
        own = module.figure(factors)[0].get_figwidth()
    plt.close("all")
    assert own == (PAGE if module.NAME in ("ablation", "embedding_norms") else COLUMN)
    figure = drawn(module, factors, PAGE)
    assert figure.get_tightbbox().x1 <= PAGE + 0.01
    assert not overlaps(figure)


def test_widths_are_named_or_given_in_inches() -> None:
    assert (inches("column"), inches("page"), inches("5.5")) == ((COLUMN, None), (PAGE, None), (5.5, None))
    assert (inches("acl"), inches("icml"), inches("neurips")) == ((3.03, 6.3), (3.25, 6.75), (5.5, 5.5))


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-m", "analysis.figures", "--quiet", *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_command_takes_width_and_style(tmp_path: Path, factors: StudyResults) -> None:
    """A style file can set anything, such as the resolution."""
    (tmp_path / "mine.mplstyle").write_text("lines.linewidth: 4\nsavefig.dpi: 50\n")
    style = str(tmp_path / "mine.mplstyle")
    done = command(str(factors.path), "--out", str(tmp_path), "--width", "4", "--style", style, "--formats", "png")
    assert done.returncode == 0, done.stderr
    sizes = {path.stem: plt.imread(path).shape[1] for path in (tmp_path / "noise_factor").glob("*.png")}
    assert sizes == {module.NAME: 200 for module in drawing.MODULES}


def test_a_figure_that_does_not_fit_keeps_its_own_width(
    tmp_path: Path, modules: StudyResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "MODULES", (loss_collapse,))
    _, said = drawing.redraw(modules, tmp_path, ["png"], COLUMN, {"savefig.dpi": 50})
    assert said == ["loss_collapse keeps its own width: 4 x 6 panels do not fit on a page in a column 3.35 inches wide"]
    assert plt.imread(tmp_path / "loss_collapse.png").shape[1] == int(50 * PAGE)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--width", "wide"), "neither one of column, page, acl, icml, neurips nor a number of inches"),
        (("--width", "90"), "from 2 to 20"),
        (("--style", "nowhere.mplstyle"), "no style file nowhere.mplstyle"),
    ],
)
def test_wrong_options_are_refused(
    arguments: tuple[str, str], said: str, tmp_path: Path, factors: StudyResults
) -> None:
    done = command(str(factors.path), "--out", str(tmp_path), *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("line", ["lines.linewidht: 3", "lines.linewidth: thick", "no colon here"])
def test_a_style_with_a_mistake_is_refused(line: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.mplstyle"
    file.write_text(f"font.size: 9\n{line}\n")
    with pytest.raises(UserError, match=f"style file {re.escape(str(file))}: .*{re.escape(line.split(':')[0])}"):
        read_style(file)


def test_our_style_embeds_fonts_and_a_users_lies_over_it(tmp_path: Path) -> None:
    assert read_style(STYLE) == RC
    assert (RC["pdf.fonttype"], RC["legend.fontsize"]) == (42, SMALL)


def fonts(pdf: bytes) -> list[bytes]:
    """The font dictionaries of a PDF as matplotlib writes it (objects that stand open in the file)."""
    objects = re.findall(rb"\d+ 0 obj\s*(<<.*?>>)\s*(?:endobj|stream)", pdf, re.S)
    return [each for each in objects if re.search(rb"/Type\s*/Font\b", each)]


@pytest.mark.parametrize("module", [ablation, loss_collapse], ids=lambda module: module.NAME)
def test_fonts_are_embedded_as_truetype(module: Any, factors: StudyResults, tmp_path: Path) -> None:
    """Plain text, and mathematics with fonts of its own."""
    with styled():
        figure, frame = module.figure(factors)
        save(figure, tmp_path / module.NAME, frame, ["pdf"])
    pdf = (tmp_path / f"{module.NAME}.pdf").read_bytes()
    kinds = [re.search(rb"/Subtype\s*/(\w+)", each)[1] for each in fonts(pdf)]  # type: ignore[index]
    assert set(kinds) == {b"Type0", b"CIDFontType2"}
    described = re.findall(rb"/Type\s*/FontDescriptor.*?>>", pdf, re.S)
    assert len(described) == kinds.count(b"CIDFontType2") > 0
    assert pdf.count(b"/FontFile2") == len(described)


def test_svgs_of_one_study_stand_in_one_page(factors: StudyResults, tmp_path: Path) -> None:
    """No id twice in all of them together, and each reference leads to an id of its own file."""
    drawing.redraw(factors, tmp_path, ["svg"])
    seen: set[str] = set()
    for path in sorted(tmp_path.glob("*.svg")):
        text = path.read_text()
        ids = re.findall(r'\sid="([^"]+)"', text)
        assert len(ids) == len(set(ids))
        assert all(each.startswith(f"{path.stem}-") for each in ids)
        assert not seen & set(ids)
        seen |= set(ids)
        used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text))
        assert used
        assert {one or other for one, other in used} <= set(ids)
    assert prefix_ids('<g id="a" clip-path="url(#b)"/><use xlink:href="#c"/>', "x") == (
        '<g id="x-a" clip-path="url(#x-b)"/><use xlink:href="#x-c"/>'
    )


@pytest.mark.slow
@by_name
def test_the_last_bits_of_the_layout_do_not_show(
    module: Any, modules: StudyResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They differ from one process to the next: the layout's constraints come in the order of a set."""
    laid_out = Figure.draw_without_rendering

    def nudged(figure: Figure) -> None:
        laid_out(figure)
        for ax in figure.axes:
            bounds = np.nextafter(ax.get_position().bounds, 1)
            ax._set_position(bounds)  # type: ignore[attr-defined]

    for name in ("as it is", "nudged"):
        with styled():
            figure, frame = drawing.draw_module(module, modules)
            save(figure, tmp_path / name / "figure", frame, ["svg", "pdf", "png"])
        monkeypatch.setattr(Figure, "draw_without_rendering", nudged)
    for form in ("svg", "pdf", "png"):
        one, other = ((tmp_path / name / f"figure.{form}").read_bytes() for name in ("as it is", "nudged"))
        assert one == other, form


def test_a_canvas_of_ones_own_gives_what_savefig_gives(factors: StudyResults, tmp_path: Path) -> None:
    """The shortcut past Figure.savefig changes no pixel."""
    with styled():
        figure, _ = per_step.figure(factors)
        fix_layout(figure)
        figure.savefig(tmp_path / "savefig.png", metadata={"Software": None})
        figure.set_dpi(RC["savefig.dpi"])
        assert render(figure, "png", "x") == (tmp_path / "savefig.png").read_bytes()
    plt.close(figure)


def test_a_png_has_the_styles_pixels_per_inch_whatever_is_written_before_it(tmp_path: Path) -> None:
    with styled():
        for formats in (("pdf", "png"), ("png", "svg")):
            fig, _ = plt.subplots(figsize=(2, 1))
            paths = save(fig, tmp_path / formats[0], pd.DataFrame(), formats)
            image = plt.imread(next(path for path in paths if path.suffix == ".png"))
            assert image.shape[:2] == (200, 400)


@pytest.mark.parametrize("scale", [1e-3, 0.02, 0.4, 1.0])
@pytest.mark.parametrize("width", [COLUMN, None])
def test_values_on_the_axis_of_effects_stand_apart_however_small_they_are(
    scale: float, width: float | None, modules: StudyResults
) -> None:
    scores = modules.scores.assign(bleu=scale * modules.scores["bleu"])
    figure = drawn(ablation, replace(modules, scores=scores), width)
    (ax,) = [ax for ax in figure.axes if "effect" in ax.get_xlabel()]
    low, high = ax.get_xlim()
    labels = [tick.label1.get_window_extent() for tick in ax.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
    assert len(labels) >= 2 and all(b.x0 - a.x1 > 2 for a, b in itertools.pairwise(labels))


@pytest.mark.parametrize("study", ["modules", "factors"])
def test_both_of_two_seeds_lie_within_the_axes(study: str, request: pytest.FixtureRequest) -> None:
    found: StudyResults = request.getfixturevalue(study)
    apart = {1: 0.5, 2: 1.5}  # seeds that disagree widely
    bleu = [
        (apart[seed] if arm == found.control else 1 / apart[seed]) * 20
        for arm, seed in zip(found.scores["arm"], found.scores["seed"], strict=True)
    ]
    figure = drawn(ablation, replace(found, scores=found.scores.assign(bleu=bleu)), None)
    for ax in figure.axes[-2:]:
        low, high = ax.get_xlim()
        drawn_at = [x for line in ax.lines for x in np.atleast_1d(line.get_xdata())]
        assert low <= min(drawn_at) and max(drawn_at) <= high
