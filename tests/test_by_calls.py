"""Studies that vary the network calls of a decoding: which arm is best at each number of them, and at what cost."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_runs import edit, write_study
from hypothesis import given
from hypothesis import strategies as st

from ablations import studies
from analysis import tables
from analysis.by_calls import best, cost, cost_name, pairs, varies_calls
from analysis.figures import drawing
from analysis.load import ArmResults, StudyResults, load
from analysis.report.page import page
from analysis.stats import holm, t_pvalue
from core.checks import check
from core.config import RunConfig, with_values
from core.methods import method_for


def scored(path: Path, scores: Mapping[str, list[float]]) -> StudyResults:
    """A study on disk with these scores of arms, by seed."""
    for arm, values in scores.items():
        for seed, value in enumerate(values, 1):
            (file,) = path.glob(f"{arm}-s{seed}-*/scores.json")
            edit(file, bleu=value)
    return load(path)


@pytest.fixture
def samplers(tmp_path: Path) -> StudyResults:
    """At 2 calls ddim is better than all by 10 in each seed; at 20 calls it is as good as ancestral, and cedi worse."""
    return scored(
        write_study(tmp_path, "samplers", seeds=(1, 2, 3)),
        {
            "ancestral+2calls": [50.0, 60.0, 55.0],
            "ddim+2calls": [60.0, 70.1, 65.1],
            "cedi+2calls": [49.0, 59.1, 54.0],
            "ancestral+20calls": [70.0, 80.0, 75.0],
            "ddim+20calls": [71.0, 79.0, 75.1],
            "cedi+20calls": [60.0, 70.1, 65.1],
        },
    )


def test_the_best_is_decided_where_it_beats_every_other_arm_with_as_many_calls(samplers: StudyResults) -> None:
    frame = best(samplers).set_index("network_calls")
    assert list(frame["best"]) == ["ddim", "ddim"] and list(frame["second"]) == ["ancestral", "ancestral"]
    assert list(frame["verdict"]) == ["decided", "undecided"]
    assert list(frame["open"]) == ["", "ancestral"], "cedi is told apart from the best"
    assert frame.loc[2, "difference"] == pytest.approx(10 + 1 / 15) and frame.loc[2, "p_holm"] < 0.05
    assert frame.loc[20, "difference_low"] < 0 < frame.loc[20, "difference_high"]


def test_all_pairs_with_equal_calls_are_corrected_together(samplers: StudyResults) -> None:
    frame = pairs(samplers)
    assert len(frame) == 6 and (best(samplers)["compared"] == 6).all()
    x = [(samplers.values("bleu", row["arm"]), samplers.values("bleu", row["other"])) for _, row in frame.iterrows()]
    p = [t_pvalue([one[seed] - other[seed] for seed in one]) for one, other in x]
    assert list(frame["p_holm"]) == pytest.approx(list(holm(p)))


def in_memory(values: np.ndarray) -> StudyResults:
    """A study of samplers s0, s1, ... at calls 0, 1, ...; values [samplers, calls, seeds]."""
    kinds, calls, seeds = values.shape
    toggles = {f"s{k}+{n}": {"sampler": f"s{k}", "network_calls": n} for k in range(kinds) for n in range(calls)}
    arms = tuple(ArmResults(name, name.replace("+", " · "), each) for name, each in toggles.items())
    at = dict(zip(toggles, values.reshape(-1, seeds), strict=True))
    rows = [
        {"run": f"{arm.name}-{s}", "arm": arm.name, "label": arm.label, "seed": s, "bleu": at[arm.name][s]}
        for arm in arms
        for s in range(seeds)
    ]
    factors: dict[str, list[Any]] = {"sampler": [f"s{k}" for k in range(kinds)], "network_calls": list(range(calls))}
    empty = pd.DataFrame()
    parts: dict[str, Any] = {
        "runs": empty,
        "steps": empty,
        "metrics": empty,
        "failed": empty,
        "probes": {},
        "records": {},
        "notes": (),
    }
    scores = pd.DataFrame(rows)
    return StudyResults("x", Path(), {"no_verdict": ""}, arms, factors, scores=scores, **parts)


def test_of_samplers_that_are_all_alike_a_best_one_is_seldom_decided() -> None:
    """Picked and judged by the same scores, and yet in 5 of 100 studies at most."""
    rng = np.random.default_rng(0)
    found = [best(in_memory(50 + rng.normal(size=(3, 2, 3)))) for _ in range(120)]
    assert sum((frame["verdict"] == "decided").any() for frame in found) <= 6


@given(shift=st.floats(-20, 20), order=st.permutations(range(3)))
def test_what_is_best_depends_neither_on_the_order_of_arms_nor_on_the_level_of_a_seed(
    shift: float, order: list[int]
) -> None:
    values = np.array([[[50.0, 61.0, 55.0]], [[51.0, 60.5, 57.0]], [[40.0, 50.5, 45.0]]])
    moved = values[order] + np.array([shift, 0.0, 0.0])
    one, other = best(in_memory(values)).iloc[0], best(in_memory(moved)).iloc[0]
    assert order[int(other["best"][1:])] == int(one["best"][1:])
    assert other["p_holm"] == pytest.approx(one["p_holm"]) and other["verdict"] == one["verdict"]


def test_equal_decodings_are_never_told_apart(samplers: StudyResults, tmp_path: Path) -> None:
    study = scored(samplers.path, {"ancestral+2calls": [60.0, 70.1, 65.1]})
    row = best(study).iloc[0]
    assert row["verdict"] == "undecided" and row["open"] in ("ddim", "ancestral") and row["difference"] == 0


def test_other_studies_have_no_such_table(modules: Path) -> None:
    study = load(modules)
    assert not varies_calls(study) and best(study).empty
    assert "network calls" not in "".join(tables.grids(study)[1])


def test_table_and_report_say_which_is_best(samplers: StudyResults, tmp_path: Path) -> None:
    written = {path.name: path for path in tables.write(samplers, tmp_path / "out")}
    text = written["table.md"].read_text()
    assert "Best at each number of network calls" in text and "among all 6 pairs" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| 2 | ddim")]
    assert "| +10.07 [+9.92, +10.21] |" in row and "| decided | – |" in row
    assert list(pd.read_csv(written["best.csv"])["verdict"]) == ["decided", "undecided"]
    assert len(pd.read_csv(written["pairs.csv"])) == 6
    assert "samplers-best" in written["table.tex"].read_text()
    assert "Best at each number of network calls" in page(samplers)


def test_where_nothing_can_be_decided_no_best_is(samplers: StudyResults) -> None:
    edit(samplers.path / "study.json", preset="smoke")
    assert set(best(load(samplers.path))["verdict"]) == {"no verdict"}


def test_cost_is_time_of_the_cpu_where_that_decodes(samplers: StudyResults) -> None:
    assert cost_name(samplers) == "CPU-ms"
    assert list(cost(samplers)[:3]) == pytest.approx([20.0] * 3), "50 sentences per CPU-second"
    for file in samplers.path.glob("*/run.json"):
        edit(file, device="NVIDIA H100")
    study = load(samplers.path)
    assert cost_name(study) == "ms" and list(cost(study)) == pytest.approx([8000 / 400] * 18)
    for file in samplers.path.glob("*/run.json"):
        edit(file, cost={})
    assert np.isnan(cost(load(samplers.path))).all()
    assert "| n/a |" in tables.markdown(tables.grids(load(samplers.path))[0][2:], [])


def test_the_figure_has_a_curve_for_each_sampler(samplers: StudyResults, tmp_path: Path) -> None:
    figure = drawing.draw(samplers, "score_steps", note=False)
    assert [ax.get_xlabel() for ax in figure.axes] == ["network calls", "decoding, CPU-ms\nper sentence"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ancestral", "ddim", "cedi"]
    assert all(len(ax.get_lines()) == 3 for ax in figure.axes)
    assert np.asarray(figure.axes[0].get_lines()[1].get_ydata()) == pytest.approx([65.0667, 75.0333], abs=1e-3)
    chosen = drawing.draw(samplers, "score_steps", arms=["ddim+2calls", "ddim+20calls"], note=False)
    (line,), full = chosen.axes[0].get_lines(), figure.axes[0].get_lines()[1]
    assert (line.get_color(), line.get_marker()) == (full.get_color(), full.get_marker())
    _, said = drawing.redraw(samplers, tmp_path, ["png"])
    assert not said
    frame = pd.read_csv(tmp_path / "score_steps.csv")
    assert list(frame["arm"]) == [arm.name for arm in samplers.arms] and {"calls", "ms", "mean"} <= set(frame)


@pytest.mark.filterwarnings("error")
def test_scores_that_are_all_zero_have_an_axis_of_scores(samplers: StudyResults) -> None:
    study = scored(samplers.path, {arm.name: [0.0, 0.0, 0.0] for arm in samplers.arms})
    for ax in drawing.draw(study, "score_steps", note=False).axes:
        assert ax.get_ylim()[1] >= 1 and min(tick for tick in ax.get_yticks() if tick >= ax.get_ylim()[0]) == 0


def test_every_arm_of_the_study_makes_just_its_network_calls() -> None:
    for arm in studies.get("samplers").arms:
        config = with_values(RunConfig(), arm.values)
        check(config)
        decoding = getattr(config.method, "decoding", None)
        assert method_for(config.method).calls(decoding) == arm.toggles["network_calls"]
