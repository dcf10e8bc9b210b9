"""The figures: drawn from whole, sparse and broken studies, byte-identically, in one colour per arm."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_runs import BANNER, edit, write_study
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from analysis.choices import Choices
from analysis.figures import ablation, drawing, embedding_norms, loss_collapse, per_step
from analysis.figures.captions import CAPTIONS
from analysis.figures.layout import panels
from analysis.load import load
from analysis.style import OKABE_ITO, PAIRS, arm_style
from analysis.style_sheet import styled

ROOT = Path(__file__).parents[1]
NAMES = {"ablation", "embedding_norms", "loss_collapse", "per_step", "one_shot", "score_steps"}


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("runs"), "modules", seeds=(1, 2))


@pytest.mark.slow
def test_the_command_redraws_byte_identically(tmp_path: Path) -> None:
    """Also in another process with other hashes, time zone, locale, and a matplotlibrc of the user's own."""
    study = write_study(tmp_path, "token_loss", seeds=(1, 2))
    command = [sys.executable, "-m", "analysis.figures", str(study), "--out"]
    drawn = []
    (tmp_path / "matplotlibrc").write_text("axes.facecolor: red\nfont.size: 20\naxes.formatter.use_locale: True\n")
    other = {"TZ": "Asia/Tokyo", "LC_ALL": "C", "MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}
    for hashes, more in (("1", {"TZ": "UTC", "LC_ALL": "C.UTF-8"}), ("2", other)):
        out, env = tmp_path / hashes, os.environ | {"PYTHONHASHSEED": hashes} | more
        done = subprocess.run([*command, str(out)], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
        drawn.append({file.name: file.read_bytes() for file in (out / "token_loss").iterdir()})
        assert done.stdout.count("wrote ") == 1
        told = done.stdout.partition(f"wrote {out}/token_loss: ")[2]
        assert all(f"{name}" in told for name in NAMES) and "(pdf, png, svg, csv, txt); table (md, tex, csv)" in told
    expected = {f"{name}.{form}" for name in NAMES for form in ("pdf", "png", "svg", "csv", "txt")}
    assert set(drawn[0]) == expected | {"table.md", "table.tex", "table.csv", "effects.csv", "power.csv"}
    assert drawn[0] == drawn[1]


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "analysis.figures", str(tmp_path / "nothing")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no study folder")
    assert "Traceback" not in done.stderr


def test_the_command_says_where_it_cannot_write(modules: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "analysis.figures", str(modules), "--out", str(tmp_path / "file")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.endswith(
        f"{tmp_path}/file/modules: Not a directory; give another folder with --out (make: FIGURES=)\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["noise_factor", "token_loss", "many"])
def test_every_kind_of_study_is_drawn(kind: str, tmp_path: Path) -> None:
    written, skipped = drawing.redraw(load(write_study(tmp_path, kind, seeds=(1, 2))), tmp_path / "out", ["png"])
    assert {path.stem for path in written} == NAMES
    assert not skipped


def test_missing_data_leave_a_figure_out_with_a_reason(tmp_path: Path) -> None:
    path = write_study(tmp_path, "token_loss", seeds=(1,))
    for probes in path.glob("*/probes.npz"):
        probes.unlink()
    for scores in path.glob("*/scores.json"):
        edit(scores, by_steps=[])
    for metrics in path.glob("*/metrics.jsonl"):
        metrics.unlink()
    written, skipped = drawing.redraw(load(path), tmp_path / "out", ["png"])
    assert {file.stem for file in written} == {"ablation"}
    assert len(skipped) == 5
    assert all(" left out: no run " in line for line in skipped)


@pytest.mark.slow
def test_nan_null_and_a_single_seed_do_not_stop_a_figure(tmp_path: Path) -> None:
    path = write_study(tmp_path, "modules", seeds=(1,))
    first = sorted(path.glob("*/run.json"))[0].parent
    rows = [json.loads(line) for line in (first / "metrics.jsonl").read_text().splitlines()]
    lines = [json.dumps(dict.fromkeys(row) | {"train/step": row["train/step"]}) for row in rows]
    (first / "metrics.jsonl").write_text("\n".join(lines))
    arrays = dict(np.load(first / "probes.npz"))
    arrays = {key: np.full_like(x, np.nan) if x.dtype.kind == "f" and key != "t" else x for key, x in arrays.items()}
    np.savez(first / "probes.npz", **arrays)
    edit(first / "scores.json", by_steps=[{"steps": 20, "calls": 15, "bleu": None, "seconds": None}])
    written, said = drawing.redraw(load(path), tmp_path / "out", ["png"])
    assert {file.stem for file in written} == NAMES
    figures = ", ".join(module.NAME for module in drawing.MODULES if module.NAME != "ablation")
    assert said == [f"{figures} drawn without anchor · nonorm · F1: no data of it"]


def test_csv_holds_what_was_drawn(tmp_path: Path) -> None:
    study = load(write_study(tmp_path, "noise_factor", seeds=(1, 2)))
    drawing.redraw(study, tmp_path, ["png"])
    frame = pd.read_csv(tmp_path / "per_step.csv")
    rows = frame[(frame["arm"] == "F4") & (frame["metric"] == "nearest")]
    names = study.scores.loc[study.scores["arm"] == "F4", "run"]
    expected = np.mean([study.probes[name]["nearest"] for name in names], axis=0)
    assert rows.sort_values("t")["mean"].to_numpy() == pytest.approx(100 * expected)
    assert set(rows["n_seeds"]) == {2}
    assert set(pd.read_csv(tmp_path / "one_shot.csv")["mode"]) == {"oneshot", "along"}


def test_bands_cover_all_ranks_once() -> None:
    assert embedding_norms.bands(840) == [(1, 10), (11, 30), (31, 100), (101, 300), (301, 840)]
    for types in (1, 7, 10, 11, 35, 305, 9000):
        limits = embedding_norms.bands(types)
        assert [low for low, _ in limits[1:]] == [high + 1 for _, high in limits[:-1]]
        assert (limits[0][0], limits[-1][1]) == (1, types)


def test_norm_quantiles_by_hand_without_unseen_types(tmp_path: Path) -> None:
    path = write_study(tmp_path, "token_loss", seeds=(1,))
    for file in path.glob("*/probes.npz"):
        norm = np.arange(13.0)
        frequency = np.array([5, 0, 100, 90, 80, 70, 60, 50, 40, 30, 20, 10, 0])
        np.savez(file, frequency=frequency, norm=norm, norm_raw=2 * norm, types=np.array(list("abcdefghijklm")))
    stats = embedding_norms.statistics(embedding_norms.tidy(load(path)))
    row = stats[(stats["arm"] == "anchor") & (stats["kind"] == "norm")].iloc[0]
    assert row["types"] == 11
    assert row["median"] == np.median([0, *range(2, 12)])
    raw = stats[(stats["arm"] == "anchor") & (stats["kind"] == "norm_raw")].iloc[0]
    assert raw["p95"] == pytest.approx(2 * np.quantile([0, *range(2, 12)], 0.95))


def test_types_are_ranked_by_their_frequency_in_targets(tmp_path: Path) -> None:
    path = write_study(tmp_path, "token_loss", seeds=(1,))
    for file in path.glob("*/probes.npz"):
        frequency = np.array([*range(1, 25), 0])
        norm = np.where(frequency > 14, 1.0, 2.0)
        np.savez(file, frequency=frequency, source_frequency=frequency[::-1], norm=norm)
    stats = embedding_norms.statistics(embedding_norms.tidy(load(path)))
    rows = stats[stats["arm"] == "anchor"]
    assert rows[["rank_low", "rank_high", "median"]].to_numpy().tolist() == [[1, 10, 1.0], [11, 24, 2.0]]


def test_curves_are_means_and_ranges_over_seeds(modules: Path) -> None:
    study = load(modules)
    stats = loss_collapse.statistics(loss_collapse.tidy(study))
    row = stats[(stats["arm"] == "anchor+norm+F4") & (stats["metric"] == "train/mse") & (stats["train/step"] == 400)]
    values = study.metrics[(study.metrics["arm"] == "anchor+norm+F4") & (study.metrics["train/step"] == 400)][
        "train/mse"
    ]
    expected = [values.mean(), values.min(), values.max(), 2]
    assert row[["mean", "low", "high", "n_seeds"]].to_numpy()[0].tolist() == pytest.approx(expected)


def test_an_arm_looks_the_same_whichever_arms_have_results(tmp_path: Path) -> None:
    path = write_study(tmp_path, "modules", seeds=(1,))
    before = arm_style(load(path))
    assert len(set(before.values())) == 8
    assert len({look.color for look in before.values()}) == 8
    for run in path.glob("anchor+norm+F1-*/run.json"):
        edit(run, state="failed")
    after = load(path)
    assert len(after.arms) == 7
    assert arm_style(after) == before


def test_arms_that_differ_in_one_factor_share_a_panel(modules: Path) -> None:
    study = load(modules)
    for factor in study.factors:
        for panel in panels(study, within=factor):
            one, other = (study.arm(name).toggles for name in panel.arms)
            assert [name for name in one if one[name] != other[name]] == [factor]


DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
)
PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)


def lab(color: str, deficiency: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of a colour as seen with a deficiency (matrices of Machado et al. 2009, linear RGB)."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(deficiency @ linear, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x = to_xyz @ seen / np.array([0.9505, 1.0, 1.089])
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("palette", [OKABE_ITO, sum(PAIRS, ())])
@pytest.mark.parametrize(
    "deficiency", [np.eye(3), DEUTERANOPIA, PROTANOPIA], ids=["none", "deuteranopia", "protanopia"]
)
def test_colours_stay_apart_for_the_colour_blind(palette: tuple[str, ...], deficiency: np.ndarray) -> None:
    """At least 10 units of CIE76 apart (2.3 is just noticeable), and dark enough for white paper."""
    for one, other in itertools.combinations(palette, 2):
        assert np.linalg.norm(lab(one, deficiency) - lab(other, deficiency)) > 10, (one, other)
    assert all(lab(color, np.eye(3))[0] < 76 for color in palette)


@pytest.mark.parametrize("module", drawing.MODULES, ids=lambda module: module.NAME)
def test_axes_have_labels_and_legend_entries_for_every_arm(module: Any, modules: Path) -> None:
    study = load(modules)
    with styled():
        figure, _ = module.figure(study)
    grids = [ax.get_subplotspec() for ax in figure.axes]
    for ax, cell in zip(figure.axes, grids, strict=True):
        if module.NAME != "ablation":
            assert ax.get_xlabel() or not cell.is_last_row()
            assert ax.get_ylabel() or not cell.is_first_col()
    named = {text.get_text() for text in figure.findobj(Text)}
    assert {arm.label for arm in study.arms} <= named


def test_shares_are_drawn_in_percent(modules: Path) -> None:
    study = load(modules)
    frame = per_step.tidy(study)
    for metric in per_step.PERCENT:
        raw = np.concatenate([probes[metric] for probes in study.probes.values()])
        assert frame.loc[frame["metric"] == metric, "value"].max() == pytest.approx(100 * raw.max())


def test_the_banner_stands_in_every_caption_and_in_the_picture_where_a_note_is_chosen(tmp_path: Path) -> None:
    study = load(write_study(tmp_path, "token_loss", seeds=(1,)))
    for module in drawing.MODULES:
        figure, _ = module.figure(study)
        assert BANNER in figure.caption and figure.get_suptitle() == ""
        with styled(choices=Choices(note=True)):
            figure, _ = module.figure(study)
        assert BANNER in figure.get_suptitle().replace("\n", " ")
    drawing.redraw(study, tmp_path / "out", ["png"])
    for module in drawing.MODULES:
        caption = (tmp_path / "out" / f"{module.NAME}.txt").read_text()
        assert caption.startswith(CAPTIONS[module.NAME][0]) and BANNER in caption and "1 seed" in caption


@pytest.mark.parametrize(("floor", "drawn"), [(20.0, True), (1.5, False)])
def test_what_a_constant_gets_is_drawn_where_scores_reach_down_to_it(tmp_path: Path, floor: float, drawn: bool) -> None:
    path = write_study(tmp_path, "token_loss", seeds=(1, 2))
    for n, file in enumerate(sorted(path.glob("*/scores.json"))):
        edit(file, **{"bleu": 19.0 + n, "floor/bleu": floor})
    fig, _ = ablation.figure(load(path))
    dotted = [line for line in fig.axes[0].lines if np.array_equal(np.asarray(line.get_xdata()), [floor, floor])]
    assert len(dotted) == drawn and ("one and the same output" in fig.caption) == drawn  # type: ignore[attr-defined]
