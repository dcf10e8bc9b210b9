"""What is chosen of figures: arms, panels, a note, venues, styles; and that what is drawn stays inside the axes."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_runs import edit, write_study
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from analysis import style
from analysis.choices import Choices, chosen_panels
from analysis.figures import ablation, drawing, loss_collapse
from analysis.figures.__main__ import main
from analysis.figures.common import smooth
from analysis.figures.layout import panels
from analysis.formats import VENUES
from analysis.load import StudyResults, load
from analysis.style_sheet import SMALL, STYLES, read_style, styled
from core.errors import UserError


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    return load(write_study(tmp_path_factory.mktemp("runs"), "modules", seeds=(1, 2, 3)))


def drawn(module: Any, study: StudyResults, **chosen: Any) -> tuple[Figure, pd.DataFrame]:
    with styled(choices=drawing.choose(study, chosen.get("arms", ()), chosen.get("panels", ()), False)):
        figure, frame = drawing.draw_module(module, study)
        figure.draw_without_rendering()
        return figure, frame


@pytest.mark.parametrize("module", drawing.MODULES, ids=lambda module: module.NAME)
def test_only_chosen_arms_are_drawn_in_their_own_looks(module: Any, modules: StudyResults) -> None:
    """By name or by label; the effects stay those of the whole study."""
    figure, frame = drawn(module, modules, arms=["anchor+norm+F4", "rounding · norm · F4"])
    assert set(frame["arm"].dropna()) == {"anchor+norm+F4", "rounding+norm+F4"}
    labels = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    assert labels in ({"anchor · norm · F4", "rounding · norm · F4"}, set())
    if module is ablation:
        effects = frame[frame["kind"].isin(["main", "interaction"])]
        assert len(effects) == 7 and effects["low"].notna().all()


def test_panels_are_chosen_by_name(modules: StudyResults) -> None:
    figure, _ = drawn(loss_collapse, modules, panels=["cosine", "train/mse"])
    assert {ax.get_ylabel() for ax in figure.axes} == {"MSE per\ndimension", "cosine\n(mean)", ""}
    assert len(figure.axes) == 8
    assert [ax.get_xlabel() for ax in drawn(ablation, modules, panels=["arms"])[0].axes] == ["BLEU"]
    assert len(drawn(loss_collapse, modules, panels=["effects"])[0].axes) == 24, "a figure without it stays whole"
    assert chosen_panels({"a": "A"}) == {"a": "A"}


def test_what_there_is_not_is_refused_with_what_there_is(modules: StudyResults) -> None:
    with pytest.raises(UserError, match=r"no arm 'anker' with a result in modules; there are anchor\+norm\+F4, "):
        drawing.choose(modules, ["anker"], [], False)
    with pytest.raises(UserError, match=r"no figure has a panel 'acuracy'; there are toggles, arms, .*accuracy"):
        drawing.choose(modules, [], ["acuracy"], False)


def test_the_command_passes_the_choices_on(
    modules: StudyResults, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def keep(*given: Any) -> None:
        raise UserError(str(given[-1]))

    monkeypatch.setattr(drawing, "redraw", keep)
    chosen = ["--arms", "anchor+norm+F4", "rounding+norm+F1", "--panels", "mse", "--note"]
    monkeypatch.setattr("sys.argv", ["figures", str(modules.path), *chosen])
    with pytest.raises(SystemExit):
        main()
    wanted = Choices(("anchor+norm+F4", "rounding+norm+F1"), ("mse",), note=True)
    assert capsys.readouterr().err == f"error: {wanted}\n"


def test_a_part_of_a_study_has_the_banner_of_the_whole(modules: StudyResults) -> None:
    """An arm that learned nothing, drawn alone, is no study without verdict."""
    figure, _ = drawn(ablation, modules, arms=["rounding+nonorm+F1"])
    assert "No verdict" not in figure.caption  # type: ignore[attr-defined]


def test_one_word_for_one_thing(modules: StudyResults) -> None:
    """Titles of panels are made of the words in the names of arms."""
    titles = {panel.title for panel in panels(modules, within="noise_factor")}
    assert titles == {"anchor · norm", "anchor · nonorm", "rounding · norm", "rounding ·\nnonorm"} or titles == {
        "anchor · norm", "anchor · nonorm", "rounding · norm", "rounding · nonorm",
    }  # fmt: skip


@pytest.mark.parametrize("venue", ["acl", "icml", "neurips"])
def test_all_figures_have_the_widths_of_the_venue(
    venue: str, modules: StudyResults, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sizes: dict[str, tuple[float, float]] = {}

    def keep(figure: Figure, stem: Path, *_: Any) -> list[Path]:
        sizes[stem.name] = tuple(figure.get_size_inches())
        return []

    monkeypatch.setattr(drawing, "save", keep)
    _, said = drawing.redraw(modules, tmp_path, width=VENUES[venue], style=read_style(STYLES["serif"]))
    column, page = VENUES[venue]
    assert {size[0] for size in sizes.values()} == {column, page} and len(sizes) == 6
    assert all(high <= 9 and (high <= drawing.HIGH or wide == page) for wide, high in sizes.values())
    assert len(said) == sum(size[0] == page for size in sizes.values()) * (column != page)


def test_the_serif_style_has_a_name_and_serifs() -> None:
    read = read_style(Path("serif"))
    assert read["font.family"] == ["STIXGeneral"]
    assert min(read[name] for name in read if name.endswith("size")) >= SMALL
    with pytest.raises(UserError, match=r"such as a copy of .*, or serif"):
        read_style(Path("sans"))


def test_latex_that_is_not_there_is_named_with_key_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "science.mplstyle"
    file.write_text("font.family: serif\ntext.usetex : True\ntext.latex.preamble : \\usepackage{amsmath}\n")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"science\.mplstyle: text\.usetex: True .*latex, .* is not installed"):
        read_style(file)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert read_style(file)["text.usetex"] is True
    file.write_text("text.usetex : False\n")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert read_style(file) == {"text.usetex": False}


def test_latex_that_fails_is_one_message() -> None:
    said = r"text\.usetex: True in the style: LaTeX cannot set the text \(! Undefined"
    with pytest.raises(UserError, match=said), styled({"text.usetex": True}):
        raise RuntimeError("latex was not able to process ...\n! Undefined control sequence.\nl.29")
    with pytest.raises(RuntimeError), styled():
        raise RuntimeError("something else")


@given(st.lists(st.floats(0, 100), min_size=3, max_size=5), st.lists(st.floats(0, 100), min_size=3, max_size=5))
def test_intervals_stay_inside_the_axes(one: list[float], other: list[float]) -> None:
    """However wide they are; a score lies between 0 and 100."""
    from analysis.stats import mean_interval_t

    rows = []
    for values in (one, other):
        interval = mean_interval_t(values)
        rows.append({"estimate": interval.estimate, "low": interval.low, "high": interval.high})
    frame = pd.DataFrame(rows)
    left, right = ablation.limits(frame, 0, 100)
    with styled():
        ax = Figure().subplots()
        for y, (_, row) in enumerate(frame.iterrows()):
            ablation.draw_interval(ax, y, row, style.Look("k", "-", "o", True), within=(0, 100))
    for line in ax.lines:
        x = np.asarray(line.get_xdata(), dtype=float)
        assert (left <= x).all() and (x <= right).all() and (x >= 0).all() and (x <= 100).all()


def test_of_two_seeds_both_are_points_and_there_is_no_interval(tmp_path: Path) -> None:
    path = write_study(tmp_path, "modules", seeds=(1, 2))
    edit(next(path.glob("anchor+norm+F4-s1-*")) / "scores.json", bleu=40.0)
    study = load(path)
    figure, frame = drawn(ablation, study)
    assert frame["low"].isna().all() and frame["high"].isna().all()
    assert "mean over 2 seeds, too few for an interval" in figure.caption.lower()  # type: ignore[attr-defined]
    assert (frame["kind"] == "seed of main").sum() == 6 and (frame["kind"] == "seed of interaction").sum() == 8
    arms = next(ax for ax in figure.axes if ax.get_xlabel() == "BLEU")
    drawn_points = [np.asarray(line.get_xdata()) for line in arms.lines if line.get_markersize() < 3]
    assert sorted(np.concatenate(drawn_points)) == pytest.approx(sorted(study.scores["bleu"]))
    assert all(len(np.asarray(line.get_xdata())) < 2 or line.get_linestyle() == "None" for line in arms.lines)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=60))
def test_smooth_curves_stay_within_what_they_smooth(values: list[float]) -> None:
    frame = pd.DataFrame({"arm": "a", "x": range(len(values)), "mean": values})
    smoothed = smooth(frame, ["arm"], "x")
    assert len(smoothed) == len(values) and smoothed.notna().all()
    assert min(values) - 1e-9 <= smoothed.min() and smoothed.max() <= max(values) + 1e-9


def test_training_curves_are_smoothed_and_the_raw_ones_faint(modules: StudyResults) -> None:
    figure, frame = drawn(loss_collapse, modules)
    smoothed = frame[frame["smooth"].notna()]
    assert set(smoothed["metric"]) == {"train/mse", "train/token", "train/nll"}
    top = figure.axes[0].lines
    assert [line.get_alpha() for line in top] == [0.45, None, 0.45, None]
    assert top[0].get_linewidth() < top[1].get_linewidth()
    assert "thin: as logged; thick: averaged" in figure.caption  # type: ignore[attr-defined]


def test_a_figure_for_a_notebook_has_its_note(modules: StudyResults) -> None:
    assert modules.banner in drawing.draw(modules, "ablation").get_suptitle().replace("\n", " ")
    assert drawing.draw(modules, "per_step", arms=["anchor+norm+F4"], note=False).get_suptitle() == ""
    assert Choices() == Choices((), (), False)
