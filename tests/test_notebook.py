"""The analysis in a notebook: importing it changes nothing, one figure takes three lines, commands run from cells."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import matplotlib
import pytest
from fake_runs import BANNER, write_study
from matplotlib.figure import Figure

from analysis.figures import drawing
from analysis.figures.drawing import draw, draw_panel
from analysis.load import StudyResults, load
from analysis.report.page import page
from core.errors import UserError

ROOT = Path(__file__).parents[1]
IMPORT_ALL = """
import pkgutil, sys
import matplotlib
import core.errors
import analysis

def state():
    return dict(matplotlib.rcParams), sys.excepthook

before = state()
names = [m.name for m in pkgutil.walk_packages(analysis.__path__, "analysis.") if m.name not in sys.modules]
for name in names:
    __import__(name)
assert len(names) > 40, names
changed = [i for i, (one, other) in enumerate(zip(before, state())) if one != other]
print(changed, "matplotlib.pyplot" in sys.modules)
"""


def test_importing_every_module_changes_neither_backend_nor_settings_nor_hooks() -> None:
    """Not even pyplot is imported, which would settle on a backend."""
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "[] False\n", done.stdout + done.stderr


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    return load(write_study(tmp_path_factory.mktemp("runs"), "systems", seeds=(1, 2)))


@pytest.mark.parametrize("name", [module.NAME for module in drawing.MODULES])
def test_a_figure_by_its_name_is_shown_by_a_notebook(name: str, study: StudyResults) -> None:
    before = dict(matplotlib.rcParams)
    figure = draw(study, name, width=4)
    assert isinstance(figure, Figure) and figure.get_figwidth() == 4
    assert BANNER.split(":")[0] in figure.get_suptitle()
    shown = figure._repr_png_()  # type: ignore[attr-defined]
    assert shown.startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == before


def test_a_panel_into_axes_at_hand(study: StudyResults) -> None:
    ax = Figure().subplots()
    assert draw_panel(ax, study, "per_step", "accuracy") is ax
    legend = ax.get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["difformer"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("t (of T = 2,000)", "accuracy\n(%)")
    assert len(ax.lines) == 1
    for name, metric, label in (
        ("loss_collapse", "train/nll", "training step"),
        ("score_steps", "steps", "decoding steps K"),
        ("one_shot", "bleu", "t (of T = 2,000)"),
    ):
        assert draw_panel(Figure().subplots(), study, name, metric).get_xlabel() == label


def test_what_cannot_be_drawn_is_said(study: StudyResults, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no figure 'steps'; there are ablation, .*per_step"):
        draw(study, "steps")
    with pytest.raises(UserError, match=r"per_step has no panel 'bleu'; it has mse, nll, accuracy, nearest"):
        draw_panel(Figure().subplots(), study, "per_step", "bleu")
    with pytest.raises(UserError, match="ablation has no panel 'bleu'; it has none that stands alone"):
        draw_panel(Figure().subplots(), study, "ablation", "bleu")
    beam = load(write_study(tmp_path, "beam", seeds=(1, 2)))
    with pytest.raises(UserError, match=r"per_step cannot be drawn: no run has per-step curves in probes.npz"):
        draw(beam, "per_step")
    with pytest.raises(UserError, match=r"per_step cannot be drawn: no run has"):
        draw_panel(Figure().subplots(), beam, "per_step", "mse")


NEW_FIGURE = """
from analysis.figures.layout import panel_grid
from analysis.style import arm_style

NAME = "lengths"

def figure(study, width=None):
    frame = study.scores[["arm", "label", "seed", "length_ratio"]]
    fig, [[ax]] = panel_grid(1, 1, width or 3.35, 2.2)
    for arm, rows in frame.groupby("arm"):
        ax.plot(rows["seed"], rows["length_ratio"], **arm_style(study)[arm].line())
    return fig, frame
"""


def test_a_figure_of_ones_own_takes_a_file_and_a_name_in_the_table(
    study: StudyResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = ModuleType("lengths")
    exec(NEW_FIGURE, lengths.__dict__)
    monkeypatch.setattr(drawing, "MODULES", (lengths,))
    monkeypatch.setattr(drawing, "METHOD_MODULES", ())
    written, said = drawing.redraw(study, tmp_path)
    assert [path.name for path in written] == [
        "lengths.pdf",
        "lengths.png",
        "lengths.svg",
        "lengths.csv",
        "lengths.txt",
    ]
    assert not said and (tmp_path / "lengths.txt").read_text().startswith(f"Lengths. {study.banner}")
    monkeypatch.setattr("analysis.report.sections.figures.MODULES", (lengths,))
    assert 'id="figure-lengths"' in page(study)


BACKENDS = ["module://matplotlib_inline.backend_inline", "module://nowhere.backend", "nonsense"]
"""What MPLBACKEND may say where a command is started: Jupyter's and Colab's own, and what matplotlib does not know."""


def command(backend: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A command started as from a notebook's cell."""
    line = [sys.executable, "-m", *map(str, arguments)]
    env = os.environ | {"MPLBACKEND": backend, "WANDB_MODE": "disabled"}
    return subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study that is drawn fast."""
    path = write_study(tmp_path_factory.mktemp("runs"), "token_loss", seeds=(1,))
    for probes in path.glob("*/probes.npz"):
        probes.unlink()
    return path


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_commands_draw_whatever_backend_a_notebook_names(backend: str, bare: Path, tmp_path: Path) -> None:
    for module in ("analysis.figures", "analysis.report"):
        done = command(backend, module, bare, "--out", tmp_path / module)
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert (tmp_path / "analysis.figures/token_loss/ablation.pdf").stat().st_size > 1000
    done = command(backend, "analysis.snapshot", bare)
    assert done.returncode == 0 and '"results": 4' in done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS[::2])
def test_a_sweep_started_in_a_notebook_ends_with_its_figures(backend: str, tmp_path: Path) -> None:
    where = ("--runs", tmp_path / "runs", "--figures", tmp_path / "figures", "--workers", "1")
    options = ("--study", "self_conditioning", "--preset", "smoke", "--seeds", "1", "--set", "updates=3")
    done = command(backend, "sweeps.study", *where, *options)
    assert done.returncode == 0 and "no figures" not in done.stderr, done.stdout + done.stderr
    assert list(tmp_path.glob("figures/*/ablation.pdf"))


def test_drawing_from_python_keeps_the_notebooks_backend(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "cells.py").write_text("from matplotlib.backends.backend_agg import *\n")
    code = f"""
import os, matplotlib, matplotlib.pyplot as plt
from analysis.figures.drawing import draw
from analysis.load import load
plt.figure()
draw(load({str(bare)!r}), "ablation")._repr_png_()
print(matplotlib.get_backend(), plt.get_backend(), os.environ["MPLBACKEND"])
"""
    env = os.environ | {"MPLBACKEND": "module://cells", "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["module://cells"] * 3, done.stdout + done.stderr
