"""Names in figures: drawn as they are, whatever stands in them, in every figure and in the report."""

import dataclasses
import json
import re
import warnings
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from fake_runs import edit, write_study
from fake_search import write_search
from test_paper_figures import overlaps

from analysis.choices import Choices
from analysis.figures import ablation, drawing, one_shot
from analysis.figures.layout import text_width
from analysis.figures.names import WIDEST, shorten_each, shorten_names
from analysis.formats import COLUMN, PAGE
from analysis.load import load
from analysis.report.sections import figures as section
from analysis.searches import load_search
from analysis.style_sheet import styled

NAMES = [r"$x_1$ at $5 or $6 \alpha", "two\nlines\tof\u202e 100% {a}_b^c", "x" * 70 + " one", "x" * 70 + " two"]
DRAWN = [r"$x_1$ at $5 or $6 \alpha", "two lines of⟨U+202E⟩ 100% {a}_b^c", f"{'x' * 21}…{'x' * 6} one"]
TEXT = {"svg.fonttype": "none"}


def named(study: Path) -> Path:
    """The study with difficult names in place of its arms' own."""
    arms = json.loads((study / "study.json").read_text())["arms"]
    arms = [arm | {"label": name} for arm, name in zip(arms, NAMES, strict=True)]
    edit(study / "study.json", arms=arms, banner="A banner of $5 and $6")
    return study


def texts(svg: Path) -> list[str]:
    """What is written in a figure, line by line."""
    found = ElementTree.fromstring(svg.read_bytes()).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(each.itertext()) for each in found]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return named(write_study(tmp_path_factory.mktemp("runs"), "token_loss", seeds=(1, 2)))


@pytest.fixture(scope="module")
def drawn(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its figures, text as text."""
    out = tmp_path_factory.mktemp("figures")
    drawing.redraw(load(study), out, ["svg"], style=TEXT, choices=Choices(note=True))
    return out


def test_every_figure_shows_names_as_they_are(drawn: Path) -> None:
    for module in drawing.MODULES:
        shown = texts(drawn / f"{module.NAME}.svg")
        assert set(DRAWN) <= set(shown), module.NAME
        assert "A banner of $5" in " ".join(shown)
        assert (drawn / f"{module.NAME}.txt").read_text().endswith("A banner of $5 and $6.\n")


def test_what_was_drawn_keeps_whole_names(drawn: Path, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the CSVs, and in the table of data below a figure of the report."""
    for module in drawing.MODULES:
        labels = set(pd.read_csv(drawn / f"{module.NAME}.csv")["label"])
        assert set(NAMES) <= labels
        assert module.NAME != "ablation" or {f"{name} - {NAMES[0]}" for name in NAMES[1:]} <= labels
    monkeypatch.setattr(section, "MODULES", (ablation,))
    assert section.figures_section(load(study)).body.count("x" * 70) > 10


@pytest.mark.parametrize("width", [COLUMN, PAGE], ids=["column", "page"])
def test_long_names_leave_room(width: float, study: Path) -> None:
    for module in (ablation, one_shot):
        with styled():
            figure, _ = drawing.draw_module(module, load(study), width)
            figure.draw_without_rendering()
        plt.close(figure)
        box = figure.get_tightbbox()
        assert (box.x0 >= -0.01, box.x1 <= width + 0.01) == (True, True), module.NAME
        assert not overlaps(figure)


def test_the_figures_of_a_search_show_them_too(tmp_path: Path) -> None:
    search = write_search(tmp_path, "token_loss")
    arms = json.loads((search / "search.json").read_text())["arms"]
    edit(search / "search.json", arms=[arm | {"label": n} for arm, n in zip(arms, NAMES, strict=True)])
    for folder in ("token_loss", "token_loss-tuned"):
        named(tmp_path / folder)
    found = load_search(search)
    assert found is not None
    drawing.redraw_search(found, tmp_path / "out", ["svg"], TEXT)
    for module in drawing.SEARCH_MODULES:
        assert set(DRAWN) <= set(texts(tmp_path / "out" / f"{module.NAME}.svg")), module.NAME
        assert set(NAMES) <= set(pd.read_csv(tmp_path / "out" / f"{module.NAME}.csv")["label"])


def test_mathematics_of_our_own_stays_and_a_style_can_ask_for_more(
    drawn: Path, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not any("sqrt" in text for text in texts(drawn / "embedding_norms.svg"))
    monkeypatch.setattr(drawing, "MODULES", (ablation,))
    drawing.redraw(load(study), tmp_path, ["svg"], style=TEXT | {"text.parse_math": True})
    assert not any("$x_1$" in text for text in texts(tmp_path / "ablation.svg"))


def test_drawn_names_are_short_and_differ() -> None:
    drawn = shorten_each({"a": "y" * 99, "b": "y" * 99 + "!", "c": "y" * 99, "d": "z"})
    assert len(set(drawn.values())) == 4
    assert drawn["d"] == "z"
    assert max(map(text_width, drawn.values())) <= WIDEST + text_width(" (2)")
    assert text_width(shorten_each({"a": "W" * 5000})["a"]) <= WIDEST


def test_a_study_of_plain_names_is_as_it_was(tmp_path: Path) -> None:
    study = load(write_study(tmp_path, "modules", seeds=(1,)))
    for field in dataclasses.fields(study):
        one, other = getattr(study, field.name), getattr(shorten_names(study), field.name)
        if isinstance(one, pd.DataFrame):
            pd.testing.assert_frame_equal(one, other)
        elif field.name != "probes":
            assert one == other


def test_signs_that_the_font_lacks_are_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command that draws, and in the report; without a warning for each of them."""
    path = write_study(tmp_path, "token_loss", seeds=(1,))
    arms = json.loads((path / "study.json").read_text())["arms"]
    edit(path / "study.json", arms=[arms[0] | {"label": "日本 🦊"}, *arms[1:]])
    for module in (drawing, section):
        monkeypatch.setattr(module, "MODULES", (ablation,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, said = drawing.redraw(load(path), tmp_path / "out", ["png", "svg"])
        made = section.figures_section(load(path)).body
    lines = [line for line in said if "no sign" in line]
    assert len(lines) == 1
    assert all(sign in lines[0] for sign in "日本🦊") and "--style" in lines[0] and "font.family" in lines[0]
    assert len(re.findall("no sign", made)) == 1
